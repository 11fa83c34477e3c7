// Ways to the bench's kubelet: through kexer, through another relay, or straight. A client is told one of them and is the same for all.

import type { RawHeader } from '../../../src/protocol/raw-headers.ts';

export interface Route {
  readonly port: number;
  /** Whether the paths are those of kexer (and its rights), or the kubelet's own. */
  readonly isKexer: boolean;
  /** `demo` is at the bench's first kubelet, `db` at its second. */
  readonly pod?: 'demo' | 'db';
  /** Bearer token for kexer. */
  readonly token?: string;
}

/** Go's order where the processor has AES: what kubectl and kubelets use. nginx as it comes speaks TLS 1.2. */
export const goCiphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
].join(':');

export const kexerPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

/** The path and query of an exec of `command` with these streams, or of a port-forward. */
export function streamTarget(
  route: Route,
  what: { readonly command: readonly string[]; readonly hasStdin: boolean } | { readonly port: number },
): string {
  const pod = route.isKexer ? `${kexerPath}/api/v1/namespaces/default/pods/${route.pod ?? 'demo'}` : '';
  if ('port' in what) {
    return route.isKexer ? `${pod}/portforward?ports=${what.port}` : `/portForward/default/demo?port=${what.port}`;
  }
  const query = new URLSearchParams(what.command.map((word): [string, string] => ['command', word]));
  // Kubelets know these by other names than kube-apiserver.
  const [stdin, stdout] = route.isKexer ? (['stdin', 'stdout'] as const) : (['input', 'output'] as const);
  if (what.hasStdin) query.set(stdin, 'true');
  query.set(stdout, 'true');
  return route.isKexer ? `${pod}/exec?${query.toString()}` : `/exec/default/demo/shell?${query.toString()}`;
}

export function routeHeaders(route: Route): RawHeader[] {
  const headers: RawHeader[] = [
    ['Host', `127.0.0.1:${route.port}`],
    ['User-Agent', 'kubectl/bench'],
  ];
  if (route.token !== undefined) headers.push(['Authorization', `Bearer ${route.token}`]);
  return headers;
}
