// Puts the apiserver's parts together: who may call, what is asked about, where each request goes. The one place that knows them all.

import { join } from 'node:path';

import type { Clock } from '../../base/clock.ts';
import { forbiddenAction, StatusError } from '../../kube/status.ts';
import type { UserInfo } from '../../kube/user.ts';
import type { Credentials } from '../credentials.ts';
import { Admission } from './admission/admission.ts';
import { Aggregator } from './aggregation/aggregator.ts';
import { AuditLog, type AuditStage } from './chain/audit-log.ts';
import { Chain } from './chain/chain.ts';
import { PodConnect } from './connect/connect.ts';
import { ConnectionLog } from './connect/connection-log.ts';
import { KubeletClient } from './connect/kubelet-client.ts';
import { PodLog } from './connect/pod-log.ts';
import { Authenticator } from './identity/authentication.ts';
import { Impersonator } from './identity/impersonation.ts';
import { RbacAuthorizer } from './identity/rbac.ts';
import { RoleAggregation } from './identity/role-aggregation.ts';
import { ServiceAccountTokens } from './identity/service-account-tokens.ts';
import { AccessReviews } from './reviews/access-reviews.ts';
import { TokenReviews } from './reviews/token-reviews.ts';
import { ResourceServer } from './resource-server.ts';
import { ApiServer } from './server.ts';
import type { Store } from './store.ts';

export interface ClusterApiserverOptions {
  readonly port: number;
  /** Folder of audit.log and connections.log. */
  readonly dir: string;
  readonly credentials: Credentials;
  readonly staticTokens: ReadonlyMap<string, UserInfo>;
  readonly omitAuditStages?: readonly AuditStage[];
  readonly log: (line: string) => void;
}

export class ClusterApiserver {
  readonly server: ApiServer;
  readonly authenticator: Authenticator;
  readonly authorizer: RbacAuthorizer;
  readonly accounts: ServiceAccountTokens;
  readonly connections: ConnectionLog;
  readonly #audit: AuditLog;
  readonly #kubelets: KubeletClient;
  readonly #aggregator: Aggregator;
  readonly #roles: RoleAggregation;
  readonly #deps: { store: Store; clock: Clock };
  #resources: ResourceServer;

  constructor(deps: { store: Store; clock: Clock }, options: ClusterApiserverOptions) {
    const { store, clock } = deps;
    this.#deps = deps;
    const { credentials, dir } = options;
    const accounts = new ServiceAccountTokens({ store, clock });
    const authenticator = new Authenticator({ accounts }, { staticTokens: options.staticTokens });
    const authorizer = new RbacAuthorizer({ store });
    const impersonator = new Impersonator({ authorizer });
    const audit = new AuditLog(
      { clock },
      {
        file: join(dir, 'audit.log'),
        ...(options.omitAuditStages === undefined ? {} : { omitStages: options.omitAuditStages }),
      },
    );
    const log = new ConnectionLog({ clock }, { file: join(dir, 'connections.log') });
    const kubelets = new KubeletClient(
      { clock },
      { kubeletCa: credentials.kubeletCa.cert, certificate: credentials.apiserverKubelet },
    );
    const aggregator = new Aggregator(deps, {
      frontProxy: credentials.frontProxy,
      // Nobody who tries the sandbox waits half a minute for a kexer that is back.
      availability: { maxBackoffMs: 1000 },
    });
    const admission = new Admission({ store });
    const tokenReviews = new TokenReviews({ clock, store, authenticator, accounts });
    const accessReviews = new AccessReviews({ clock, authorizer });
    const connect = new PodConnect({
      clock,
      store,
      authorizer,
      kubelets,
      log,
      admit: (request, { object }) => admission.connect(request, { object }),
    });
    const podLog = new PodLog({ clock, store, kubelets, log });
    const chain = new Chain({
      clock,
      authenticator,
      impersonator,
      authorizer,
      audit,
      log: options.log,
      handlers: [
        (request) => aggregator.handle(request),
        (request) => tokenReviews.handle(request),
        (request) => accessReviews.handle(request),
        (request) => connect.handle(request),
        (request) => podLog.handle(request),
        async (request) => {
          await this.#resources.handle(request);
          return true;
        },
      ],
    });
    this.server = new ApiServer(
      { clock, chain },
      { port: options.port, serving: credentials.apiserver, clientCa: credentials.clientCa.cert },
    );
    this.authenticator = authenticator;
    this.authorizer = authorizer;
    this.accounts = accounts;
    this.connections = log;
    this.#audit = audit;
    this.#kubelets = kubelets;
    this.#aggregator = aggregator;
    this.#roles = new RoleAggregation({ store });
    this.#resources = new ResourceServer(deps, { aggregated: aggregator });
  }

  /** Starts what works on the store, then listens. */
  async start(): Promise<void> {
    this.#roles.start();
    await this.server.start();
    // Only now is the address known that discovery tells.
    const serverAddress = `127.0.0.1:${this.server.port}`;
    this.#resources = new ResourceServer(this.#deps, {
      serverAddress,
      aggregated: this.#aggregator,
      aggregatedOpenApi: () => this.#aggregator.openApi(),
      authorizeCreate: ({ info, user, path }) => {
        const action = { ...info, verb: 'create', path };
        const { isAllowed, reason } = this.authorizer.authorize(user, action);
        if (!isAllowed) throw new StatusError(forbiddenAction(user, action, reason));
      },
    });
    this.#aggregator.start();
  }

  /** For good: a stopped apiserver that shall come back is `server.stop()` and `server.start()`. */
  async close(): Promise<void> {
    this.#aggregator.stop();
    this.#roles.stop();
    await this.server.stop();
    this.#kubelets.close();
    this.connections.close();
    this.#audit.close();
  }
}
