// One request inside the sandbox's apiserver, and how it is answered: neutral of HTTP/1.1, HTTP/2 and upgrades, so that a handler
// is written once and tests can drive it without sockets. Exactly one of `send`, `sendStatus` and `stream` is called, once.

import type { RequestInfo } from '../../kube/request-info.ts';
import type { Status } from '../../kube/status.ts';
import type { UserInfo } from '../../kube/user.ts';

/** Header names as sent, values as sent, repeated names kept apart. */
export type HeaderPairs = readonly (readonly [name: string, value: string])[];

/** A response body that is written piece by piece: watches and followed logs. The head is sent at once. */
export interface ResponseStream {
  /** False when the client reads slower than we write: wait for {@link drained}. Without effect once the client is gone. */
  write(chunk: Buffer | string): boolean;
  /** Settles when more may be written, also when the client is gone: look at `exchange.signal` then. */
  drained(): Promise<void>;
  end(): void;
  /** Ends the response as a broken one: a reset, or no last chunk. */
  abort(): void;
}

export interface Exchange {
  readonly method: string;
  /** The decoded path, as Go's URL.Path. */
  readonly path: string;
  /** The query as Go parses it: pairs with bad escapes or a raw `;` are dropped. */
  readonly query: URLSearchParams;
  /** Request target as it came: raw path and query. */
  readonly rawUrl: string;
  readonly headers: HeaderPairs;
  readonly info: RequestInfo;
  /** The effective user: after impersonation. */
  readonly user: UserInfo;
  /** Aborted when the client goes away before the answer is complete, or the apiserver stops. */
  readonly signal: AbortSignal;

  /** The first value of a header; the name in any case. */
  header(name: string): string | undefined;
  /** Reads the whole body, at most 3 MiB (then a StatusError 413, as kube-apiserver's limit of a request body). */
  body(): Promise<Buffer>;
  /** A whole answer; `Content-Length` is set. A status of 204 or 304 has no body. */
  send(status: number, contentType: string, body: Buffer | string, extraHeaders?: HeaderPairs): void;
  /** A Status as JSON with its own code. */
  sendStatus(status: Status): void;
  stream(status: number, contentType: string, extraHeaders?: HeaderPairs): ResponseStream;
}
