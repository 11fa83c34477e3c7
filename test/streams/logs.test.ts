import type { Buffer } from 'node:buffer';
import { type IncomingMessage } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { badRequest, StatusError } from '../../src/kube/status.ts';
import { WebSocketConnection, type WebSocketEnd } from '../../src/net/websocket-connection.ts';
import { Detours } from '../../src/streams/detour.ts';
import { StreamHandler } from '../../src/streams/handler.ts';
import { SpareKubelets } from '../../src/streams/spare-kubelets.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { SessionEnd } from '../../src/streams/session.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { type FakeCluster, fakeCluster, makeCall, noBytes, webSocketHeaders } from './support/calls.ts';
import {
  type Certificates,
  type KubeletScript,
  type KubeletServer,
  makeCertificates,
  startKubelet,
} from './support/kubelet-server.ts';
import { type LogFront, readLog, startLogFront } from './support/log-front.ts';

describe('logs', () => {
  let certificates: Certificates;
  let scope: Scope;
  let script: KubeletScript;
  let kubelet: KubeletServer;
  let fake: FakeCluster;
  let handler: StreamHandler;
  let ended: Promise<SessionEnd>;
  let front: LogFront;
  /** Of the next call. */
  let target: string;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    script = {};
    target = 'pods/demo/log';
    kubelet = await startKubelet(scope, certificates, script);
    fake = fakeCluster(kubelet);
    fake.answer = () => ({ status: 200, headers: [['Content-Type', 'text/plain']], body: noBytes });
    ended = new Promise((resolve) => {
      const sessions = new SessionRegistry({
        clock: systemClock,
        observer: { sessionStarted() {}, sessionEnded: (_session, end) => resolve(end) },
      });
      handler = new StreamHandler(
        {
          clock: systemClock,
          sessions,
          pods: { follow: () => () => {} },
          authorizer: { authorize: async () => {} },
          detours: new Detours({ onDetour() {} }),
          kubelets: new SpareKubelets({ clock: systemClock }, { lifetimeMs: 0 }),
        },
        { version: '1.2.3' },
      );
    });
    front = await startLogFront(scope, { fake, handler, target: () => target });
  });

  afterEach(() => scope.close());

  const open = (): Promise<IncomingMessage> => front.open();

  it('asks with no lines first, then reads the kubelet with what was asked', async () => {
    target = 'pods/demo/log?follow=true&tailLines=5&timestamps=true&limitBytes=100&previous=false';
    script.onGet = (_request, response) => response.end('one\ntwo\n');
    const answer = await open();
    expect([
      answer.statusCode,
      answer.headers['content-type'],
      answer.headers['cache-control'],
      await readLog(answer),
    ]).to.deep.equal([200, 'text/plain', 'no-cache, private', 'one\ntwo\n']);
    expect(fake.asked.map(({ method, target: asked }) => `${method} ${asked}`)).to.deep.equal([
      'GET /api/v1/namespaces/default/pods/demo/log?limitBytes=100&tailLines=0&timestamps=true',
    ]);
    expect(kubelet.requests).to.deep.equal([
      'GET /containerLogs/default/demo/demo?follow=true&limitBytes=100&tailLines=5&timestamps=true',
    ]);
    expect(kubelet.headers[0]).to.include({ authorization: 'Bearer kubelet-token', host: `127.0.0.1:${kubelet.port}` });
    expect(await ended).to.deep.equal({ cause: 'normal', message: 'the log ended' });
  });

  it('gives the head at once, and each piece as it comes', async () => {
    let feed = (_text: string): void => {};
    script.onGet = (_request, response) => {
      response.flushHeaders();
      feed = (text) => void response.write(text);
    };
    const answer = await open();
    for (const text of ['a', 'b']) {
      feed(text);
      const chunk = await new Promise<Buffer>((resolve) => {
        answer.once('data', resolve);
      });
      expect(chunk.toString()).to.equal(text);
    }
    answer.destroy();
    expect((await ended).cause).to.equal('clientGone');
  });

  for (const [status, body] of [
    [400, 'container nope is not valid for pod demo'],
    [204, ''],
  ] as const) {
    it(`relays the ${status} of kube-apiserver and reads no kubelet`, async () => {
      fake.answer = () => (status === 204 ? { status, headers: [], body: noBytes } : badRequest(body));
      const answer = await open();
      const text = await readLog(answer);
      expect([answer.statusCode, text.includes(body), kubelet.requests]).to.deep.equal([status, true, []]);
    });
  }

  for (const { code, text, want } of [
    { code: 500, text: 'boom', want: '500 InternalError Internal error occurred: boom' },
    { code: 400, text: 'previous not found', want: '400 BadRequest previous not found' },
    {
      code: 404,
      text: 'pod "demo" does not exist',
      want: '404 NotFound the server could not find the requested resource ( pods/log demo)',
    },
    {
      code: 422,
      text: '{"message": "Invalid request."}',
      want: '422 Invalid the server rejected our request due to an error in our request ( pods/log demo)',
    },
    {
      code: 403,
      text: 'Forbidden (user=secret)',
      want: `502 undefined the kubelet of node node1 refuses kexer's credential (403): it needs verb "get" on resource "nodes/proxy"`,
    },
  ]) {
    it(`tells the ${code} of a kubelet in the words of kube-apiserver`, async () => {
      script.onGet = (_request, response) => void response.writeHead(code).end(text);
      const answer = await open();
      const status = JSON.parse(await readLog(answer)) as { code: number; reason?: string; message: string };
      expect(`${status.code} ${status.reason} ${status.message}`).to.equal(want);
      expect(answer.statusCode).to.equal(status.code);
    });
  }

  it('breaks the response off when the kubelet cuts its body', async () => {
    script.onGet = (_request, response) => {
      response.write('half');
      setImmediate(() => response.destroy());
    };
    expect(await readLog(await open())).to.equal('half !ECONNRESET');
    expect((await ended).cause).to.equal('kubeletGone');
  });

  it('resets the stream of an HTTP/2 client when the kubelet cuts its body', async () => {
    script.onGet = (_request, response) => {
      response.write('half');
      setImmediate(() => response.destroy());
    };
    const front = createHttp2Server((request, response) => {
      const call = makeCall(fake.cluster, 'GET', target, { httpVersion: '2.0' });
      void handler.handleRequest(call, request, response);
    });
    await new Promise<void>((resolve) => {
      front.listen(0, '127.0.0.1', resolve);
    });
    const client = connectHttp2(`http://127.0.0.1:${(front.address() as AddressInfo).port}`);
    scope.add(
      () =>
        new Promise<void>((resolve) => {
          client.destroy();
          front.close(() => resolve());
        }),
    );
    const stream = client.request({ ':path': '/' });
    let text = '';
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const error = await new Promise<Error>((resolve) => {
      stream.on('error', resolve);
    });
    expect([text, stream.rstCode, error.message.includes('INTERNAL_ERROR')]).to.deep.equal(['half', 2, true]);
  });

  it('ends the request to the kubelet when the client leaves', async () => {
    const closed = new Promise<void>((resolve) => {
      script.onGet = (_request, response) => {
        response.on('close', resolve);
        response.write('first');
      };
    });
    const answer = await open();
    await new Promise((resolve) => {
      answer.once('data', resolve);
    });
    answer.destroy();
    await closed;
    expect((await ended).cause).to.equal('clientGone');
  });

  it('breaks off when it is told to end', async () => {
    script.onGet = (_request, response) => void response.write('first');
    const answer = await open();
    await new Promise((resolve) => {
      answer.once('data', resolve);
    });
    handler.sessions.list()[0]?.end('kexer is shutting down');
    expect(await readLog(answer)).to.equal(' !ECONNRESET');
    expect(await ended).to.deep.equal({ cause: 'ended', message: 'kexer is shutting down' });
  });

  it('gives a plain request to a stream path the answer of the preflight', async () => {
    target = 'pods/demo/exec?command=x';
    fake.answer = () => new StatusError(badRequest('Upgrade request required')).status;
    const answer = await open();
    expect([answer.statusCode, (JSON.parse(await readLog(answer)) as { message: string }).message]).to.deep.equal([
      400,
      'Upgrade request required',
    ]);
  });

  describe('over WebSocket', () => {
    async function openSocket(protocol: string): Promise<{ messages: string[]; end: Promise<WebSocketEnd> }> {
      const [client, inner] = duplexPair();
      client.on('error', () => {});
      scope.add(() => {
        client.destroy();
        inner.destroy();
      });
      const headers = webSocketHeaders.map(([name, value]) =>
        name === 'Sec-WebSocket-Protocol' ? ([name, protocol] as const) : ([name, value] as const),
      );
      const call = makeCall(fake.cluster, 'GET', target, { headers });
      void handler.handleUpgrade(call, {} as IncomingMessage, inner, noBytes);
      const head = await new Promise<Buffer>((resolve) => {
        client.once('data', resolve);
      });
      client.pause();
      const at = head.indexOf('\r\n\r\n') + 4;
      expect(head.toString('latin1', 0, at)).to.contain(`101 Switching Protocols`);
      const messages: string[] = [];
      const end = new Promise<WebSocketEnd>((resolve) => {
        const connection = new WebSocketConnection(
          { socket: client, clock: systemClock },
          { role: 'client', head: head.subarray(at), closeTimeoutMs: 100 },
          {
            onData: (event) => messages.push(`${event.opcode} ${event.bytes.toString()}`),
            onEnd: (how) => {
              resolve(how);
              connection.destroy();
            },
          },
        );
      });
      return { messages, end };
    }

    for (const [protocol, messages] of [
      ['binary.k8s.io', ['binary ', 'binary one\n']],
      ['base64.binary.k8s.io', ['text ', 'text b25lCg==']],
    ] as const) {
      it(`sends ${protocol}, an empty message first, and Close 1000 at the end`, async () => {
        script.onGet = (_request, response) => response.end('one\n');
        const socket = await openSocket(protocol);
        expect(await socket.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
        expect(socket.messages).to.deep.equal(messages);
        expect((await ended).cause).to.equal('normal');
      });
    }

    it('closes with 1011 when the kubelet cuts its body', async () => {
      script.onGet = (_request, response) => {
        response.write('half');
        setImmediate(() => response.destroy());
      };
      const socket = await openSocket('binary.k8s.io');
      expect(await socket.end).to.include({ how: 'close', code: 1011 });
      expect((await ended).cause).to.equal('kubeletGone');
    });
  });
});
