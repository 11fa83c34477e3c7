// The identity a call leaves with for kube-apiserver: DESIGN section 1, "Identity towards kube-apiserver". A token caller's own token and
// Impersonate-* go out; anybody else is impersonated by the impersonator, whose account can do nothing else. Kexer's own rights never carry
// a user's call, and an identity that cannot be written exactly fails the call.

import type { UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import type { Authorizer } from './authorize.ts';
import type { Caller } from './caller.ts';

export interface OutgoingIdentity {
  /** Identity headers only, to be added to a request's own after {@link outgoingHeaders} stripped those. */
  readonly headers: RawHeaders;
  /** Which client carries the call: the one without a credential, or the impersonator's. */
  readonly credential: 'none' | 'impersonator';
  /** Whom the call counts as: the caller, or whom the caller impersonates. */
  readonly effectiveUser: UserInfo;
  /** false: a token caller asks for `effectiveUser`, and only kube-apiserver's acceptance of this request makes it true. */
  readonly isEffectiveProven: boolean;
}

export interface IdentitySettings {
  /** `identity.impersonation` */
  readonly impersonation: boolean;
  /** `identity.allowPrivileged` */
  readonly allowPrivileged: boolean;
}

export class OutgoingIdentities {
  constructor(_deps: { authorizer: Authorizer }, _settings: IdentitySettings) {}

  /** @throws StatusError 400, 403 if the identity cannot be built; what {@link Authorizer.review} throws. */
  resolve(_caller: Caller, _inbound: RawHeaders): Promise<OutgoingIdentity> {
    throw new Error('not written yet');
  }
}
