// The identity a call leaves with for kube-apiserver: DESIGN section 1, "Identity towards kube-apiserver". A token caller's own token and
// Impersonate-* go out; anybody else is impersonated by the impersonator, whose account can do nothing else. Kexer's own rights never carry
// a user's call, and an identity that cannot be written exactly fails the call.

import { failure, StatusError } from '../kube/status.ts';
import { groupMasters, type UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import type { Authorizer } from './authorize.ts';
import type { Caller } from './caller.ts';
import {
  checkImpersonation,
  completeUser,
  type ImpersonationContext,
  impersonationHeaders,
  wantedUser,
  writeImpersonation,
} from './impersonation.ts';

export type { ImpersonationContext } from './impersonation.ts';

export interface OutgoingIdentity {
  /** Identity headers only, to be added to a request's own after `outgoingHeaders` stripped those. */
  readonly headers: RawHeaders;
  /** Which client carries the call: the one without a credential, the impersonator's, or that of a cluster which a Secret names. */
  readonly credential: 'none' | 'impersonator' | 'cluster';
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

/** The extra that names a certificate caller who impersonates somebody else; kube-apiserver's audit log shows it. */
export const originalUserKey = 'backup.cv.io/original-user';

const nodePrefix = 'system:node:';

/** As many requestors as kube-apiserver remembers the way of. */
const maxRequestors = 1024;

export class OutgoingIdentities {
  readonly #authorizer: Pick<Authorizer, 'review'>;
  readonly #settings: IdentitySettings;
  /** Who has impersonated by the legacy rule, oldest first: kube-apiserver then tries, and words a refusal by, that rule first. */
  readonly #legacyRequestors: Set<string>;

  constructor(deps: { authorizer: Pick<Authorizer, 'review'> }, settings: IdentitySettings) {
    this.#authorizer = deps.authorizer;
    this.#settings = settings;
    this.#legacyRequestors = new Set();
  }

  /**
   * @param context what the text of a refused `--as` needs; without it the text is that of kube-apiserver up to 1.35.
   * @throws StatusError 400, 403 if the identity cannot be built; KexerError forbidden if it cannot be written; what
   * {@link Authorizer.review} throws.
   */
  async resolve(caller: Caller, inbound: RawHeaders, context?: ImpersonationContext): Promise<OutgoingIdentity> {
    if (caller.via === 'token') return tokenIdentity(caller, inbound);
    if (!this.#settings.impersonation) throw refuse(caller.user, 'identity.impersonation');
    const wanted = wantedUser(inbound);
    const user = wanted === undefined ? caller.user : await this.#deputy(caller.user, wanted, context);
    if (!this.#settings.allowPrivileged && isPrivileged(user)) throw refuse(user, 'identity.allowPrivileged');
    return {
      headers: writeImpersonation(user),
      credential: 'impersonator',
      effectiveUser: user,
      isEffectiveProven: true,
    };
  }

  /**
   * Whom `requestor` becomes by asking to be `wanted`, if reviews allow it; one memory of who did so for calls that go on and for kexer's own paths.
   * @throws StatusError 403 in kube-apiserver's words; what {@link Authorizer.review} throws.
   */
  async impersonate(requestor: UserInfo, wanted: UserInfo, context?: ImpersonationContext): Promise<UserInfo> {
    const isConstrained = context?.isConstrained === true && !this.#legacyRequestors.has(requestor.name);
    await checkImpersonation(
      this.#authorizer,
      requestor,
      wanted,
      context === undefined ? undefined : { ...context, isConstrained },
    );
    this.#remember(requestor.name);
    return completeUser(wanted);
  }

  /** Somebody who acts for another, as kube-apiserver is told. */
  async #deputy(caller: UserInfo, wanted: UserInfo, context?: ImpersonationContext): Promise<UserInfo> {
    const user = await this.impersonate(caller, wanted, context);
    // Set last, so that nobody can write another name there.
    return { ...user, extra: new Map([...user.extra, [originalUserKey, [caller.name]]]) };
  }

  #remember(requestor: string): void {
    this.#legacyRequestors.delete(requestor); // so that it moves to the young end
    this.#legacyRequestors.add(requestor);
    const [oldest] = this.#legacyRequestors;
    if (oldest !== undefined && this.#legacyRequestors.size > maxRequestors) this.#legacyRequestors.delete(oldest);
  }
}

function tokenIdentity(caller: Extract<Caller, { via: 'token' }>, inbound: RawHeaders): OutgoingIdentity {
  const own = impersonationHeaders(inbound);
  const claimed = claimedUser(own);
  return {
    headers: [['Authorization', `Bearer ${caller.token}`], ...own],
    credential: 'none',
    effectiveUser: claimed ?? caller.user,
    isEffectiveProven: claimed === undefined,
  };
}

/** kube-apiserver judges these headers; what it would refuse, or what cannot be read, claims nobody. */
function claimedUser(headers: RawHeaders): UserInfo | undefined {
  try {
    const wanted = wantedUser(headers);
    return wanted === undefined ? undefined : completeUser(wanted);
  } catch {
    return undefined; // the request fails there, with kube-apiserver's own words
  }
}

function isPrivileged(user: UserInfo): boolean {
  return user.groups.includes(groupMasters) || user.name.startsWith(nodePrefix);
}

function refuse(user: UserInfo, setting: string): StatusError {
  return new StatusError(
    failure(
      403,
      'Forbidden',
      `forbidden: User "${user.name}" cannot be passed on to kube-apiserver: the setting ${setting} is off; bearer tokens work without it`,
    ),
  );
}
