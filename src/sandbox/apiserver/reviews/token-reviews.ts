// authentication.k8s.io/v1: TokenReview, SelfSubjectReview, and the token subresource of service accounts (TokenRequest).

import type { Clock } from '../../../base/clock.ts';
import { badRequest, goJson, invalid, StatusError } from '../../../kube/status.ts';
import type { UserInfo } from '../../../kube/user.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { sortedRecord } from '../chain/sorted-record.ts';
import type { Authenticator } from '../identity/authentication.ts';
import { type BoundObject, defaultAudience, type ServiceAccountTokens } from '../identity/service-account-tokens.ts';
import { kubeTime } from '../objects/object.ts';
import type { Store } from '../store.ts';
import { answerReview, objectAt, pick, readReview, textAt, textsAt } from './review-object.ts';

const groupVersion = 'authentication.k8s.io/v1';
const minTokenSeconds = 600;

export class TokenReviews {
  readonly #deps: { clock: Clock; store: Store; authenticator: Authenticator; accounts: ServiceAccountTokens };

  constructor(deps: { clock: Clock; store: Store; authenticator: Authenticator; accounts: ServiceAccountTokens }) {
    this.#deps = deps;
  }

  async handle(request: ApiRequest): Promise<boolean> {
    const { info } = request;
    if (info.verb !== 'create' || info.apiVersion !== 'v1') return false;
    if (info.apiGroup === '' && info.resource === 'serviceaccounts' && info.subresource === 'token') {
      await this.#tokenRequest(request);
      return true;
    }
    if (info.apiGroup !== 'authentication.k8s.io' || info.subresource !== '') return false;
    if (info.resource === 'tokenreviews') await this.#tokenReview(request);
    else if (info.resource === 'selfsubjectreviews') await this.#selfSubjectReview(request);
    else return false;
    return true;
  }

  async #tokenReview(request: ApiRequest): Promise<void> {
    const review = await readReview(request, 'TokenReview', groupVersion);
    const spec = objectAt(review, 'spec') ?? {};
    const token = textAt(spec, 'token');
    if (token === '') throw new StatusError(badRequest('token is required for TokenReview in authentication'));
    const wanted = textsAt(spec, 'audiences');
    const answer = this.#deps.authenticator.token(token, wanted.length === 0 ? [defaultAudience] : wanted);
    answerReview(this.#deps, request, {
      kind: 'TokenReview',
      apiVersion: groupVersion,
      spec: pick(spec, ['token', 'audiences']),
      status:
        answer === undefined
          ? { user: {}, error: 'invalid bearer token' }
          : { authenticated: true, user: userInfo(answer.user), audiences: answer.audiences },
    });
  }

  async #selfSubjectReview(request: ApiRequest): Promise<void> {
    await readReview(request, 'SelfSubjectReview', groupVersion);
    const answer = {
      kind: 'SelfSubjectReview',
      apiVersion: groupVersion,
      metadata: { creationTimestamp: kubeTime(this.#deps.clock.now()) },
      status: { userInfo: userInfo(request.user) },
    };
    request.send(201, 'application/json', `${goJson(answer)}\n`);
  }

  async #tokenRequest(request: ApiRequest): Promise<void> {
    const { namespace, name } = request.info;
    const review = await readReview(request, 'TokenRequest', groupVersion);
    this.#deps.store.mustGet({ group: '', resource: 'serviceaccounts', namespace, name });
    const spec = objectAt(review, 'spec') ?? {};
    const given = spec['expirationSeconds'];
    const expiresInSeconds = typeof given === 'number' ? given : 3600;
    if (expiresInSeconds < minTokenSeconds) {
      const message = `Invalid value: ${expiresInSeconds}: may not specify a duration less than 10 minutes`;
      const cause = { reason: 'FieldValueInvalid', message, field: 'spec.expirationSeconds' };
      throw new StatusError(invalid({ group: 'authentication.k8s.io', kind: 'TokenRequest' }, name, [cause]));
    }
    const audiences = textsAt(spec, 'audiences');
    const bound = this.#bound(namespace, objectAt(spec, 'boundObjectRef'));
    const issued = this.#deps.accounts.issue(namespace, name, {
      audiences,
      expiresInSeconds,
      ...(bound === undefined ? {} : { bound }),
    });
    answerReview(this.#deps, request, {
      kind: 'TokenRequest',
      apiVersion: groupVersion,
      metadata: { name, namespace, creationTimestamp: kubeTime(this.#deps.clock.now()) },
      spec: {
        audiences: audiences.length === 0 ? [defaultAudience] : audiences,
        expirationSeconds: expiresInSeconds,
        boundObjectRef: spec['boundObjectRef'] ?? null,
      },
      status: { token: issued.token, expirationTimestamp: kubeTime(issued.expiresAtMs) },
    });
  }

  /** @throws StatusError 404 if the object the token shall be bound to does not exist. */
  #bound(namespace: string, reference: Record<string, unknown> | undefined): BoundObject | undefined {
    if (reference === undefined) return undefined;
    const kind = textAt(reference, 'kind');
    const name = textAt(reference, 'name');
    if (kind !== 'Pod' && kind !== 'Secret' && kind !== 'Node') {
      throw new StatusError(badRequest(`cannot bind token for serviceaccount to object of type ${kind}`));
    }
    const resource = { Pod: 'pods', Secret: 'secrets', Node: 'nodes' }[kind];
    const object = this.#deps.store.mustGet({
      group: '',
      resource,
      namespace: kind === 'Node' ? '' : namespace,
      name,
    });
    const nodeName = kind === 'Pod' ? textAt(object['spec'] as Record<string, unknown>, 'nodeName') : '';
    const node =
      nodeName === ''
        ? undefined
        : this.#deps.store.get({ group: '', resource: 'nodes', namespace: '', name: nodeName });
    return {
      kind,
      name,
      uid: object.metadata.uid ?? '',
      ...(node === undefined ? {} : { node: { name: nodeName, uid: node.metadata.uid ?? '' } }),
    };
  }
}

/** authentication/v1 UserInfo, empty fields left out. */
export function userInfo(user: UserInfo): Record<string, unknown> {
  return {
    username: user.name,
    ...(user.uid === '' ? {} : { uid: user.uid }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(user.extra.size === 0 ? {} : { extra: sortedRecord(user.extra) }),
  };
}
