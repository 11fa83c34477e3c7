// `kexer kubeconfig` in front of a sandbox with a kexer, and real kubectl with what it prints: by the Service's load balancer, by
// the aggregation layer and by an address that is given, as users with certificates, tokens and plugins.

import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { needsKubectl } from '../support/kubectl.ts';
import { kubectl, type KubectlRun } from './support/kubectl.ts';
import { nodePort } from './support/node-port.ts';
import { collect, Stage } from './support/stage.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const script = 'echo "hello from $HOSTNAME"; exit 3';

interface Config {
  readonly 'current-context': string;
  readonly contexts: readonly { name: string; context: Record<string, unknown> }[];
  readonly clusters: readonly { name: string; cluster: Record<string, unknown> }[];
  readonly users: readonly { name: string; user: Record<string, unknown> }[];
}

describe('kexer kubeconfig', function () {
  this.timeout(60_000);
  let stage: Stage;
  let home: string;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
    home = stage.path('plugin');
    await mkdir(home);
    // What npm makes of the package's bin, for sources that are not built.
    await writeFile(join(home, 'kubectl-kexer'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, {
      mode: 0o755,
    });
  });
  after(() => stage?.stop());

  /** As the plugin: kubectl finds kubectl-kexer on the PATH, and passes KUBECONFIG on. */
  function ask(context: string, ...words: readonly string[]): Promise<KubectlRun> {
    return plugin(stage.sandbox.files.kubeconfig, '--context', context, ...words);
  }

  async function plugin(kubeconfig: string, ...words: readonly string[]): Promise<KubectlRun> {
    const child = spawn('kubectl', ['kexer', 'kubeconfig', ...words], {
      env: { PATH: `${home}${delimiter}${process.env['PATH'] ?? ''}`, HOME: home, KUBECONFIG: kubeconfig },
    });
    child.stdin.end();
    const { code, stdout, stderr } = await collect(child);
    return { code, stdout: stdout.toString(), stderr };
  }

  const authority = (): string[] => ['--certificate-authority', stage.sandbox.files.servingCaFile];

  /** What kubectl does with it. */
  async function use(text: string): Promise<readonly unknown[]> {
    const file = join(home, 'kexer.yaml');
    await writeFile(file, text);
    const name = (parse(text) as Config)['current-context'];
    const options = { kubeconfig: file, context: name, home };
    const get = await kubectl(['get', 'pods', '-o', 'name'], options);
    const exec = await kubectl(['exec', 'demo', '--', 'sh', '-c', script], options);
    return [get.code, get.stdout.split('\n')[1], exec.code, exec.stdout];
  }
  const works = [0, 'pod/demo', 3, 'hello from demo\n'];

  /** Takes away what lets everybody read kexer's Service (rolebinding) or its APIService (clusterrolebinding), or gives it back. */
  async function lookup(kind: 'rolebinding' | 'clusterrolebinding', isGiven: boolean): Promise<void> {
    const admin = { kubeconfig: stage.sandbox.files.kubeconfig, context: 'cluster', home };
    const where = kind === 'rolebinding' ? ['-n', 'kexec-system'] : [];
    const role = kind === 'rolebinding' ? '--role=kexer-lookup' : '--clusterrole=kexer-lookup';
    const words = isGiven
      ? ['create', kind, 'kexer-lookup', role, '--group=system:authenticated', ...where]
      : ['delete', kind, 'kexer-lookup', ...where];
    expect(await kubectl(words, admin)).to.deep.include({ code: 0, stderr: '' });
  }

  /** How the Service is to be had from outside. */
  async function expose(spec: object): Promise<void> {
    const admin = { kubeconfig: stage.sandbox.files.kubeconfig, context: 'cluster', home };
    const words = ['patch', '-n', 'kexec-system', 'service', 'kexer', '--type=merge', '-p', JSON.stringify({ spec })];
    expect(await kubectl(words, admin)).to.deep.include({ code: 0, stderr: '' });
  }

  async function balance(isOn: boolean): Promise<void> {
    const service = ['-n', 'kexec-system', 'service', 'kexer'];
    const admin = { kubeconfig: stage.sandbox.files.kubeconfig, context: 'cluster', home };
    const spec = isOn
      ? { type: 'LoadBalancer', ports: [{ name: 'https', protocol: 'TCP', port: stage.port, targetPort: stage.port }] }
      : { type: 'ClusterIP', ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: stage.port }] };
    const first = await kubectl(['patch', ...service, '--type=merge', '-p', JSON.stringify({ spec })], admin);
    expect(first).to.deep.include({ code: 0, stderr: '' });
    const status = { loadBalancer: isOn ? { ingress: [{ ip: '127.0.0.1' }] } : null };
    const second = await kubectl(
      ['patch', ...service, '--subresource=status', '--type=merge', '-p', JSON.stringify({ status })],
      admin,
    );
    expect(second).to.deep.include({ code: 0, stderr: '' });
  }

  it('leads to the load balancer, with a client certificate and with a plugin', async () => {
    await balance(true);
    try {
      const { code, stdout, stderr } = await ask('cluster');
      expect([code, stderr]).to.deep.equal([0, '']);
      const config = parse(stdout) as Config;
      expect(config.clusters[0]?.cluster['server']).to.equal(
        `https://127.0.0.1:${stage.port}/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec`,
      );
      expect([config['current-context'], config.contexts[0]?.context]).to.deep.equal([
        'kexer',
        { cluster: 'kexer', user: 'admin@kexer', namespace: 'default' },
      ]);
      expect([config.contexts, config.clusters, config.users].map((list) => list.length)).to.deep.equal([1, 1, 1]);
      expect(await use(stdout)).to.deep.equal(works);

      const file = await withPlugin();
      await lookup('clusterrolebinding', false);
      const unknown = await plugin(file);
      await lookup('clusterrolebinding', true);
      expect([unknown.code, unknown.stderr]).to.deep.equal([
        0,
        'kexer: No authority of kexer can be read, so clients go by those of their machine; --certificate-authority FILE\n',
      ]);
      const byPlugin = await plugin(file, ...authority());
      expect([byPlugin.code, byPlugin.stderr]).to.deep.equal([0, '']);
      expect(await use(byPlugin.stdout)).to.deep.equal(works);
      expect(byPlugin.stdout).to.not.contain(stage.sandbox.tokens.alice);
    } finally {
      await balance(false);
    }
  });

  /** Cluster and context in one file, the user in another, by a plugin beside it that is called by a relative path. */
  async function withPlugin(): Promise<string> {
    const folder = join(home, 'config');
    await mkdir(folder, { recursive: true });
    const whole = parse(await readFile(stage.sandbox.files.kubeconfig, 'utf8')) as Config;
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: stage.sandbox.tokens.alice },
    };
    await writeFile(join(folder, 'login'), `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`, { mode: 0o755 });
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: './login',
      interactiveMode: 'IfAvailable',
    };
    const [first, second] = [join(home, 'first'), join(folder, 'second')];
    await writeFile(
      first,
      stringify({
        'current-context': 'main',
        contexts: [{ name: 'main', context: { cluster: 'cluster', user: 'me' } }],
      }),
    );
    await writeFile(second, stringify({ clusters: whole.clusters, users: [{ name: 'me', user: { exec } }] }));
    return `${join(home, 'absent')}:${first}:${second}`;
  }

  it('leads through kube-apiserver where the Service has no address outside, and says so', async () => {
    const { code, stdout, stderr } = await ask('cluster', '--cluster', 'far', '--namespace', 'clusters');
    const { stdout: local } = await ask('cluster');
    expect([code, stderr]).to.deep.equal([
      0,
      'kexer: The Service has no address outside the cluster: this goes through kube-apiserver, streams too; --server https://HOST:PORT keeps them off it\n',
    ]);
    const config = parse(stdout) as Config;
    expect([config['current-context'], config.clusters[0]?.cluster['server']]).to.deep.equal([
      'far@kexer',
      `${stage.sandbox.apiserver.url}/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec`,
    ]);
    expect(await use(local)).to.deep.equal(works);
  });

  it('takes the address that is given, with a token, and verifies the Service’s name where the address is not in the certificate', async () => {
    const server = `https://127.0.0.1:${stage.port}`;
    const { code, stdout, stderr } = await ask('cluster-alice', '--server', `${server}/`, ...authority());
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(await use(stdout)).to.deep.equal(works);
    const given = await ask('cluster', '--server', server);
    expect(given.stderr).to.equal('');
    expect(await use(given.stdout)).to.deep.equal(works);

    const files = stage.sandbox.files;
    const secret = ['-n', 'kexec-system', 'secret', 'generic', 'kexer-serving-cert'];
    const [cert, key] = [`--from-file=tls.crt=${files.kexerCertFile}`, `--from-file=ca.crt=${files.servingCaFile}`];
    const admin = { kubeconfig: files.kubeconfig, context: 'cluster', home };
    const made = await kubectl(
      ['create', secret[2] ?? '', secret[3] ?? '', secret[4] ?? '', '-n', 'kexec-system', cert, key],
      admin,
    );
    expect(made).to.deep.include({ code: 0, stderr: '' });
    try {
      const other = await ask('cluster', '--server', `https://127.0.0.2:${stage.port}`);
      expect(other.stderr).to.equal(
        'kexer: 127.0.0.2 is not in kexer’s certificate (--cert-extra-sans), so clients verify kexer.kexec-system.svc instead\n',
      );
      const config = parse(other.stdout) as Config;
      const there = other.stdout.replace('127.0.0.2', '127.0.0.1');
      expect(config.clusters[0]?.cluster['tls-server-name']).to.equal('kexer.kexec-system.svc');
      expect(await use(there)).to.deep.equal(works);
    } finally {
      await kubectl(['delete', '-n', 'kexec-system', 'secret', 'kexer-serving-cert'], admin);
    }
  });

  it('changes only the path where the context leads to kexer already', async () => {
    const { code, stdout, stderr } = await ask('kexer-alice');
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(await use(stdout)).to.deep.equal(works);
  });

  it('finds address and authority for users who may read nothing else of kexer', async () => {
    await balance(true);
    try {
      const { code, stdout, stderr } = await ask('cluster-viewer');
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(await use(stdout)).to.deep.equal([0, 'pod/demo', 1, '']); // who may not exec may not here
      const admin = { kubeconfig: stage.sandbox.files.kubeconfig, context: 'cluster-viewer', home };
      for (const what of ['services', 'secrets', 'service/other', 'secret/kexer-serving-cert', 'pods']) {
        const refused = await kubectl(['get', '-n', 'kexec-system', ...what.split('/')], admin);
        expect(refused.stderr, what).to.contain('is forbidden');
      }
      const others = await kubectl(['get', 'apiservices'], admin);
      expect(others.stderr).to.contain('is forbidden');
    } finally {
      await balance(false);
    }
  });

  it('leads to a node port, at the address of a node, and says who may not list nodes', async () => {
    const { port, close } = await nodePort(stage.port);
    try {
      await expose({
        type: 'NodePort',
        ports: [{ name: 'https', port: 443, targetPort: stage.port, nodePort: port }],
      });
      const { code, stdout, stderr } = await ask('cluster');
      expect([code, stderr]).to.deep.equal([0, '']);
      expect((parse(stdout) as Config).clusters[0]?.cluster['server']).to.match(
        new RegExp(`^https://127.0.0.1:${port}/`),
      );
      expect(await use(stdout)).to.deep.equal(works);
      const alices = await ask('cluster-alice');
      expect([alices.code, alices.stderr]).to.deep.equal([
        0,
        `kexer: The Service has the node port ${port}, but you may not list nodes: this goes through kube-apiserver, streams too; --server https://HOST:PORT keeps them off it\n`,
      ]);
      expect(await use(alices.stdout)).to.deep.equal(works);
    } finally {
      await balance(false);
      await close();
    }
  });

  it('leads to the node port of a load balancer that has no address yet, and says so', async () => {
    const { port, close } = await nodePort(stage.port);
    try {
      await expose({
        type: 'LoadBalancer',
        ports: [{ name: 'https', port: 443, targetPort: stage.port, nodePort: port }],
      });
      const { code, stdout, stderr } = await ask('cluster');
      expect([code, stderr]).to.deep.equal([0, 'kexer: The load balancer has no address yet: this is a node port\n']);
      expect(await use(stdout)).to.deep.equal(works);
    } finally {
      await balance(false);
      await close();
    }
  });

  it('says who may not read the Service, and what to give instead', async () => {
    await lookup('rolebinding', false);
    const { code, stdout, stderr } = await ask('cluster-viewer');
    await lookup('rolebinding', true);
    expect([code, stdout]).to.deep.equal([1, '']);
    expect(stderr).to.match(
      /^kexer: Cannot read the Service kexec-system\/kexer, want --server https:\/\/HOST:PORT: .*User "viewer" cannot get resource "services".*\n$/,
    );
  });
});
