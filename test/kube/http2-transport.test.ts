import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { KexerError } from '../../src/base/errors.ts';
import type { Endpoint } from '../../src/kube/credential.ts';
import { Http2Transport } from '../../src/kube/http2-transport.ts';
import type { AnswerController, AnswerSink, TransportRequest } from '../../src/kube/transport.ts';
import { diedBeforeAnswer } from '../../src/kube/transport-error.ts';
import { errorCode, settingId } from '../../src/protocol/http2/frame.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until } from '../integration/support/stage.ts';
import { data, goaway, headers, ok, type PeerRequest, rstStream, startPeer } from './support/http2-peer.ts';
import { RecordedAnswer } from './support/recorded-answer.ts';

const scope = { current: new Scope() };
beforeEach(() => {
  scope.current = new Scope();
});
afterEach(() => scope.current.close());

/** Answers everything 299 and counts: what goes by HTTP/1.1. */
class FakeHttp1 {
  requests = 0;

  dispatch(_request: TransportRequest, sink: AnswerSink): AnswerController {
    this.requests += 1;
    const controller = { pause: () => {}, resume: () => {}, abort: (reason: Error) => sink.onError(reason) };
    queueMicrotask(() => {
      sink.onHead({ status: 299, reason: '', headers: [] }, controller);
      sink.onEnd();
    });
    return controller;
  }
}

interface Bench {
  readonly clock: FakeClock;
  readonly http1: FakeHttp1;
  readonly transport: Http2Transport;
  readonly get: (target?: string) => RecordedAnswer;
  /** With its controller. */
  readonly send: (target?: string) => { answer: RecordedAnswer; controller: AnswerController };
}

function benchOf(endpoint: Endpoint): Bench {
  const clock = new FakeClock();
  const http1 = new FakeHttp1();
  const transport = new Http2Transport({ clock, http1 }, { endpoint, certificate: undefined, connectTimeoutMs: 5000 });
  scope.current.add(() => transport.destroy());
  const send = (target = '/'): { answer: RecordedAnswer; controller: AnswerController } => {
    const answer = new RecordedAnswer();
    const request = { method: 'GET', target, headers: [], body: undefined, contentLength: undefined };
    return { answer, controller: transport.dispatch(request, answer) };
  };
  return { clock, http1, transport, send, get: (target) => send(target).answer };
}

const answerAtOnce = ({ peer, streamId }: PeerRequest): void =>
  peer.send(headers(streamId, ok), data(streamId, 'x', true));

