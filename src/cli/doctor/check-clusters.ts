// Each cluster that a Secret names, asked for its version as serve asks it: the address judged, the proxy if one leads there, TLS verified, with the
// credential of the Secret. So a proxy that lets nothing through, or wants another password, is found before anybody's call is.

import { describeError, KexerError } from '../../base/errors.ts';
import { type ClusterSecret, clusterSecretType, readClusterSecret } from '../../clusters/cluster-secret.ts';
import { RemoteCluster } from '../../clusters/remote-cluster.ts';
import { localName } from '../../clusters/secret-watch.ts';
import { StatusError } from '../../kube/status.ts';
import { proxyForUrl } from '../../kube/tunnel.ts';
import { AllowedEndpoints } from '../../net/allowed-endpoints.ts';
import { DialError } from '../../net/dial.ts';
import { list } from './check-admission.ts';
import { inTurns } from './check-rights.ts';
import { askTimeoutMs, type Examination } from './examination.ts';
import { codeOfRefusal, fail, type Finding, ok, skip, warn } from './finding.ts';

/** Nothing where no namespace's Secrets count. */
export async function checkClusters(examination: Examination): Promise<Finding[]> {
  const { namespaces } = examination.config.clusters;
  const findings: Finding[] = [];
  for (const namespace of namespaces) findings.push(...(await checkNamespace(examination, namespace)));
  return findings;
}

async function checkNamespace(examination: Examination, namespace: string): Promise<Finding[]> {
  const check = `clusters ${namespace}`;
  let secrets: ClusterSecret[];
  try {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;
    const objects = await list(examination.client, path, `type=${clusterSecretType}`);
    secrets = objects.map(readClusterSecret).filter((secret) => secret !== undefined);
  } catch (error) {
    if (codeOfRefusal(error) !== 403) throw error;
    return [skip(check, `We may not list its Secrets: ${describeError(error)}`)];
  }
  if (secrets.length === 0) return [skip(check, `None of its Secrets is of the type ${clusterSecretType}`)];
  return inTurns(secrets, (secret) => checkCluster(examination, secret));
}

async function checkCluster(examination: Examination, { namespace, name, spec }: ClusterSecret): Promise<Finding> {
  const check = `cluster ${namespace}/${name}`;
  if (name === localName) {
    return warn(check, 'Its Secret is ignored: this is the name of the cluster kexer runs in', 'Call it otherwise.');
  }
  if ('problem' in spec) return fail(check, `Its Secret ${spec.problem}`, 'Correct the Secret: docs/clusters.md.');
  const { clock, client, config, proxyFor } = examination;
  const cluster = new RemoteCluster(
    {
      clock,
      // Nobody's call goes there.
      authorizer: { authorize: () => Promise.reject(new KexerError('internal', 'The doctor makes no calls')) },
      guard: new AllowedEndpoints(config.clusters.allowedEndpoints),
      proxyFor,
      mark: { header: ['Via', '1.1 kexer-doctor'], checkPeer: () => undefined },
      remoteHeaderNames: () => ({ names: [], prefixes: [] }),
      onError: () => {},
    },
    {
      namespace,
      name,
      spec,
      userAgent: client.userAgent,
      preferredAddressTypes: config.kubelet.preferredAddressTypes,
    },
  );
  try {
    const { gitVersion } = await cluster.readVersion(AbortSignal.timeout(2 * askTimeoutMs), askTimeoutMs);
    const proxy = proxyForUrl(proxyFor, spec.endpointUrl);
    const way = proxy === undefined ? '' : ` by the proxy ${proxy.name}`;
    return ok(check, `${spec.endpointUrl} answers${way}: ${gitVersion}`);
  } catch (error) {
    return fail(check, describeError(error instanceof StatusError ? error.message : error), fixOf(error));
  } finally {
    await cluster.close();
  }
}

function fixOf(error: unknown): string {
  const causes = [error];
  for (let next = error; next instanceof Error && next.cause !== undefined; next = next.cause) causes.push(next.cause);
  if (causes.some((cause) => cause instanceof DialError && cause.proxyProblem !== undefined)) {
    return 'Have the proxy let kexer through, correct clusters.proxyUrl and its files, or name the host in clusters.noProxy.';
  }
  if (describeError(error).includes('clusters.allowedEndpoints')) {
    return 'Name it in clusters.allowedEndpoints, if kexer is to go there.';
  }
  return 'Correct the Secret, or let its kube-apiserver be reached from here: docs/clusters.md.';
}
