// The doctor in front of apiservers that are broken: it says so, once, and looks at nothing that would need them.

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import { stringify } from 'yaml';

import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../../src/certs/generate.ts';
import { runDoctor } from '../../../src/cli/doctor.ts';
import type { Finding } from '../../../src/cli/doctor/finding.ts';

describe('kexer doctor, before an apiserver that is broken', () => {
  let scope: Scope;
  let folder: string;

  beforeEach(async () => {
    scope = new Scope();
    folder = await mkdtemp(join(tmpdir(), 'kexer-doctor-'));
    scope.add(() => rm(folder, { recursive: true, force: true }));
  });

  afterEach(() => scope.close());

  async function listen(server: ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>): Promise<number> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    });
    return (server.address() as AddressInfo).port;
  }

  async function look(
    server: string,
    cluster: object = {},
  ): Promise<{ code: number; findings: Finding[]; out: string }> {
    const file = join(folder, 'kubeconfig');
    await writeFile(
      file,
      stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'c',
        clusters: [{ name: 'c', cluster: { server, ...cluster } }],
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        users: [{ name: 'u', user: { token: 'some-token' } }],
      }),
    );
    const out: string[] = [];
    const io = {
      print: (line: string) => out.push(line),
      complain: () => {},
      environment: {},
      onStopSignal: () => () => {},
    };
    const code = await runDoctor(['--kubeconfig', file, '--output', 'json'], io);
    const table: string[] = [];
    await runDoctor(['--kubeconfig', file], { ...io, print: (line: string) => table.push(line) });
    return { code, findings: (JSON.parse(out.join('\n')) as { findings: Finding[] }).findings, out: table.join('\n') };
  }

  const answering =
    (
      answers: (path: string) => { status: number; body?: unknown; headers?: Record<string, string> },
    ): RequestListener =>
    (request, response) => {
      request.resume();
      const { status, body = '', headers = {} } = answers(request.url ?? '');
      response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    };

  const skipped = ['apiservice', 'front-proxy', 'rights', 'admission', 'kubelets'];

  /** One failure, and what was not looked at. */
  function expectOneFailure(findings: readonly Finding[], what: RegExp): void {
    const failed = findings.filter(({ status }) => status === 'fail');
    expect(failed.map(({ check }) => check)).to.deep.equal(['apiserver']);
    expect(failed[0]?.what).to.match(what);
    expect(failed[0]?.fix).not.to.equal('');
    expect(findings.filter(({ status }) => status === 'skip').map(({ check }) => check)).to.deep.equal(skipped);
  }

  it('nobody listens', async () => {
    const { code, findings, out } = await look('https://127.0.0.1:1');
    expect(code).to.equal(1);
    expectOneFailure(findings, /^https:\/\/127\.0\.0\.1:1 does not answer: .*ECONNREFUSED/);
    expect(out).to.match(/^CHECK +STATUS +WHAT +FIX\napiserver +FAIL +/);
    expect(out).to.match(/\n1 failure, 5 not looked at\.$/);
  });

  it('its certificate is of another CA', async () => {
    const [ours, theirs] = await Promise.all([
      generateAuthority({ commonName: 'ours' }),
      generateAuthority({ commonName: 'theirs' }),
    ]);
    const pair = await generateServing(theirs, { commonName: 'x', ipAddresses: ['127.0.0.1'] });
    const port = await listen(
      createTlsServer(
        pair,
        answering(() => ({ status: 200 })),
      ),
    );
    const { code, findings } = await look(`https://127.0.0.1:${port}`, {
      'certificate-authority-data': Buffer.from(ours.cert).toString('base64'),
    });
    expect(code).to.equal(1);
    expectOneFailure(findings, /does not answer: /);
    expect(findings[0]?.fix).to.match(/certificate-authority-data/);
  });

  const broken: readonly (readonly [
    name: string,
    answers: (path: string) => { status: number; body?: unknown; headers?: Record<string, string> },
    what: RegExp,
  ])[] = [
    [
      'it answers 500 to everything',
      () => ({ status: 500, body: 'etcd is gone' }),
      /answers 500 when asked for its version$/,
    ],
    [
      'it does not know the credential',
      (path) => (path === '/version' ? { status: 200, body: { major: '1', minor: '36' } } : { status: 401 }),
      /answers, but does not accept our credential \(401\)$/,
    ],
    [
      'it is well enough to tell its version alone',
      (path) => (path === '/version' ? { status: 200, body: { major: '1', minor: '36' } } : { status: 503 }),
      /answers, but not when asked who we are: /,
    ],
  ];
  for (const [name, answers, what] of broken) {
    it(name, async () => {
      const port = await listen(createServer(answering(answers)));
      const { code, findings } = await look(`http://127.0.0.1:${port}`);
      expect(code).to.equal(1);
      expectOneFailure(findings, what);
    });
  }

  it('it ends each connection without a word', async () => {
    const port = await listen(createServer((request) => request.socket.destroy()));
    const { code, findings } = await look(`http://127.0.0.1:${port}`);
    expect(code).to.equal(1);
    expectOneFailure(findings, /does not answer: /);
  });

  it('it answers with nonsense: each check says what it could not read, and none throws', async () => {
    const port = await listen(createServer(answering(() => ({ status: 200, body: '<html>a login page</html>' }))));
    const { code, findings } = await look(`http://127.0.0.1:${port}`);
    expect(code).to.equal(1);
    expect(findings.filter(({ status }) => status === 'fail').map(({ check }) => check)).to.include('apiserver');
  });

  it('it is empty: JSON objects without anything in them', async () => {
    const port = await listen(createServer(answering(() => ({ status: 200, body: {} }))));
    const { code, findings } = await look(`http://127.0.0.1:${port}`);
    expect(code).to.equal(1);
    const texts = findings.map(({ status, check }) => `${status} ${check}`);
    expect(texts).to.include('ok apiserver').and.include('warn versions').and.include('fail apiservice');
    expect(texts).to.include('fail admission').and.include('fail kubelets').and.include('fail rights');
  });

  it('it is too old, too new, without a clock, without SelfSubjectReview', async () => {
    for (const [minor, status] of [
      ['25', 'warn'],
      ['26', 'ok'],
      ['36+', 'ok'],
      ['37', 'warn'],
    ]) {
      const server = createServer((request, response) => {
        response.sendDate = false;
        answering((path) =>
          path === '/version' ? { status: 200, body: { major: '1', minor } } : { status: 404, body: {} },
        )(request, response);
      });
      const { findings } = await look(`http://127.0.0.1:${await listen(server)}`);
      const of = (check: string): (string | undefined)[] =>
        findings.filter((finding) => finding.check === check).map((finding) => finding.status);
      expect([of('apiserver'), of('versions'), of('clock')], minor).to.deep.equal([['ok'], [status], ['warn']]);
    }
  });
});
