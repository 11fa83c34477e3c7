// One request or upgrade on its way through the pipeline. Filters fill it in order: what a later filter reads, an earlier one has
// set; reading it too early is a defect and throws, so that a reordered pipeline fails closed.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';

import type { PeerIdentity } from '../auth/authenticate.ts';
import type { Caller } from '../auth/caller.ts';
import type { OutgoingIdentity } from '../auth/outgoing.ts';
import { KexerError } from '../base/errors.ts';
import type { UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { RequestAudit } from './request-audit.ts';
import type { ObservedRequest } from './request-observer.ts';
import type { Ticket } from './request-limits.ts';
import type { RequestPath } from './request-path.ts';

/** Both servers' requests; HTTP/2 through Node's compatibility API. */
export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;

/** What the listener knows when the head has arrived. */
export interface Arrival {
  readonly id: string;
  readonly method: string;
  /** The request target as it was on the wire. */
  readonly rawTarget: string;
  readonly headers: RawHeaders;
  readonly httpVersion: '1.1' | '2.0';
  readonly isUpgrade: boolean;
  readonly remoteAddress: string;
  /** The client's certificate chain, unverified; undefined if it sent none. */
  readonly peer: PeerIdentity | undefined;
  /** Tells the listener that the connection is no stranger's. */
  readonly markKnown: () => void;
  readonly auditId: string;
  /** Aborted when the client has left or the answer is complete. */
  readonly signal: AbortSignal;
  readonly receivedAtMs: number;
}

/** Where the answer goes: a response object, or the bare socket of an upgrade. */
export type Exchange =
  | { readonly kind: 'request'; readonly request: AnyRequest; readonly response: AnyResponse }
  | { readonly kind: 'upgrade'; readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer };

/** Whom a caller asks to be on a path of kexer's own. */
export interface Acting {
  readonly user: UserInfo;
  /** Reviews have allowed it; before that nothing is done in their name. */
  readonly isProven: boolean;
}

export class RequestContext {
  readonly arrival: Arrival;
  readonly exchange: Exchange;
  #path: RequestPath | undefined;
  #caller: Caller | undefined;
  /** What made the request fail, for the log. */
  failure: unknown;
  /** How the request is counted; undefined: no limit counts it. */
  ticket: Ticket | undefined;
  /** Undefined: nothing is recorded, or nothing was yet. */
  audit: RequestAudit | undefined;
  /** How a call on a cluster leaves; undefined until that is known. */
  identity: OutgoingIdentity | undefined;
  /** On kexer's own paths; undefined: the caller is nobody else. A call on a cluster has it in {@link identity}. */
  acting: Acting | undefined;
  /** What metrics and traces know of it; undefined: nobody observes it, as in tests. */
  observed: ObservedRequest | undefined;
  /** The filter that looks at it, or `call` behind all filters: who refused it, for the audit log. */
  stage: string;

  constructor(arrival: Arrival, exchange: Exchange) {
    this.arrival = arrival;
    this.exchange = exchange;
    this.#path = undefined;
    this.#caller = undefined;
    this.failure = undefined;
    this.ticket = undefined;
    this.audit = undefined;
    this.identity = undefined;
    this.acting = undefined;
    this.observed = undefined;
    this.stage = '';
  }

  get path(): RequestPath {
    return this.#path ?? tooEarly('path');
  }

  /** The path, or undefined if no filter has read it; for what must not throw. */
  get pathIfKnown(): RequestPath | undefined {
    return this.#path;
  }

  set path(path: RequestPath) {
    this.#path = path;
  }

  get caller(): Caller {
    return this.#caller ?? tooEarly('caller');
  }

  set caller(caller: Caller) {
    this.#caller = caller;
  }

  /** Whose rights count on kexer's own paths: the caller's, or those of whom they act as. */
  get actingUser(): UserInfo {
    const { acting } = this;
    if (acting === undefined) return this.caller.user;
    return acting.isProven ? acting.user : tooEarly('acting user');
  }

  /** The caller, or undefined if nobody was authenticated; for logs. */
  get callerIfKnown(): Caller | undefined {
    return this.#caller;
  }
}

function tooEarly(what: string): never {
  throw new KexerError('internal', `Cannot read the ${what} of a request: no filter has set it`);
}
