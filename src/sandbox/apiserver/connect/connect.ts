// CONNECT on pods: exec, attach and portforward by GET and POST, in kube-apiserver's order: dryRun, options, admission, the extra
// `create` check, the pod, its container, its node, and only then whether the request is an upgrade at all. An upgrade goes to the
// kubelet in one of three ways, chosen as kube-apiserver 1.36 chooses.

import type { TLSSocket } from 'node:tls';

import type { Clock } from '../../../base/clock.ts';
import { badRequest, failure, forbidden, StatusError } from '../../../kube/status.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import type { RbacAuthorizer } from '../identity/rbac.ts';
import type { Store } from '../store.ts';
import type { CarriedStream, ConnectionLog } from './connection-log.ts';
import { goNetworkError, type KubeletClient } from './kubelet-client.ts';
import {
  type ConnectKind,
  type ConnectOptions,
  decodeOptions,
  kubeletTarget,
  optionsFromObject,
  optionsObject,
} from './options.ts';
import { chooseContainer, type KubeletAddress, kubeletAddress } from './pod-target.ts';
import { askUpgrade, forwardedHeaders, relayBytes, relayRefusal, type RelayCounts } from './raw-relay.ts';
import { StreamTranslator, translatorHeaders } from './stream-translator.ts';
import { acceptWebSocket, portForwardTunnel, runTunnel, tunnelHeaders, tunnelledProtocols } from './tunnel.ts';

/** Admission of a CONNECT; gives the options as they are after mutation. @throws StatusError */
export type AdmitConnect = (
  request: ApiRequest,
  connect: { kind: ConnectKind; object: Record<string, unknown> },
) => Promise<Record<string, unknown>>;

export interface ConnectDeps {
  readonly clock: Clock;
  readonly store: Store;
  readonly authorizer: RbacAuthorizer;
  readonly kubelets: KubeletClient;
  readonly log: ConnectionLog;
  readonly admit: AdmitConnect;
}

interface Target {
  readonly address: KubeletAddress;
  readonly path: string;
  readonly options: ConnectOptions;
}

const kinds: ReadonlySet<string> = new Set(['exec', 'attach', 'portforward']);
const methods: ReadonlySet<string> = new Set(['GET', 'POST']);

export class PodConnect {
  readonly #deps: ConnectDeps;

  constructor(deps: ConnectDeps) {
    this.#deps = deps;
  }

  async handle(request: ApiRequest): Promise<boolean> {
    const { info } = request;
    if (info.apiGroup !== '' || info.apiVersion !== 'v1' || info.resource !== 'pods') return false;
    // Three parts: only `proxy` has a path behind it, so anything deeper is no route at all.
    if (!isKind(info.subresource) || !methods.has(request.method) || info.parts.length !== 3) return false;
    const target = await this.#prepare(request, info.subresource);
    if (!request.isUpgrade || !request.canUpgrade) throw new StatusError(badRequest('Upgrade request required'));
    await this.#connect(request, info.subresource, target);
    return true;
  }

  async #prepare(request: ApiRequest, kind: ConnectKind): Promise<Target> {
    if (request.query.has('dryRun')) throw new StatusError(badRequest('dryRun is not supported'));
    const decoded = decodeOptions(kind, request.query);
    const admitted = await this.#deps.admit(request, { kind, object: optionsObject(kind, decoded) });
    const options = optionsFromObject(admitted);
    this.#requireCreate(request);
    const { namespace, name } = request.info;
    const pod = this.#deps.store.mustGet({ group: '', resource: 'pods', namespace, name });
    const container = kind === 'portforward' ? '' : chooseContainer(pod, options.container);
    const address = kubeletAddress(this.#deps.store, pod);
    return { address, options, path: kubeletTarget(kind, { namespace, pod: name, container }, options) };
  }

