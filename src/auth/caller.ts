// Who calls, and how that was proven. What is proven by what decides how the call may leave for kube-apiserver (outgoing.ts).

import type { UserInfo } from '../kube/user.ts';

export type Caller =
  /** A bearer token that kube-apiserver has reviewed; `token` goes out again and is never logged. */
  | { readonly via: 'token'; readonly user: UserInfo; readonly token: string }
  /** A client certificate under the cluster's client CA. */
  | { readonly via: 'certificate'; readonly user: UserInfo }
  /** `X-Remote-*` of a peer with a front-proxy certificate: kube-apiserver's aggregation layer. */
  | { readonly via: 'frontProxy'; readonly user: UserInfo };
