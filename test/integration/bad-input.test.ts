// What nobody should send, and what may fail around kexer: each has one clear answer, and none ends the process. One `kexer serve` stands all
// of it; at the end it still answers and stops in order.

import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';
import { startSandbox, type Sandbox } from '../../src/sandbox/sandbox.ts';
import { KexerProcess } from './support/kexer-process.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const demo = `${outer}/api/v1/namespaces/default/pods/demo`;

interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

describe('bad input', function () {
  this.timeout(60_000);
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let ca: string;
  let admin: KeyPairPem;
  let stranger: KeyPairPem;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kexer-bad-'));
    sandbox = await startSandbox();
    kexer = await KexerProcess.start(sandbox);
    await sandbox.ready();
    const { servingCaFile, adminCertFile, adminKeyFile } = sandbox.files;
    ca = await readFile(servingCaFile, 'utf8');
    admin = { cert: await readFile(adminCertFile, 'utf8'), key: await readFile(adminKeyFile, 'utf8') };
    const authority = await generateAuthority({ commonName: 'kubernetes' });
    stranger = await generateClient(authority, { commonName: 'admin', organizations: ['system:masters'] });
  });

  after(async () => {
    const alive = await ask('GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(alive).to.deep.include({ status: 200, body: 'ok' });
    expect(await kexer.stop()).to.equal(0);
    expect(kexer.complaints).to.deep.equal([]);
    await sandbox.stop();
    await rm(folder, { recursive: true });
  });

  async function open(pair?: KeyPairPem, port = kexer.port): Promise<TLSSocket> {
    const socket = connect({ host: '127.0.0.1', port, ca, ALPNProtocols: ['http/1.1'], ...pair });
    socket.on('error', () => {});
    socket.setEncoding('latin1');
    await once(socket, 'secureConnect');
    return socket;
  }

  /** Writes bytes, reads until the connection ends. */
  async function ask(bytes: string, pair?: KeyPairPem, port?: number): Promise<Answer> {
    const socket = await open(pair, port);
    let text = '';
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write(bytes, 'latin1');
    await once(socket, 'close');
    const [headers = '', ...body] = text.split('\r\n\r\n');
    return { status: Number(headers.slice(9, 12)), headers, body: body.join('\r\n\r\n') };
  }

  function get(target: string, headers: readonly string[] = [], method = 'GET'): string {
    return [`${method} ${target} HTTP/1.1`, 'Host: kexer', 'Connection: close', ...headers, '', ''].join('\r\n');
  }

  function asAlice(target: string, headers: readonly string[] = [], method = 'GET'): string {
    return get(target, [`Authorization: Bearer ${sandbox.tokens.alice}`, ...headers], method);
  }

  function messageOf(answer: Answer): string {
    const body: unknown = JSON.parse(answer.body);
    expect(body).to.deep.include({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code: answer.status });
    return String((body as { message?: string }).message);
  }

  describe('paths', () => {
    const paths: readonly (readonly [target: string, status: number, message: RegExp])[] = [
      ['/nope', 404, /^404 page not found\n$/],
      ['/livez/ping', 404, /^404 page not found\n$/],
      [
        '/apis/backup.cv.io/v1/nopes',
        403,
        /cannot list resource "nopes" in API group "backup\.cv\.io" at the cluster scope/,
      ],
      [
        '/apis/backup.cv.io/v1/namespaces/default/clusters/local/nope',
        404,
        /^the server could not find the requested resource$/,
      ],
      [`${outer}/../../etc/passwd`, 400, /it is a dot segment/],
      [`${outer}/%2e%2e/x`, 400, /it is a dot segment/],
      [`${outer}//api`, 400, /it has an empty segment/],
      [`${outer}/api/v1/namespaces/default%2Fpods`, 400, /it has an encoded slash/],
      [`${outer}/api/v1/namespaces/a%00b/pods`, 400, /it has a control character/],
      [`${outer}/api%zz`, 400, /it has a bad escape/],
      [`${outer}/api/%ff`, 400, /it is no UTF-8/],
      [`${outer}${outer}/api`, 400, /Cannot reach a cluster through a cluster/],
      [outer.replace('local', 'x'), 404, /^clusters\.backup\.cv\.io "x" not found$/],
      [`${outer.replace('local', 'other')}/api/v1/pods`, 404, /^clusters\.backup\.cv\.io "other" not found$/],
    ];
    for (const [target, status, message] of paths) {
      it(`answers ${target} with ${status}`, async () => {
        const answer = await ask(asAlice(target));
        expect(answer.status).to.equal(status);
        const isText = /^Content-Type: text\/plain/im.test(answer.headers);
        expect(isText ? answer.body : messageOf(answer)).to.match(message);
      });
    }

    it('tells strangers nothing about which clusters there are', async () => {
      const unknown = await ask(get(outer.replace('local', 'x')));
      const known = await ask(get(outer));
      expect([unknown.status, known.status]).to.deep.equal([401, 401]);
      expect(unknown.body).to.equal(known.body);
    });
  });

  describe('identities', () => {
    const pods = `${outer}/api/v1/namespaces/default/pods`;
    const unauthorized =
      '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}\n';
    const strangers: readonly (readonly [name: string, headers: string[]])[] = [
      ['no credentials', []],
      ['a bad token', ['Authorization: Bearer nope']],
      ['a token of another scheme', ['Authorization: Basic YTpi']],
      ['X-Remote-User without the front proxy certificate', ['X-Remote-User: admin', 'X-Remote-Group: system:masters']],
      ['Impersonate-User without credentials', ['Impersonate-User: admin']],
    ];
    for (const [name, headers] of strangers) {
      it(`answers ${name} with 401`, async () => {
        expect(await ask(get(pods, headers))).to.deep.include({ status: 401, body: unauthorized });
      });
    }

    it('answers a certificate of another CA with 401, whatever it says', async () => {
      expect(await ask(get(pods), stranger)).to.deep.include({ status: 401, body: unauthorized });
      expect(await ask(get(pods, ['X-Remote-User: admin']), stranger)).to.deep.include({ status: 401 });
    });

    it('does not take the X-Remote-User of a user with a certificate', async () => {
      const user = await sandbox.clientCertificate({ name: 'eve' });
      const answer = await ask(get(pods, ['X-Remote-User: admin', 'X-Remote-Group: system:masters']), user);
      expect(answer.status).to.equal(403);
      expect(messageOf(answer)).to.contain('User "eve" cannot get resource "clusters/exec"');
    });

    it("lets kube-apiserver judge a token user's Impersonate-User", async () => {
      const answer = await ask(asAlice(pods, ['Impersonate-User: admin', 'Impersonate-Group: system:masters']));
      expect(answer.status).to.equal(403);
      expect(messageOf(answer)).to.contain('User "alice" cannot impersonate');
    });

    it('refuses a forged Impersonate-User of a user with a certificate', async () => {
      const user = await sandbox.clientCertificate({ name: 'alice' });
      const answer = await ask(get(pods, ['Impersonate-User: admin']), user);
      expect(answer.status).to.equal(403);
      expect(messageOf(answer)).to.contain('User "alice" cannot impersonate');
    });

    it('strips headers that Connection nominates before it adds its own', async () => {
      const answer = await ask(
        asAlice(`${outer}/apis/authentication.k8s.io/v1/selfsubjectreviews`, [], 'POST').replace(
          'Connection: close',
          'Connection: close, Authorization, Impersonate-User, X-Remote-User\r\nContent-Type: application/json\r\nContent-Length: 73',
        ) + '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}     ',
      );
      expect(answer.status).to.equal(201);
      expect(answer.body).to.contain('"username":"alice"');
    });
  });

  describe('queries of streams', () => {
    for (const query of ['command=%zz', 'command=a;stdout=1', 'command=%ff', 'command=%00']) {
      it(`answers ?${query} with 400`, async () => {
        const answer = await ask(
          asAlice(`${demo}/exec?stdout=1&${query}`, ['Upgrade: SPDY/3.1'], 'POST').replace(
            'Connection: close',
            'Connection: Upgrade',
          ),
        );
        expect(answer.status).to.equal(400);
        messageOf(answer);
      });
    }
  });

  describe('requests', () => {
    it('sees one request in a chunked DELETE with a second one in its body', async () => {
      const smuggled = `DELETE /api/v1/namespaces/default/pods/demo HTTP/1.1\r\nHost: x\r\n\r\n`;
      const before = (await readFile(sandbox.files.auditLog, 'utf8')).length;
      const answer = await ask(
        asAlice(`${outer}/api/v1/namespaces/default/configmaps/nope`, ['Transfer-Encoding: chunked'], 'DELETE') +
          `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
      );
      expect(answer.status, answer.body).to.be.greaterThan(399);

      const pod = await ask(asAlice(demo));
      expect(pod.status).to.equal(200);
      const audited = (await readFile(sandbox.files.auditLog, 'utf8')).slice(before);
      expect(audited)
        .to.contain('configmaps/nope')
        .and.not.contain('"verb":"delete","user":{"username":"alice"},"objectRef":{"resource":"pods"');
      expect(pod.body).to.not.contain('deletionTimestamp');
    });

    it('answers an upgrade of a stream to an unknown protocol with 400', async () => {
      const answer = await ask(
        asAlice(`${demo}/exec?command=id&stdout=1`, ['Upgrade: teapot'], 'POST').replace(
          'Connection: close',
          'Connection: Upgrade',
        ),
      );
      expect(answer.status).to.equal(400);
    });

    it('forgets an upgrade that is cut half-way', async () => {
      for (const end of [
        'Upgra',
        'Upgrade: SPDY/3.1\r\n',
        'Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n',
      ]) {
        const socket = await open();
        const head = asAlice(`${demo}/exec?command=cat&stdin=1`, [], 'POST').replace(
          'Connection: close',
          'Connection: Upgrade',
        );
        socket.write(head.slice(0, -2) + end, () => socket.destroy());
        await once(socket, 'close');
      }
    });

    it('forgets a body that is cut half-way', async () => {
      const socket = await open();
      socket.write(
        asAlice(`${outer}/api/v1/namespaces/default/configmaps`, ['Content-Length: 100'], 'POST') + '{"half":',
      );
      socket.resume();
      await once(socket.end(), 'close');
    });
  });

  describe('what is down', () => {
    it('names the node and its address when a kubelet is down', async () => {
      await sandbox.kubelets.get('node2')?.kill();
      const answer = await ask(
        asAlice(
          `${outer}/api/v1/namespaces/default/pods/db/exec?command=id&stdout=1`,
          ['Upgrade: SPDY/3.1'],
          'POST',
        ).replace('Connection: close', 'Connection: Upgrade\r\nX-Stream-Protocol-Version: v4.channel.k8s.io'),
      );

      expect(answer.status).to.be.greaterThan(499);
      const message = messageOf(answer);
      expect(message).to.contain('node2').and.contain('127.0.0.1:').and.not.contain('\n');
    });

    it('answers 503 with Retry-After while kube-apiserver is down, and serves when it is back', async () => {
      await sandbox.apiserver.kill();
      const answer = await ask(get(`${outer}/api/v1/namespaces/default/pods`), admin);
      expect(answer.status, `${answer.body} ${JSON.stringify(kexer.log.slice(-4))}`).to.equal(503);
      expect(answer.headers).to.match(/\r\nRetry-After: 1(\r\n|$)/);
      expect(messageOf(answer)).to.match(/^Cannot reach the apiserver at 127\.0\.0\.1:\d+: /);
      expect((await ask(get('/livez'))).status).to.equal(200);
      await sandbox.apiserver.restart();
      expect((await ask(get(`${outer}/api/v1/namespaces/default/pods`), admin)).status).to.equal(200);
    });
  });

  describe('a start that cannot be', () => {
    async function complaintsOf(flags: readonly string[]): Promise<string[]> {
      const failing = new KexerProcess(flags);
      expect(await failing.exit()).to.equal(1);
      expect(failing.log.filter((line) => line['level'] !== 'warn')).to.deep.equal([]);
      return failing.complaints;
    }

    it('says that the port is in use', async () => {
      const server = createServer();
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      expect(await complaintsOf(['--config', sandbox.files.kexerConfig, '--secure-port', String(port)])).to.deep.equal([
        `kexer: Cannot listen on --secure-port 127.0.0.1:${port}: it is in use, want a free port`,
      ]);
      server.close();
    });

    it('names a certificate that cannot be read, and one that is none', async () => {
      const missing = join(folder, 'missing.crt');
      const broken = join(folder, 'broken.crt');
      await writeFile(broken, 'nonsense');
      for (const file of [missing, broken]) {
        const complaints = await complaintsOf(['--config', sandbox.files.kexerConfig, '--tls-cert-file', file]);
        expect(complaints).to.have.length(1);
        expect(complaints[0])
          .to.match(/^kexer: Cannot /)
          .and.contain(file);
      }
    });

    it('names everything unknown in a config file at once, with lines', async () => {
      const file = join(folder, 'kexer.yaml');
      await writeFile(file, 'kubeconfg: x\nserver:\n  port: 1\n  securePrt: 2\n');
      await chmod(file, 0o600);
      expect(await complaintsOf(['--config', file])).to.deep.equal([
        `kexer: ${file}:1: Cannot use the key "kubeconfg": there is no such setting, did you mean "kubeconfig"?`,
        `kexer: ${file}:3: Cannot use the key "port" in "server": there is no such setting`,
        `kexer: ${file}:4: Cannot use the key "securePrt" in "server": there is no such setting, did you mean "securePort"?`,
      ]);
    });

    it('names a kubeconfig that cannot be read', async () => {
      const [line, ...rest] = await complaintsOf(['--kubeconfig', join(folder, 'none')]);
      expect(line).to.match(/^kexer: Cannot .*none/);
      expect(rest).to.deep.equal([]);
    });
  });
});
