import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { Credential, Endpoint } from '../../src/kube/credential.ts';
import { fixedToken } from '../../src/kube/sources.ts';
import { errorCode } from '../../src/protocol/http2/frame.ts';
import { getAllHeaders, type RawHeaders } from '../../src/protocol/raw-headers.ts';
import { until } from '../integration/support/stage.ts';
import { servingPair } from '../support/serving-pair.ts';
import { getByHttp2 } from './support/http2-only.ts';
import { data, frame, headers, ok, type PeerRequest, rstStream, startPeer } from './support/http2-peer.ts';
import { RecordedAnswer } from './support/recorded-answer.ts';

const scope = { current: new Scope() };
beforeEach(() => {
  scope.current = new Scope();
});
afterEach(() => scope.current.close());

interface Seen {
  readonly headers: RawHeaders;
  readonly httpVersion: string;
}

/** Node's own server for both versions, as the sandbox's apiserver is one. */
async function nodeServer(answer: readonly string[], body: string): Promise<{ endpoint: Endpoint; seen: Seen[] }> {
  const { cert, key, ca } = await servingPair();
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const server = createSecureServer({ cert, key, allowHTTP1: true });
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => {})));
  server.on('request', (request, response) => {
    const flat = request.rawHeaders;
    const pairs: [string, string][] = [];
    for (let at = 0; at < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
    seen.push({ headers: pairs, httpVersion: request.httpVersion });
    const byName = new Map<string, string[]>();
    for (let at = 0; at < answer.length; at += 2) {
      byName.set(answer[at] ?? '', [...(byName.get(answer[at] ?? '') ?? []), answer[at + 1] ?? '']);
    }
    for (const [name, values] of byName) response.setHeader(name, values);
    response.statusCode = 203;
    response.end(Buffer.from(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.current.add(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: { url: `https://127.0.0.1:${port}/prefix`, ca, isVerified: true, servername: undefined },
    seen,
  };
}

describe('KubeClient, long answers beside short ones', () => {
  const sent: RawHeaders = [
    ['Accept', 'application/json, */*'],
    ['Impersonate-Group', 'a,b'],
    ['Impersonate-Group', 'c'],
    ['X-Latin', 'j\u00c3\u00b6e'],
    ['X-Empty', ''],
    ['X-Spaces', '  inside  it '],
    ['Authorization', 'Bearer of-the-caller'],
    ['Host', 'evil.example'],
    ['Connection', 'Impersonate-Group'],
    ['Keep-Alive', 'timeout=5'],
    ['Transfer-Encoding', 'chunked'],
    ['Content-Length', '7'],
    ['Upgrade', 'h2c'],
    ['Te', 'trailers'],
  ];
  const answered = 'Content-Type|application/json|Content-Length|8|Audit-Id|x|X-A|1|X-A|2,3|X-Latin|\u00fc'.split('|');

  async function both(credential: Credential): Promise<{ answers: RecordedAnswer[]; seen: Seen[]; authority: string }> {
    const { endpoint, seen } = await nodeServer(answered, 'the body');
    const client = new KubeClient(
      { clock: systemClock },
      { endpoint, credential, userAgent: 'kexer/test', isHttp2Used: true },
    );
    scope.current.add(() => client.close());
    const answers: RecordedAnswer[] = [];
    for (const sharesConnection of [false, true]) {
      const answer = new RecordedAnswer();
      client.stream({ method: 'GET', target: '/a%2Fb/../c//?x=%zz;y', headers: sent, sharesConnection }, answer);
      answers.push(await answer.whenOver());
    }
    return { answers, seen, authority: new URL(endpoint.url).host };
  }

  it('send the same headers in the same order, and none that concerns a connection', async () => {
    const { seen, authority } = await both({ kind: 'token', token: fixedToken('of-kexer') });
    const [short, long] = seen;
    expect([short?.httpVersion, long?.httpVersion]).to.deep.equal(['1.1', '2.0']);
    const ordinary = (list: RawHeaders): RawHeaders =>
      list
        .filter(([name]) => !/^(:|host$|connection$)/i.test(name))
        .map(([name, value]) => [name.toLowerCase(), value]);
    expect(ordinary(long?.headers ?? [])).to.deep.equal(ordinary(short?.headers ?? []));
    expect(getAllHeaders(long?.headers ?? [], 'impersonate-group')).to.deep.equal(['a,b', 'c']);
    expect(getAllHeaders(long?.headers ?? [], 'authorization')).to.deep.equal(['Bearer of-kexer']);
    expect(long?.headers.filter(([name]) => /^(:|host$)/.test(name))).to.deep.equal([
      [':method', 'GET'],
      [':scheme', 'https'],
      [':authority', authority],
      [':path', '/prefix/a%2Fb/../c//?x=%zz;y'],
    ]);
  });

  it("leave a caller's token where it is, when the client has no credential", async () => {
    const { seen } = await both({ kind: 'none' });
    expect(seen.map((one) => getAllHeaders(one.headers, 'authorization'))).to.deep.equal([
      ['Bearer of-the-caller'],
      ['Bearer of-the-caller'],
    ]);
  });

  it('get the same answer: status, reason, names, repeated values, body', async () => {
    const { answers } = await both({ kind: 'none' });
    const [short, long] = answers.map((answer) => ({
      status: answer.status,
      reason: answer.reason,
      // Of the connection, and when it was.
      headers: answer.headers.filter(([name]) => !/^(connection|keep-alive|date|transfer-encoding)$/i.test(name)),
      summary: answer.summary,
    }));
    expect(long).to.deep.equal(short);
    expect(long?.headers).to.deep.include(['X-A', '2,3']);
  });

  it('carry heads that are longer than a frame', async () => {
    const { endpoint, seen } = await nodeServer([], '');
    const client = new KubeClient(
      { clock: systemClock },
      { endpoint, credential: { kind: 'none' }, userAgent: 'x', isHttp2Used: true },
    );
    scope.current.add(() => client.close());
    const answer = new RecordedAnswer();
    const value = 'v'.repeat(40_000);
    client.stream({ method: 'GET', target: '/', headers: [['X-Long', value]], sharesConnection: true }, answer);
    expect((await answer.whenOver()).status).to.equal(203);
    expect(getAllHeaders(seen[0]?.headers ?? [], 'x-long')).to.deep.equal([value]);
  });
});

describe('an answer by HTTP/2', () => {
  const cases: readonly {
    readonly what: string;
    readonly send: (request: PeerRequest) => void;
    readonly wanted: readonly [status: number, body: string, outcome: string];
  }[] = [
    {
      what: 'ends cleanly by END_STREAM',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), data(streamId, 'a'), data(streamId, '', true)),
      wanted: [200, 'a', 'end'],
    },
    {
      what: 'may have no body',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [[':status', '204']], true)),
      wanted: [204, '', 'end'],
    },
    {
      what: 'may have padding, priorities, pieces of a head, unknown frames and trailers',
      send: ({ peer, streamId }) => {
        const head = headers(streamId, ok);
        peer.send(
          frame(2, 0, streamId, Buffer.alloc(5)),
          frame(99, 0xff, 0, Buffer.alloc(3)),
          frame(1, 0x28, streamId, Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0]), Buffer.alloc(3)])),
          frame(9, 0, streamId, head.subarray(9, 10)),
          frame(9, 4, streamId, head.subarray(10)),
          frame(0, 8, streamId, Buffer.from('\u0003abc\0\0\0', 'latin1')),
          frame(0, 8, streamId, Buffer.from('\0d', 'latin1')),
          headers(streamId, [['grpc-status', '0']], true),
        );
      },
      wanted: [200, 'abcd', 'end'],
    },
    {
      what: 'may be announced by 100 and 103',
      send: ({ peer, streamId }) =>
        peer.send(
          headers(streamId, [[':status', '100']]),
          headers(streamId, [
            [':status', '103'],
            ['link', 'x'],
          ]),
          headers(streamId, ok),
          data(streamId, 'a', true),
        ),
      wanted: [200, 'a', 'end'],
    },
    {
      what: 'is cut by RST_STREAM, with NO_ERROR too',
      send: ({ peer, streamId }) =>
        peer.send(headers(streamId, ok), data(streamId, 'a'), rstStream(streamId, errorCode.noError)),
      wanted: [200, 'a', 'cut'],
    },
    {
      what: 'is cut by REFUSED_STREAM after its head: never sent again',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), rstStream(streamId, errorCode.refusedStream)),
      wanted: [200, '', 'cut'],
    },
    {
      what: 'is cut by the end of its connection',
      send: ({ peer, streamId }) => {
        peer.send(headers(streamId, ok), data(streamId, 'a'));
        peer.socket.end();
      },
      wanted: [200, 'a', 'cut'],
    },
    {
      what: 'is cut by a body that is shorter than announced',
      send: ({ peer, streamId }) =>
        peer.send(headers(streamId, [...ok, ['content-length', '5']]), data(streamId, 'four', true)),
      wanted: [200, 'four', 'cut'],
    },
    {
      what: 'is cut by a body that is longer than announced, before the rest',
      send: ({ peer, streamId }) =>
        peer.send(headers(streamId, [...ok, ['content-length', '2']]), data(streamId, 'ab'), data(streamId, 'c', true)),
      wanted: [200, 'ab', 'cut'],
    },
    {
      what: 'may announce the body that a 304 does not have',
      send: ({ peer, streamId }) =>
        peer.send(
          headers(
            streamId,
            [
              [':status', '304'],
              ['content-length', '5'],
            ],
            true,
          ),
        ),
      wanted: [304, '', 'end'],
    },
    {
      what: 'is cut by a second head in the middle',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), headers(streamId, ok)),
      wanted: [200, '', 'cut'],
    },
    {
      what: 'is refused without a status',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [['a', 'b']])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a head of nothing',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a status that is none',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [[':status', '2000']])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a pseudo header behind others',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [...ok, ['a', 'b'], [':status', '200']])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a line break in a value',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [...ok, ['a', 'b\r\nc: d']])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with upper case in a name',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [...ok, ['A', 'b']])),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused when it ends with 100',
      send: ({ peer, streamId }) => peer.send(headers(streamId, [[':status', '100']], true)),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused when it has a body and no head',
      send: ({ peer, streamId }) => peer.send(data(streamId, 'a')),
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a head beyond a megabyte',
      send: ({ peer, streamId }) => {
        const line = headers(streamId, [['a', 'b'.repeat(16_000)]]).subarray(9);
        const pieces = Array.from({ length: 70 }, () => frame(9, 0, streamId, line));
        peer.send(frame(1, 0, streamId, headers(streamId, ok).subarray(9)), ...pieces, frame(9, 4, streamId));
      },
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is refused with a small block that unfolds to more than a megabyte',
      send: ({ peer, streamId }) => {
        const entry = Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]), Buffer.alloc(3968, 'x')]);
        const block = Buffer.concat([headers(streamId, ok).subarray(9), entry, Buffer.alloc(400, 0xbe)]);
        peer.send(frame(1, 4, streamId, block));
      },
      wanted: [0, '', 'badGateway'],
    },
    {
      what: 'is lost with a connection whose headers cannot be decoded',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), frame(1, 5, streamId, Buffer.from([0xff, 0xff]))),
      wanted: [200, '', 'cut'],
    },
    {
      what: 'is lost with a connection that answers what nobody asked',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), headers(streamId + 2, ok, true)),
      wanted: [200, '', 'cut'],
    },
    {
      what: 'is lost with a connection that pushes',
      send: ({ peer, streamId }) => peer.send(headers(streamId, ok), frame(5, 4, streamId, Buffer.from([0, 0, 0, 2]))),
      wanted: [200, '', 'cut'],
    },
  ];
  for (const { what, send, wanted } of cases) {
    it(what, async () => {
      const peer = await startPeer(scope.current, { onRequest: send });
      const answer = new RecordedAnswer();
      getByHttp2(scope.current, peer.endpoint, answer);
      expect((await answer.whenOver()).summary).to.deep.equal(wanted);
      expect(answer.calls).to.equal(1);
    });
  }

  it('is reset as soon as the client has left', async () => {
    const peer = await startPeer(scope.current, {
      onRequest: ({ peer: one, streamId }) => one.send(headers(streamId, ok)),
    });
    const answer = new RecordedAnswer();
    const controller = getByHttp2(scope.current, peer.endpoint, answer);
    await answer.whenBegun();
    controller.abort(new Error('left'));
    await until(() => (peer.connections[0]?.resets().length ?? 0) > 0);
    expect([peer.connections[0]?.resets(), answer.summary]).to.deep.equal([[[1, errorCode.cancel]], [200, '', 'left']]);
    peer.connections[0]?.send(data(1, 'late'), data(1, '', true));
    expect(answer.calls).to.equal(1);
  });
});
