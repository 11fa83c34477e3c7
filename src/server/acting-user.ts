// Who a caller acts as on kexer's own paths: `kubectl --as` there, judged by reviews as kube-apiserver judges it. Where the front proxy speaks for somebody,
// kube-apiserver has heard their Impersonate-* and taken them away; should any be left, they are a wish of the user it names, and need that user's right.

import { wantedUser } from '../auth/impersonation.ts';
import type { OutgoingIdentities } from '../auth/outgoing.ts';
import type { LocalCluster } from '../clusters/local-cluster.ts';
import type { AccessQuestion } from '../kube/reviews.ts';
import type { UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

export interface ActingUsersDeps {
  readonly identities: Pick<OutgoingIdentities, 'impersonate'>;
  /** Tells how kube-apiserver words a refusal. */
  readonly cluster: Pick<LocalCluster, 'hasConstraints'>;
}

export class ActingUsers {
  readonly #deps: ActingUsersDeps;

  constructor(deps: ActingUsersDeps) {
    this.#deps = deps;
  }

  /** Whom the headers ask for; undefined: nobody. @throws StatusError 400 if they name groups, a UID or extras but no user. */
  wanted(headers: RawHeaders): UserInfo | undefined {
    return wantedUser(headers);
  }

  /**
   * The user that kube-apiserver would make of the wish, if `requestor` may have it.
   * @param inner what is to be done as them.
   * @throws StatusError 403 in kube-apiserver's words, and what a failed review throws.
   */
  async become(requestor: UserInfo, wanted: UserInfo, inner: AccessQuestion): Promise<UserInfo> {
    const isConstrained = await this.#deps.cluster.hasConstraints();
    return this.#deps.identities.impersonate(requestor, wanted, { inner, isConstrained });
  }
}