describe('Http2Transport, which way a request goes', () => {
  it('sends GET by HTTP/2, HEAD and what has a body by HTTP/1.1', async () => {
    const peer = await startPeer(scope.current, { onRequest: answerAtOnce });
    const { get, http1, transport } = benchOf(peer.endpoint);
    expect((await get().whenOver()).summary).to.deep.equal([200, 'x', 'end']);
    const posted = new RecordedAnswer();
    const body = Buffer.from('b');
    transport.dispatch({ method: 'POST', target: '/', headers: [], body, contentLength: undefined }, posted);
    expect((await posted.whenOver()).status).to.equal(299);
    const headOnly = new RecordedAnswer();
    transport.dispatch(
      { method: 'HEAD', target: '/', headers: [], body: undefined, contentLength: undefined },
      headOnly,
    );
    expect((await headOnly.whenOver()).status).to.equal(299);
    expect([peer.requests.length, http1.requests]).to.deep.equal([1, 2]);
  });

  it('goes by HTTP/1.1 where there is no TLS, or a proxy', async () => {
    const plain = benchOf({ url: 'http://127.0.0.1:1', ca: undefined, isVerified: true, servername: undefined });
    expect((await plain.get().whenOver()).status).to.equal(299);
    const peer = await startPeer(scope.current);
    const proxy = { name: 'proxy', open: () => Promise.reject(new Error('it was asked')) };
    const proxied = benchOf({ ...peer.endpoint, proxy });
    expect((await proxied.get().whenOver()).status).to.equal(299);
    expect(peer.connections).to.have.length(0);
  });

  it('goes by HTTP/1.1 when that is chosen, and asks again after ten minutes', async () => {
    const peer = await startPeer(scope.current, { alpn: ['http/1.1'] });
    const { get, clock } = benchOf(peer.endpoint);
    expect((await get().whenOver()).status).to.equal(299);
    expect((await get().whenOver()).status).to.equal(299);
    expect(peer.dials()).to.equal(1);
    clock.advance(10 * 60_000);
    expect((await get().whenOver()).status).to.equal(299);
    expect(peer.dials()).to.equal(2);
  });

  const broken: readonly (readonly [what: string, Buffer | undefined])[] = [
    ['closes before its settings', undefined],
    ['speaks something else', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['begins with another frame than SETTINGS', goaway(0)],
  ];
  for (const [what, first] of broken) {
    it(`goes by HTTP/1.1 for a minute when the peer chooses HTTP/2 and ${what}`, async () => {
      const peer = await startPeer(scope.current, {
        isSpeaking: false,
        onConnection: ({ socket }) => (first === undefined ? socket.destroy() : void socket.write(first)),
      });
      const { get, clock } = benchOf(peer.endpoint);
      expect((await get().whenOver()).status).to.equal(299);
      clock.advance(59_999);
      expect((await get().whenOver()).status).to.equal(299);
      expect(peer.connections).to.have.length(1);
      clock.advance(1);
      await get().whenOver();
      expect(peer.connections).to.have.length(2);
    });
  }

  it('goes by HTTP/1.1 when the peer says nothing, or allows no stream', async () => {
    const silent = await startPeer(scope.current, { isSpeaking: false });
    const first = benchOf(silent.endpoint);
    const answer = first.get();
    await until(() => silent.connections[0]?.frames.length === 2);
    first.clock.advance(5000);
    expect((await answer.whenOver()).status).to.equal(299);
    const closed = await startPeer(scope.current, { settings: [[settingId.maxConcurrentStreams, 0]] });
    expect((await benchOf(closed.endpoint).get().whenOver()).status).to.equal(299);
  });

  it('fails as HTTP/1.1 would when nobody listens, the peer is not trusted, or its address is not allowed', async () => {
    const peer = await startPeer(scope.current, { onRequest: answerAtOnce });
    const nobody = { ...peer.endpoint, url: 'https://127.0.0.1:1' };
    const guard = { problem: () => 'it is not allowed' };
    const results = await Promise.all(
      [
        nobody,
        { ...peer.endpoint, ca: undefined },
        { ...peer.endpoint, servername: 'other.example' },
        { ...peer.endpoint, guard },
        { ...peer.endpoint, url: peer.endpoint.url.replace('127.0.0.1', 'localhost'), guard },
        { ...peer.endpoint, checkPeer: () => new KexerError('badGateway', 'myself') },
      ].map(async (endpoint) => (await benchOf(endpoint).get().whenOver()).summary),
    );
    expect(results).to.deep.equal([
      [0, '', 'unreachable'],
      [0, '', 'tls'],
      [0, '', 'tls'],
      [0, '', 'badGateway'],
      [0, '', 'badGateway'],
      [0, '', 'badGateway'],
    ]);
    expect(peer.requests).to.have.length(0);
  });

  it('gives up a peer that takes the connection and never answers the handshake', async () => {
    const server = createServer((socket) => scope.current.add(() => void socket.destroy()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.current.add(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const taken = once(server, 'connection');
    const endpoint = { url: `https://127.0.0.1:${port}`, ca: undefined, isVerified: true, servername: undefined };
    const { get, clock, transport } = benchOf(endpoint);
    const answer = get();
    await taken;
    clock.advance(5000);
    expect((await answer.whenOver()).outcome).to.equal('unreachable');
    expect([diedBeforeAnswer(answer.error), transport.connections]).to.deep.equal([false, 0]);
  });

  it('fails what cannot be written, and nothing beside it', async () => {
    const peer = await startPeer(scope.current, { onRequest: answerAtOnce });
    const { get, transport } = benchOf(peer.endpoint);
    const send = (target: string, header?: [string, string]): RecordedAnswer => {
      const answer = new RecordedAnswer();
      const list = header === undefined ? [] : [header];
      transport.dispatch({ method: 'GET', target, headers: list, body: undefined, contentLength: undefined }, answer);
      return answer;
    };
    const bad = [
      send('/ HTTP/1.1\r\nA: b'),
      send('/', ['A', 'x\r\nB: y']),
      send('/', ['A b', 'x']),
      send('/', [':path', '/']),
    ];
    const good = get();
    expect(await Promise.all(bad.map(async (answer) => (await answer.whenOver()).outcome))).to.deep.equal(
      bad.map(() => 'badRequest'),
    );
    expect((await good.whenOver()).outcome).to.equal('end');
    expect(peer.requests).to.have.length(1);
  });
});

describe('Http2Transport, its connections', () => {
  it('opens as many as a hundred streams each need, and spreads what follows', async () => {
    const peer = await startPeer(scope.current);
    const { get, send, clock } = benchOf(peer.endpoint);
    const first = Array.from({ length: 250 }, () => send());
    await until(() => peer.requests.length === 250);
    const counts = (): number[] =>
      peer.connections.map((one) => one.frames.filter(({ type }) => type === 'headers').length);
    expect(counts().toSorted((a, b) => a - b)).to.deep.equal([50, 100, 100]);
    for (let index = 0; index < 50; index += 1) get();
    await until(() => peer.requests.length === 300);
    expect(counts()).to.deep.equal([100, 100, 100]);
    for (const { controller } of first) controller.abort(new Error('left'));
    clock.advance(2000);
    for (let index = 0; index < 30; index += 1) get();
    await until(() => peer.requests.length === 330);
    expect(peer.connections).to.have.length(3);
  });

  it('gives the place of a stream that it has reset to nobody for a second or two', async () => {
    // Go's server ends the whole connection when streams are begun and reset faster than their handlers end.
    const peer = await startPeer(scope.current, { settings: [[settingId.maxConcurrentStreams, 2]] });
    const { get, send, clock } = benchOf(peer.endpoint);
    const { controller } = send();
    await until(() => peer.requests.length === 1);
    controller.abort(new Error('left'));
    get();
    await until(() => peer.requests.length === 2);
    get();
    await until(() => peer.requests.length === 3);
    expect(peer.requests.map((request) => peer.connections.indexOf(request.peer))).to.deep.equal([0, 0, 1]);
    clock.advance(2000);
    get();
    get();
    await until(() => peer.requests.length === 5);
    // One on each; which comes first is chance.
    const last = peer.requests.slice(3).map((request) => peer.connections.indexOf(request.peer));
    expect(last.toSorted((a, b) => a - b)).to.deep.equal([0, 1]);
  });

  it('keeps to what the peer allows', async () => {
    const peer = await startPeer(scope.current, { settings: [[settingId.maxConcurrentStreams, 2]] });
    const { get } = benchOf(peer.endpoint);
    for (let index = 0; index < 5; index += 1) get();
    await until(() => peer.requests.length === 5);
    expect(peer.connections.map((one) => one.resets())).to.deep.equal([[], [], []]);
    const counts = peer.connections.map((one) => one.frames.filter(({ type }) => type === 'headers').length);
    expect(Math.max(...counts)).to.equal(2);
  });

  it('closes one that was idle for half a minute, and opens another for the next request', async () => {
    const peer = await startPeer(scope.current, { onRequest: answerAtOnce });
    const { get, clock, transport } = benchOf(peer.endpoint);
    await get().whenOver();
    clock.advance(29_999);
    expect(transport.connections).to.equal(1);
    clock.advance(1);
    await until(() => transport.connections === 0);
    expect(peer.connections[0]?.frames.at(-1)).to.deep.equal({ type: 'goaway', lastStreamId: 0, code: 0 });
    await get().whenOver();
    expect(peer.connections).to.have.length(2);
  });

  it('begins nothing on a closed one, lets what runs end, and then closes it', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => one.send(headers(streamId, ok)),
    });
    const { get, transport, clock } = benchOf(peer.endpoint);
    const running = await get().whenBegun();
    transport.close();
    const next = await get().whenBegun();
    expect([peer.connections.length, transport.connections, next.status]).to.deep.equal([2, 2, 200]);
    peer.connections[0]?.send(data(1, 'last', true));
    expect((await running.whenOver()).summary).to.deep.equal([200, 'last', 'end']);
    clock.advance(0);
    await until(() => transport.connections === 1);
  });

  it('pings a silent peer, and loses a dead one', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => one.send(headers(streamId, ok)),
    });
    const { get, clock } = benchOf(peer.endpoint);
    const watch = await get().whenBegun();
    const pings = (): number => peer.connections[0]?.frames.filter(({ type }) => type === 'ping').length ?? 0;
    clock.advance(30_000);
    await until(() => pings() === 1);
    peer.connections[0]?.send(data(1, 'alive'));
    await watch.until(({ bodyBytes }) => bodyBytes > 0);
    clock.advance(15_000);
    expect(watch.outcome).to.equal('');
    clock.advance(30_000);
    await until(() => pings() === 2);
    clock.advance(15_000);
    expect((await watch.whenOver()).summary).to.deep.equal([200, 'alive', 'cut']);
  });

  it('answers pings, and acknowledges settings', async () => {
    const peer = await startPeer(scope.current, { onRequest: answerAtOnce });
    await benchOf(peer.endpoint).get().whenOver();
    const [one] = peer.connections;
    one?.send(Buffer.concat([Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0]), Buffer.from('abcdefgh')]));
    await until(() => one?.frames.at(-1)?.type === 'ping');
    expect(one?.frames.at(-1)).to.deep.equal({ type: 'ping', isAck: true, opaque: Buffer.from('abcdefgh') });
  });

  it('fails everything when it is destroyed, what waits for a connection too', async () => {
    const peer = await startPeer(scope.current);
    const { get, transport } = benchOf(peer.endpoint);
    const sent = get();
    await until(() => peer.requests.length === 1);
    const waiting = Array.from({ length: 100 }, () => get());
    transport.destroy();
    const outcomes = await Promise.all([sent, ...waiting].map(async (answer) => (await answer.whenOver()).outcome));
    expect(new Set(outcomes)).to.deep.equal(new Set(['draining']));
    expect(transport.connections).to.equal(0);
  });
});

