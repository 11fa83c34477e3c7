// What readiness depends on, and what not: once loaded, a kexer is ready and answers discovery whatever becomes of kube-apiserver or of a
// remote cluster. Otherwise an outage of the one would make every replica unready at once, and cut who needs neither.

import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { Scope } from '../../src/base/scope.ts';
import { isRecord } from '../../src/kube/objects.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { execSpdy, type SpdyClient } from '../support/spdy-client.ts';
import { untilTrue } from './support/certificate-stage.ts';
import { KexerProcess } from './support/kexer-process.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const discovery = '/apis/backup.cv.io/v1';
const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

interface Who {
  readonly cert?: string;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

describe('readiness', function () {
  this.timeout(60_000);
  let scope: Scope;
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let configFile: string;
  /** kube-aggregator as its availability check comes, and as its legacy discovery does: without groups. */
  let checker: Who;
  let bare: Who;
  let admin: Who;

  before(async () => {
    scope = new Scope();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    await sandbox.ready();
    const { files, store } = sandbox;
    const read = (file: string): Promise<string> => readFile(file, 'utf8');
    const proxy = { cert: await read(files.frontProxyCertFile), key: await read(files.frontProxyKeyFile) };
    checker = {
      ...proxy,
      headers: { 'X-Remote-User': 'system:kube-aggregator', 'X-Remote-Group': 'system:masters' },
    };
    bare = { ...proxy, headers: { 'X-Remote-User': 'system:kube-aggregator' } };
    admin = { cert: await read(files.adminCertFile), key: await read(files.adminKeyFile) };
    // A remote cluster that nobody answers for.
    const data = {
      endpointUrl: 'https://127.0.0.1:1',
      identity: 'shared',
      token: 'x',
      caData: await read(files.servingCaFile),
    };
    store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'backup.cv.io/cluster',
        metadata: { name: 'gone', namespace: 'clusters' },
        data: Object.fromEntries(
          Object.entries(data).map(([name, text]) => [name, Buffer.from(text).toString('base64')]),
        ),
      },
    );
    const config: unknown = parse(await read(files.kexerConfig));
    const clusters = { namespaces: ['clusters'], allowedEndpoints: ['127.0.0.1'] };
    configFile = join(sandbox.dir, 'kexer-remote.yaml');
    await writeFile(configFile, stringify({ ...(isRecord(config) ? config : {}), clusters }));
    kexer = start();
    await kexer.untilLogged('ready');
  });
  after(() => scope.close());

  function start(): KexerProcess {
    const flags = ['--config', configFile, '--secure-port', '0', '--shutdown-delay-duration', '0s'];
    const started = new KexerProcess([...flags, '--shutdown-grace-period', '0s']);
    scope.add(() => started.stop().then(() => undefined));
    return started;
  }

  function get(port: number, path: string, who: Who = {}): Promise<{ status: number; body: string }> {
    const { headers = {}, ...pair } = who;
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false, headers, ...pair },
        (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (text: string) => (body += text));
          response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
        },
      );
      outgoing.once('error', reject);
      outgoing.end();
    });
  }

  it('looks at nothing remote', async () => {
    const { status, body } = await get(kexer.port, '/readyz?verbose', admin);
    expect([status, body.match(/\[.\]\S+/g)]).to.deep.equal([
      200,
      ['[+]ping', '[+]authentication-config', '[+]node-informer', '[+]admission-informers', '[+]shutdown'],
    ]);
  });

  it('outlives kube-apiserver, and so do discovery and the sessions that run', async () => {
    const opened = Promise.withResolvers<SpdyClient>();
    const command = new URLSearchParams(
      ['sh', '-c', 'echo begin; read line; echo "$line"; exit 7'].map((word): [string, string] => ['command', word]),
    );
    const session = execSpdy(
      {
        url: `https://localhost:${kexer.port}${outer}/api/v1/namespaces/default/pods/demo/exec?${command.toString()}&stdin=true&stdout=true`,
        token: sandbox.tokens.alice,
      },
      {
        hasStderr: false,
        stdin: '',
        keepsStdinOpen: true,
        onOpen: (client) => {
          const stdout = client.streams.get('stdout');
          if (stdout !== undefined) stdout.onData = () => opened.resolve(client);
        },
      },
    );
    const client = await opened.promise;
    await sandbox.apiserver.kill();
    // Each informer has noticed, and has tried again in vain.
    const failures = (): number => kexer.log.filter(({ msg }) => msg === 'informer failed; trying again').length;
    await untilTrue(() => failures() >= 8);

    const readyz = await get(kexer.port, '/readyz');
    const ways: readonly (readonly [path: string, who: Who])[] = [
      [discovery, checker],
      [discovery, bare],
      [discovery, admin],
      ['/apis', { ...checker, headers: { ...checker.headers, Accept: aggregated } }],
      ['/apis/backup.cv.io', bare],
      ['/openapi/v2', bare],
      ['/openapi/v3', bare],
      // Asking about a token is what cannot be done now: whoever shows one is told that, and not that it is wrong.
      [discovery, { headers: { Authorization: 'Bearer never-seen-before' } }],
      // Health tells less, and is not kept waiting.
      ['/readyz?verbose', { headers: { Authorization: 'Bearer never-seen-before' } }],
    ];
    const answers = await Promise.all(ways.map(([path, who]) => get(kexer.port, path, who)));
    expect(readyz).to.deep.equal({ status: 200, body: 'ok' });
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 200, 200, 200, 404, 404, 503, 200]);
    expect(answers[0]?.body).to.contain('"groupVersion":"backup.cv.io/v1"');
    expect(answers[3]?.body).to.contain('"freshness":"Current"');

    client.streams.get('stdin')?.stream.write(Buffer.from('still here\n'));
    const { stdout, exit } = await session;
    expect([stdout.toString(), exit]).to.deep.equal(['begin\nstill here\n', { code: 7 }]);
  });

  it('is not there before what must be loaded has been, and comes with it', async () => {
    // kube-apiserver is still away.
    const late = start();
    await late.untilLogged('serving');
    await late.untilLogged('informer failed; trying again');
    const early = await get(late.port, '/readyz');
    expect(early.status).to.equal(500);
    expect(early.body).to.contain('[-]authentication-config failed').and.to.contain('[-]node-informer failed');
    expect(await get(late.port, '/livez')).to.deep.equal({ status: 200, body: 'ok' });
    expect((await get(late.port, discovery, checker)).status).to.equal(401);
    await sandbox.apiserver.restart();
    await late.untilLogged('ready');
    expect((await get(late.port, discovery, checker)).status).to.equal(200);
  });
});
