// The one function that decides which headers of a client leave for kube-apiserver, in one order: (1) names that the client's Connection
// header nominates, (2) hop-by-hop headers, (3) everything an identity could be forged with, (4) forwarding headers of the client's own
// making, (5) the outgoing identity is added. The identity is read before, from the raw list, so that a nomination cannot remove it.

import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

export interface RemoteHeaderNames {
  /** Configured names and prefixes of the front proxy's headers, stripped besides everything that starts with `X-Remote-`. */
  readonly names: readonly string[];
  readonly prefixes: readonly string[];
}

/**
 * End-to-end headers without any identity, then `identity`. Also without Host, Content-Length, Expect and X-Forwarded-*: whoever sends the
 * request makes its framing and adds what it vouches for. Sec-WebSocket-Protocol keeps its items but the bearer token.
 */
export function outgoingHeaders(_inbound: RawHeaders, _identity: RawHeaders, _remote?: RemoteHeaderNames): RawHeader[] {
  throw new Error('not written yet');
}
