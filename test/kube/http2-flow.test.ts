import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { streamWindowBytes } from '../../src/kube/http2-exchange.ts';
import type { AnswerController, AnswerSink } from '../../src/kube/transport.ts';
import { errorCode } from '../../src/protocol/http2/frame.ts';
import { until } from '../integration/support/stage.ts';
import { servingPair } from '../support/serving-pair.ts';
import { getByHttp2, http2Only } from './support/http2-only.ts';
import { data, headers, ok, startPeer } from './support/http2-peer.ts';
import { RecordedAnswer } from './support/recorded-answer.ts';

const scope = { current: new Scope() };
beforeEach(() => {
  scope.current = new Scope();
});
afterEach(() => scope.current.close());

describe('an answer by HTTP/2 that is read slowly', () => {
  it('holds one window and no more; others on its connection go on, and it is complete in the end', async () => {
    const chunk = randomBytes(16 * 1024);
    const total = 64;
    const sent = new Map<string, number>();
    const { cert, key, ca } = await servingPair();
    const server = createSecureServer({ cert, key, settings: { maxConcurrentStreams: 100 } });
    const sessions: ServerHttp2Session[] = [];
    server.on('session', (session) => sessions.push(session));
    server.on('stream', (stream: ServerHttp2Stream, asked) => {
      stream.respond({ ':status': 200 });
      stream.resume(); // of a request that it has not read Node resets the stream, which can overtake END_STREAM
      const path = String(asked[':path']);
      const write = (): void => {
        for (let count = sent.get(path) ?? 0; count < total; count += 1) {
          sent.set(path, count + 1);
          if (!stream.write(chunk)) {
            stream.once('drain', write);
            return;
          }
        }
        stream.end();
      };
      write();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.current.add(async () => {
      const closed = once(server, 'close');
      server.close();
      for (const session of sessions) session.destroy();
      await closed;
    });
    const { port } = server.address() as AddressInfo;
    const endpoint = { url: `https://127.0.0.1:${port}`, ca, isVerified: true, servername: undefined };
    const transport = http2Only(scope.current, endpoint);
    const send = (target: string): { answer: RecordedAnswer; controller: AnswerController } => {
      const answer = new RecordedAnswer();
      const request = { method: 'GET', target, headers: [], body: undefined, contentLength: undefined };
      const controller = transport.dispatch(request, answer);
      return { answer, controller };
    };
    const slow = Array.from({ length: 99 }, (_, index) => {
      const one = send(`/slow${index}`);
      one.controller.pause();
      return one;
    });
    const fast = await send('/fast').answer.whenOver();
    expect([fast.bodyBytes, fast.outcome]).to.deep.equal([total * chunk.length, 'end']);
    expect(slow.map(({ answer }) => answer.bodyBytes)).to.deep.equal(slow.map(() => 0));
    expect(transport.connections).to.equal(1);
    // What each has got rid of stands in the window, and in the server's own buffers.
    const stuck = Math.max(...slow.map((_, index) => sent.get(`/slow${index}`) ?? 0)) * chunk.length;
    expect(stuck).to.be.lessThan(streamWindowBytes + 8 * chunk.length);
    const wanted = createHash('sha256')
      .update(Buffer.concat(Array.from({ length: total }, () => chunk)))
      .digest('hex');
    for (const { controller } of slow) controller.resume();
    for (const { answer } of slow) {
      await answer.whenOver();
      expect([answer.outcome, createHash('sha256').update(answer.body).digest('hex')]).to.deep.equal(['end', wanted]);
    }
  });

  it('is complete when its end came while it was paused, and its connection has gone', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => {
        one.send(headers(streamId, ok), data(streamId, 'ab'), data(streamId, 'c', true));
        one.socket.end();
      },
    });
    const answer = new RecordedAnswer();
    const controller = getByHttp2(scope.current, peer.endpoint, answer);
    controller.pause();
    await answer.whenBegun();
    const [one] = peer.connections;
    await until(() => one?.socket.destroyed === true);
    expect(answer.summary).to.deep.equal([200, '', '']);
    controller.resume();
    expect(answer.summary).to.deep.equal([200, 'abc', 'end']);
  });

  it('may be paused between two pieces by its reader', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) =>
        one.send(headers(streamId, ok), data(streamId, 'a'), data(streamId, 'b'), data(streamId, 'c', true)),
    });
    const answer = new RecordedAnswer();
    const log: string[] = [];
    let controller: AnswerController | undefined;
    const pausing: AnswerSink = {
      onHead: (head, inner) => {
        controller = inner;
        answer.onHead(head, inner);
      },
      onData: (bytes) => {
        log.push(bytes.toString());
        controller?.pause();
        setImmediate(() => {
          log.push('-');
          controller?.resume();
        });
      },
      onEnd: () => answer.onEnd(),
      onError: (error) => answer.onError(error),
    };
    getByHttp2(scope.current, peer.endpoint, pausing);
    await answer.whenOver();
    expect([log.join(''), answer.outcome]).to.deep.equal(['a-b-c-', 'end']);
  });

  it('is cut when the peer sends more than there is room for', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => {
        one.send(headers(streamId, ok));
        for (let sent = 0; sent <= streamWindowBytes; sent += 16_384) one.send(data(streamId, Buffer.alloc(16_384)));
      },
    });
    const answer = new RecordedAnswer();
    getByHttp2(scope.current, peer.endpoint, answer).pause();
    expect((await answer.whenOver()).summary).to.deep.equal([200, '', 'cut']);
    await until(() => (peer.connections[0]?.resets().length ?? 0) > 0);
    expect(peer.connections[0]?.resets()).to.deep.equal([[1, errorCode.flowControlError]]);
  });

  it('keeps none of the chunks that short pieces came in while it is paused', async () => {
    const kept: Buffer[] = [];
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) =>
        one.send(
          headers(streamId, ok),
          ...Array.from({ length: 100 }, () => data(streamId, 'event\n')),
          data(streamId, '', true),
        ),
    });
    const answer = new RecordedAnswer();
    getByHttp2(scope.current, peer.endpoint, {
      onHead: (_head, controller) => {
        controller.pause();
        setImmediate(() => controller.resume());
      },
      onData: (bytes) => kept.push(bytes),
      onEnd: () => answer.onEnd(),
      onError: (error) => answer.onError(error),
    });
    expect((await answer.whenOver()).outcome).to.equal('end');
    expect(kept.map(({ buffer }) => buffer.byteLength)).to.deep.equal(Array.from({ length: 100 }, () => 6));
  });
});
