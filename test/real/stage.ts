// The whole stage: control plane, node if there is a kubelet, kexer in front of it, users with rights of different sizes, three ways to the
// cluster for each of them, and pods of busybox. What the checks see of it is here.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Scope } from '../../src/base/scope.ts';
import { generateClient } from '../../src/certs/generate.ts';
import { type ControlPlane, nodeName, startControlPlane } from './control-plane.ts';
import { busyboxImage } from './image.ts';
import { kexerPath, kubectlToken, type RealKexer, startKexer, until } from './kexer.ts';
import { Kubectl } from './kubectl.ts';
import { type NodePrograms, type RealNode, startNode } from './node.ts';

export interface StagePrograms {
  readonly etcd: string;
  readonly apiserver: string;
  readonly controllerManager: string;
  readonly scheduler: string;
  /** Undefined: pods have rows in etcd alone, and no stream is tried. */
  readonly node: NodePrograms | undefined;
  /** Version → program. The last one sets the stage up and builds the manifests. */
  readonly kubectls: ReadonlyMap<string, string>;
}

/** Ways to the same cluster: kube-apiserver itself, kexer, and kexer behind the aggregation layer. */
export const ways = ['cluster', 'kexer', 'aggregated'] as const;
export type Way = (typeof ways)[number];

/**
 * admin is of system:masters, alice edits `default`, viewer views it, outsider may not use kexer, late may nothing else; robot is a service account
 * with alice's rights.
 */
export const users = ['admin', 'alice', 'viewer', 'outsider', 'late', 'robot'] as const;
export type UserName = (typeof users)[number];

export interface Stage {
  readonly dir: string;
  readonly controlPlane: ControlPlane;
  readonly node: RealNode | undefined;
  readonly kexer: RealKexer;
  readonly kubeconfig: string;
  /** Oldest first. */
  readonly kubectls: readonly Kubectl[];
  /** The newest, whose current context is the admin's at kube-apiserver. */
  readonly kubectl: Kubectl;
}

export function contextOf(way: Way, user: UserName): string {
  return `${way}-${user}`;
}

export async function startStage(
  scope: Scope,
  dir: string,
  options: { programs: StagePrograms; kexerFlags?: readonly string[]; log: (line: string) => void },
): Promise<Stage> {
  const { programs, log } = options;
  const controlPlane = await startControlPlane(scope, dir, programs);
  log(`kube-apiserver serves at ${controlPlane.url}`);
  const node =
    programs.node === undefined ? undefined : await startNode(scope, dir, { controlPlane, programs: programs.node });
  const newest = [...programs.kubectls].at(-1);
  if (newest === undefined) throw new Error('want a kubectl');
  const admin = new Kubectl({
    program: newest[1],
    version: newest[0],
    kubeconfig: controlPlane.adminKubeconfig,
    home: dir,
  });
  await until('the default service account', async () => (await admin.run(['get', 'sa', 'default'])).code === 0);
  const flags = options.kexerFlags ?? [];
  const kexer = await startKexer(scope, dir, { controlPlane, kubectl: admin, kustomize: newest[1], flags });
  log(`kexer serves at ${kexer.url}`);
  await admin.output(['apply', '-f', '-'], {
    stdin: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  });
  const kubeconfig = await writeKubeconfig(dir, { controlPlane, kexer, admin });
  const kubectls = [...programs.kubectls].map(
    ([version, program]) => new Kubectl({ program, version, kubeconfig, home: join(dir, `home-${version}`) }),
  );
  const kubectl = kubectls.at(-1) ?? admin;
  if (node !== undefined) {
    await until('the node is ready', async () => {
      const text = await kubectl.output(['get', 'node', nodeName, '-o', 'json']);
      const { status } = JSON.parse(text) as { status: { conditions: { type: string; status: string }[] } };
      return status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
    });
    await kubectl.output(['wait', 'pod/demo', 'pod/multi', 'pod/ticker', '--for=condition=Ready', '--timeout=60s']);
    log('the pods are ready');
  }
  return { dir, controlPlane, node, kexer, kubeconfig, kubectls, kubectl };
}

/** Contexts `WAY-USER` for all ways and users. */
async function writeKubeconfig(
  dir: string,
  { controlPlane, kexer, admin }: { controlPlane: ControlPlane; kexer: RealKexer; admin: Kubectl },
): Promise<string> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const servers: Record<Way, { server: string; ca: string }> = {
    cluster: { server: controlPlane.url, ca: await readFile(controlPlane.pki.servingCa.cert, 'utf8') },
    kexer: { server: `${kexer.url}${kexerPath}`, ca: kexer.ca },
    aggregated: {
      server: `${controlPlane.url}${kexerPath}`,
      ca: await readFile(controlPlane.pki.servingCa.cert, 'utf8'),
    },
  };
  const userOf = async (name: UserName): Promise<object> => {
    if (name === 'robot') return { token: await kubectlToken(admin, 'default', 'robot') };
    const pair = await generateClient(controlPlane.pki.clientAuthority, {
      commonName: name,
      organizations: name === 'admin' ? ['system:masters'] : [],
    });
    return { 'client-certificate-data': base64(pair.cert), 'client-key-data': base64(pair.key) };
  };
  const file = join(dir, 'kubeconfig');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': contextOf('cluster', 'admin'),
    clusters: ways.map((name) => ({
      name,
      cluster: { server: servers[name].server, 'certificate-authority-data': base64(servers[name].ca) },
    })),
    contexts: ways.flatMap((cluster) =>
      users.map((user) => ({ name: contextOf(cluster, user), context: { cluster, user, namespace: 'default' } })),
    ),
    users: await Promise.all(users.map(async (name) => ({ name, user: await userOf(name) }))),
  };
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}

function pod(name: string, ...containers: readonly object[]): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: name } },
    // Placed by hand: there is no scheduler.
    spec: { nodeName, terminationGracePeriodSeconds: 1, containers },
  };
}

function container(name: string, script: string): object {
  return { name, image: busyboxImage, imagePullPolicy: 'Never', command: ['sh', '-c', script] };
}

function binding(role: string, namespace: string | undefined, subjects: readonly object[]): object {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: namespace === undefined ? 'ClusterRoleBinding' : 'RoleBinding',
    metadata: { name: `real-${role}`, ...(namespace === undefined ? {} : { namespace }) },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects,
  };
}

const forever = 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done';
const person = (name: string): object => ({ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name });
const robot = { kind: 'ServiceAccount', namespace: 'default', name: 'robot' };

const objects: readonly object[] = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'robot', namespace: 'default' } },
  binding('edit', 'default', [person('alice'), person('outsider'), robot]),
  binding('view', 'default', [person('viewer')]),
  binding('kexer-user', 'default', [person('alice'), person('viewer'), person('late'), robot]),
  pod('demo', container('shell', `mkdir -p /srv; echo from demo >/srv/index.html; httpd -p 8080 -h /srv; ${forever}`)),
  pod('multi', container('one', forever), container('two', forever)),
  pod(
    'ticker',
    container('ticker', 'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 1 & wait $!; done'),
  ),
];
