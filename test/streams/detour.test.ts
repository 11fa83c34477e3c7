import { Buffer } from 'node:buffer';
import { type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { Call } from '../../src/clusters/call.ts';
import type { Detour } from '../../src/clusters/detour.ts';
import { encodeStatus, failure, forbidden, StatusError } from '../../src/kube/status.ts';
import type { SpdyStream } from '../../src/net/spdy-connection.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { type DetourEvent, Detours } from '../../src/streams/detour.ts';
import { StreamHandler } from '../../src/streams/handler.ts';
import { SpareKubelets } from '../../src/streams/spare-kubelets.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session, SessionEnd } from '../../src/streams/session.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiserverAccess } from './support/apiserver.ts';
import {
  type FakeCluster,
  fakeCluster,
  makeCall,
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
import { readLog, startLogFront } from './support/log-front.ts';
import { readHead, readRefusal } from './support/replies.ts';
import { SpdyPeer, turnOver } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

const exec = 'pods/demo/exec?command=sh&stdout=1&container=demo';
const webhook: Detour = { reason: 'mutatingWebhook', detail: 'rewriter/rewrite.example.com' };
const success = '{"metadata":{},"status":"Success"}';

describe('the detour', () => {
  let certificates: Certificates;
  let scope: Scope;
  let script: KubeletScript;
  /** kube-apiserver, and the kubelet that must not be asked. */
  let apiserver: KubeletServer;
  let kubelet: KubeletServer;
  let fake: FakeCluster;
  let detours: Detours;
  let events: DetourEvent[];
  let started: Session[];
  let ends: SessionEnd[];
  let reviewed: string[];
  let review: () => Promise<void>;
  let handler: StreamHandler;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    script = {};
    events = [];
    started = [];
    ends = [];
    reviewed = [];
    review = async () => {};
    apiserver = await startKubelet(scope, certificates, script);
    kubelet = await startKubelet(scope, certificates, {});
    fake = fakeCluster(kubelet);
    Object.assign(fake.cluster, apiserverAccess(scope, apiserver));
    fake.route.detour = webhook;
    detours = new Detours({ onDetour: (event) => void events.push(event) });
    const sessions = new SessionRegistry({
      clock: systemClock,
      observer: {
        sessionStarted: (session) => void started.push(session),
        sessionEnded: (_session, end) => void ends.push(end),
      },
    });
    handler = new StreamHandler(
      {
        clock: systemClock,
        sessions,
        pods: { follow: () => () => {} },
        detours,
        kubelets: new SpareKubelets({ clock: systemClock }, { lifetimeMs: 0 }),
        authorizer: {
          authorize: async (user, question) => {
            reviewed.push(
              `${user.name} ${question.verb} ${question.resource}/${question.subresource} ${question.name}`,
            );
            await review();
          },
        },
      },
      { version: '1.2.3' },
    );
  });

  afterEach(() => scope.close());

  function begin(method: string, target: string, headers: RawHeaders, parts: Partial<Call> = {}): Duplex {
    const [client, inner] = duplexPair();
    client.on('error', () => {});
    const call = { ...makeCall(fake.cluster, method, target, { headers }), ...parts };
    const done = handler.handleUpgrade(call, {} as IncomingMessage, inner, noBytes);
    scope.add(() => {
      client.destroy();
      inner.destroy();
      return done;
    });
    return client;
  }

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await turnOver();
  }

  /** Plays a command that writes `output` and ends with `status`; undefined: the connection dies instead. */
  function play(output: string, status: string | undefined): void {
    const streams = new Map<string, SpdyStream>();
    script.onStream = (stream, connection) => {
      streams.set(stream.headers.find(([name]) => name === 'streamtype')?.[1] ?? '', stream);
      const [error, stdout] = [streams.get('error'), streams.get('stdout')];
      if (error === undefined || stdout === undefined) return;
      stdout.write(Buffer.from(output));
      if (status === undefined) {
        connection.goaway();
        return;
      }
      stdout.end();
      error.write(Buffer.from(status));
      error.end();
    };
  }

  it('goes to kube-apiserver by SPDY POST with the options as they were read, and asks nothing before', async () => {
    play('out', success);
    const client = begin('POST', exec, spdyHeaders);
    expect(await readHead(client))
      .to.contain('101 Switching Protocols')
      .and.to.contain('v4.channel.k8s.io');
    const spdy = new SpdyPeer(client, new FakeClock(), 'client');
    spdy.open('error');
    spdy.open('stdout');
    await until(() => ends.length === 1);
    expect([spdy.text('stdout'), spdy.text('error').trim(), ends]).to.deep.equal([
      'out',
      success,
      [{ cause: 'normal', message: 'the command succeeded', exitCode: 0 }],
    ]);
    expect(apiserver.requests).to.deep.equal([
      'POST /api/v1/namespaces/default/pods/demo/exec?command=sh&container=demo&stdout=true',
    ]);
    expect(apiserver.headers[0]).to.deep.equal({
      host: `127.0.0.1:${apiserver.port}`,
      connection: 'Upgrade',
      upgrade: 'SPDY/3.1',
      'x-stream-protocol-version': 'v4.channel.k8s.io',
      'user-agent': 'kubectl/v1.36 kexer/1.2.3 (detour c1)',
      authorization: 'Bearer user-token',
      'content-length': '0',
    });
    expect([fake.asked, kubelet.connections, reviewed]).to.deep.equal([[], 0, []]);
    expect(detours.counts()).to.deep.equal([{ kind: 'exec', reason: 'mutatingWebhook', count: 1 }]);
    expect(events.map(({ kind, detour }) => [kind, detour])).to.deep.equal([['exec', webhook]]);
    expect(
      started.map(({ subject }) => [subject.detour, subject.podUid, subject.node, subject.container]),
    ).to.deep.equal([['mutatingWebhook', '11-22', 'node1', 'demo']]);
  });

  it('translates a WebSocket client, of whom get is asked besides', async () => {
    play(
      'out',
      '{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}',
    );
    const client = begin('GET', exec, webSocketHeaders);
    expect(await readHead(client))
      .to.contain('101 Switching Protocols')
      .and.to.contain('v5.channel.k8s.io');
    const peer = new WsPeer(client, new FakeClock());
    await until(() => peer.end !== undefined);
    expect([peer.text(1), JSON.parse(peer.text(3)), peer.end]).to.deep.equal([
      'out',
      {
        metadata: {},
        status: 'Failure',
        message: 'command terminated with non-zero exit code: command terminated with exit code 7',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '7' }] },
      },
      { how: 'close', code: 1000, reason: '' },
    ]);
    expect(reviewed).to.deep.equal(['alice get pods/exec demo']);
    expect(apiserver.requests)
      .to.have.length(1)
      .and.to.satisfy(([line]: string[]) => line?.startsWith('POST '));
  });

  it('refuses a WebSocket client without get before any stream is opened', async () => {
    let opened = 0;
    script.onStream = () => void (opened += 1);
    review = () => Promise.reject(new StatusError(failure(403, 'Forbidden', 'no get')));
    const { head, body } = await readRefusal(begin('GET', exec, webSocketHeaders));
    expect([head.split('\r\n')[0], (JSON.parse(body) as { message: string }).message]).to.deep.equal([
      'HTTP/1.1 403 Forbidden',
      'no get',
    ]);
    await until(() => apiserver.sockets.size === 0);
    expect([opened, started]).to.deep.equal([0, []]);
  });

  for (const { what, headers } of [
    { what: 'SPDY', headers: spdyHeaders },
    { what: 'WebSocket', headers: webSocketHeaders },
  ]) {
    const method = what === 'SPDY' ? 'POST' : 'GET';
    it(`relays refusals unchanged to a ${what} client`, async () => {
      const status = encodeStatus(
        forbidden({ group: '', resource: 'pods' }, 'demo', 'admission webhook "w" denied the request: no'),
      ).toString();
      script.refusal = () => plainRefusal('403 Forbidden', status, 'application/json');
      const denied = await readRefusal(begin(method, exec, headers));
      expect([denied.head.split('\r\n')[0], denied.body]).to.deep.equal(['HTTP/1.1 403 Forbidden', status]);
      expect(denied.head).to.contain('Content-Type: application/json');
      script.refusal = () => plainRefusal('500 Internal Server Error', 'container not found ("demo")');
      const broken = await readRefusal(begin(method, exec, headers));
      expect([broken.head.split('\r\n')[0], broken.body]).to.deep.equal([
        'HTTP/1.1 500 Internal Server Error',
        'container not found ("demo")',
      ]);
      expect([started, fake.asked]).to.deep.equal([[], []]);
    });
  }

  it('does not take anything else for the switch it asked for', async () => {
    script.refusal = () => plainRefusal('200 OK', 'fine');
    const message = async (): Promise<string> => {
      const { head, body } = await readRefusal(begin('POST', exec, spdyHeaders));
      return `${head.split(' ')[1]} ${(JSON.parse(body) as { message: string }).message}`;
    };
    expect(await message()).to.equal('500 invalid upgrade response of kube-apiserver: status code 200');
    delete script.refusal;
    script.protocol = 'v3.channel.k8s.io';
    expect(await message()).to.equal(
      '500 invalid upgrade response of kube-apiserver: X-Stream-Protocol-Version "v3.channel.k8s.io", want v4.channel.k8s.io',
    );
  });

  for (const [what, headers] of [
    ['SPDY', spdyHeaders],
    ['WebSocket', webSocketHeaders],
  ] as const) {
    it(`tells a ${what} client a failure when kube-apiserver's side ends without a status`, async () => {
      play('part of it', undefined);
      const client = begin(what === 'SPDY' ? 'POST' : 'GET', exec, headers);
      await readHead(client);
      let text: () => string;
      if (what === 'SPDY') {
        const spdy = new SpdyPeer(client, new FakeClock(), 'client');
        spdy.open('error');
        spdy.open('stdout');
        text = () => spdy.text('error');
      } else {
        const peer = new WsPeer(client, new FakeClock());
        text = () => peer.text(3);
      }
      await until(() => ends.length === 1);
      const { status, message } = JSON.parse(text()) as { status: string; message: string };
      expect([status, ends[0]?.cause]).to.deep.equal(['Failure', 'kubeletGone']);
      expect(message).to.contain('kube-apiserver ended the session without a status of the command');
    });
  }

  it('lets go of kube-apiserver when the client speaks nothing that is known', async () => {
    const headers = webSocketHeaders.map(([name, value]) =>
      name === 'Sec-WebSocket-Protocol' ? ([name, 'v9.channel.k8s.io'] as const) : ([name, value] as const),
    );
    const { head } = await readRefusal(begin('GET', exec, headers));
    expect(head.split('\r\n')[0]).to.equal('HTTP/1.1 403 Forbidden');
    await until(() => apiserver.sockets.size === 0);
  });

  it('answers 503 when kube-apiserver cannot be reached, and asks no kubelet instead', async () => {
    Object.assign(fake.cluster, {
      dialUpgrade: () => Promise.reject(new KexerError('unreachable', 'Cannot reach the apiserver')),
    });
    const { head } = await readRefusal(begin('POST', exec, spdyHeaders));
    expect(head).to.contain('503 Service Unavailable').and.to.contain('Retry-After: 1');
    expect(kubelet.connections).to.equal(0);
  });

  it("says that kexer's impersonator is refused, and passes a kubelet's 401 on", async () => {
    const identity = {
      ...makeCall(fake.cluster, 'POST', exec).identity,
      credential: 'impersonator' as const,
    };
    const status = encodeStatus(failure(401, 'Unauthorized', 'Unauthorized')).toString();
    script.refusal = () => plainRefusal('401 Unauthorized', status, 'application/json');
    const own = await readRefusal(begin('POST', exec, spdyHeaders, { identity }));
    expect(own.head.split('\r\n')[0]).to.equal('HTTP/1.1 502 Bad Gateway');
    script.refusal = () => plainRefusal('401 Unauthorized', 'Unauthorized');
    const kubelets = await readRefusal(begin('POST', exec, spdyHeaders, { identity }));
    expect([kubelets.head.split('\r\n')[0], kubelets.body]).to.deep.equal([
      'HTTP/1.1 401 Unauthorized',
      'Unauthorized',
    ]);
  });

  it('goes on when kexer itself cannot find the pod, and then follows none', async () => {
    fake.pods.clear();
    play('', success);
    const client = begin('POST', exec, spdyHeaders);
    await readHead(client);
    expect(started.map(({ subject }) => [subject.pod, subject.podUid, subject.node])).to.deep.equal([['demo', '', '']]);
  });

  it('forwards ports', async () => {
    script.onStream = (stream) => {
      stream.setHandlers({ onData: (bytes) => void stream.write(Buffer.from(`echo ${bytes.toString()}`)) });
    };
    const headers = spdyHeaders.map(([name, value]) =>
      name === 'X-Stream-Protocol-Version' ? ([name, 'portforward.k8s.io'] as const) : ([name, value] as const),
    );
    const client = begin('POST', 'pods/demo/portforward', headers);
    expect(await readHead(client)).to.contain('X-Stream-Protocol-Version: portforward.k8s.io');
    const spdy = new SpdyPeer(client, new FakeClock(), 'client');
    spdy.open('error', [
      ['port', '80'],
      ['requestid', '0'],
    ]);
    const data = spdy.open('data', [
      ['port', '80'],
      ['requestid', '0'],
    ]);
    data.stream.write(Buffer.from('hi'));
    await until(() => spdy.text('data') === 'echo hi');
    expect(apiserver.requests).to.deep.equal(['POST /api/v1/namespaces/default/pods/demo/portforward']);
    expect(apiserver.headers[0]).to.include({ 'x-stream-protocol-version': 'portforward.k8s.io' });
  });

  it('is taken at the last moment, when a webhook came while the preflight was under way', async () => {
    fake.route.detour = undefined;
    fake.answer = () => {
      fake.route.detour = webhook;
      return upgradeRequired;
    };
    begin('POST', exec, spdyHeaders);
    await until(() => started.length === 1);
    expect([fake.asked.length, kubelet.requests, apiserver.requests.length, detours.counts()]).to.deep.equal([
      1,
      [],
      1,
      [{ kind: 'exec', reason: 'mutatingWebhook', count: 1 }],
    ]);
    await until(() => kubelet.sockets.size === 0);
  });

  describe('by a label of the node', () => {
    beforeEach(() => {
      fake.route.detour = undefined;
    });

    it('is taken for a pod of that node without a preflight, whatever kexer could dial there', async () => {
      fake.route.labelledNodes.add('node1');
      fake.nodes.set('node1', { metadata: { name: 'node1' } }); // without an address
      begin('POST', exec, spdyHeaders);
      await until(() => started.length === 1);
      expect([fake.asked, kubelet.connections, detours.counts()]).to.deep.equal([
        [],
        0,
        [{ kind: 'exec', reason: 'nodeLabel', count: 1 }],
      ]);
    });

    for (const [what, prepare] of [
      ['a pod of another node', () => fake.route.labelledNodes.add('node2')],
      [
        'a pod that cannot be found',
        () => {
          fake.route.labelledNodes.add('node1');
          fake.pods.clear();
        },
      ],
    ] as const) {
      it(`is not taken for ${what}`, async () => {
        prepare();
        fake.answer = () => failure(403, 'Forbidden', 'no');
        await readRefusal(begin('POST', exec, spdyHeaders));
        expect([fake.asked.length, apiserver.connections, detours.counts()]).to.deep.equal([1, 0, []]);
      });
    }
  });

  describe('of logs', () => {
    const open = async (): Promise<IncomingMessage> => {
      const target = (): string => 'pods/demo/log?follow=true&tailLines=5';
      return (await startLogFront(scope, { fake, handler, target })).open();
    };

    beforeEach(() => {
      fake.route.detour = { reason: 'setting', detail: 'streams.local' };
    });

    it('reads them from kube-apiserver as the caller, with the query as it came', async () => {
      script.onGet = (_request, response) => response.end('one\ntwo\n');
      const answer = await open();
      expect([answer.statusCode, answer.headers['content-type'], await readLog(answer)]).to.deep.equal([
        200,
        'text/plain',
        'one\ntwo\n',
      ]);
      await until(() => ends.length === 1);
      expect(apiserver.requests).to.deep.equal([
        'GET /api/v1/namespaces/default/pods/demo/log?follow=true&tailLines=5',
      ]);
      expect(apiserver.headers[0]).to.include({
        authorization: 'Bearer user-token',
        'user-agent': 'kexer/1.2.3 (detour c1)',
      });
      expect([fake.asked, kubelet.connections, ends, started[0]?.subject.detour]).to.deep.equal([
        [],
        0,
        [{ cause: 'normal', message: 'the log ended' }],
        'setting',
      ]);
    });

    it('breaks off what kube-apiserver breaks off', async () => {
      script.onGet = (_request, response) => {
        response.write('half');
        setImmediate(() => response.destroy());
      };
      const answer = await open();
      expect(await readLog(answer)).to.match(/^(half)? !ECONNRESET$/);
      await until(() => ends.length === 1);
      expect(ends[0]?.message).to.contain('kube-apiserver broke the log off');
    });

    it('relays what is no log unchanged', async () => {
      const status = encodeStatus(failure(400, 'BadRequest', 'container x is not valid for pod demo')).toString();
      script.onGet = (_request, response) => {
        response.writeHead(400, { 'Content-Type': 'application/json' }).end(status);
      };
      const refused = await open();
      expect([refused.statusCode, await readLog(refused)]).to.deep.equal([400, status]);
      script.onGet = (_request, response) => response.writeHead(204).end();
      const empty = await open();
      expect([empty.statusCode, await readLog(empty), started]).to.deep.equal([204, '', []]);
    });

    it('ends the read when the client leaves', async () => {
      let isGone = false;
      script.onGet = (request, response) => {
        request.on('close', () => (isGone = true));
        response.write('line\n');
      };
      const answer = await open();
      answer.destroy();
      await until(() => isGone && ends.length === 1);
      expect(ends[0]?.cause).to.equal('clientGone');
    });
  });
});
