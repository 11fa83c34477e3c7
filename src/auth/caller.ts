// Who calls, and how that was proven. What is proven by what decides how the call may leave for kube-apiserver (outgoing.ts). When the proof
// expires is told where it is known: not of opaque tokens, and not of what stood behind the front proxy.

import type { UserInfo } from '../kube/user.ts';

export type Caller =
  /** A bearer token that kube-apiserver has reviewed; `token` goes out again and is never logged. */
  | { readonly via: 'token'; readonly user: UserInfo; readonly token: string; readonly expiresAtMs?: number }
  /** A client certificate under the cluster's client CA. */
  | { readonly via: 'certificate'; readonly user: UserInfo; readonly expiresAtMs?: number }
  /** `X-Remote-*` of a peer with a front-proxy certificate: kube-apiserver's aggregation layer. */
  | { readonly via: 'frontProxy'; readonly user: UserInfo };
