// The connection and the library ws, each as client and as server.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect } from 'chai';
import { WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { requestUpgrade } from '../../src/net/upgrade.ts';
import {
  checkWebSocketAccepted,
  readWebSocketRequest,
  websocketAccepted,
  websocketRequestHeaders,
} from '../../src/protocol/websocket/handshake.ts';
import { HeadCollector, parseRequestHead } from '../../src/protocol/http-head.ts';

describe('WebSocketConnection and ws', () => {
  let scope: Scope;
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(() => scope.close());

  /** A TCP listener; what it accepts is destroyed with the test. */
  async function listen(onSocket: (socket: Socket) => void): Promise<number> {
    const server = createServer((socket) => {
      scope.add(() => void socket.destroy());
      onSocket(socket);
    });
    scope.add(async () => {
      server.close();
      await once(server, 'close');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  it('as a server echoes what a ws client sends, whole, fragmented, large, and closes in order', async () => {
    const port = await listen((socket) => {
      const collector = new HeadCollector();
      socket.once('data', (chunk: Buffer) => {
        const found = collector.acceptChunk(chunk);
        if (found === undefined) throw new Error('the head came in pieces');
        const { method, headers } = parseRequestHead(found.raw);
        const { key, protocols } = readWebSocketRequest(method, headers);
        socket.write(websocketAccepted(key, protocols[0]));
        let parts: Buffer[] = [];
        const connection = new WebSocketConnection(
          { socket, clock: systemClock },
          { role: 'server', head: found.rest },
          {
            onData: ({ opcode, bytes, isLast }) => {
              parts.push(Buffer.from(bytes));
              if (!isLast) return;
              if (opcode === 'text') connection.sendText(Buffer.concat(parts).toString());
              else connection.sendBinary(...parts);
              parts = [];
            },
            onEnd: () => {},
          },
        );
      });
    });
    const client = new WebSocket(`ws://127.0.0.1:${port}/`, ['v4.channel.k8s.io'], { perMessageDeflate: false });
    scope.add(() => client.terminate());
    const messages: [data: string, isBinary: boolean][] = [];
    client.on('message', (data: Buffer, isBinary: boolean) => messages.push([data.toString('latin1'), isBinary]));
    await once(client, 'open');
    const large = Buffer.alloc(3 * 1024 * 1024, 'abc');
    client.send('text');
    client.send('frag', { fin: false });
    client.send('ments', { fin: true });
    for (const size of [0, 1, 125, 126, 65_535, 65_536]) client.send(large.subarray(0, size));
    client.send(large);
    client.ping('p');
    const [pong] = (await once(client, 'pong')) as [Buffer];
    client.close(1000, 'done');
    const [code] = (await once(client, 'close')) as [number];
    expect({ code, pong: pong.toString(), protocol: client.protocol }).to.deep.equal({
      code: 1000,
      pong: 'p',
      protocol: 'v4.channel.k8s.io',
    });
    expect(messages.map(([data, isBinary]) => [isBinary, data.length])).to.deep.equal([
      [false, 4],
      [false, 9],
      ...[0, 1, 125, 126, 65_535, 65_536, large.length].map((size) => [true, size]),
    ]);
    expect(messages.at(-1)?.[0] === large.toString('latin1')).to.equal(true);
  });

  it('as a client talks to a ws server and is closed by it', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'v5.channel.k8s.io' });
    scope.add(async () => {
      for (const client of server.clients) client.terminate();
      server.close();
      await once(server, 'close');
    });
    await once(server, 'listening');
    server.on('connection', (client) => {
      client.on('message', (data: Buffer) => {
        client.send(data.subarray(0, 5), { fin: false });
        client.send(data.subarray(5), { fin: true });
        client.ping('keep');
        client.close(1000, 'bye');
      });
    });
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    scope.add(() => void socket.destroy());
    await once(socket, 'connect');
    const key = Buffer.alloc(16, 7).toString('base64');
    const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
    const headers = [['Host', 'h'] as const, ...websocketRequestHeaders(key, protocols)];
    const { head, rest } = await requestUpgrade(socket, { method: 'GET', target: '/', headers }, { timeoutMs: 10_000 });
    expect(checkWebSocketAccepted(head, { key, protocols })).to.equal('v5.channel.k8s.io');
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      const connection = new WebSocketConnection(
        { socket, clock: systemClock },
        { role: 'client', head: rest },
        {
          onData: ({ bytes, isFirst, isLast }) =>
            seen.push(`${isFirst ? '[' : ''}${bytes.toString()}${isLast ? ']' : ''}`),
          onPing: (payload) => seen.push(payload.toString()),
          onEnd: (end) => {
            seen.push(end.how === 'close' ? `${end.code} ${end.reason}` : end.how);
            resolve();
          },
        },
      );
      connection.sendBinary(Buffer.from('hello '), Buffer.from('world'));
    });
    expect(seen).to.deep.equal(['[hello', ' world]', 'keep', '1000 bye']);
  });
});
