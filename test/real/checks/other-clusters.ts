// Clusters by Secret on a real kube-apiserver: this cluster once more, under another name, and an API server of a newer Kubernetes beside it, made of the
// generic server that its kube-apiserver is made of (apiextensions-apiserver: CustomResourceDefinitions, nothing else), with
// watches by the thousand and GOAWAY.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Component } from '../component.ts';
import { freePort, machineAddress, statusOf } from '../control-plane.ts';
import { RawClient } from '../http.ts';
import { until } from '../kexer.ts';
import { contextOf, type Stage } from '../stage.ts';
import { type Check, matches, same } from './check.ts';

const pathOf = (name: string): string => `/apis/backup.cv.io/v1/namespaces/clusters/clusters/${name}/exec`;

/** Makes the Secret; who holds it there is the admin. */
async function addCluster(
  stage: Stage,
  name: string,
  url: string,
  data: Readonly<Record<string, string>>,
): Promise<void> {
  const { kubectl, controlPlane } = stage;
  const config = JSON.parse(await readFile(controlPlane.adminKubeconfig, 'utf8')) as {
    users: { user: Record<string, string> }[];
  };
  const pem = (key: string): string => Buffer.from(config.users[0]?.user[key] ?? '', 'base64').toString();
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'backup.cv.io/cluster',
    metadata: { name, namespace: 'clusters' },
    stringData: {
      endpointUrl: url,
      caData: await readFile(controlPlane.pki.servingCa.cert, 'utf8'),
      clientCertificateData: pem('client-certificate-data'),
      clientKeyData: pem('client-key-data'),
      identity: 'shared',
      ...data,
    },
  };
  await kubectl.output(['apply', '-f', '-'], { stdin: JSON.stringify(secret) });
  await until(`the cluster ${name} answers`, async () => {
    const list = await kubectl.output(['get', 'clusters.backup.cv.io', '-n', 'clusters']);
    return new RegExp(`^${name} .* True `, 'm').test(list);
  });
}

async function twin(stage: Stage): Promise<string> {
  const { kubectl, kexer, controlPlane } = stage;
  await addCluster(stage, 'twin', controlPlane.url, { streams: 'kubelet' });
  await addCluster(stage, 'other-twin', controlPlane.url, { streams: 'apiserver' });
  const seen: string[] = [];
  for (const name of ['twin', 'other-twin']) {
    const at = { context: contextOf('kexer', 'admin') };
    const server = `--server=${kexer.url}${pathOf(name)}`;
    matches('pods', await kubectl.output([server, 'get', 'pods'], at), /^demo +1\/1 +Running/m);
    const { code, stdout } = await kubectl.run([server, 'exec', 'demo', '--', 'sh', '-c', 'echo there; exit 6'], at);
    same(`exec by ${name}`, [code, stdout], [6, 'there\n']);
    matches('logs', await kubectl.output([server, 'logs', 'ticker', '--tail=1'], at), /^tick \d+\n$/);
    const refused = await kubectl.run([server, 'get', 'pods'], { context: contextOf('kexer', 'alice') });
    matches('who may not use it', refused.stderr, /User "alice" cannot (get|use) resource "clusters/);
    const impersonated = await kubectl.run([server, 'get', 'pods', '--as', 'alice'], at);
    same('--as is refused', impersonated.code, 1);
    seen.push(name);
  }
  return 'get, exec and logs by its kubelets and by its kube-apiserver';
}

/** The newer API server, which asks this cluster's kube-apiserver who its callers are. */
async function startNewer(
  stage: Stage,
  program: string,
  flags: readonly string[],
): Promise<Component & { url: string }> {
  const { controlPlane, dir } = stage;
  const { pki, adminKubeconfig } = controlPlane;
  const port = await freePort();
  const url = `https://${machineAddress}:${port}`;
  const component = new Component({
    program,
    name: 'apiextensions-apiserver',
    logDir: join(dir, 'logs'),
    args: [
      `--etcd-servers=${controlPlane.etcdUrl}`,
      '--etcd-prefix=/newer',
      `--bind-address=${machineAddress}`,
      `--secure-port=${port}`,
      `--tls-cert-file=${pki.apiserver.cert}`,
      `--tls-private-key-file=${pki.apiserver.key}`,
      `--client-ca-file=${pki.clientCa.cert}`,
      `--kubeconfig=${adminKubeconfig}`,
      `--authentication-kubeconfig=${adminKubeconfig}`,
      `--authorization-kubeconfig=${adminKubeconfig}`,
      // Both would wait for kinds that an older kube-apiserver does not have.
      '--enable-priority-and-fairness=false',
      '--disable-admission-plugins=NamespaceLifecycle,ValidatingAdmissionPolicy,MutatingAdmissionPolicy',
      ...flags,
    ],
    isUp: async () => (await statusOf(`${url}/readyz`)) === 200,
  });
  await component.start();
  return Object.assign(component, { url });
}

const definition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'things.real.example' },
  spec: {
    group: 'real.example',
    scope: 'Namespaced',
    names: { plural: 'things', singular: 'thing', kind: 'Thing' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: { type: 'object', properties: { text: { type: 'string' }, size: { type: 'integer' } } },
        },
      },
    ],
  },
};
const things = '/apis/real.example/v1/namespaces/default/things';
const thing = (name: string, text: string): object => ({
  apiVersion: 'real.example/v1',
  kind: 'Thing',
  metadata: { name },
  text,
});

