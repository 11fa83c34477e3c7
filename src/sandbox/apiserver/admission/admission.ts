// Admission: mutating webhooks first, one after the other, each seeing what the one before made; then validating policies and webhooks. A
// CONNECT is asked about with its options as the object, and a patch really changes what the kubelet is asked for.

import { randomUUID } from 'node:crypto';

import { describeError } from '../../../base/errors.ts';
import { failure, internalError, type Status, StatusError } from '../../../kube/status.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { applyJsonPatch } from '../patches/json-patch.ts';
import { userInfo } from '../reviews/token-reviews.ts';
import type { Store } from '../store.ts';
import { validateByPolicies } from './validating-policies.ts';
import { type AdmissionResponse, callWebhook } from './webhook-client.ts';
import { type Admitted, matchingWebhooks, type Webhook } from './webhook-rules.ts';

export class Admission {
  readonly #store: Store;

  constructor(deps: { store: Store }) {
    this.#store = deps.store;
  }

  /** Options of a CONNECT after admission. @throws StatusError */
  async connect(
    request: ApiRequest,
    { object }: { object: Record<string, unknown> },
  ): Promise<Record<string, unknown>> {
    const { info } = request;
    const about: Admitted = {
      operation: 'CONNECT',
      group: info.apiGroup,
      version: info.apiVersion,
      resource: info.resource,
      subresource: info.subresource,
      namespace: info.namespace,
      labels: undefined,
    };
    let current = object;
    for (const webhook of matchingWebhooks(this.#store, 'mutatingwebhookconfigurations', about)) {
      const response = await this.#ask(request, webhook, about, current);
      if (response?.patch !== undefined) current = patched(webhook, current, response.patch);
    }
    validateByPolicies(this.#store, about, info.name);
    const validating = matchingWebhooks(this.#store, 'validatingwebhookconfigurations', about);
    // All are asked at once, as in the real one; the first refusal in their order is the answer.
    const outcomes = await Promise.allSettled(validating.map((webhook) => this.#ask(request, webhook, about, current)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    return current;
  }

  /** Undefined: the webhook could not be asked and its policy is Ignore. @throws StatusError for a denial or a failure. */
  async #ask(
    request: ApiRequest,
    webhook: Webhook,
    about: Admitted,
    object: Record<string, unknown>,
  ): Promise<AdmissionResponse | undefined> {
    let response: AdmissionResponse;
    try {
      response = await callWebhook(this.#store, webhook, reviewOf(request, about, object), request.signal);
    } catch (error) {
      if (webhook.failurePolicy === 'Ignore') return undefined;
      const text = `failed calling webhook ${JSON.stringify(webhook.name)}: ${error instanceof Error ? error.message : describeError(error)}`;
      throw new StatusError(internalError(text), { cause: error });
    }
    if (response.allowed !== true) throw new StatusError(denial(webhook.name, response.status ?? {}));
    return response;
  }
}

function reviewOf(
  request: ApiRequest,
  about: Admitted,
  object: Record<string, unknown>,
): { kind: string; apiVersion: string; request: { uid: string } & Record<string, unknown> } {
  const kind = { group: about.group, version: about.version, kind: object['kind'] };
  const resource = { group: about.group, version: about.version, resource: about.resource };
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid: randomUUID(),
      kind,
      resource,
      subResource: about.subresource,
      requestKind: kind,
      requestResource: resource,
      requestSubResource: about.subresource,
      name: request.info.name,
      namespace: about.namespace,
      operation: about.operation,
      userInfo: userInfo(request.user),
      object,
      oldObject: null,
      dryRun: false,
      options: null,
    },
  };
}

function patched(webhook: Webhook, object: Record<string, unknown>, patch: string): Record<string, unknown> {
  try {
    const operations = JSON.parse(Buffer.from(patch, 'base64').toString('utf8')) as readonly unknown[];
    return applyJsonPatch(structuredClone(object) as never, operations) as Record<string, unknown>;
  } catch (error) {
    throw new StatusError(internalError(`${webhook.name}: ${describeError(error)}`), { cause: error });
  }
}

/** errors.ToStatusErr of the webhook plugin: at least a 400, never a success. */
function denial(name: string, given: NonNullable<AdmissionResponse['status']>): Status {
  const by = `admission webhook ${JSON.stringify(name)} denied the request`;
  const { message = '', reason = '', code = 0 } = given;
  const why = message === '' ? reason : message;
  return failure(code < 400 ? 400 : code, reason, why === '' ? `${by} without explanation` : `${by}: ${why}`);
}
