// kexer in front of the real cluster, as an operator would have it: the manifests of config/overlays/impersonation applied by kubectl, `kexer serve`
// with the token of the account that they make. Its Deployment is left out (kexer runs here, from the sources), so its Service has no selector
// and gets its endpoint by hand.

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

import type { Scope } from '../../src/base/scope.ts';
import { ServeProcess } from '../support/serve-process.ts';
import { type ControlPlane, freePort, machineAddress, statusOf } from './control-plane.ts';
import type { Kubectl } from './kubectl.ts';
import { kubeconfigText } from './pki.ts';

const run = promisify(execFile);
const overlay = fileURLToPath(new URL('../../config/overlays/impersonation', import.meta.url));
/** The rights of clusters by Secret, in the namespace `clusters`. */
const clusterRights = ['secrets', 'user'].map((name) =>
  fileURLToPath(new URL(`../../config/rbac/clusters/${name}.yaml`, import.meta.url)),
);
export const kexerPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

interface ManifestObject {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  spec?: Record<string, unknown>;
}

/** What this machine has no use for: its own pods. */
const leftOut = ['Deployment', 'PodDisruptionBudget'];

export interface RealKexer {
  readonly process: ServeProcess;
  readonly port: number;
  /** `https://ADDRESS:PORT` */
  readonly url: string;
  /** PEM of the authority it made for itself. */
  readonly ca: string;
  /** What `kexer serve` was given, and what `kexer doctor` is. */
  readonly flags: readonly string[];
}

/** Applies the manifests. */
async function installManifests(kubectl: Kubectl, kustomize: string, port: number): Promise<void> {
  const { stdout } = await run(kustomize, ['kustomize', overlay]);
  const objects: unknown[] = [];
  for (const document of parseAllDocuments(stdout)) {
    const object = document.toJS() as ManifestObject;
    if (leftOut.includes(object.kind)) continue;
    if (object.kind === 'Service') {
      delete object.spec?.['selector'];
      Object.assign(object.spec ?? {}, { ports: [{ name: 'https', port: 443, targetPort: port }] });
    }
    objects.push(object);
  }
  objects.push({
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'kexer', namespace: 'kexec-system' },
    subsets: [{ addresses: [{ ip: machineAddress }], ports: [{ name: 'https', port }] }],
  });
  objects.push({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'clusters' } });
  await kubectl.output(['apply', '-f', '-'], {
    stdin: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  });
  for (const file of clusterRights) await kubectl.output(['apply', '-f', file]);
}

/** Starts it on a port that the manifests know; settles when kube-apiserver finds it by its APIService. */
export async function startKexer(
  scope: Scope,
  dir: string,
  options: { controlPlane: ControlPlane; kubectl: Kubectl; kustomize: string; flags?: readonly string[] },
): Promise<RealKexer> {
  const { controlPlane, kubectl, kustomize, flags = [] } = options;
  const port = await freePort();
  await installManifests(kubectl, kustomize, port);
  const token = await kubectlToken(kubectl, 'kexec-system', 'kexer');
  const kubeconfig = join(dir, 'kexer.kubeconfig');
  const ca = await readFile(controlPlane.pki.servingCa.cert, 'utf8');
  await writeFile(kubeconfig, kubeconfigText({ server: controlPlane.url, ca, token }), { mode: 0o600 });
  const serveFlags = [
    `--kubeconfig=${kubeconfig}`,
    `--bind-address=${machineAddress}`,
    `--secure-port=${port}`,
    '--serving-cert-secret=kexec-system/kexer-serving-cert',
    '--serving-service=kexec-system/kexer',
    `--cert-extra-sans=${machineAddress}`,
    '--kubelet-service-account=kexec-system/kexer-kubelet',
    `--kubelet-certificate-authority=${controlPlane.pki.servingCa.cert}`,
    '--identity-impersonation',
    '--identity-allow-privileged',
    '--impersonator-service-account=kexec-system/kexer-impersonator',
    ...flags,
  ];
  const kexer = new ServeProcess({
    flags: [...serveFlags, `--audit-log-path=${join(dir, 'kexer-audit.log')}`, '--shutdown-delay-duration=0s'],
    environment: { NODE_NO_WARNINGS: '1' },
  });
  scope.add(async () => {
    await kexer.hurry();
    await writeFile(join(dir, 'logs', 'kexer.log'), `${kexer.lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
  });
  await kexer.untilLogged('serving');
  const url = `https://${machineAddress}:${port}`;
  await until('kexer is ready', async () => (await statusOf(`${url}/readyz`)) === 200);
  const secret = await kubectl.output(['-n', 'kexec-system', 'get', 'secret', 'kexer-serving-cert', '-o', 'json']);
  const { data } = JSON.parse(secret) as { data: Record<string, string> };
  await until('the APIService is available', async () => {
    const text = await kubectl.output(['get', 'apiservice', 'v1.backup.cv.io', '-o', 'json']);
    const { status } = JSON.parse(text) as { status?: { conditions?: { type: string; status: string }[] } };
    return (
      status?.conditions?.some((condition) => condition.type === 'Available' && condition.status === 'True') ?? false
    );
  });
  return { process: kexer, port, url, ca: Buffer.from(data['ca.crt'] ?? '', 'base64').toString(), flags: serveFlags };
}

/** A token of a service account for a day, by the TokenRequest API. */
export async function kubectlToken(kubectl: Kubectl, namespace: string, name: string): Promise<string> {
  const text = await kubectl.output(['-n', namespace, 'create', 'token', name, '--duration', '24h']);
  return text.trim();
}

/** Asks again and again. A throw is a no. @throws Error when it is not so after a minute */
export async function until(what: string, isSo: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown = '';
  for (;;) {
    try {
      if (await isSo()) return;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`, { cause: last });
    await sleep(200);
  }
}
