// authorization.k8s.io/v1: SubjectAccessReview and its local and self forms, SelfSubjectRulesReview; answered by the very authorizer
// that judges requests.

import type { Clock } from '../../../base/clock.ts';
import { badRequest, type DeniedAction, goJson, StatusError } from '../../../kube/status.ts';
import { makeUser, type UserInfo } from '../../../kube/user.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import type { RbacAuthorizer } from '../identity/rbac.ts';
import {
  answerReview,
  invalidReview,
  isObject,
  type JsonObject,
  objectAt,
  pick,
  readReview,
  textAt,
  textsAt,
} from './review-object.ts';

const group = 'authorization.k8s.io';
const groupVersion = `${group}/v1`;

const resourceKeys = [
  'namespace',
  'verb',
  'group',
  'version',
  'resource',
  'subresource',
  'name',
  'fieldSelector',
  'labelSelector',
];

export class AccessReviews {
  readonly #deps: { clock: Clock; authorizer: RbacAuthorizer };

  constructor(deps: { clock: Clock; authorizer: RbacAuthorizer }) {
    this.#deps = deps;
  }

  async handle(request: ApiRequest): Promise<boolean> {
    const { info } = request;
    if (info.verb !== 'create' || info.apiGroup !== group || info.apiVersion !== 'v1' || info.subresource !== '') {
      return false;
    }
    switch (info.resource) {
      case 'subjectaccessreviews':
        await this.#subject(request, 'SubjectAccessReview');
        return true;
      case 'localsubjectaccessreviews':
        await this.#subject(request, 'LocalSubjectAccessReview');
        return true;
      case 'selfsubjectaccessreviews':
        await this.#self(request);
        return true;
      case 'selfsubjectrulesreviews':
        await this.#rules(request);
        return true;
      default:
        return false;
    }
  }

  async #subject(request: ApiRequest, kind: 'SubjectAccessReview' | 'LocalSubjectAccessReview'): Promise<void> {
    const review = await readReview(request, kind, groupVersion);
    const spec = objectAt(review, 'spec') ?? {};
    const groups = textsAt(spec, 'groups');
    const name = textAt(spec, 'user');
    const attributes = checkedAttributes(spec);
    if (name === '' && groups.length === 0) {
      throw invalidReview(group, 'spec.user', 'Invalid value: "": at least one of user or group must be specified');
    }
    if (kind === 'LocalSubjectAccessReview') checkNamespace(request.info.namespace, spec);
    const extra = Object.entries(objectAt(spec, 'extra') ?? {}).map(([key, values]): [string, string[]] => [
      key.toLowerCase(),
      Array.isArray(values) ? values.map(String) : [],
    ]);
    const user = makeUser({ name, uid: textAt(spec, 'uid'), groups, extra: new Map(extra) });
    answerReview(this.#deps, request, {
      kind,
      apiVersion: groupVersion,
      ...(kind === 'LocalSubjectAccessReview' ? { metadata: { namespace: request.info.namespace } } : {}),
      spec: { ...specAttributes(spec), ...pick(spec, ['user', 'groups', 'extra', 'uid']) },
      status: this.#decide(user, attributes),
    });
  }

  async #self(request: ApiRequest): Promise<void> {
    const review = await readReview(request, 'SelfSubjectAccessReview', groupVersion);
    const spec = objectAt(review, 'spec') ?? {};
    const attributes = checkedAttributes(spec);
    answerReview(this.#deps, request, {
      kind: 'SelfSubjectAccessReview',
      apiVersion: groupVersion,
      spec: specAttributes(spec),
      status: this.#decide(request.user, attributes),
    });
  }

  async #rules(request: ApiRequest): Promise<void> {
    const review = await readReview(request, 'SelfSubjectRulesReview', groupVersion);
    const namespace = textAt(objectAt(review, 'spec'), 'namespace');
    if (namespace === '') throw new StatusError(badRequest('no namespace on request'));
    const { rules, error } = this.#deps.authorizer.rulesFor(request.user, namespace);
    const answer = {
      kind: 'SelfSubjectRulesReview',
      apiVersion: groupVersion,
      metadata: {},
      spec: {},
      status: {
        resourceRules: rules
          .filter((rule) => (rule.resources ?? []).length > 0)
          .map((rule) => pick({ ...rule }, ['verbs', 'apiGroups', 'resources', 'resourceNames'])),
        nonResourceRules: rules
          .filter((rule) => (rule.nonResourceURLs ?? []).length > 0)
          .map((rule) => pick({ ...rule }, ['verbs', 'nonResourceURLs'])),
        incomplete: error !== '',
        ...(error === '' ? {} : { evaluationError: error }),
      },
    };
    request.send(201, 'application/json', `${goJson(answer)}\n`);
  }

  #decide(user: UserInfo, action: DeniedAction): JsonObject {
    const { isAllowed, reason } = this.#deps.authorizer.authorize(user, action);
    return { allowed: isAllowed, ...(reason === '' ? {} : { reason }) };
  }
}

/** @throws StatusError 422 unless exactly one kind of attributes is given. */
function checkedAttributes(spec: JsonObject): DeniedAction {
  const resource = objectAt(spec, 'resourceAttributes');
  const other = objectAt(spec, 'nonResourceAttributes');
  if (resource !== undefined && other !== undefined) {
    throw invalidReview(
      group,
      'spec.nonResourceAttributes',
      'Invalid value: "nonResourceAttributes": cannot be specified in combination with resourceAttributes',
    );
  }
  if (resource === undefined && other === undefined) {
    throw invalidReview(
      group,
      'spec.resourceAttributes',
      'Invalid value: "resourceAttributes": exactly one of nonResourceAttributes or resourceAttributes must be specified',
    );
  }
  return {
    isResourceRequest: resource !== undefined,
    path: textAt(other, 'path'),
    verb: textAt(resource ?? other, 'verb'),
    apiGroup: textAt(resource, 'group'),
    resource: textAt(resource, 'resource'),
    subresource: textAt(resource, 'subresource'),
    namespace: textAt(resource, 'namespace'),
    name: textAt(resource, 'name'),
  };
}

function checkNamespace(namespace: string, spec: JsonObject): void {
  const resource = objectAt(spec, 'resourceAttributes');
  if (resource === undefined) {
    throw invalidReview(
      group,
      'spec.nonResourceAttributes',
      'Invalid value: "nonResourceAttributes": disallowed on this kind of request',
    );
  }
  if (textAt(resource, 'namespace') !== namespace) {
    throw new StatusError(badRequest(`spec.resourceAttributes.namespace must match namespace: ${namespace}`));
  }
}

function specAttributes(spec: JsonObject): JsonObject {
  const { resourceAttributes, nonResourceAttributes } = spec;
  return {
    ...(isObject(resourceAttributes) ? { resourceAttributes: pick(resourceAttributes, resourceKeys) } : {}),
    ...(isObject(nonResourceAttributes)
      ? { nonResourceAttributes: pick(nonResourceAttributes, ['path', 'verb']) }
      : {}),
  };
}
