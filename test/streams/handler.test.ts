import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { generateAuthority } from '../../src/certs/generate.ts';
import { failure, forbidden, StatusError } from '../../src/kube/status.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { Detours } from '../../src/streams/detour.ts';
import { StreamHandler } from '../../src/streams/handler.ts';
import { SpareKubelets } from '../../src/streams/spare-kubelets.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session, SessionEnd } from '../../src/streams/session.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import {
  type FakeCluster,
  fakeCluster,
  makeCall,
  makeNode,
  makePod,
  noBytes,
  spdyHeaders,
  upgradeRequired,
  webSocketHeaders,
} from './support/calls.ts';
import {
  type Certificates,
  type KubeletScript,
  type KubeletServer,
  makeCertificates,
  plainRefusal,
  startKubelet,
} from './support/kubelet-server.ts';
import { joinSpdy, readRefusal, type Reply, statusIn } from './support/replies.ts';

const exec = 'pods/demo/exec?command=sh&stdout=true';
const success = '{"metadata":{},"status":"Success"}';

describe('StreamHandler', () => {
  let certificates: Certificates;
  let scope: Scope;
  let script: KubeletScript;
  let kubelet: KubeletServer;
  let fake: FakeCluster;
  let sessions: SessionRegistry;
  let handler: StreamHandler;
  let detours: Detours;
  let ends: { session: Session; end: SessionEnd }[];
  let reviewed: unknown[];
  let review: () => Promise<void>;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    script = {};
    ends = [];
    reviewed = [];
    review = async () => {};
    kubelet = await startKubelet(scope, certificates, script);
    fake = fakeCluster(kubelet);
    sessions = new SessionRegistry({
      clock: systemClock,
      observer: { sessionStarted() {}, sessionEnded: (session, end) => void ends.push({ session, end }) },
    });
    detours = new Detours({ onDetour() {} });
    handler = new StreamHandler(
      {
        clock: systemClock,
        sessions,
        pods: { follow: () => () => {} },
        detours,
        kubelets: new SpareKubelets({ clock: systemClock }, { lifetimeMs: 0 }),
        authorizer: {
          authorize: async (user, question) => {
            reviewed.push([user.name, question.verb, question.resource, question.subresource, question.name]);
            await review();
          },
        },
      },
      { version: '1.2.3' },
    );
  });

  afterEach(async () => {
    await scope.close();
    expect(sessions.size).to.equal(0);
  });

  /** Starts an upgrade; gives the client's end of its socket. */
  function begin(
    method: string,
    target: string,
    headers: RawHeaders,
    options: { signal?: AbortSignal; head?: Buffer } = {},
  ): { client: Duplex; done: Promise<void> } {
    const [client, inner] = duplexPair();
    client.on('error', () => {});
    scope.add(() => {
      client.destroy();
      inner.destroy();
    });
    const call = makeCall(fake.cluster, method, target, { headers, ...options });
    const done = handler.handleUpgrade(call, {} as IncomingMessage, inner, options.head ?? noBytes);
    return { client, done };
  }

  /** The answer to an upgrade that is refused. */
  async function refusal(method: string, target: string, headers: RawHeaders): Promise<Reply> {
    const { client } = begin(method, target, headers);
    return readRefusal(client);
  }

  describe('handles', () => {
    for (const [method, target, isHandled] of [
      ['POST', 'pods/demo/exec', true],
      ['GET', 'pods/demo/attach', true],
      ['POST', 'pods/demo/portforward', true],
      ['GET', 'pods/demo/log', true],
      ['POST', 'pods/demo/log', false],
      ['PUT', 'pods/demo/exec', false],
      ['HEAD', 'pods/demo/log', false],
      ['GET', 'pods/demo', false],
      ['GET', 'pods/demo/proxy', false],
      ['POST', 'pods/demo/exec/more', false],
      ['POST', 'services/demo/exec', false],
    ] as const) {
      it(`${isHandled ? 'takes' : 'leaves'} ${method} ${target}`, () => {
        expect(handler.handles(makeCall(fake.cluster, method, target))).to.equal(isHandled);
      });
    }
  });

  describe('preflight', () => {
    it('asks by the method of the client with a query of its own, and nothing of its upgrade or identity', async () => {
      await refusal('POST', 'pods/demo/exec?stdout=1&command=a&command=b;c'.replace(';', '%3B'), [
        ...spdyHeaders.filter(([name]) => name !== 'Upgrade'),
        ['Upgrade', 'nonsense'],
      ]);
      expect(fake.asked).to.deep.equal([
        {
          method: 'POST',
          target: '/api/v1/namespaces/default/pods/demo/exec?command=a&command=b%3Bc&stdout=true',
          headers: [
            ['Accept', 'application/json'],
            ['User-Agent', 'kubectl/v1.36 kexer/1.2.3 (direct c1)'],
          ],
        },
      ]);
    });

    for (const { what, answer } of [
      {
        what: 'a refusal',
        answer: forbidden({ group: '', resource: 'pods' }, 'demo', 'User "alice" cannot create resource "pods/exec"'),
      },
      {
        what: 'a container that is not there',
        answer: failure(400, 'BadRequest', 'container x is not valid for pod demo'),
      },
      { what: 'another 400 with nearly the words', answer: failure(400, 'BadRequest', 'Upgrade request required.') },
      { what: 'the words with another reason', answer: failure(400, 'Invalid', 'Upgrade request required') },
    ]) {
      it(`relays ${what} unchanged, and no kubelet is asked`, async () => {
        fake.answer = () => answer;
        const reply = await refusal('POST', exec, spdyHeaders);
        expect(statusIn(reply)).to.equal(`${answer.code} ${answer.reason}: ${answer.message}`);
        expect(reply.headers.has('set-cookie')).to.equal(false);
        expect(kubelet.requests).to.deep.equal([]);
      });
    }

    it('relays a body that is no Status with its content type', async () => {
      fake.answer = () => ({
        status: 403,
        headers: [['Content-Type', 'text/html']],
        body: Buffer.from('<b>no</b>'),
      });
      const reply = await refusal('GET', exec, webSocketHeaders);
      expect([reply.status, reply.headers.get('content-type'), reply.body]).to.deep.equal([
        403,
        'text/html',
        '<b>no</b>',
      ]);
    });

    for (const { error, text } of [
      {
        error: new KexerError('unreachable', 'Cannot reach the apiserver'),
        text: '503 ServiceUnavailable: Cannot reach the apiserver',
      },
      { error: new KexerError('timeout', 'no answer'), text: '504 Timeout: Timeout: no answer' },
    ]) {
      it(`answers ${text.slice(0, 3)} when it fails by ${error.code}, and never goes on without it`, async () => {
        fake.answer = () => error;
        const reply = await refusal('POST', exec, spdyHeaders);
        expect(statusIn(reply)).to.equal(text);
        expect(reply.headers.get('retry-after')).to.equal(error.code === 'unreachable' ? '1' : undefined);
        expect(kubelet.requests).to.deep.equal([]);
      });
    }

    it('comes before anything kexer found out itself', async () => {
      fake.pods.clear();
      fake.answer = () => failure(404, 'NotFound', 'pods "demo" not found in its own words');
      expect(statusIn(await refusal('POST', exec, spdyHeaders))).to.equal(
        '404 NotFound: pods "demo" not found in its own words',
      );
      fake.answer = () => upgradeRequired;
      expect(statusIn(await refusal('POST', exec, spdyHeaders))).to.equal('404 NotFound: pods "demo" not found');
    });

    it('is cancelled when the client leaves, and its kubelet connection closed', async () => {
      let release = (): void => {};
      const asked = new Promise<void>((resolve) => {
        fake.answer = () =>
          new Promise((done) => {
            resolve();
            release = () => done(upgradeRequired);
          });
      });
      const { client, done } = begin('POST', exec, spdyHeaders);
      await asked;
      client.destroy();
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      release();
      await done;
      expect(kubelet.requests).to.deep.equal([]);
      while (kubelet.sockets.size > 0) {
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    });

    for (const [version, questions] of [
      [{ major: 1, minor: 34 }, [['alice', 'create', 'pods', 'exec', 'demo']]],
      [{ major: 1, minor: 35 }, []],
    ] as const) {
      it(`asks for create on an upgrade by GET ${questions.length} times at 1.${version.minor}`, async () => {
        fake.version = version;
        script.refusal = () => plainRefusal('500 Internal Server Error', 'stop here');
        await refusal('GET', exec, webSocketHeaders);
        await refusal('POST', exec, spdyHeaders);
        expect(reviewed).to.deep.equal(questions);
      });
    }

    it('refuses who has no create, before the kubelet is asked', async () => {
      fake.version = { major: 1, minor: 30 };
      review = () => Promise.reject(new StatusError(failure(403, 'Forbidden', 'no create')));
      expect(statusIn(await refusal('GET', exec, webSocketHeaders))).to.equal('403 Forbidden: no create');
      expect(kubelet.requests).to.deep.equal([]);
    });
  });

  describe('bad input', () => {
    for (const query of ['command=%zz', 'command=a;b', 'command=%ff', 'command=%00']) {
      it(`refuses the query ${query} before anything is asked`, async () => {
        const reply = await refusal('POST', `pods/demo/exec?${query}`, spdyHeaders);
        expect(statusIn(reply)).to.match(/^400 BadRequest/);
        expect(fake.asked).to.deep.equal([]);
      });
    }

    it('refuses an upgrade to a protocol nobody knows', async () => {
      const reply = await refusal('POST', exec, [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'h2c'],
      ]);
      expect(statusIn(reply)).to.equal('400 BadRequest: unknown upgrade protocol "h2c", want SPDY/3.1 or websocket');
    });

    it('refuses a WebSocket port-forward without ports', async () => {
      const headers = webSocketHeaders.map(([name, value]) =>
        name === 'Sec-WebSocket-Protocol' ? ([name, 'v4.channel.k8s.io'] as const) : ([name, value] as const),
      );
      const reply = await refusal('GET', 'pods/demo/portforward', headers);
      expect(statusIn(reply)).to.equal('400 BadRequest: query parameter "port" is required');
    });
  });

  describe('kubelet', () => {
    it('is asked by SPDY POST with the UID of the pod, whatever the client speaks', async () => {
      script.refusal = () => plainRefusal('500 Internal Server Error', 'stop here');
      await refusal('GET', 'pods/demo/exec?command=sh&stdin=true&stdout=true&tty=true', webSocketHeaders);
      expect(kubelet.requests).to.deep.equal(['POST /exec/default/demo/11-22/demo?command=sh&input=1&output=1&tty=1']);
      expect(kubelet.headers[0]).to.include({
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': 'v4.channel.k8s.io',
        'user-agent': 'kexer/1.2.3',
        authorization: 'Bearer kubelet-token',
      });
    });

    it('is not told the UID of a mirror pod in attach and port-forward', async () => {
      script.refusal = () => plainRefusal('500 Internal Server Error', 'stop here');
      fake.pods.set('demo', makePod('demo', { isMirror: true }));
      await refusal('POST', exec, spdyHeaders);
      await refusal('POST', 'pods/demo/attach?stdout=true', spdyHeaders);
      expect(kubelet.requests).to.deep.equal([
        'POST /exec/default/demo/11-22/demo?command=sh&output=1',
        'POST /attach/default/demo/demo?output=1',
      ]);
    });

    it('is asked once more without the UID when it does not know that form', async () => {
      script.refusal = () => plainRefusal('404 Not Found', '404 page not found\n');
      const reply = await refusal('POST', exec, spdyHeaders);
      expect(kubelet.requests).to.deep.equal([
        'POST /exec/default/demo/11-22/demo?command=sh&output=1',
        'POST /exec/default/demo/demo?command=sh&output=1',
      ]);
      expect([reply.status, reply.body]).to.deep.equal([404, '404 page not found\n']);
    });

    for (const text of ['pod does not exist', 'pod not found']) {
      it(`is not asked again, without the UID, when the pod is gone: ${text}`, async () => {
        script.refusal = () => plainRefusal('404 Not Found', text);
        const reply = await refusal('GET', exec, webSocketHeaders);
        expect(kubelet.requests).to.have.length(1);
        expect(statusIn(reply)).to.equal(`404 NotFound: ${text}`);
      });
    }

    it('gives SPDY clients its code and text, and WebSocket clients a Status', async () => {
      script.refusal = () => plainRefusal('500 Internal Server Error', 'container not found ("demo")');
      const spdy = await refusal('POST', exec, spdyHeaders);
      expect([spdy.status, spdy.headers.get('content-type'), spdy.body]).to.deep.equal([
        500,
        'text/plain; charset=utf-8',
        'container not found ("demo")',
      ]);
      expect(statusIn(await refusal('GET', exec, webSocketHeaders))).to.equal(
        '500 InternalError: container not found ("demo")',
      );
    });

    for (const [answer, text] of [
      [
        plainRefusal('401 Unauthorized', 'Unauthorized'),
        `502 : the kubelet of node node1 does not accept kexer's credential (401): its client CA or token review must know it`,
      ],
      [
        plainRefusal('403 Forbidden', 'Forbidden (user=kexer-secret-account, verb=create)'),
        `502 : the kubelet of node node1 refuses kexer's credential (403): it needs verb "create" on resource "nodes/proxy"`,
      ],
      [plainRefusal('200 OK', 'hello'), '500 InternalError: invalid upgrade response: status code 200'],
      [
        'HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n',
        '500 InternalError: invalid upgrade response: status code 302',
      ],
    ] as const) {
      it(`is behind ${text.slice(0, 40)}… when it answers ${answer.slice(9, 12)}`, async () => {
        script.refusal = () => answer;
        for (const [method, headers] of [
          ['POST', spdyHeaders],
          ['GET', webSocketHeaders],
        ] as const) {
          const seen = statusIn(await refusal(method, exec, headers));
          expect(seen).to.equal(text);
          expect(seen).not.to.contain('kexer-secret-account');
        }
      });
    }

    it('must choose the protocol kexer offered', async () => {
      script.protocol = 'v3.channel.k8s.io';
      expect(statusIn(await refusal('POST', exec, spdyHeaders))).to.contain('want v4.channel.k8s.io');
    });

    it('that breaks off before its 101 is named', async () => {
      for (const [part, status] of [
        ['', '503 ServiceUnavailable'],
        ['HTTP/1.1 101 Swit', '502 '],
      ] as const) {
        script.refusal = () => part;
        expect(statusIn(await refusal('POST', exec, spdyHeaders))).to.equal(
          `${status}: Cannot open the stream at the kubelet of node node1: the peer closed the connection after ${part.length} bytes of its answer`,
        );
      }
    });

    it('that is down is named with its node and address', async () => {
      const { port } = kubelet;
      await scope.close();
      scope = new Scope();
      expect(statusIn(await refusal('POST', exec, spdyHeaders))).to.equal(
        `503 ServiceUnavailable: Cannot reach the kubelet of node node1 at 127.0.0.1:${port}: ECONNREFUSED`,
      );
    });

    it('with a certificate for other names is refused by a text that names them and the setting', async () => {
      fake.nodes.set('node1', makeNode('node1', 'localhost', kubelet.port));
      const seen = statusIn(await refusal('GET', exec, webSocketHeaders));
      expect(seen).to.contain('502 : Cannot trust the kubelet of node node1 at localhost:');
      expect(seen).to.contain('not for localhost but for DNS:node1, IP Address:127.0.0.1');
      expect(seen).to.contain('--kubelet-preferred-address-types');
      expect(kubelet.requests).to.deep.equal([]);
    });

    it('with a certificate of another CA is refused by a text that names the file and the setting', async () => {
      const other = await generateAuthority({ commonName: 'another' });
      fake.kubelet = { ...fake.kubelet, ca: [other.cert] };
      const seen = statusIn(await refusal('GET', exec, webSocketHeaders));
      expect(seen).to.contain('/etc/kexer/kubelet-ca.crt');
      expect(seen).to.contain('--kubelet-certificate-authority');
    });

    it('is not trusted when no CA is known, unless verification is off; then no token goes out', async () => {
      script.refusal = () => plainRefusal('500 Internal Server Error', 'stop here');
      fake.kubelet = { ...fake.kubelet, ca: undefined };
      expect(statusIn(await refusal('GET', exec, webSocketHeaders))).to.contain('no CA is configured');
      fake.kubelet = { ...fake.kubelet, isVerified: false };
      await refusal('POST', exec, spdyHeaders);
      expect(kubelet.requests).to.have.length(1);
      expect(kubelet.headers[0]?.authorization).to.equal(undefined);
    });
  });

  it('runs a session: 101 only after the kubelet, silence before the first frame, one entry in the registry', async () => {
    script.onStream = (stream, connection) => {
      if (stream.headers[0]?.[1] !== 'error') return;
      stream.write(Buffer.from(success));
      connection.goaway();
    };
    const { client, done } = begin('POST', exec, spdyHeaders);
    const { head, spdy } = await joinSpdy(client);
    expect(head).to.equal(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n',
    );
    expect(sessions.list().map(({ subject }) => subject)).to.deep.equal([
      {
        kind: 'exec',
        user: makeCall(fake.cluster, 'GET', exec).caller.user,
        clusterNamespace: 'default',
        cluster: 'local',
        namespace: 'default',
        pod: 'demo',
        podUid: '11-22',
        container: 'demo',
        node: 'node1',
        command: ['sh'],
        clientProtocol: 'SPDY/3.1 v4.channel.k8s.io',
        kubeletProtocol: 'SPDY/3.1 v4.channel.k8s.io',
        remoteAddress: '192.0.2.1',
        auditId: 'audit-1',
      },
    ]);
    const parts: Buffer[] = [];
    spdy.createStream([['streamtype', 'error']], { onData: (bytes) => parts.push(Buffer.from(bytes)) });
    await done;
    expect(Buffer.concat(parts).toString()).to.equal(` ${success}`);
    expect(ends.map(({ end }) => end)).to.deep.equal([
      { cause: 'normal', message: 'the command succeeded', exitCode: 0 },
    ]);
  });

  it('ends all sessions with a Failure when it is told to', async () => {
    const { client, done } = begin('POST', exec, spdyHeaders);
    const { spdy } = await joinSpdy(client);
    const parts: Buffer[] = [];
    await new Promise<void>((resolve) => {
      spdy.createStream([['streamtype', 'error']], {
        onReply: () => resolve(),
        onData: (bytes) => parts.push(Buffer.from(bytes)),
      });
    });
    await sessions.endAll('kexer is shutting down');
    await done;
    expect(Buffer.concat(parts).toString()).to.contain('kexer is shutting down');
    expect(ends[0]?.end.cause).to.equal('ended');
  });
});
