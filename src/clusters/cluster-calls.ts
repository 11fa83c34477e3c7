// How a user's call leaves for an apiserver, whichever cluster it is: by the client that carries its identity, without anything of the client's own
// credentials, its answer judged before it is the caller's. What tells one kind of cluster from another is handed in.

import type { Readable } from 'node:stream';

import { outgoingHeaders, type RemoteHeaderNames } from '../auth/outgoing-headers.ts';
import type { AnswerController, AnswerSink, KubeClient } from '../kube/client.ts';
import { dialTcp, dialTls } from '../net/dial.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

import { AnswerGuard, type AnswerJudge } from './answer-judge.ts';
import type { Call } from './call.ts';
import type { ApiAnswer, ApiRequest, Cluster, UpgradeRoute } from './cluster.ts';

/** How long a connection for an upgrade may take: kube-apiserver's own dial deadline towards kubelets is 30 s, a near peer needs less. */
const dialTimeoutMs = 10_000;

export interface ClusterCallsDeps {
  /** Who carries the call. @throws KexerError if nobody may. */
  readonly clientOf: (call: Call) => KubeClient;
  readonly judgeOf: (call: Call) => AnswerJudge | undefined;
  /** The front proxy's header names as configured now; they are stripped from every call. */
  readonly remoteHeaderNames: () => RemoteHeaderNames;
  /** Added to every call. */
  readonly ownHeaders: RawHeaders;
  /** What a failure to reach the apiserver is called; left out: what the client calls it. */
  readonly explain?: (error: unknown) => unknown;
}

export class ClusterCalls {
  /** Bound, so that a cluster has them as its own. */
  readonly exchange: Cluster['exchange'];
  readonly stream: Cluster['stream'];
  readonly dialUpgrade: Cluster['dialUpgrade'];
  readonly #deps: ClusterCallsDeps;

  constructor(deps: ClusterCallsDeps) {
    this.#deps = deps;
    this.exchange = (call, request) => this.post(call, request);
    this.stream = (call, request, sink) => this.#stream(call, request, sink);
    this.dialUpgrade = (call, request, signal) => this.#dialUpgrade(call, request, signal);
  }

  /** An exchange that may have a body. See {@link Cluster.exchange}. */
  async post(
    call: Call,
    request: ApiRequest & { timeoutMs: number; signal: AbortSignal; isRetriedOnce?: boolean; body?: Buffer },
  ): Promise<ApiAnswer> {
    const client = this.#deps.clientOf(call);
    const headers = this.#headersOf(call, request.headers);
    const answer = await client.exchange({ ...request, headers }).catch((error: unknown) => {
      throw this.#explained(error);
    });
    const judge = this.#deps.judgeOf(call);
    const refusal = judge?.mayRefuse(answer) === true ? judge.refusal(answer, answer.body) : undefined;
    if (refusal !== undefined) throw refusal;
    return answer;
  }

  #stream(
    call: Call,
    request: ApiRequest & { body?: Readable | undefined; sharesConnection?: boolean },
    sink: AnswerSink,
  ): AnswerController {
    const judge = this.#deps.judgeOf(call);
    const { explain } = this.#deps;
    const explained = explain === undefined ? sink : new ExplainedSink(sink, explain);
    const guarded = judge === undefined ? explained : new AnswerGuard(explained, judge);
    return this.#deps.clientOf(call).stream({ ...request, headers: this.#headersOf(call, request.headers) }, guarded);
  }

  async #dialUpgrade(call: Call, request: ApiRequest, signal: AbortSignal): Promise<UpgradeRoute> {
    const settings = await this.#deps.clientOf(call).dialSettings();
    const dial = { ...settings, timeoutMs: dialTimeoutMs, signal };
    const dialling = settings.isTls ? dialTls({ ...dial, alpn: ['http/1.1'] }) : dialTcp(dial);
    const socket = await dialling.catch((error: unknown) => {
      throw this.#explained(error);
    });
    return {
      socket,
      method: request.method,
      target: `${settings.basePath}${request.target}`,
      headers: [
        ['Host', settings.authority],
        ...upgradeHeaders(request.headers),
        ...this.#headersOf(call, request.headers),
        ...settings.headers,
      ],
    };
  }

  #explained(error: unknown): unknown {
    return this.#deps.explain === undefined ? error : this.#deps.explain(error);
  }

  /** Everything a request carries but Host, framing and the client's own credential. */
  #headersOf(call: Call, headers: RawHeaders): RawHeader[] {
    return [
      ...outgoingHeaders(headers, call.identity.headers, this.#deps.remoteHeaderNames()),
      ['X-Forwarded-For', call.remoteAddress],
      ['Audit-ID', call.auditId],
      ...this.#deps.ownHeaders,
    ];
  }
}

/** Puts failures in the cluster's words. */
class ExplainedSink implements AnswerSink {
  readonly #sink: AnswerSink;
  readonly #explain: (error: unknown) => unknown;

  constructor(sink: AnswerSink, explain: (error: unknown) => unknown) {
    this.#sink = sink;
    this.#explain = explain;
  }

  onHead(head: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void {
    this.#sink.onHead(head, controller);
  }

  onData(chunk: Buffer): void {
    this.#sink.onData(chunk);
  }

  onEnd(): void {
    this.#sink.onEnd();
  }

  onError(error: Error): void {
    const explained = this.#explain(error);
    this.#sink.onError(explained instanceof Error ? explained : error);
  }
}

/** The two hop-by-hop headers of an upgrade, made anew: Connection nominates nothing but Upgrade. */
function upgradeHeaders(headers: RawHeaders): RawHeader[] {
  const tokens = headers.filter(([name]) => name.toLowerCase() === 'upgrade').map(([, value]) => value);
  return [
    ['Connection', 'Upgrade'],
    ['Upgrade', tokens.join(', ')],
  ];
}
