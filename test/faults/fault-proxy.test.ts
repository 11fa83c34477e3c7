// The fault proxy itself: what it lets pass to the byte, and that no connection stays in it for ever. One did: a socket that is not read tells
// nothing of its end, so that a side which had gone while the other one took nothing was never noticed, and each later run of a campaign waited for it.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { until } from '../integration/support/stage.ts';
import { FaultProxy, type ProxyAction } from './support/fault-proxy.ts';

/** More than the kernel keeps for a connection whose other end does not read. */
const tooMuch = Buffer.alloc(16 * 2 ** 20, 'x');

interface End {
  readonly socket: Socket;
  /** Bytes that came, while it is read. */
  received(): number;
  /** Code of its error, `end` or undefined. */
  ending(): string | undefined;
}

describe('FaultProxy', () => {
  let scope: Scope;
  let proxy: FaultProxy;
  let accept: () => Promise<Socket>;

  beforeEach(async () => {
    scope = new Scope();
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(() => {
      server.close();
    });
    proxy = await FaultProxy.start((server.address() as AddressInfo).port);
    scope.add(() => proxy.close());
    accept = async () => ((await once(server, 'connection')) as [Socket])[0];
  });

  afterEach(() => scope.close());

  function endOf(socket: Socket): End {
    let bytes = 0;
    let ending: string | undefined;
    scope.add(() => {
      socket.destroy();
    });
    socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
    socket.once('end', () => (ending ??= 'end'));
    socket.once('error', (error: NodeJS.ErrnoException) => (ending = error.code));
    return { socket, received: () => bytes, ending: () => ending };
  }

  /** Both ends of a connection through the proxy. */
  async function pair(): Promise<{ client: End; server: End }> {
    const accepted = accept();
    const client = endOf(connect({ host: '127.0.0.1', port: proxy.port, allowHalfOpen: true }));
    return { client, server: endOf(await accepted) };
  }

  /** The client sends until nothing more fits anywhere, since the server does not read. */
  async function fill(client: End, server: End): Promise<void> {
    server.socket.pause();
    client.socket.write(tooMuch);
    await until(() => client.socket.writableLength > 0 && proxy.passed.up > 0);
    // It is full when many turns have brought nothing.
    for (let turns = 0, seen = 0; turns < 200; turns += 1) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      if (proxy.passed.up !== seen) turns = 0;
      seen = proxy.passed.up;
    }
  }

  it('passes bytes and each end in their order', async () => {
    const { client, server } = await pair();
    client.socket.end('up');
    await until(() => server.ending() === 'end');
    expect(server.received()).to.equal(2);
    server.socket.end('down');
    await until(() => client.ending() === 'end' && proxy.openConnections === 0);
    expect([client.received(), proxy.passed]).to.deep.equal([4, { up: 2, down: 4 }]);
  });

  const told: readonly { action: ProxyAction; received: number; endings: readonly unknown[] }[] = [
    { action: { kind: 'cut' }, received: 10, endings: ['end', 'end'] },
    { action: { kind: 'reset' }, received: 10, endings: ['ECONNRESET', 'ECONNRESET'] },
    { action: { kind: 'halfClose' }, received: 10, endings: [undefined, 'end'] },
  ];
  for (const { action, received, endings } of told) {
    it(`does ${action.kind} behind the byte it is armed for`, async () => {
      let isFired = false;
      proxy.arm({ trigger: { direction: 'up', atByte: 10 }, action, onFired: () => (isFired = true) });
      const { client, server } = await pair();
      // First alone: a reset may overtake what a peer has not read.
      client.socket.write(Buffer.alloc(9));
      await until(() => server.received() === 9);
      client.socket.write(Buffer.alloc(100));
      await until(() => server.ending() === endings[1] && client.ending() === endings[0]);
      const most = action.kind === 'reset' ? Math.max(received, server.received()) : server.received();
      expect([isFired, most]).to.deep.equal([true, received]);
    });
  }

  for (const action of [
    { kind: 'stall', forMs: 20 },
    { kind: 'drip', pieceBytes: 7, everyMs: 0, pieces: 5 },
  ] as const) {
    it(`passes everything after a ${action.kind}`, async () => {
      proxy.arm({ trigger: { direction: 'up', atByte: 10 }, action });
      const { client, server } = await pair();
      client.socket.end(Buffer.alloc(1000));
      await until(() => server.ending() === 'end');
      server.socket.end(Buffer.alloc(500));
      await until(() => client.ending() === 'end' && proxy.openConnections === 0);
      expect([server.received(), client.received()]).to.deep.equal([1000, 500]);
    });
  }

  it('resets the client when the server is, behind bytes that nobody takes', async () => {
    const { client, server } = await pair();
    await fill(client, server);
    server.socket.end();
    await until(() => client.ending() === 'end');
    server.socket.resetAndDestroy();
    await until(() => proxy.openConnections === 0 && client.socket.closed);
    expect(client.ending()).to.be.oneOf(['ECONNRESET', 'EPIPE']);
  });

  for (const how of ['end', 'reset'] as const) {
    it(`lets go by dropBlocked of a connection whose ${how} stands behind bytes that nobody takes`, async () => {
      const { client, server } = await pair();
      await fill(client, server);
      if (how === 'reset') client.socket.resetAndDestroy();
      else client.socket.end();
      server.socket.end();
      await until(() => how === 'reset' || client.ending() === 'end');
      expect(proxy.openConnections, 'nobody can notice').to.equal(1);
      proxy.dropBlocked();
      await until(() => proxy.openConnections === 0);
    });
  }

  it('lets go by dropBlocked of a connection that is stalled, and of no other', async () => {
    proxy.arm({ trigger: { direction: 'up', atByte: 10 }, action: { kind: 'stall', forMs: undefined } });
    const stalled = await pair();
    const other = await pair();
    stalled.client.socket.end(Buffer.alloc(100));
    other.client.socket.write('x');
    await until(() => stalled.server.received() === 10 && other.server.received() === 1);
    proxy.dropBlocked();
    await until(() => proxy.openConnections === 1);
    other.server.socket.end('y');
    await until(() => other.client.ending() === 'end');
    expect(other.client.received()).to.equal(1);
  });
});