/** The same answers straight and through kexer, 1,000 watches under GOAWAY, and a list of 100 MB. */
async function newer(stage: Stage, program: string): Promise<string> {
  const server = await startNewer(stage, program, ['--goaway-chance=0.02', '--http2-max-streams-per-connection=40']);
  const clients = Array.from({ length: 20 }, () => RawClient.open(stage, 'kexer', 'admin', pathOf('newer')));
  const straight = RawClient.open(stage, 'cluster', 'admin', '', server.url);
  try {
    await addCluster(stage, 'newer', server.url, {});
    const [client] = clients;
    if (client === undefined) throw new Error('there is no client');
    const applied = await client.ask('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition);
    same('the definition', applied.status, 201);
    await until('it is served', async () => (await client.ask('GET', things)).status === 200);
    const apply = 'application/apply-patch+yaml';
    // By raw calls: without an aggregator there is no /apis, and kubectl finds nothing there.
    const questions: readonly (readonly [method: string, path: string, body?: object, type?: string])[] = [
      ['GET', '/version'],
      ['GET', '/apis'],
      ['GET', '/apis/apiextensions.k8s.io/v1'],
      ['GET', '/apis/real.example/v1'],
      ['GET', '/openapi/v3/apis/real.example/v1'],
      ['GET', `${things}/nothere`],
      ['GET', '/api/v1/pods'],
      ['PATCH', `${things}/a?fieldManager=real&dryRun=All`, { ...thing('a', 'b'), size: 'big' }, apply],
      ['PATCH', `${things}/a?dryRun=All`, thing('a', 'b'), apply],
      ['POST', `${things}?fieldValidation=Strict`, { ...thing('b', 'b'), unknown: 1 }],
      ['POST', things, { ...thing('wrong', 'b'), size: 'big' }],
      ['DELETE', `${things}/nothere`],
    ];
    for (const [method, path, body, type] of questions) {
      const [got, want] = await Promise.all([client, straight].map((one) => one.ask(method, path, body, type)));
      same(`${method} ${path}`, [got?.status, got?.text], [want?.status, want?.text]);
    }
    const { gitVersion } = JSON.parse((await client.ask('GET', '/version')).text) as { gitVersion: string };

    const watches = clients.flatMap((one) =>
      Array.from({ length: 50 }, () => one.watch(`${things}?watch=1&fieldSelector=metadata.name%3Dwatched`)),
    );
    same('their status', [...new Set(await Promise.all(watches.map(({ status }) => status)))], [200]);
    same('what is watched', (await straight.ask('POST', things, thing('watched', 'x'))).status, 201);
    await until('each has the event', async () => watches.every(({ events }) => events() === 1));
    same('watches that ended', watches.filter(({ hasEnded }) => hasEnded()).length, 0);

    for (let i = 0; i < 110; i += 1) {
      const { status, text } = await straight.ask('POST', things, thing(`big-${i}`, 'abcdefgh'.repeat(115_000)));
      if (status !== 201) throw new Error(text);
    }
    const lists = await Promise.all([client.ask('GET', things), straight.ask('GET', things)]);
    same('the lists', lists[0]?.sha256, lists[1]?.sha256);
    // A list as a watch, which client-go of 1.35 and later asks for first.
    const initial = `${things}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=2`;
    const events = await Promise.all([client.ask('GET', initial), straight.ask('GET', initial)]);
    same('a list as a watch', events[0]?.sha256, events[1]?.sha256);
    return `${gitVersion}: ${questions.length} answers, 1,000 watches with GOAWAY and 40 streams a connection, ${Math.round((lists[0]?.bytes ?? 0) / 1e6)} MB, a list as a watch`;
  } finally {
    for (const one of [...clients, straight]) one.close();
    await server.end();
  }
}

export function otherClusterChecks(extensionApiserver: string | undefined): Check[] {
  return [
    { name: 'other clusters: the same one by Secret', needsNode: true, run: twin },
    ...(extensionApiserver === undefined
      ? []
      : [{ name: 'other clusters: a newer API server', run: (stage: Stage) => newer(stage, extensionApiserver) }]),
  ];
}
