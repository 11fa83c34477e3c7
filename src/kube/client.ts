// A client of one apiserver endpoint with one credential, over undici: kept-alive HTTP/1.1 connections, one request at a time each.
// Kexer has up to three for a cluster, never mixed: its own (reviews, informers), the impersonator's, and one without a credential
// whose requests carry their caller's token. TLS state is per client, so no connection with a client certificate can carry another's
// request. Raw paths and header lists go out as they are given; only Host, framing and the credential are added here.

import type { Readable } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import type { Credential, Endpoint } from './credential.ts';

/** A request as it leaves. Host, Content-Length, Transfer-Encoding, Connection and their like in `headers` are dropped. */
export interface RawRequest {
  readonly method: string;
  /** Path and query as raw bytes (latin1), starting with a slash; sent behind the endpoint's path prefix without any change. */
  readonly target: string;
  readonly headers: RawHeaders;
}

export interface RawAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/** Receives a streamed answer: `onHead`, `onData` …, then exactly one of `onEnd` and `onError`. */
export interface AnswerSink {
  onHead(answer: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void;
  onData(chunk: Buffer): void;
  onEnd(): void;
  /** KexerError unreachable, tls or timeout before `onHead`; cut after it; or the reason given to `abort`. */
  onError(error: Error): void;
}

export interface AnswerController {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

/** What a connection of its own to the endpoint needs; fits `dialTls` of net/dial.ts, ALPN http/1.1. */
export interface DialSettings {
  readonly isTls: boolean;
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
  readonly ca?: readonly string[];
  readonly certificate?: { readonly cert: string; readonly key: string };
  readonly isVerified: boolean;
  /** The value of `Host`. */
  readonly authority: string;
  /** The endpoint's path prefix, '' as a rule; goes before the target. */
  readonly basePath: string;
  /** The credential's headers: `Authorization`, or none. */
  readonly headers: RawHeaders;
}

export class KubeClient {
  readonly endpoint: Endpoint;

  constructor(
    _deps: { clock: Clock },
    options: {
      endpoint: Endpoint;
      credential: Credential;
      /** `User-Agent` of kexer's own calls (json, watch); raw requests carry what their headers say. */
      userAgent: string;
      connectTimeoutMs?: number;
    },
  ) {
    this.endpoint = options.endpoint;
  }

  /**
   * A call of kexer's own with a JSON answer, parsed but not checked.
   * @throws StatusError for any answer that is not 2xx; KexerError unreachable, tls, timeout, clientGone, cut, badGateway.
   */
  json(_call: {
    method?: string;
    target: string;
    body?: unknown;
    contentType?: string;
    timeoutMs?: number;
    signal?: AbortSignal;
  }): Promise<unknown> {
    throw new Error('not written yet');
  }

  /**
   * One exchange, its answer read whole. With `isRetriedOnce`, a connection that died before the first byte of an answer is tried
   * once more (only for what may run twice).
   * @throws KexerError unreachable (nothing of an answer came), tls, timeout, clientGone, cut, badGateway (too large).
   */
  exchange(
    _request: RawRequest & {
      body?: Buffer;
      timeoutMs: number;
      signal?: AbortSignal;
      maxBytes?: number;
      isRetriedOnce?: boolean;
    },
  ): Promise<RawAnswer> {
    throw new Error('not written yet');
  }

  /** One exchange, streamed both ways, without deadlines: the caller aborts. `onError` may come before this returns. */
  stream(_request: RawRequest & { body?: Readable | Buffer | undefined }, _sink: AnswerSink): AnswerController {
    throw new Error('not written yet');
  }

  /** For upgrades, which need a connection of their own. */
  dialSettings(): Promise<DialSettings> {
    throw new Error('not written yet');
  }

  /** Ends all connections; pending calls fail. */
  async close(): Promise<void> {}
}
