// The endpoint and credential that a pod finds in its environment and its service account mount. The token is projected and rotates, so it
// is a source, read again when time has passed.

import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';

import type { Clock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import type { ClusterAccess } from './credential.ts';
import { fileToken } from './sources.ts';

const defaultMount = '/var/run/secrets/kubernetes.io/serviceaccount';

/** @throws KexerError config if the process does not run in a pod with a service account; all that is missing at once. */
export async function loadInCluster(
  deps: { clock: Clock },
  options: { environment: Readonly<Record<string, string | undefined>>; mount?: string },
): Promise<ClusterAccess> {
  const { environment, mount = defaultMount } = options;
  const host = environment['KUBERNETES_SERVICE_HOST'] ?? '';
  const port = environment['KUBERNETES_SERVICE_PORT'] ?? '';
  const problems: string[] = [];
  if (host === '' || port === '') problems.push('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set');
  const token = fileToken(deps, join(mount, 'token'));
  const [ca, namespace] = await Promise.all([
    readFile(join(mount, 'ca.crt'), 'utf8').catch((error: unknown) => void problems.push(describeError(error))),
    // Only a default for paths without one: its absence is no problem.
    readFile(join(mount, 'namespace'), 'utf8').catch(() => ''),
    token.read().catch((error: unknown) => void problems.push(describeError(error))),
  ]);
  if (problems.length > 0 || ca === undefined) {
    throw new KexerError(
      'config',
      `Cannot use the in-cluster configuration (outside a pod, give a kubeconfig): ${problems.join('; ')}`,
    );
  }
  return {
    endpoint: {
      url: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
      ca,
      isVerified: true,
      servername: undefined,
    },
    credential: { kind: 'token', token },
    namespace: namespace.trim() === '' ? 'default' : namespace.trim(),
  };
}