describe('Http2Transport, what was not processed', () => {
  it('sends it once more on another connection after GOAWAY, while the rest goes on', async () => {
    let goneAway = false;
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => {
        if (streamId === 1) one.send(headers(1, ok));
        if (streamId === 3 && !goneAway) {
          goneAway = true;
          one.send(goaway(1));
        }
        if (one === peer.connections[1]) one.send(data(streamId, 'second', true));
      },
    });
    const { get, http1, clock, transport } = benchOf(peer.endpoint);
    const first = await get().whenBegun();
    const second = await get().whenOver();
    expect(second.summary).to.deep.equal([200, 'second', 'end']);
    peer.connections[0]?.send(data(1, 'first', true));
    expect((await first.whenOver()).summary).to.deep.equal([200, 'first', 'end']);
    expect([peer.connections.length, http1.requests]).to.deep.equal([2, 0]);
    clock.advance(0);
    await until(() => transport.connections === 1);
  });

  it('sends a refused stream once more, then by HTTP/1.1', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => one.send(rstStream(streamId, errorCode.refusedStream)),
    });
    const { get, http1 } = benchOf(peer.endpoint);
    expect((await get().whenOver()).status).to.equal(299);
    expect([peer.requests.length, http1.requests]).to.deep.equal([2, 1]);
  });

  it('goes by HTTP/1.1 at once where the peer wants that', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => one.send(rstStream(streamId, errorCode.http11Required)),
    });
    const { get, http1 } = benchOf(peer.endpoint);
    await get().whenOver();
    await get().whenOver();
    expect([peer.requests.length, http1.requests]).to.deep.equal([1, 2]);
  });

  it('hands pauses and aborts on to HTTP/1.1', async () => {
    const peer = await startPeer(scope.current, { alpn: ['http/1.1'] });
    const log: string[] = [];
    const http1 = {
      dispatch: (_request: TransportRequest, sink: AnswerSink): AnswerController => {
        log.push('dispatch');
        return {
          pause: () => log.push('pause'),
          resume: () => log.push('resume'),
          abort: (reason: Error) => sink.onError(reason),
        };
      },
    };
    const options = { endpoint: peer.endpoint, certificate: undefined, connectTimeoutMs: 5000 };
    const transport = new Http2Transport({ clock: new FakeClock(), http1 }, options);
    scope.current.add(() => transport.destroy());
    const answer = new RecordedAnswer();
    const request = { method: 'GET', target: '/', headers: [], body: undefined, contentLength: undefined };
    const controller = transport.dispatch(request, answer);
    controller.pause();
    await until(() => log.length === 2);
    controller.resume();
    controller.abort(new Error('left'));
    expect([log, answer.outcome, answer.calls]).to.deep.equal([['dispatch', 'pause', 'resume'], 'left', 1]);
  });

  it('says of a connection that died before the answer that it may be tried again', async () => {
    const peer = await startPeer(scope.current, { onRequest: ({ peer: one }) => void one.socket.destroy() });
    const { error } = await benchOf(peer.endpoint).get().whenOver();
    expect([diedBeforeAnswer(error), error instanceof KexerError && error.code]).to.deep.equal([true, 'unreachable']);
  });
});