  /** AuthorizePodWebsocketUpgradeCreatePermission: GET needs `create` besides. The text is the authorizer's reason alone. */
  #requireCreate({ info, user }: ApiRequest): void {
    if (info.verb === 'create') return;
    const decision = this.#deps.authorizer.authorize(user, { ...info, verb: 'create' });
    if (decision.isAllowed) return;
    throw new StatusError(forbidden({ group: info.apiGroup, resource: info.resource }, info.name, decision.reason));
  }

  #connect(request: ApiRequest, kind: ConnectKind, target: Target): Promise<void> {
    const offered = isWebSocket(request) ? offeredProtocols(request) : [];
    if (!target.address.takesWebSockets) {
      if (kind !== 'portforward' && offered.includes('v5.channel.k8s.io')) return this.#translate(request, target);
      const tunnelled = kind === 'portforward' ? tunnelledProtocols(offered) : [];
      if (tunnelled.length > 0) return this.#tunnel(request, target, tunnelled);
    }
    return this.#relay(request, target);
  }

  async #relay(request: ApiRequest, { address, path }: Target): Promise<void> {
    const backend = await this.#dial(request, address);
    const headers = forwardedHeaders(request);
    const answer = await askUpgrade(
      backend,
      { method: request.method, target: path, headers },
      { clock: this.#deps.clock, signal: request.signal },
    );
    if (answer.head.status !== 101) {
      await relayRefusal(request, backend, answer, this.#deps.clock);
      return;
    }
    await this.#logged(request, address, 'raw', () => relayBytes(request, backend, answer));
  }

  async #translate(request: ApiRequest, { address, path, options }: Target): Promise<void> {
    const headers = translatorHeaders(forwardedHeaders(request), `${address.host}:${address.port}`);
    const url = `https://${address.host}:${address.port}${path}`;
    const client = acceptWebSocket(request, 'v5.channel.k8s.io');
    const translator = new StreamTranslator(
      {
        clock: this.#deps.clock,
        dial: () => this.#deps.kubelets.dial(address, request.signal),
        describeDial: (error) =>
          `error sending request: Post ${JSON.stringify(url)}: ${goNetworkError(error, address)}`,
      },
      { client: client.socket, head: client.head, options, target: path, headers },
    );
    await this.#logged(request, address, 'translate', () => translator.run());
  }

  async #tunnel(request: ApiRequest, { address, path }: Target, protocols: readonly string[]): Promise<void> {
    const backend = await this.#dial(request, address);
    const headers = tunnelHeaders(forwardedHeaders(request), protocols);
    const answer = await askUpgrade(
      backend,
      { method: 'POST', target: path, headers },
      { clock: this.#deps.clock, signal: request.signal },
    );
    const { head, rest } = answer;
    if (head.status !== 101) {
      await relayRefusal(request, backend, answer, this.#deps.clock);
      return;
    }
    const protocol = head.headers.find(([name]) => name.toLowerCase() === 'x-stream-protocol-version')?.[1];
    if (protocol === undefined) {
      backend.destroy();
      throw new StatusError(failure(500, '', 'unable to upgrade: missing upgrade headers in response'));
    }
    const client = acceptWebSocket(request, portForwardTunnel(protocol));
    await this.#logged(request, address, 'tunnel', () =>
      runTunnel({ clock: this.#deps.clock }, client, { socket: backend, rest }),
    );
  }

  async #dial(request: ApiRequest, address: KubeletAddress): Promise<TLSSocket> {
    try {
      return await this.#deps.kubelets.dial(address, request.signal);
    } catch (error) {
      const text = `error dialing backend: ${goNetworkError(error, address)}`;
      throw new StatusError(failure(500, '', text), { cause: error });
    }
  }

  async #logged(
    request: ApiRequest,
    address: KubeletAddress,
    mode: CarriedStream['mode'],
    run: () => Promise<RelayCounts>,
  ): Promise<void> {
    const end = this.#deps.log.begin(carried(request, address, mode));
    try {
      end(await run());
    } finally {
      end({});
    }
  }
}

/** A line of the connection log. */
export function carried(request: ApiRequest, address: KubeletAddress, mode: CarriedStream['mode']): CarriedStream {
  const { info } = request;
  return {
    auditId: request.auditId,
    user: request.user.name,
    subresource: info.subresource,
    namespace: info.namespace,
    pod: info.name,
    node: address.nodeName,
    method: request.method,
    requestUri: request.rawUrl,
    mode,
  };
}

function isKind(subresource: string): subresource is ConnectKind {
  return kinds.has(subresource);
}

/** wsstream.IsWebSocketRequest. */
function isWebSocket(request: ApiRequest): boolean {
  return request.header('upgrade')?.toLowerCase() === 'websocket';
}

function offeredProtocols(request: ApiRequest): string[] {
  return request
    .headerValues('sec-websocket-protocol')
    .flatMap((value) => value.split(','))
    .map((value) => value.trim());
}
