// Attacks by way of an HTTP proxy on the way to other clusters, and by who would like to name one: the environment, a Secret, the proxy itself. Kexer runs
// at its most talkative, with a proxy that wants a password and an environment full of other proxies.

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { type AddressInfo, connect } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { clusterPath, clustersNamespace } from '../integration/support/cluster-secrets.ts';
import { FarServer } from '../integration/support/far-server.ts';
import { KexerProcess } from '../integration/support/kexer-process.ts';
import { ConnectProxy, type ConnectRequest } from '../support/connect-proxy.ts';
import { type Answer, HttpClient } from './support/http-client.ts';

const pods = '/api/v1/namespaces/default/pods';
const json = ['Content-Type: application/json'];
const secretToken = 'the-token-of-the-secret';
const password = 'hunter2-of-the-proxy';
/** Loopback too, but not where anything listens. */
const allowed = '127.0.0.2';
const basic = Buffer.from(`kexer:${password}`).toString('base64');

describe('a proxy on the way to another cluster', function () {
  this.timeout(60_000);
  let scope: Scope;
  let near: Sandbox;
  let far: FarServer;
  let kexer: KexerProcess;
  let alice: HttpClient;
  /** Of kexer's settings. */
  let proxy: ConnectProxy;
  /** What nobody should ever ask: the environment's, and a Secret's. */
  let stranger: ConnectProxy;
  /** All that callers got. */
  let answers: string;

  before(async () => {
    scope = new Scope();
    answers = '';
    near = await startSandbox({ hasKubelets: false });
    scope.add(() => near.stop());
    far = await FarServer.start(scope);
    proxy = await ConnectProxy.start(scope);
    stranger = await ConnectProxy.start(scope);
    const credentialsFile = join(near.dir, 'proxy-credentials');
    await writeFile(credentialsFile, `kexer:${password}\n`);

    const { port } = far;
    put('far', {});
    put('renamed', { endpointUrl: `https://localhost:${port}` });
    put('metadata', { endpointUrl: 'https://169.254.169.254' });
    put('elsewhere', { endpointUrl: 'https://192.0.2.1' });
    put('own-proxy', { proxyUrl: stranger.url, 'proxy-url': stranger.url, proxy: stranger.url });

    kexer = new KexerProcess(
      [
        `--config=${near.files.kexerConfig}`,
        '--secure-port=0',
        '--shutdown-delay-duration=0s',
        '--log-level=trace',
        '--cluster-namespaces=clusters',
        // Where nobody listens: the proxy alone leads from there to the far server, and `localhost` to neither.
        `--cluster-allowed-endpoints=${allowed},10.0.0.0/8`,
        `--cluster-proxy-url=${proxy.url}`,
        `--cluster-proxy-credentials-file=${credentialsFile}`,
      ],
      {
        HTTPS_PROXY: stranger.url,
        https_proxy: stranger.url,
        HTTP_PROXY: stranger.url,
        http_proxy: stranger.url,
        ALL_PROXY: stranger.url,
        NODE_USE_ENV_PROXY: '1',
      },
    );
    scope.add(async () => {
      // The last word: what it wrote in all its life.
      const code = await kexer.stop();
      expect([code, kexer.complaints]).to.deep.equal([0, []]);
      const written = JSON.stringify(kexer.log);
      for (const secret of [password, basic, secretToken]) expect(written).to.not.contain(secret);
    });
    await kexer.untilLogged('ready');
    const ca = await readFile(near.files.servingCaFile, 'utf8');
    alice = new HttpClient({ port: kexer.port, ca, basePath: '' }, { token: near.tokens.alice });
    scope.add(() => alice.close());
    // Until it has read the Secrets there are no such clusters.
    while ([404, 503].includes((await ask('elsewhere'))[0]));
  });

  beforeEach(() => {
    proxy.answer = (request) => proxy.tunnel(leadOn(request));
    proxy.closeAll();
    proxy.heads.length = 0;
    proxy.targets.length = 0;
    far.will('200 OK', json, '{"kind":"PodList"}');
  });

  after(async () => {
    await scope.close();
    for (const secret of [password, basic, secretToken]) expect(answers).to.not.contain(secret);
    // Not once, by nobody.
    expect([stranger.heads, stranger.openCount]).to.deep.equal([[], 0]);
  });

  function put(name: string, parts: Readonly<Record<string, string>>): void {
    const data = {
      endpointUrl: `https://${allowed}:${far.port}`,
      tlsServerName: 'localhost',
      caData: far.ca,
      token: secretToken,
      identity: 'impersonate',
      ...parts,
    };
    near.store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'backup.cv.io/cluster',
        metadata: { name, namespace: clustersNamespace },
        data: Object.fromEntries(
          Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
        ),
      },
    );
  }

  async function ask(name: string): Promise<[number, string]> {
    return shown(await alice.ask({ method: 'GET', path: clusterPath(name) + pods }));
  }

  /** A stream has a connection of its own. */
  async function upgrade(name: string): Promise<[number, string]> {
    return shown(
      await alice.upgrade({
        method: 'POST',
        path: `${clusterPath(name)}${pods}/demo/exec?command=id`,
        headers: [
          ['Connection', 'Upgrade'],
          ['Upgrade', 'SPDY/3.1'],
          ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
        ],
      }),
    );
  }

  function shown({ status, headers, body }: Answer): [number, string] {
    const text = body.toString();
    answers += `${JSON.stringify(headers)}${text}\n`;
    return [status, text.startsWith('{') ? ((JSON.parse(text) as { message?: string }).message ?? text) : text.trim()];
  }

  it('is the only way there, whatever proxies the environment names', async () => {
    expect((await ask('far'))[0]).to.equal(200);
    expect(far.received).to.contain(`Authorization: Bearer ${secretToken}\r\n`).and.not.contain(password);
    expect(far.received).to.not.match(/proxy-/i);
    expect(proxy.targets).to.deep.equal([`${allowed}:${far.port}`]);
    proxy.answer = ({ socket }) => void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    for (const asked of [ask, upgrade]) {
      far.will('200 OK', json, '{"kind":"PodList"}');
      expect((await asked('far'))[0]).to.equal(502);
      expect(far.received).to.equal('');
    }
  });

  it('is not used for the cluster kexer runs in', async () => {
    const local = await alice.ask({ method: 'GET', path: `${clusterPath('local')}/version` });
    expect([local.status, proxy.heads]).to.deep.equal([200, []]);
  });

  it('is not named by a Secret', async () => {
    expect((await ask('own-proxy'))[0]).to.equal(200);
    expect(proxy.targets).to.deep.equal([`${allowed}:${far.port}`]);
  });

  const denied: readonly (readonly [what: string, name: string, message: RegExp])[] = [
    ['the metadata service', 'metadata', /169\.254\.169\.254 is an address that is never allowed$/],
    [
      'an address outside the list',
      'elsewhere',
      /Cannot connect to "192\.0\.2\.1": it is not in clusters\.allowedEndpoints$/,
    ],
    [
      'a name that stands for an address outside the list',
      'renamed',
      /Cannot connect to "localhost" \((?:127\.0\.0\.1|::1)\): .* is a loopback address, which clusters\.allowedEndpoints has to name itself$/,
    ],
  ];
  for (const [what, name, message] of denied) {
    it(`hears nothing of ${what}`, async () => {
      for (const asked of [ask, upgrade]) {
        const [status, text] = await asked(name);
        expect(status).to.equal(502);
        expect(text).to.match(message);
      }
      expect(proxy.heads).to.deep.equal([]);
    });
  }

  it('cannot pose as the cluster: TLS inside is verified', async () => {
    const authority = await generateAuthority({ commonName: 'the-proxys-own' });
    const pair = await generateServing(authority, {
      commonName: 'x',
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
    });
    let got = '';
    const sockets = new Set<TLSSocket>();
    const impostor = createTlsServer({ ...pair }, (socket) => {
      sockets.add(socket.on('error', () => {}));
      socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')));
    });
    impostor.on('tlsClientError', () => {});
    impostor.listen(0, '127.0.0.1');
    await once(impostor, 'listening');
    const { port } = impostor.address() as AddressInfo;
    proxy.answer = (request) => proxy.tunnel({ ...request, target: `127.0.0.1:${port}` });
    for (const asked of [ask, upgrade]) {
      const [status, text] = await asked('far');
      expect(status).to.equal(502);
      expect(text).to.match(/^cluster "clusters\/far": Cannot (?:trust|accept) .*; see "caData" and "tlsServerName"/);
    }
    expect(got).to.equal('');
    for (const socket of sockets) socket.destroy();
    impostor.close();
    await once(impostor, 'close');
  });

  it('can neither read nor change what passes', async () => {
    proxy.seen.length = 0;
    expect((await ask('far'))[0]).to.equal(200);
    expect(proxy.seen.join('')).to.not.contain(secretToken).and.not.contain('Authorization');
    // One byte changed, in either direction: nothing of it is an answer.
    proxy.answer = (request) => tampered(leadOn(request));
    const [status] = await ask('far');
    expect(status).to.be.oneOf([502, 503]);
  });

  it('cannot send its password back to callers, nor a redirect, nor a page', async () => {
    for (const answer of [
      (head: string) =>
        `HTTP/1.1 407 ${basic}\r\nProxy-Authenticate: ${basic}\r\nX: ${head.replaceAll('\r\n', ' ')}\r\n\r\n`,
      (head: string) => head,
      () => 'HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/\r\n\r\n',
      () => 'HTTP/1.1 511 Network Authentication Required\r\nContent-Type: text/html\r\n\r\n<html>log in</html>',
    ]) {
      proxy.answer = ({ head, socket }) => void socket.end(answer(head));
      for (const asked of [ask, upgrade]) {
        const [status, text] = await asked('far');
        expect(status).to.equal(502);
        expect(text).to.match(
          /the proxy 127\.0\.0\.1:\d+ (?:answered \d+ [A-Za-z ]+ to CONNECT|gave an answer that is no)/,
        );
        expect(text).to.not.contain('log in').and.not.contain('169.254');
      }
    }
  });

  it('is named where clusters are shown, and its password nowhere', async () => {
    proxy.answer = ({ socket }) => void socket.end('HTTP/1.1 407 x\r\n\r\n');
    const ca = await readFile(near.files.servingCaFile, 'utf8');
    const certificate = await near.clientCertificate({ name: 'root', groups: ['system:masters'] });
    const admin = new HttpClient({ port: kexer.port, ca, basePath: '' }, { certificate });
    scope.add(() => admin.close());
    const path = '/apis/backup.cv.io/v1/namespaces/clusters/clusters';
    const list = await admin.ask({ method: 'GET', path });
    const metrics = await admin.ask({ method: 'GET', path: '/metrics' });
    for (const answer of [list, metrics]) shown(answer);
    expect([list.status, metrics.status]).to.deep.equal([200, 200]);
    expect(list.body.toString()).to.match(/the proxy 127\.0\.0\.1:\d+ answered 407 Proxy Authentication Required/);
  });

  function leadOn(request: ConnectRequest): ConnectRequest {
    return { ...request, target: request.target.replace(allowed, '127.0.0.1') };
  }

  /** Flips a bit of what comes back once TLS stands. */
  function tampered({ target, socket }: ConnectRequest): void {
    const [host = '', port = ''] = target.split(':');
    const peer = connect({ host, port: Number(port) });
    peer.on('error', () => {});
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.on('data', (chunk: Buffer) => peer.write(chunk)).resume();
    let count = 0;
    peer.on('data', (chunk: Buffer) => {
      count += 1;
      // Behind the head of the first record.
      if (count > 1) chunk[8] = (chunk[8] ?? 0) ^ 1;
      socket.write(chunk);
    });
    peer.on('close', () => socket.destroy());
    socket.on('close', () => peer.destroy());
  }
});
