// Questions to other kexers: over TLS verified against the serving authority and the name of the Service, whatever address is dialled, and with a
// token that is good for nothing else. So an endpoint that somebody else put into the slice learns no token and is not believed.

import type { Clock } from '../base/clock.ts';
import { codeOf, KexerError } from '../base/errors.ts';
import { KubeClient, type RawAnswer } from '../kube/client.ts';
import type { TokenSource } from '../kube/credential.ts';

import { hostPort, type PeerAddress } from './peers-directory.ts';
import {
  type EndOrder,
  type EndOutcome,
  peerPaths,
  type PeerSessions,
  readEndOutcome,
  readPeerSessions,
} from './peers-messages.ts';

/** A list of everybody's sessions waits no longer for one kexer. */
const peerTimeoutMs = 1000;
/** An order waits for the client's leave, too. */
const endTimeoutMs = 3000;
/** Of 5000 sessions with long commands. */
const defaultMaxAnswerBytes = 64 * 1024 * 1024;

export interface PeerClientOptions {
  /** `kexer.kexec-system.svc`: the name in everybody's certificate. */
  readonly servername: string;
  readonly userAgent: string;
  /** Default 64 MiB. */
  readonly maxAnswerBytes?: number;
}

export class PeerClient {
  readonly #clock: Clock;
  readonly #token: TokenSource;
  readonly #authority: { readonly text: string };
  readonly #options: PeerClientOptions;
  readonly #maxAnswerBytes: number;
  readonly #clients: Map<string, { readonly client: KubeClient; readonly ca: string }>;

  /** @param deps.authority PEM of whom peers' certificates are to be signed by; read at each call, since it may be rotated. */
  constructor(
    deps: { clock: Clock; token: TokenSource; authority: { readonly text: string } },
    options: PeerClientOptions,
  ) {
    this.#clock = deps.clock;
    this.#token = deps.token;
    this.#authority = deps.authority;
    this.#options = options;
    this.#maxAnswerBytes = options.maxAnswerBytes ?? defaultMaxAnswerBytes;
    this.#clients = new Map();
  }

  /** @throws KexerError timeout, unreachable, tls, badGateway and their like. */
  async list(peer: PeerAddress, namespace: string, auditId?: string): Promise<PeerSessions> {
    const query = namespace === '' ? '' : `?namespace=${encodeURIComponent(namespace)}`;
    const answer = await this.#ask(peer, { method: 'GET', target: `${peerPaths.list}${query}`, auditId });
    return readPeerSessions(answer.body);
  }

  /** @throws as {@link list}; then it is not known what became of the session. */
  async end(peer: PeerAddress, order: EndOrder, auditId: string): Promise<EndOutcome> {
    const body = Buffer.from(JSON.stringify(order));
    const answer = await this.#ask(peer, { method: 'POST', target: peerPaths.end, body, auditId });
    return readEndOutcome(answer.body);
  }

  /** Connections to all others are closed. */
  async keep(peers: readonly PeerAddress[]): Promise<void> {
    const kept = new Set(peers.map(keyOf));
    const gone = [...this.#clients].filter(([key]) => !kept.has(key));
    for (const [key] of gone) this.#clients.delete(key);
    await Promise.all(gone.map(([, { client }]) => client.close()));
  }

  close(): Promise<void> {
    return this.keep([]);
  }

  async #ask(
    peer: PeerAddress,
    question: { method: 'GET' | 'POST'; target: string; body?: Buffer; auditId?: string | undefined },
  ): Promise<RawAnswer> {
    const { method, target, body, auditId } = question;
    const timeoutMs = method === 'POST' ? endTimeoutMs : peerTimeoutMs;
    const answer = await this.#clientOf(peer)
      .exchange({
        method,
        target,
        headers: [
          ['Accept', 'application/json'],
          ['User-Agent', this.#options.userAgent],
          ...(body === undefined ? [] : [['Content-Type', 'application/json'] as const]),
          ...(auditId === undefined ? [] : [['Audit-ID', auditId] as const]),
        ],
        ...(body === undefined ? {} : { body }),
        timeoutMs,
        maxBytes: this.#maxAnswerBytes,
        // An order that comes twice ends the same session once.
        isRetriedOnce: true,
      })
      .catch((error: unknown) => {
        switch (codeOf(error)) {
          case 'timeout':
            throw new KexerError('timeout', `it did not answer within ${timeoutMs / 1000} s`);
          case 'badGateway':
            // Too long, as a rule; what the client of apiservers says of it names the wrong one.
            throw new KexerError('badGateway', 'its answer cannot be used', { cause: error });
          default:
            throw error;
        }
      });
    if (answer.status === 200) return answer;
    throw new KexerError('badGateway', `it answered ${answer.status}`);
  }

  #clientOf(peer: PeerAddress): KubeClient {
    const key = keyOf(peer);
    const ca = this.#authority.text;
    const known = this.#clients.get(key);
    if (known?.ca === ca) return known.client;
    void known?.client.close().catch(() => {
      // It only fails if it is closed already.
    });
    const client = new KubeClient(
      { clock: this.#clock },
      {
        endpoint: { url: `https://${key}`, ca, isVerified: true, servername: this.#options.servername },
        credential: { kind: 'token', token: this.#token },
        userAgent: this.#options.userAgent,
        connectTimeoutMs: peerTimeoutMs,
      },
    );
    this.#clients.set(key, { client, ca });
    return client;
  }
}

function keyOf({ host, port }: PeerAddress): string {
  return hostPort(host, port);
}
