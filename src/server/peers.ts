// The other kexers of the same Service, asked about their sessions when somebody here lists, watches or ends one. All are asked at once, none is
// waited for longer than a second, and who does not answer is named to whoever asked. A question of another kexer is never passed on
// (peers-endpoint.ts), so that no loop can be.

import type { Clock } from '../base/clock.ts';
import { codeOf, describeError, KexerError } from '../base/errors.ts';
import { serviceUnavailable, StatusError } from '../kube/status.ts';

import type { PeerClient } from './peers-client.ts';
import type { PeerAddress, PeerDirectory } from './peers-directory.ts';
import type { EndOrder, EndOutcome } from './peers-messages.ts';
import type { SessionsFeed } from './sessions-feed.ts';

export interface PeersDeps {
  readonly clock: Clock;
  readonly directory: Pick<PeerDirectory, 'others'>;
  readonly client: Pick<PeerClient, 'list' | 'end' | 'keep'>;
  readonly sessions: SessionsFeed;
  /** Somebody could not be asked; told once until it answers again. Must not throw. */
  readonly onTrouble: (peer: string, error: unknown) => void;
}

/** What a kexer said lately is shown while it does not answer, so that a moment's silence ends no watched session. */
const keepMs = 30_000;

export class Peers {
  readonly #deps: PeersDeps;
  readonly #instance: string;
  /** When each one last answered about a namespace ('' for all), and to which question. */
  readonly #answered: Map<string, Map<string, { readonly question: number; readonly atMs: number }>>;
  readonly #silent: Set<string>;
  #count: number;

  /** @param options.instance of this process, as it tells others. */
  constructor(deps: PeersDeps, options: { instance: string }) {
    this.#deps = deps;
    this.#instance = options.instance;
    this.#answered = new Map();
    this.#silent = new Set();
    this.#count = 0;
  }

