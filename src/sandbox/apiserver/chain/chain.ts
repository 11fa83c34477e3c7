// The filters every request passes, in kube-apiserver's order: audit identity, authentication, audit, impersonation, authorization,
// then the handlers. A filter refuses by throwing a StatusError; whoever the request reaches answers it.

import { forbiddenAction, StatusError, statusOf, unauthorized } from '../../../kube/status.ts';
import { describeError } from '../../../base/errors.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Authenticator, ClientCertificate } from '../identity/authentication.ts';
import type { Impersonator } from '../identity/impersonation.ts';
import type { RbacAuthorizer } from '../identity/rbac.ts';
import type { ApiRequest } from './api-request.ts';
import { type AuditEvent, type AuditLog, isLongRunning } from './audit-log.ts';

/** Something that may answer a request; false passes it on to the next one. */
export type Handler = (request: ApiRequest) => Promise<boolean>;

/** Paths that need no authorization (the default of --authorization-always-allow-paths): exact, never resources. */
const alwaysAllowedPaths = new Set(['/healthz', '/readyz', '/livez']);

const nosniff = [['X-Content-Type-Options', 'nosniff']] as const;

export interface ChainDeps {
  readonly clock: Clock;
  readonly authenticator: Authenticator;
  readonly impersonator: Impersonator;
  readonly authorizer: RbacAuthorizer;
  readonly audit: AuditLog;
  /** In order; the last one answers everything. */
  readonly handlers: readonly Handler[];
  /** A defect's text, which its answer does not show. */
  readonly log: (line: string) => void;
}

export class Chain {
  readonly #deps: ChainDeps;

  constructor(deps: ChainDeps) {
    this.#deps = deps;
  }

  /** Never rejects. */
  async handle(request: ApiRequest, client: ClientCertificate | undefined): Promise<void> {
    const event = this.#deps.audit.begin(request);
    try {
      if (!request.isWellFormed) {
        request.send(400, 'text/plain; charset=utf-8', '400 Bad Request');
        return;
      }
      this.#authenticate(request, client, event);
      this.#impersonate(request, event);
      this.#authorize(request, event);
      for (const handle of this.#deps.handlers) if (await handle(request)) return;
      throw new Error(`nobody answered ${request.rawUrl}`);
    } catch (error) {
      this.#refuse(request, error);
    }
  }

  #authenticate(request: ApiRequest, client: ClientCertificate | undefined, event: AuditEvent): void {
    const known = this.#deps.authenticator.authenticate(request.headers, client, this.#deps.clock.now());
    if (known === undefined) {
      // withFailedAuthenticationAudit: the only event of such a request.
      request.onStarted((answer) => event.started(answer));
      throw new StatusError(unauthorized());
    }
    request.headers = known.headers;
    request.authenticatedUser = known.user;
    request.user = known.user;
    event.user = known.user;
    event.received();
    if (isLongRunning(request.info)) request.onStarted((answer) => event.started(answer));
    request.onDone(() => event.completed(request.answer));
  }

  #impersonate(request: ApiRequest, event: AuditEvent): void {
    const { user, headers, info } = request;
    const action = { ...info, verb: info.verb };
    try {
      const result = this.#deps.impersonator.impersonate(user, headers, action);
      if (result === undefined) return;
      request.user = result.user;
      event.impersonated = result.user;
      event.constraint = result.constraint;
      request.removeHeaders((name) => name.startsWith('impersonate-'));
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      throw new Refusal(error);
    }
  }

  #authorize(request: ApiRequest, event: AuditEvent): void {
    const { user, info } = request;
    if (!info.isResourceRequest && alwaysAllowedPaths.has(request.path)) {
      event.annotations.set('authorization.k8s.io/decision', 'allow').set('authorization.k8s.io/reason', '');
      return;
    }
    const decision = this.#deps.authorizer.authorize(user, { ...info, path: request.path });
    event.annotations.set('authorization.k8s.io/decision', decision.isAllowed ? 'allow' : 'forbid');
    event.annotations.set('authorization.k8s.io/reason', decision.reason);
    if (decision.isAllowed) return;
    throw new Refusal(new StatusError(forbiddenAction(user, { ...info, path: request.path }, decision.reason)));
  }

  #refuse(request: ApiRequest, error: unknown): void {
    if (request.signal.aborted) return;
    if (error instanceof Refusal) {
      request.sendStatus(error.refusal.status, nosniff);
      return;
    }
    if (error instanceof StatusError) {
      request.sendStatus(error.status);
      return;
    }
    const status = statusOf(error);
    if (status.code === 500) this.#deps.log(`${request.method} ${request.rawUrl}: ${describeError(error)}`);
    request.sendStatus(status);
  }
}

/** A refusal of a filter, which kube-apiserver marks `nosniff`, where its handlers do not. */
class Refusal extends Error {
  readonly refusal: StatusError;

  constructor(refusal: StatusError) {
    super(refusal.message);
    this.refusal = refusal;
  }
}
