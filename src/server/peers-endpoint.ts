// What this kexer answers when another one asks: its own sessions and nothing of others, so that a question never travels further. Whoever asks must
// show a token of the audience for this, of the very account this kexer runs as; nobody else is let in, whatever they may do elsewhere, and such a
// token opens nothing else. The rights of the user behind a question have been judged by the kexer that asks.

import type { TokenAuthenticator } from '../auth/token-authenticator.ts';
import { bearerTokenOf } from '../auth/bearer.ts';
import type { Caller } from '../auth/caller.ts';
import { KexerError } from '../base/errors.ts';
import type { TokenSource } from '../kube/credential.ts';
import { methodNotAllowed, StatusError, unauthorized } from '../kube/status.ts';

import { jsonAnswer, pageNotFound, statusAnswer, type Answer } from './answer.ts';
import { type EndOrder, type EndOutcome, peerPaths, type PeerSessions, readEndOrder } from './peers-messages.ts';
import type { Arrival, RequestContext } from './request-context.ts';
import type { SessionsFeed } from './sessions-feed.ts';
import { endMessage } from './sessions-resource.ts';

export interface PeersEndpointDeps {
  readonly sessions: SessionsFeed;
  /** Reviews tokens for the audience of peers alone. */
  readonly tokens: Pick<TokenAuthenticator, 'authenticate'>;
  /** The token by which this kexer shows itself to others: who shows the same account is one of them. */
  readonly ownToken: TokenSource;
  /** A session was ended by a user of another kexer. Must not throw. */
  readonly onEnded: (fields: EndedForPeer) => void;
}

/** For the log. */
export interface EndedForPeer {
  readonly session: string;
  readonly user: string;
  /** Who acted as them. */
  readonly originalUser?: string;
  readonly remoteAddress: string;
  readonly auditId: string;
}

/** How long an order waits for the session to be over: most clients leave at once. */
const endWaitMs = 500;
const maxOrderBytes = 64 * 1024;
/** Of the review of this kexer's own token, which counts against the limits of no address. */
const ownSource = 'kexer itself';

export class PeersEndpoint {
  readonly #deps: PeersEndpointDeps;
  readonly #instance: string;
  /** Requests that have proven to be a peer's. */
  readonly #admitted: WeakSet<RequestContext>;

  /** @param options.instance of this process, random. */
  constructor(deps: PeersEndpointDeps, options: { instance: string }) {
    this.#deps = deps;
    this.#instance = options.instance;
    this.#admitted = new WeakSet();
  }

  /** Whether a request is for here: as on the wire, so that there is one way to say it. */
  handles({ arrival, exchange }: RequestContext): boolean {
    return exchange.kind === 'request' && pathOf(arrival) !== undefined;
  }

  /** @throws StatusError 401 for everybody who is no kexer of this Service; 429; KexerError if nobody could be asked. */
  async authenticate(context: RequestContext): Promise<Caller> {
    const { headers, remoteAddress: source } = context.arrival;
    const token = bearerTokenOf(headers);
    if (token === undefined) throw refusal('it shows no token');
    const answer = await this.#deps.tokens.authenticate(token, source);
    if (!answer.isAuthenticated) throw refusal(answer.error);
    const own = await this.#deps.tokens.authenticate(await this.#deps.ownToken.read(), ownSource);
    if (!own.isAuthenticated) throw refusal(`this kexer's own token is not good: ${own.error}`);
    if (answer.user.name !== own.user.name || answer.user.uid !== own.user.uid) {
      throw refusal(`${answer.user.name} is not ${own.user.name}`);
    }
    this.#admitted.add(context);
    return { via: 'token', user: answer.user, token };
  }

  /** @throws KexerError badRequest, tooLarge; internal if nobody authenticated the request, which would be a defect. */
  async answer(
    context: RequestContext,
    query: URLSearchParams,
    readBody: (maxBytes: number) => Promise<Buffer>,
  ): Promise<Answer> {
    if (!this.#admitted.has(context))
      throw new KexerError('internal', 'Cannot answer a peer: nobody has looked who it is');
    const { arrival } = context;
    switch (pathOf(arrival)) {
      case 'list':
        if (arrival.method !== 'GET') return statusAnswer(methodNotAllowed());
        return jsonAnswer(200, this.#list(query.get('namespace') ?? ''));
      case 'end':
        if (arrival.method !== 'POST') return statusAnswer(methodNotAllowed());
        return jsonAnswer(200, { outcome: await this.#end(readEndOrder(await readBody(maxOrderBytes)), arrival) });
      default:
        return pageNotFound;
    }
  }

  #list(namespace: string): PeerSessions {
    return { instance: this.#instance, sessions: this.#deps.sessions.localObjects(namespace) };
  }

  async #end(order: EndOrder, { remoteAddress, auditId }: Arrival): Promise<EndOutcome> {
    const { sessions, onEnded } = this.#deps;
    const here = sessions.local(order.namespace, order.name);
    if (here === undefined || here.object.metadata.uid !== order.uid) return 'notFound';
    here.session.end(endMessage(order.user), 'user');
    const { name: session, user, originalUser } = order;
    onEnded({ session, user, ...(originalUser === undefined ? {} : { originalUser }), remoteAddress, auditId });
    await sessions.whenOver(order.name, endWaitMs);
    return sessions.local(order.namespace, order.name) === undefined ? 'ended' : 'ending';
  }
}

function pathOf({ rawTarget }: Arrival): keyof typeof peerPaths | undefined {
  const [path] = rawTarget.split('?', 1);
  return path === peerPaths.list ? 'list' : path === peerPaths.end ? 'end' : undefined;
}

function refusal(reason: string): StatusError {
  return new StatusError(unauthorized(), {
    cause: new KexerError('unauthenticated', `Cannot take the request for another kexer's: ${reason}`),
  });
}