  /**
   * Asks all others for their sessions in a namespace ('' for all of them) and puts them into the feed. Never rejects.
   * @param options.isBrief leaves alone what changed in numbers only.
   * @returns a sentence about each one that could not be asked.
   */
  async refresh(namespace: string, options: { isBrief: boolean }): Promise<string[]> {
    let others: readonly PeerAddress[];
    try {
      others = await this.#deps.directory.others();
    } catch (error) {
      this.#trouble('', error);
      // Nobody was asked, so that what they said grows old for everybody.
      for (const peer of this.#answered.keys()) this.#lastAnswer(peer, namespace);
      return ['kexer cannot find its other replicas now: their sessions are missing or as they were a moment ago'];
    }
    this.#silent.delete('');
    await this.#forgetAllBut(others);
    const warnings = await Promise.all(others.map((peer) => this.#ask(peer, namespace, options.isBrief)));
    return warnings.filter((warning) => warning !== '');
  }

  /** Passes an order to the kexer of that name. @throws StatusError 503 if it cannot be asked. */
  async end(peer: string, order: EndOrder, auditId: string): Promise<EndOutcome> {
    const address = await this.#addressOf(peer);
    if (address === undefined) return 'notFound';
    try {
      const outcome = await this.#deps.client.end(address, order, auditId);
      if (outcome !== 'ending') this.#deps.sessions.remoteEnded(peer, order.name);
      return outcome;
    } catch (error) {
      this.#trouble(peer, error);
      const text = `kexer replica ${peer} has this session, and ${reasonOf(error)}: it may have ended it or not`;
      // No Retry-After: client-go would try ten times and tell nobody why.
      throw new StatusError(serviceUnavailable(text), { cause: error });
    }
  }

  /** Undefined: it is in no slice any more. @throws StatusError 503 if they cannot be read. */
  async #addressOf(peer: string): Promise<PeerAddress | undefined> {
    try {
      const others = await this.#deps.directory.others();
      return others.find(({ name }) => name === peer);
    } catch (error) {
      this.#trouble('', error);
      const text = `kexer replica ${peer} has this session, and kexer cannot find it now: the session was not ended`;
      throw new StatusError(serviceUnavailable(text), { cause: error });
    }
  }

  async #ask(peer: PeerAddress, namespace: string, isBrief: boolean): Promise<string> {
    const { clock, client, sessions } = this.#deps;
    this.#count += 1;
    const question = this.#count;
    try {
      const answer = await client.list(peer, namespace);
      this.#silent.delete(peer.name);
      // The slice does not tell pods, so that this one asked itself.
      if (answer.instance === this.#instance) return '';
      const byScope = this.#answered.get(peer.name) ?? new Map<string, { question: number; atMs: number }>();
      this.#answered.set(peer.name, byScope);
      // A later question was answered before: what this one says may be over.
      if (Math.max(byScope.get(namespace)?.question ?? 0, byScope.get('')?.question ?? 0) > question) return '';
      byScope.set(namespace, { question, atMs: clock.monotonic() });
      sessions.accept(peer.name, namespace, answer.sessions, { isBrief });
      return '';
    } catch (error) {
      this.#trouble(peer.name, error);
      return this.#silence(peer.name, namespace, reasonOf(error));
    }
  }

  #silence(peer: string, namespace: string, reason: string): string {
    const { agoMs, isPartial } = this.#lastAnswer(peer, namespace);
    if (agoMs !== undefined) {
      return `kexer replica ${peer}: ${reason}; its sessions are as they were ${Math.round(agoMs / 1000)} s ago`;
    }
    return `kexer replica ${peer}: ${reason}; ${isPartial ? 'some of its' : 'its'} sessions are missing`;
  }

  /**
   * How long ago a kexer told all there is to tell of a namespace; undefined: too long ago, or never. What nobody has asked it about lately is forgotten.
   * `isPartial`: it told of some of the namespaces that are asked about.
   */
  #lastAnswer(peer: string, namespace: string): { agoMs: number | undefined; isPartial: boolean } {
    const nowMs = this.#deps.clock.monotonic();
    const byScope = this.#answered.get(peer);
    for (const [scope, { atMs }] of byScope ?? []) if (nowMs - atMs >= keepMs) byScope?.delete(scope);
    if (byScope === undefined || byScope.size === 0) {
      this.#answered.delete(peer);
      this.#deps.sessions.forget(peer);
      return { agoMs: undefined, isPartial: false };
    }
    const times = [byScope.get(namespace), byScope.get('')].flatMap((answer) => answer?.atMs ?? []);
    if (times.length > 0) return { agoMs: nowMs - Math.max(...times), isPartial: false };
    if (namespace !== '') this.#deps.sessions.accept(peer, namespace, [], { isBrief: true });
    return { agoMs: undefined, isPartial: namespace === '' };
  }

  /** Those that are in no slice any more have ended, and their sessions with them. */
  async #forgetAllBut(others: readonly PeerAddress[]): Promise<void> {
    const names = new Set(others.map(({ name }) => name));
    for (const name of [...this.#answered.keys(), ...this.#silent]) {
      if (names.has(name)) continue;
      this.#answered.delete(name);
      this.#silent.delete(name);
      this.#deps.sessions.forget(name);
    }
    await this.#deps.client.keep(others);
  }

  #trouble(peer: string, error: unknown): void {
    if (this.#silent.has(peer)) return;
    this.#silent.add(peer);
    this.#deps.onTrouble(peer, error);
  }
}

/** For users: what happened, and nothing of kexer's account or addresses. The log has the rest. */
function reasonOf(error: unknown): string {
  switch (codeOf(error)) {
    case 'timeout':
      return error instanceof KexerError ? error.message : 'it did not answer in time';
    case 'tls':
      return 'its certificate is not trusted';
    case 'unreachable':
      // Of a connect that was not done in time, too.
      return describeError(error).includes('no connection within')
        ? 'it did not answer within 1 s'
        : 'it cannot be reached';
    case 'badGateway':
      return error instanceof KexerError ? lowerFirst(error.message) : 'it gave no good answer';
    default:
      return 'it cannot be asked now';
  }
}

function lowerFirst(text: string): string {
  return `${text.slice(0, 1).toLowerCase()}${text.slice(1)}`;
}
