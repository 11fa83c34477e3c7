// A kube-apiserver as far as the detour meets it: the scripted TLS server that also plays kubelets, reached by the ways a cluster gives.

import { systemClock } from '../../../src/base/clock.ts';
import type { Scope } from '../../../src/base/scope.ts';
import type { Cluster } from '../../../src/clusters/cluster.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { dialTls } from '../../../src/net/dial.ts';
import type { RawHeader } from '../../../src/protocol/raw-headers.ts';
import type { KubeletServer } from './kubelet-server.ts';

/** What a caller's identity adds; tests look for it. */
const identity: RawHeader = ['Authorization', 'Bearer user-token'];

/** The members of a cluster by which streams reach its apiserver themselves. */
export function apiserverAccess(scope: Scope, server: KubeletServer): Pick<Cluster, 'dialUpgrade' | 'stream'> {
  const client = new KubeClient(
    { clock: systemClock },
    {
      endpoint: {
        url: `https://127.0.0.1:${server.port}`,
        ca: server.ca,
        isVerified: true,
        servername: undefined,
      },
      credential: { kind: 'none' },
      userAgent: 'kexer/test',
    },
  );
  scope.add(() => client.close());
  return {
    stream: (_call, request, sink) => client.stream({ ...request, headers: [...request.headers, identity] }, sink),
    dialUpgrade: async (_call, request, signal) => {
      const settings = await client.dialSettings();
      const socket = await dialTls({ ...settings, alpn: ['http/1.1'], timeoutMs: 10_000, signal, clock: systemClock });
      return {
        socket,
        method: request.method,
        target: request.target,
        headers: [['Host', settings.authority], ['Connection', 'Upgrade'], ...request.headers, identity],
      };
    },
  };
}
