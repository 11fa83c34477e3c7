// `kexer kubeconfig` without a cluster, or with one that answers what the test says: which files count, what is kept, and the one sentence
// for whatever is wrong.

import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { generateAuthority, type KeyPairPem } from '../../src/certs/generate.ts';
import { run } from '../../src/cli/run.ts';
import { useTempDir } from '../support/temp-dir.ts';

type Fields = Record<string, unknown>;
const path = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const services = '/api/v1/namespaces/kexec-system/services';
const apiServices = '/apis/apiregistration.k8s.io/v1/apiservices/v1.backup.cv.io';

async function call(
  argv: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(['kubeconfig', ...argv], {
    print: (line) => out.push(line),
    complain: (line) => err.push(line),
    environment: { HOME: '/nonexistent', ...environment },
    onStopSignal: () => () => {},
  });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

function config(cluster: Fields, user: Fields, context: Fields = {}): Fields {
  return {
    'current-context': 'main',
    contexts: [{ name: 'main', context: { cluster: 'c', user: 'u', ...context } }],
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
  };
}

describe('kexer kubeconfig, its words', () => {
  const wrong: readonly (readonly [argv: string[], err: string])[] = [
    [['--clutser', 'x'], 'Cannot use "--clutser": did you mean --cluster?'],
    [['x'], 'Cannot use "x": want --cluster, --namespace, --server, --certificate-authority, --context, --kubeconfig'],
    [['--server'], 'Cannot use the flag --server: it has no value, want --server VALUE'],
    [['--server='], 'Cannot use the flag --server: it has no value, want --server VALUE'],
    [['--server', 'http://a'], 'Cannot use --server: "http://a" is no https URL, want https://HOST:PORT'],
    [['--server', 'a:1'], 'Cannot use --server: "a:1" is no https URL, want https://HOST:PORT'],
    [['--server', 'https://a?b'], 'Cannot use --server: it has a query or a fragment, want https://HOST:PORT'],
    [['--server', 'https://u:p@a'], 'Cannot use --server: it has a user or a password, want https://HOST:PORT'],
    [
      ['--server', `https://a${path}`],
      'Cannot use --server: it has a path of the API, which is put behind it, want https://HOST:PORT',
    ],
    [
      ['--cluster', 'a/b'],
      'Cannot use --cluster: it is "a/b", want lower-case letters, digits and - or ., at most 253',
    ],
    [['--namespace', 'a.b'], 'Cannot use --namespace: it is "a.b", want lower-case letters, digits and -, at most 63'],
  ];
  for (const [argv, err] of wrong) {
    it(`says what is wrong with ${argv.join(' ')}`, async () => {
      expect(await call(argv)).to.deep.equal({ code: 2, out: '', err: `kexer: ${err}` });
    });
  }
});

describe('kexer kubeconfig, the files', () => {
  const dir = useTempDir();
  let ca: KeyPairPem;

  before(async () => {
    ca = await generateAuthority({ commonName: 'ca' });
  });

  async function write(name: string, value: unknown): Promise<string> {
    const file = join(dir(), name);
    await writeFile(file, typeof value === 'string' ? value : stringify(value));
    return file;
  }

  it('keeps the first entry of several files whole, and makes relative paths absolute', async () => {
    await mkdir(join(dir(), 'sub'));
    const first = await write('first', {
      contexts: [{ name: 'main', context: { cluster: 'c', user: 'u', namespace: 'prod' } }],
      users: [{ name: 'u', user: { 'client-certificate': 'a.crt', 'client-key': '/b.key' } }],
    });
    const second = await write('sub/second', {
      ...config({ server: 'https://api:6443', 'proxy-url': 'http://p', 'tls-server-name': 't' }, { token: 'never' }),
    });
    await write('ca.pem', ca.cert);
    const words = ['--server', 'https://k:1', '--certificate-authority', join(dir(), 'ca.pem')];
    const { code, out, err } = await call(words, {
      KUBECONFIG: [join(dir(), 'no'), first, '', second].join(delimiter),
    });
    expect([code, err]).to.deep.equal([0, '']);
    expect(parse(out)).to.deep.equal({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'kexer',
      contexts: [{ name: 'kexer', context: { cluster: 'kexer', user: 'u@kexer', namespace: 'prod' } }],
      clusters: [
        {
          name: 'kexer',
          cluster: {
            server: `https://k:1${path}`,
            'certificate-authority-data': Buffer.from(ca.cert).toString('base64'),
          },
        },
      ],
      users: [{ name: 'u@kexer', user: { 'client-certificate': join(dir(), 'a.crt'), 'client-key': '/b.key' } }],
    });
  });

  it('keeps basic authentication, and what leads to the apiserver where that is the way', async () => {
    const cluster = { 'certificate-authority': 'x.pem', 'proxy-url': 'http://p', 'tls-server-name': 't' };
    const user = { username: 'me', password: 'secret' };
    const file = await write('config', config({ server: 'https://api:6443/', ...cluster }, user));
    const { out, err } = await call(['--kubeconfig', file, '--server', 'https://api:6443']);
    const { clusters, users } = parse(out) as { clusters: unknown; users: unknown };
    expect([err, clusters, users]).to.deep.equal([
      '',
      [
        {
          name: 'kexer',
          cluster: { server: `https://api:6443${path}`, ...cluster, 'certificate-authority': join(dir(), 'x.pem') },
        },
      ],
      [{ name: 'u@kexer', user }],
    ]);
    const asked = await call(['--kubeconfig', file]);
    expect([asked.code, asked.out]).to.deep.equal([1, '']);
    expect(asked.err).to.match(/proxy-url, which is not supported.*; want --server https:\/\/HOST:PORT$/);
    expect(asked.err).to.not.contain('secret');
  });

  const good = config({ server: 'https://api' }, { token: 't' });
  const wrong: readonly (readonly [what: string, value: unknown, argv: string[], err: RegExp])[] = [
    [
      'no current context',
      { ...good, 'current-context': '' },
      [],
      /^kexer: Cannot find a context: ".*" has no current-context, want --context$/,
    ],
    [
      'an unknown context',
      good,
      ['--context', 'x'],
      /^kexer: Cannot find the context "x": ".*" has none of that name$/,
    ],
    [
      'no such cluster',
      { ...good, clusters: [] },
      [],
      /^kexer: Cannot use the context "main": ".*" has no cluster "c"$/,
    ],
    ['no such user', { ...good, users: null }, [], /^kexer: Cannot use the context "main": ".*" has no user "u"$/],
    [
      'a server that is none',
      config({ server: 'x' }, {}),
      [],
      /^kexer: Cannot use the context "main": the server of its cluster is no URL$/,
    ],
    ['no YAML', 'token: "secret', [], /^kexer: Cannot parse the kubeconfig "[^"]*": [^\n]*$/],
    ['no mapping', '[]', [], /^kexer: Cannot use the kubeconfig ".*": want a mapping$/],
    [
      'an authority that is none',
      good,
      ['--certificate-authority', '/dev/null'],
      /^kexer: Cannot use the --certificate-authority "\/dev\/null": it holds no PEM certificate$/,
    ],
    [
      'an authority that is not there',
      good,
      ['--certificate-authority', '/no'],
      /^kexer: Cannot read the --certificate-authority "\/no": ENOENT/,
    ],
    [
      'nobody at the apiserver',
      config({ server: 'https://127.0.0.1:1' }, { token: 't' }),
      [],
      /^kexer: Cannot ask the apiserver https:\/\/127\.0\.0\.1:1: .*; want --server https:\/\/HOST:PORT$/,
    ],
  ];
  for (const [what, value, argv, err] of wrong) {
    it(`says in one sentence: ${what}`, async () => {
      const result = await call(['--kubeconfig', await write('config', value), ...argv]);
      expect([result.code, result.out]).to.deep.equal([1, '']);
      expect(result.err).to.match(err);
      expect(result.err).to.not.contain('secret');
    });
  }

  it('says that there is no kubeconfig', async () => {
    expect(await call([])).to.deep.equal({
      code: 1,
      out: '',
      err: 'kexer: Cannot find a context: there is no /nonexistent/.kube/config',
    });
  });
});

describe('kexer kubeconfig, the Service', () => {
  const dir = useTempDir();
  let server: Server;
  let answers: Map<string, unknown>;
  let ca: KeyPairPem;

  before(async () => {
    ca = await generateAuthority({ commonName: 'ca' });
  });
  beforeEach(async () => {
    answers = new Map();
    server = createServer((request, response) => {
      const answer = answers.get((request.url ?? '').split('?')[0] ?? '');
      const code = typeof answer === 'number' ? answer : answer === undefined ? 404 : 200;
      const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', message: 'no', code, metadata: {} };
      response.writeHead(code, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(code === 200 ? answer : status));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    answers.set(apiServices, { spec: { caBundle: Buffer.from(ca.cert).toString('base64') } });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });

  const service = (type: string, more: Fields = {}, status: Fields = {}): Fields => ({
    metadata: { name: 'kexer' },
    spec: {
      type,
      ports: [
        { name: 'metrics', port: 9 },
        { name: 'https', port: 443, nodePort: 30443 },
      ],
      ...more,
    },
    status,
  });
  const list = (...items: Fields[]): Fields => ({ metadata: { resourceVersion: '1' }, items });
  const node = (name: string, isReady: boolean, ...addresses: [type: string, address: string][]): Fields => ({
    metadata: { name },
    status: {
      conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }],
      addresses: addresses.map(([type, address]) => ({ type, address })),
    },
  });

  async function ask(): Promise<{ code: number; server: unknown; hasCa: boolean; err: string }> {
    const { port } = server.address() as AddressInfo;
    const file = join(dir(), 'config');
    await writeFile(file, stringify(config({ server: `http://127.0.0.1:${port}` }, { token: 't' })));
    const { code, out, err } = await call(['--kubeconfig', file]);
    const { clusters } = (parse(out) ?? { clusters: [] }) as { clusters: { cluster: Fields }[] };
    const cluster = clusters[0]?.cluster ?? {};
    return {
      code,
      server: String(cluster['server']).replace(path, '').replace(`:${port}`, ':API'),
      hasCa: 'certificate-authority-data' in cluster,
      err: err.replace('kexer: ', ''),
    };
  }

  const pass = 'this goes through kube-apiserver, streams too; --server https://HOST:PORT keeps them off it';
  const balanced = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } };
  const nodes = list(
    node('down', false, ['ExternalIP', '192.0.2.9']),
    node('a', true, ['Hostname', 'a'], ['InternalIP', '10.0.0.1']),
    node('b', true, ['InternalIP', '10.0.0.2'], ['ExternalIP', '2001:db8::1']),
  );
  const second = { ...service('NodePort'), metadata: { name: 'kexer-nodeport' } };
  const third = { ...service('NodePort'), metadata: { name: 'kexer-other' } };
  const cases: readonly (readonly [what: string, answers: Fields, expected: object])[] = [
    [
      'a load balancer',
      { [`${services}/kexer`]: service('LoadBalancer', {}, balanced) },
      { server: 'https://192.0.2.1:443', err: '' },
    ],
    [
      'a load balancer by name',
      {
        [`${services}/kexer`]: service('LoadBalancer', {}, { loadBalancer: { ingress: [{ hostname: 'k.example' }] } }),
      },
      { server: 'https://k.example:443', err: '' },
    ],
    [
      'a load balancer to come',
      { [`${services}/kexer`]: service('LoadBalancer'), '/api/v1/nodes': nodes },
      { server: 'https://[2001:db8::1]:30443', err: 'The load balancer has no address yet: this is a node port' },
    ],
    [
      'a node port, the outer address first',
      { [`${services}/kexer`]: service('NodePort'), '/api/v1/nodes': nodes },
      { server: 'https://[2001:db8::1]:30443', err: '' },
    ],
    [
      'a node port of nodes with inner addresses',
      {
        [`${services}/kexer`]: service('NodePort'),
        '/api/v1/nodes': list(node('a', true, ['InternalIP', '10.0.0.1'])),
      },
      { server: 'https://10.0.0.1:30443', err: '' },
    ],
    [
      'a node port of nodes one may not list',
      { [`${services}/kexer`]: service('NodePort'), '/api/v1/nodes': 403 },
      {
        server: 'http://127.0.0.1:API',
        hasCa: false,
        err: `The Service has the node port 30443, but you may not list nodes: ${pass}`,
      },
    ],
    [
      'a second Service beside the first',
      {
        [`${services}/kexer`]: service('ClusterIP'),
        [services]: list(service('ClusterIP'), second),
        '/api/v1/nodes': nodes,
      },
      { server: 'https://[2001:db8::1]:30443', err: '' },
    ],
  ];
  for (const [what, given, expected] of cases) {
    it(`finds ${what}`, async () => {
      for (const [target, answer] of Object.entries(given)) answers.set(target, answer);
      expect(await ask()).to.deep.equal({ code: 0, hasCa: true, ...expected });
    });
  }

  const refusals: readonly (readonly [what: string, answers: Fields, err: string])[] = [
    ['no Service', {}, 'Cannot find kexer: there is no Service kexec-system/kexer, want --server https://HOST:PORT'],
    [
      'several Services',
      { [`${services}/kexer`]: service('ClusterIP'), [services]: list(second, third) },
      'Cannot choose between the Services kexec-system/kexer-nodeport, kexec-system/kexer-other, want --server https://HOST:PORT',
    ],
    [
      'no way at all',
      { [`${services}/kexer`]: service('ClusterIP'), [services]: list(), [apiServices]: 404 },
      'Cannot find a way to kexer: the Service has no address outside the cluster, and there is no APIService; want --server https://HOST:PORT',
    ],
  ];
  for (const [what, given, err] of refusals) {
    it(`says: ${what}`, async () => {
      for (const [target, answer] of Object.entries(given)) answers.set(target, answer);
      expect(await ask()).to.deep.include({ code: 1, err });
    });
  }
});
