// Calls on a cluster of the test's own: what the pipeline would hand to the stream handler.

import { Buffer } from 'node:buffer';

import { KexerError } from '../../../src/base/errors.ts';
import type { Call } from '../../../src/clusters/call.ts';
import type {
  ApiAnswer,
  ApiRequest,
  Cluster,
  KubeletAccess,
  NodeObject,
  PodObject,
} from '../../../src/clusters/cluster.ts';
import { impersonatorJudge } from '../../../src/clusters/impersonator-guard.ts';
import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { encodeStatus, failure, notFound, type Status, StatusError } from '../../../src/kube/status.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { type CallAudit, noAudit } from '../../../src/observe/audit/call-audit.ts';
import { noStages } from '../../../src/observe/stages.ts';
import { TlsMemory } from '../../../src/net/tls-memory.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';
import { FakeStreamRoute } from '../../support/stream-route.ts';

export const upgradeRequired = failure(400, 'BadRequest', 'Upgrade request required');

/** kube-apiserver and the objects in it. */
export interface FakeCluster {
  /** What the preflight is answered; a Status, an answer, or an error to throw. */
  answer: () => Status | ApiAnswer | Error | Promise<Status | ApiAnswer | Error>;
  readonly asked: { method: string; target: string; headers: RawHeaders }[];
  pods: Map<string, PodObject>;
  nodes: Map<string, NodeObject>;
  kubelet: KubeletAccess;
  version: { major: number; minor: number };
  readonly route: FakeStreamRoute;
  readonly cluster: Cluster;
}

export function fakeCluster(kubelet: { port: number; ca: string }): FakeCluster {
  const fake: Omit<FakeCluster, 'cluster'> = {
    answer: () => upgradeRequired,
    asked: [],
    pods: new Map([['demo', makePod('demo')]]),
    nodes: new Map([['node1', makeNode('node1', '127.0.0.1', kubelet.port)]]),
    kubelet: {
      ca: [kubelet.ca],
      caSource: '/etc/kexer/kubelet-ca.crt',
      isVerified: true,
      tls: new TlsMemory(),
      certificate: () => undefined,
      token: () => 'kubelet-token',
      preferredAddressTypes: ['InternalIP'],
      accountName: 'kexer-secret-account',
    },
    version: { major: 1, minor: 36 },
    route: new FakeStreamRoute(),
  };
  const parts: Partial<Cluster> = {
    name: 'local',
    streamRoute: fake.route,
    exchange: async (_call: Call, request: ApiRequest & { signal: AbortSignal }) => {
      fake.asked.push({ method: request.method, target: request.target, headers: request.headers });
      const answer = await fake.answer();
      if (request.signal.aborted) throw new KexerError('clientGone', 'gone');
      if (answer instanceof Error) throw answer;
      return 'body' in answer ? answer : statusOf(answer);
    },
    pod: async (_namespace, name) => {
      const pod = fake.pods.get(name);
      if (pod === undefined) throw new StatusError(notFound({ group: '', resource: 'pods' }, name));
      return pod;
    },
    podUid: async (namespace, name, signal) => (await cluster.pod(namespace, name, signal)).metadata.uid,
    node: async (name) => fake.nodes.get(name),
    serverVersion: async () => fake.version,
    judgeOf: ({ identity }) =>
      identity.credential === 'impersonator' ? impersonatorJudge(identity.effectiveUser) : undefined,
  };
  Object.defineProperty(parts, 'kubelet', { get: () => fake.kubelet });
  const cluster = parts as Cluster;
  return Object.assign(fake, { cluster });
}

export function statusOf(status: Status): ApiAnswer {
  return {
    status: status.code,
    headers: [
      ['Content-Type', 'application/json'],
      ['Cache-Control', 'no-cache, private'],
      ['Set-Cookie', 'never relayed'],
    ],
    body: encodeStatus(status),
  };
}

export function makePod(
  name: string,
  parts: { uid?: string; containers?: string[]; isMirror?: boolean } = {},
): PodObject {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: parts.uid ?? '11-22',
      ...(parts.isMirror === true ? { annotations: { 'kubernetes.io/config.mirror': 'x' } } : {}),
    },
    spec: { nodeName: 'node1', containers: (parts.containers ?? ['demo']).map((container) => ({ name: container })) },
  };
}

export function makeNode(name: string, address: string, port: number): NodeObject {
  return {
    metadata: { name },
    status: { addresses: [{ type: 'InternalIP', address }], daemonEndpoints: { kubeletEndpoint: { Port: port } } },
  };
}

/** @param target such as `pods/demo/exec?command=sh`, in the namespace `default`. */
export function makeCall(
  cluster: Cluster,
  method: string,
  target: string,
  options: { headers?: RawHeaders; signal?: AbortSignal; httpVersion?: '1.1' | '2.0'; audit?: CallAudit } = {},
): Call {
  const [path = '', rawQuery = ''] = `/api/v1/namespaces/default/${target}`.split('?');
  const segments = path.slice(1).split('/');
  const user = makeUser({ name: 'alice' });
  const parts: Omit<Call, never> = {
    id: 'c1',
    caller: { via: 'token', user, token: 'user-token' },
    clusterNamespace: 'default',
    cluster,
    identity: { headers: [], credential: 'none', effectiveUser: user, isEffectiveProven: true },
    method,
    inner: {
      rawPath: path,
      rawQuery,
      target: rawQuery === '' ? path : `${path}?${rawQuery}`,
      segments,
      info: parseRequestInfo(method, segments, new URLSearchParams(rawQuery)),
    },
    audit: options.audit ?? noAudit,
    stages: noStages,
    headers: options.headers ?? [],
    httpVersion: options.httpVersion ?? '1.1',
    isUpgrade: true,
    remoteAddress: '192.0.2.1',
    auditId: 'audit-1',
    signal: options.signal ?? new AbortController().signal,
    receivedAtMs: 0,
    accepted: () => {},
  };
  return parts;
}

export const spdyHeaders: RawHeaders = [
  ['Host', 'kexer'],
  ['User-Agent', 'kubectl/v1.36'],
  ['Authorization', 'Bearer user-token'],
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v5.channel.k8s.io'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
];

export const webSocketHeaders: RawHeaders = [
  ['Host', 'kexer'],
  ['User-Agent', 'kubectl/v1.36'],
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Protocol', 'v5.channel.k8s.io'],
];

export const noBytes = Buffer.alloc(0);
