// What kubectl makes of the resource half: a story in one namespace, command by command with what must be printed. The comparison of
// kexer with the plain cluster cannot find a fault that both ways share; this can.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { systemClock } from '../../../src/base/clock.ts';
import { Store } from '../../../src/sandbox/apiserver/store.ts';
import { needsKubectl } from '../../support/kubectl.ts';
import { type PlainServer, startPlainServer } from './plain-server.ts';

interface Step {
  readonly run: readonly string[];
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly code?: number;
  /** Whole output, standard error behind standard output; a RegExp where times or names move. */
  readonly prints: string | RegExp;
}

function manifest(image: string, env: string): string {
  return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: '${image}', ports: [{containerPort: 80}]${env}}
`;
}

const withEnv = ', env: [{name: A, value: "1"}, {name: B, value: "2"}]';
const withoutA = ', env: [{name: B, value: "2"}]';

const steps: readonly Step[] = [
  { run: ['get', 'pods'], prints: 'No resources found in default namespace.\n' },
  { run: ['apply', '-f', '-'], stdin: manifest('nginx:1', withEnv), prints: 'deployment.apps/web created\n' },
  { run: ['apply', '-f', '-'], stdin: manifest('nginx:1', withEnv), prints: 'deployment.apps/web unchanged\n' },
  { run: ['apply', '-f', '-'], stdin: manifest('nginx:2', withoutA), prints: 'deployment.apps/web configured\n' },
  {
    run: ['get', 'deploy', 'web', '-o', 'jsonpath={.metadata.generation} {.spec.template.spec.containers[0].env}'],
    prints: '2 [{"name":"B","value":"2"}]',
  },
  {
    run: ['get', 'deploy', '-o', 'wide'],
    prints:
      /^NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +0\/2 +0 +0 +\d+s +c +nginx:2 +app=web\n$/,
  },
  {
    run: ['diff', '-f', '-'],
    stdin: manifest('nginx:3', withoutA),
    code: 1,
    prints: /-\s+- image: nginx:2\n|\+\s+image: nginx:3\n/,
  },
  { run: ['scale', 'deploy', 'web', '--replicas=5'], prints: 'deployment.apps/web scaled\n' },
  { run: ['set', 'image', 'deploy/web', 'c=nginx:4'], prints: 'deployment.apps/web image updated\n' },
  {
    run: ['apply', '--server-side', '-f', '-'],
    stdin: manifest('nginx:2', withoutA),
    code: 1,
    prints:
      /^error: Apply failed with 2 conflicts: conflicts with "kubectl" with subresource "scale" using apps\/v1:\n- \.spec\.replicas\nconflicts with "kubectl-set" using apps\/v1:\n- \.spec\.template\.spec\.containers\[name="c"\]\.image\n/,
  },
  {
    run: ['apply', '--server-side', '--force-conflicts', '-f', '-'],
    stdin: manifest('nginx:2', withoutA),
    prints: 'deployment.apps/web serverside-applied\n',
  },
  {
    // The entries of client-side apply have moved over, so what is no longer applied goes.
    run: ['apply', '--server-side', '-f', '-'],
    stdin: manifest('nginx:2', ''),
    prints: 'deployment.apps/web serverside-applied\n',
  },
  {
    run: ['get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].env}'],
    prints: '2 ',
  },
  {
    run: ['edit', 'deploy', 'web'],
    env: { EDITOR: 'sed -i s/nginx:2/nginx:5/' },
    prints: 'deployment.apps/web edited\n',
  },
  { run: ['label', 'deploy', 'web', 'tier=front'], prints: 'deployment.apps/web labeled\n' },
  {
    run: ['label', 'deploy', 'web', 'tier=back'],
    code: 1,
    prints: "error: 'tier' already has a value (front), and --overwrite is false\n",
  },
  {
    run: ['patch', 'deploy', 'web', '--type=json', '-p', '[{"op":"remove","path":"/nope"}]'],
    code: 1,
    prints: 'The request is invalid: the server rejected our request due to an error in our request\n',
  },
  { run: ['get', 'deploy', '-l', 'tier in (front),tier!=x', '-o', 'name'], prints: 'deployment.apps/web\n' },
  {
    run: [
      'run',
      'p',
      '--image=busybox',
      '--dry-run=server',
      '-o',
      'jsonpath={.spec.restartPolicy} {.spec.serviceAccountName}',
    ],
    prints: 'Always default',
  },
  { run: ['create', 'configmap', 'm', '--from-literal=a=1'], prints: 'configmap/m created\n' },
  {
    run: ['create', 'configmap', 'm'],
    code: 1,
    prints: 'error: failed to create configmap: configmaps "m" already exists\n',
  },
  {
    run: ['create', '-f', '-'],
    stdin: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\ndatas: {}\n',
    code: 1,
    prints:
      'Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datas"\n',
  },
  {
    run: ['create', '--validate=warn', '-f', '-'],
    stdin: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\ndatas: {}\n',
    prints: 'configmap/k created\nWarning: unknown field "datas"\n',
  },
  { run: ['get', 'cm', '--chunk-size=1', '-o', 'name'], prints: 'configmap/k\nconfigmap/m\n' },
  {
    run: ['get', 'cm', 'x', 'm', '-o', 'name'],
    code: 1,
    prints: 'configmap/m\nError from server (NotFound): configmaps "x" not found\n',
  },
  { run: ['get', 'pods', '--field-selector=x=y'], code: 1, prints: /field label not supported: x\n$/ },
  { run: ['wait', '--for=jsonpath={.data.a}=1', 'cm/m', '--timeout=5s'], prints: 'configmap/m condition met\n' },
  {
    run: ['explain', 'deploy.spec.replicas'],
    prints: /^GROUP: +apps\nKIND: +Deployment\nVERSION: +v1\n\nFIELD: replicas <integer>\n/,
  },
  { run: ['explain', 'pod.spec.nope'], code: 1, prints: /error: field "nope" does not exist\n$/ },
  {
    run: ['api-resources', '--api-group=apps', '--no-headers', '-o', 'name'],
    prints: 'controllerrevisions.apps\ndaemonsets.apps\ndeployments.apps\nreplicasets.apps\nstatefulsets.apps\n',
  },
  {
    run: ['get', '--raw', '/api/v1/namespaces/default/configmaps/x'],
    code: 1,
    prints: 'Error from server (NotFound): configmaps "x" not found\n',
  },
  {
    run: ['get', 'endpoints'],
    prints:
      'Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\nNo resources found in default namespace.\n',
  },
  { run: ['delete', 'cm', 'm', 'k'], prints: 'configmap "m" deleted\nconfigmap "k" deleted\n' },
  {
    run: ['delete', 'ns', 'default'],
    code: 1,
    prints: 'Error from server (Forbidden): namespaces "default" is forbidden: this namespace may not be deleted\n',
  },
  {
    run: ['replace', '-f', '-'],
    stdin: manifest('nginx:9', '').replace('name: web', 'name: nope'),
    code: 1,
    prints: /deployments\.apps "nope" not found\n$/,
  },
  { run: ['delete', 'deploy', 'web', '--cascade=orphan', '--wait=false'], prints: 'deployment.apps "web" deleted\n' },
];

describe('kubectl against the resource half', function () {
  this.timeout(60_000);
  let server: PlainServer;
  let home: string;

  before(needsKubectl);

  before(async () => {
    const store = new Store({ clock: systemClock });
    store.create(
      { group: '', resource: 'namespaces' },
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'default' },
        spec: { finalizers: ['kubernetes'] },
        status: { phase: 'Active' },
      },
    );
    store.create(
      { group: '', resource: 'serviceaccounts' },
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'default' } },
    );
    server = await startPlainServer({ store, clock: systemClock });
    home = await mkdtemp(join(tmpdir(), 'kexer-kubectl-'));
  });

  after(async () => {
    await server?.close();
    if (home !== undefined) await rm(home, { recursive: true });
  });

  async function kubectl({ run, stdin = '', env = {} }: Step): Promise<{ code: number | null; output: string }> {
    const child = spawn('kubectl', ['--kubeconfig=/dev/null', `--server=${server.url}`, ...run], {
      env: { ...process.env, HOME: home, TMPDIR: home, ...env },
    });
    child.stdin.end(stdin);
    const ended = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    return { code, output: stdout + stderr };
  }

  for (const step of steps) {
    it(step.run.join(' '), async () => {
      const { code, output } = await kubectl(step);
      if (typeof step.prints === 'string') expect(output).to.equal(step.prints);
      else expect(output).to.match(step.prints);
      expect(code).to.equal(step.code ?? 0);
    });
  }
});
