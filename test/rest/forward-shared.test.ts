// Calls that share HTTP/2 connections to the apiserver: which do, that none gets another's answer or identity, and what becomes of them when the
// connection is lost or the answer breaks off.

import { once } from 'node:events';
import { constants, createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { errorCode } from '../../src/protocol/http2/frame.ts';
import { getHeader } from '../../src/protocol/raw-headers.ts';
import {
  data,
  goaway,
  headers,
  ok,
  type PeerRequest,
  rstStream,
  startPeer,
  type Peer,
} from '../kube/support/http2-peer.ts';
import { servingPair } from '../support/serving-pair.ts';
import { outer, type RawClient, startFront, type Front } from './support.ts';

const pod = '/api/v1/namespaces/default/pods/demo';
const options = { maxBodyBytes: 0, accepted: () => {} };

/** Of an answer whose body is `{}`. */
function isComplete(method: string, received: string): boolean {
  if (method === 'HEAD') return received.endsWith('\r\n\r\n');
  return received.endsWith(/chunked/i.test(received) ? '0\r\n\r\n' : '{}');
}

describe('forward over shared connections', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  async function frontOf(onRequest: (request: PeerRequest) => void): Promise<{ front: Front; peer: Peer }> {
    const peer = await startPeer(scope, { onRequest });
    return { peer, front: await startFront(scope, 0, { ...options, endpoint: peer.endpoint }) };
  }

  async function ask(front: Front, path: string, more = ''): Promise<RawClient> {
    const client = await front.connect();
    client.write(`GET ${outer}${path} HTTP/1.1\r\nHost: kexer\r\n${more}\r\n`);
    return client;
  }

  it('are watches and single objects; lists, proxies, and all but GET go by themselves', async () => {
    const pair = await servingPair();
    const seen: [method: string, path: string, version: string][] = [];
    const server = createSecureServer({ key: pair.key, cert: pair.cert, allowHTTP1: true }, (request, response) => {
      seen.push([request.method, request.url, request.httpVersion]);
      response.end('{}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(async () => {
      const closed = once(server, 'close');
      server.close();
      await closed;
    });
    const { port } = server.address() as AddressInfo;
    const url = `https://127.0.0.1:${port}`;
    const endpoint = { url, ca: pair.ca, isVerified: true, servername: undefined };
    const inner = new Scope();
    const front = await startFront(inner, 0, { ...options, endpoint });
    const cases: [method: string, path: string, version: string][] = [
      ['GET', pod, '2.0'],
      ['GET', `${pod}/status`, '2.0'],
      ['GET', '/api/v1/nodes/node1', '2.0'],
      ['GET', '/apis/apps/v1/namespaces/default/deployments/web/scale?x=1', '2.0'],
      ['GET', '/api/v1/pods?watch=true', '2.0'],
      ['HEAD', pod, '1.1'],
      ['DELETE', pod, '1.1'],
      ['PUT', pod, '1.1'],
      ['GET', '/api/v1/namespaces/default/pods', '1.1'],
      ['GET', '/api/v1/namespaces/default/pods?limit=500', '1.1'],
      ['GET', '/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Ddemo', '1.1'],
      ['GET', '/api/v1/namespaces/default/services/web/proxy/', '1.1'],
      ['GET', '/api/v1/nodes/node1/proxy/stats', '1.1'],
      ['GET', '/api/v1/proxy/nodes/node1', '1.1'],
      ['GET', '/openapi/v2', '1.1'],
      ['GET', '/apis', '1.1'],
      ['GET', '/version', '1.1'],
    ];
    const client = await front.connect();
    for (const [method, path] of cases) {
      client.received = '';
      client.write(`${method} ${outer}${path} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
      await client.until(({ received }) => isComplete(method, received));
    }
    await inner.close();
    expect(seen).to.deep.equal(cases);
  });

  it('leave as one write, and as an answer with a length, when they came whole', async () => {
    const { front } = await frontOf(({ peer, streamId }) => {
      peer.send(
        headers(streamId, [...ok, ['content-type', 'a/b'], ['warning', '1'], ['warning', '2']]),
        data(streamId, 'body', true),
      );
    });
    const client = await ask(front, pod);
    await client.untilReceived('body');
    const lines = client.received.split('\r\n').filter((line) => !/^(Date|Connection|Keep-Alive):/.test(line));
    expect(lines).to.deep.equal([
      'HTTP/1.1 200 OK',
      'Content-Type: a/b',
      'Warning: 1',
      'Warning: 2',
      'Content-Length: 4',
      '',
      'body',
    ]);
  });

  it('go on as they come when they did not come whole', async () => {
    const requests: PeerRequest[] = [];
    const { front } = await frontOf((request) => {
      requests.push(request);
      request.peer.send(headers(request.streamId, ok), data(request.streamId, 'one'));
    });
    const client = await ask(front, pod);
    await client.untilReceived('one');
    const [request] = requests;
    request?.peer.send(data(request.streamId, 'two', true));
    await client.untilReceived('0\r\n\r\n');
    expect(client.received.split('\r\n\r\n').slice(1).join('|')).to.equal('3\r\none\r\n3\r\ntwo\r\n0|');
  });

  for (const [status, more] of [
    ['204', ''],
    ['304', 'Etag: "x"\r\n'],
  ] as const) {
    it(`keep ${status} without a body and without a length`, async () => {
      const { front } = await frontOf(({ peer, streamId }) => {
        peer.send(headers(streamId, [[':status', status], ...(more === '' ? [] : [['etag', '"x"'] as const])], true));
      });
      const client = await ask(front, pod);
      await client.untilReceived('\r\n\r\n');
      client.write(`GET ${outer}${pod} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
      await client.until(({ received }) => received.split('\r\n\r\n').length > 2);
      expect(
        client.received.split('\r\n\r\n').map((head) => [head.slice(0, 12), /length|chunked/i.test(head)]),
      ).to.deep.equal([
        [`HTTP/1.1 ${status}`, false],
        [`HTTP/1.1 ${status}`, false],
        ['', false],
      ]);
    });
  }

  it('give each caller the answer to their own call, sent under their own name, in whatever order answers come', async () => {
    const requests: PeerRequest[] = [];
    const { front, peer } = await frontOf((request) => {
      requests.push(request);
      if (requests.length < 20) return;
      for (const { streamId, headers: fields } of requests.toReversed()) {
        request.peer.send(headers(streamId, ok), data(streamId, `[${getHeader(fields, ':path') ?? ''}]`, true));
      }
    });
    const clients = await Promise.all(
      Array.from({ length: 20 }, (_, index) => ask(front, `/api/v1/namespaces/default/pods/p${index}`)),
    );
    await Promise.all(clients.map((client) => client.untilReceived(']')));
    expect(clients.map(({ received }) => /\[.*\]$/.exec(received)?.[0])).to.deep.equal(
      clients.map((_, index) => `[/api/v1/namespaces/default/pods/p${index}]`),
    );
    expect([
      peer.connections.length,
      new Set(requests.map(({ headers: fields }) => getHeader(fields, 'authorization'))),
    ]).to.deep.equal([1, new Set(['Bearer alices-token'])]);
  });

  it('are asked once more, and no more, on another connection when theirs is lost before an answer', async () => {
    const { front, peer } = await frontOf(({ peer: one }) => {
      if (one.frames.filter(({ type }) => type === 'headers').length === 3) one.socket.destroy();
    });
    const clients = await Promise.all([1, 2, 3].map(() => ask(front, pod)));
    await Promise.all(clients.map((client) => client.untilReceived('"code":503')));
    expect([peer.connections.length, peer.requests.length]).to.deep.equal([2, 6]);
  });

  it('are answered when the connection that was lost had a successor', async () => {
    const { front, peer } = await frontOf(({ peer: one, streamId }) => {
      if (one === peer.connections[0]) one.socket.destroy();
      else one.send(headers(streamId, ok), data(streamId, 'ok', true));
    });
    const client = await ask(front, pod);
    await client.untilReceived('ok');
    expect([peer.connections.length, client.received.slice(0, 15)]).to.deep.equal([2, 'HTTP/1.1 200 OK']);
  });

  it('are sent again after GOAWAY if they were not looked at, and refused streams too', async () => {
    const { front, peer } = await frontOf(({ peer: one, streamId }) => {
      if (one === peer.connections[0]) one.send(goaway(0));
      else if (one.frames.filter(({ type }) => type === 'headers').length === 1)
        one.send(rstStream(streamId, errorCode.refusedStream));
      else one.send(headers(streamId, ok), data(streamId, 'ok', true));
    });
    const first = await ask(front, pod);
    // By HTTP/1.1 in the end, which this peer does not speak.
    await first.untilReceived('"code":50');
    const second = await ask(front, pod);
    await second.untilReceived('ok');
    expect(peer.requests.length).to.equal(3);
  });

  for (const [what, frames] of [
    ['reset', (streamId: number) => [data(streamId, 'half'), rstStream(streamId, errorCode.internalError)]],
    ['reset without an error', (streamId: number) => [data(streamId, 'half'), rstStream(streamId, errorCode.noError)]],
    ['too short', (streamId: number) => [data(streamId, 'half', true)]],
    ['without any of its body', (streamId: number) => [rstStream(streamId, errorCode.internalError)]],
  ] as const) {
    it(`never look whole when the answer is ${what}, in one turn with its head`, async () => {
      const { front, peer } = await frontOf(({ peer: one, streamId }) => {
        one.send(headers(streamId, [...ok, ['content-length', '8']]), ...frames(streamId));
      });
      const client = await ask(front, pod);
      await client.until(({ isEnded }) => isEnded);
      expect(client.received.split('\r\n\r\n').slice(1).join('').length < 8).to.equal(true);
      // And to a client of HTTP/2.
      const stream = front.connectHttp2().request({ ':path': outer + pod });
      stream.resume();
      const [error] = (await once(stream, 'error')) as [Error & { code: string }];
      expect([error.code, stream.rstCode, peer.requests.length]).to.deep.equal([
        'ERR_HTTP2_STREAM_ERROR',
        constants.NGHTTP2_INTERNAL_ERROR,
        2,
      ]);
    });
  }

  it('end when their client leaves, and nothing else does', async () => {
    const requests: PeerRequest[] = [];
    const { front, peer } = await frontOf((request) => void requests.push(request));
    const leaving = await ask(front, pod);
    const staying = await ask(front, `${pod}-2`);
    while (requests.length < 2) await new Promise((resolve) => setImmediate(resolve));
    leaving.socket.destroy();
    const [connection] = peer.connections;
    while (connection?.resets().length === 0) await new Promise((resolve) => setImmediate(resolve));
    const left = requests.find(({ headers: fields }) => getHeader(fields, ':path') === pod);
    const other = requests.find((request) => request !== left);
    connection?.send(headers(other?.streamId ?? 0, ok), data(other?.streamId ?? 0, 'ok', true));
    await staying.untilReceived('ok');
    expect(connection?.resets()).to.deep.equal([[left?.streamId, errorCode.cancel]]);
  });

  it('reach clients of HTTP/2 as they are', async () => {
    const { front } = await frontOf(({ peer, streamId }) => {
      peer.send(headers(streamId, [...ok, ['warning', '1'], ['warning', '2']]), data(streamId, 'body', true));
    });
    const stream = front.connectHttp2().request({ ':path': outer + pod });
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>];
    await once(stream, 'end');
    expect([head[':status'], head['warning'], Buffer.concat(parts).toString()]).to.deep.equal([200, '1, 2', 'body']);
  });
});
