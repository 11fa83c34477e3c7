// Who is streaming, over two kexers behind one Service: kubectl at either of them shows and ends the sessions of both, and what stands in the
// place of a kexer and is none learns nothing and is not believed.

import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { needsKubectl } from '../support/kubectl.ts';
import type { KubectlRun } from './support/kubectl.ts';
import { Replicas, writePeerToken } from './support/replicas.ts';

const list = '/peer/v1/sessions';

interface ListedSession {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly kind: string; readonly command: readonly string[] };
  readonly status: { readonly replica: string };
}

describe('kubectl get sessions, two replicas', function () {
  this.timeout(60_000);
  this.slow(5000);

  let replicas: Replicas;
  let scope: Scope;

  before(needsKubectl);
  before(async () => {
    replicas = await Replicas.start();
  });
  after(() => replicas?.stop());
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(async () => {
    replicas.placeAll();
    await scope.close();
  });

  async function listed(index: number): Promise<ListedSession[]> {
    const { stdout } = await replicas.own(index, ['get', 'sessions', '-o', 'json']);
    return (JSON.parse(stdout) as { items: ListedSession[] }).items;
  }

  /** Starts an exec of `sleep` by a replica and waits until it is listed there. */
  async function sleepBy(
    index: number,
    seconds: string,
  ): Promise<{ run: Promise<KubectlRun>; session: ListedSession }> {
    const run = replicas.kubectl(index, ['exec', 'demo', '--', 'sleep', seconds]);
    const deadline = Date.now() + 20_000;
    for (;;) {
      const session = (await listed(index)).find(({ spec }) => spec.command[1] === seconds);
      if (session !== undefined) return { run, session };
      if (Date.now() > deadline) throw new Error('Cannot find the session of an exec');
    }
  }

  /** Puts something that listens into the Service, in the place of the second replica. */
  async function replaceSecond(server: Server, pod: string): Promise<void> {
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.add(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    });
    replicas.place([
      { port: replicas.kexers[0]?.port ?? 0, pod: 'kexer-0' },
      { port: (server.address() as AddressInfo).port, pod },
    ]);
  }

  /** What the first replica says of the one that was put there, once it has looked where the Service leads. */
  async function warningOf(pod: string): Promise<string> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { code, stderr } = await replicas.own(0, ['get', 'sessions']);
      expect(code).to.equal(0);
      if (stderr.includes(`replica ${pod}`)) return stderr;
      if (Date.now() > deadline) throw new Error(`Cannot find a warning of ${pod}: ${stderr}`);
    }
  }

  async function ask(
    index: number,
    method: string,
    path: string,
    { token, asAdmin = false, body = '' }: { token?: string | undefined; asAdmin?: boolean; body?: string },
  ): Promise<[number, string]> {
    const { files } = replicas.sandbox;
    const ca = await readFile(files.servingCaFile, 'utf8');
    const pair = asAdmin
      ? { cert: await readFile(files.adminCertFile, 'utf8'), key: await readFile(files.adminKeyFile, 'utf8') }
      : {};
    const port = replicas.kexers[index]?.port ?? 0;
    const headers = {
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...(body === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }),
    };
    return new Promise((resolve, reject) => {
      const asked = request(
        { host: '127.0.0.1', port, path, method, ca, ...pair, headers, agent: false },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
          response.once('end', () => resolve([response.statusCode ?? 0, text]));
        },
      );
      asked.once('error', reject);
      asked.end(body);
    });
  }

  it('shows the sessions of both at either', async () => {
    const [one, two] = await Promise.all([sleepBy(0, '601'), sleepBy(1, '602')]);
    for (const index of [0, 1]) {
      const seen = (await listed(index)).map(({ spec, status }) => `${spec.command[1]} ${status.replica}`);
      expect(seen, `at kexer-${index}`).to.have.members(['601 kexer-0', '602 kexer-1']);
    }
    const table = await replicas.own(0, ['get', 'sessions', '-A', '-o', 'wide']);
    expect([table.stderr, table.stdout.split('\n').length]).to.deep.equal(['', 4]);
    for (const index of [0, 1]) {
      const clusters = await replicas.own(index, ['get', 'clusters']);
      const [header = '', row = ''] = clusters.stdout.split('\n');
      const at = header.indexOf('SESSIONS');
      expect([clusters.stderr, row.slice(at).split(' ')[0]], `at kexer-${index}`).to.deep.equal(['', '2']);
    }
    for (const { session } of [one, two]) await replicas.own(0, ['delete', 'session', session.metadata.name]);
    await Promise.all([one.run, two.run]);
  });

  it('ends a session that the other replica carries, and its client is told by whom', async () => {
    const { run, session } = await sleepBy(1, '603');
    const deleted = await replicas.own(0, ['delete', 'session', session.metadata.name]);
    expect([deleted.code, deleted.stdout]).to.deep.equal([
      0,
      `session.backup.cv.io "${session.metadata.name}" deleted\n`,
    ]);
    const { code, stderr } = await run;
    expect(code).to.equal(1);
    expect(stderr).to.contain('session ended by admin');
    const again = await replicas.own(0, ['delete', 'session', session.metadata.name]);
    expect(again.stderr).to.contain(`sessions.backup.cv.io "${session.metadata.name}" not found`);
  });

  it('ends a session once when both replicas are told to at the same time', async () => {
    const { run, session } = await sleepBy(1, '604');
    const runs = await Promise.all(
      [0, 1].map((index) => replicas.own(index, ['delete', 'session', session.metadata.name])),
    );
    // The later one finds it ending or gone.
    for (const { code, stderr } of runs) expect(code === 0 || stderr.includes('not found'), stderr).to.equal(true);
    expect(runs.some(({ code }) => code === 0)).to.equal(true);
    expect((await run).code).to.equal(1);
  });

  it('leaves a session alone in a dry run, and with the UID of another', async () => {
    const { run, session } = await sleepBy(0, '605');
    const { name } = session.metadata;
    await replicas.own(1, ['delete', 'session', name, '--dry-run=server']);
    const raw = `/apis/backup.cv.io/v1/namespaces/default/sessions/${name}`;
    const other = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid: 'another' } };
    const [status, text] = await ask(0, 'DELETE', raw, { asAdmin: true, body: JSON.stringify(other) });
    expect([status, text]).to.satisfy(() => status === 409 && text.includes('"reason":"Conflict"'), text);
    expect((await listed(1)).map(({ metadata }) => metadata.name)).to.include(name);
    await replicas.own(1, ['delete', 'session', name]);
    expect((await run).stderr).to.contain('session ended by admin');
  });

  it('watches what begins at the other replica', async () => {
    const watch = replicas.ownUntil(0, ['get', 'sessions', '-w', '-o', 'name'], (text) => text.includes('session'));
    const { run, session } = await sleepBy(1, '606');
    expect((await watch).stdout).to.contain(session.metadata.name);
    await replicas.own(1, ['delete', 'session', session.metadata.name]);
    await run;
  });

  it('names a replica that does not answer within a second, and shows the rest', async () => {
    const { run, session } = await sleepBy(0, '607');
    await replaceSecond(createTcpServer(), 'silent');
    expect(await warningOf('silent')).to.match(/^Warning: kexer replica silent: it did not answer within 1 s/m);
    expect((await listed(0)).map(({ metadata }) => metadata.name)).to.deep.equal([session.metadata.name]);
    await replicas.own(0, ['delete', 'session', session.metadata.name]);
    await run;
  });

  it('says of a session that is not found whom it could not ask, and counts those of the others', async () => {
    const here = await sleepBy(0, '609');
    await replaceSecond(createTcpServer(), 'mute');
    await warningOf('mute');
    const missing = await replicas.own(0, ['get', 'session', 'nope']);
    expect(missing.stderr.split('\n').slice(0, 2)).to.satisfy(
      ([warning = '', error = '']: string[]) =>
        warning.startsWith('Warning: kexer replica mute: it did not answer within 1 s') &&
        error === 'Error from server (NotFound): sessions.backup.cv.io "nope" not found',
      missing.stderr,
    );
    const deleted = await replicas.own(0, ['delete', 'session', 'nope']);
    expect(deleted.stderr).to.match(
      /^Error from server \(ServiceUnavailable\): session "nope" was not found, but kexer replica mute: it did not answer/,
    );
    const clusters = await replicas.own(0, ['get', 'clusters', '-o', 'jsonpath={.items[0].status.sessions}']);
    expect(clusters.stderr).to.match(/^Warning: kexer replica mute: it did not answer within 1 s/);
    expect(clusters.stdout).to.equal('1');
    const found = await replicas.own(0, ['get', 'session', here.session.metadata.name, '-o', 'name']);
    expect(found.stdout).to.equal(`session.backup.cv.io/${here.session.metadata.name}\n`);
    await replicas.own(0, ['delete', 'session', here.session.metadata.name]);
    await here.run;
  });

  it('shows no token to a server in the place of a replica whose certificate another authority signed', async () => {
    const authority = await generateAuthority({ commonName: 'stranger' });
    const pair = await generateServing(authority, { commonName: 'kexer', dnsNames: ['kexer.kexec-system.svc'] });
    let heard = '';
    const server = createTlsServer(pair, (socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => (heard += bytes.toString('latin1')));
    });
    server.on('tlsClientError', () => {});
    await replaceSecond(server, 'stranger');
    expect(await warningOf('stranger')).to.contain('its certificate is not trusted');
    expect(heard).to.equal('');
  });

  it('answers no stranger who asks as another kexer', async () => {
    const { sandbox } = replicas;
    const tokenOf = async (account: string, audience?: string): Promise<string> =>
      readFile(await writePeerToken(sandbox, account, audience), 'utf8');
    const strangers: [string, string | undefined][] = [
      ['no token', undefined],
      ['a token that is none', 'forged'],
      ['the audience of peers, another account', await tokenOf('kexer-impersonator')],
      ['the account of kexer, the audience of kube-apiserver', sandbox.serviceAccountToken('kexec-system', 'kexer')],
      ['the account of kexer, yet another audience', await tokenOf('kexer', 'other')],
    ];
    for (const [who, token] of strangers) {
      const [status, text] = await ask(0, 'GET', list, { token });
      expect([who, status, text.includes('"sessions"')]).to.deep.equal([who, 401, false]);
      expect([who, (await ask(0, 'POST', `${list}/end`, { token }))[0]]).to.deep.equal([who, 401]);
    }
    const peer = await tokenOf('kexer');
    expect((await ask(0, 'GET', list, { token: peer }))[0]).to.equal(200);
    // And the token of a peer opens nothing else.
    expect((await ask(0, 'GET', '/apis/backup.cv.io/v1/sessions', { token: peer }))[0]).to.equal(401);
  });

  it('lets nobody end a session without the right, at either', async () => {
    const viewer = (index: number, args: string[]): Promise<KubectlRun> => replicas.own(index, args, 'kexer-viewer');
    const { run, session } = await sleepBy(1, '608');
    for (const index of [0, 1]) {
      const refused = await viewer(index, ['delete', 'session', session.metadata.name]);
      expect(refused.stderr).to.contain('is forbidden: User "viewer" cannot delete resource "sessions"');
    }
    await replicas.own(1, ['delete', 'session', session.metadata.name]);
    await run;
  });
});
