// A connection that is reset in the turn of its FIN: Node 24 lost its handle, which stayed open and kept a CPU busy after the peer had gone.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { resetSocket } from '../../src/net/reset.ts';

describe('resetSocket', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** Both ends of a connection; how the peer's one ended is in `ending`. */
  async function pair(): Promise<{ socket: Socket; peer: Socket; ending: Promise<string>; closed: Promise<unknown> }> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(() => {
      server.close();
    });
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const { port } = server.address() as AddressInfo;
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    scope.add(() => {
      socket.destroy();
    });
    const errors: Error[] = [];
    socket.on('error', (error) => errors.push(error));
    await once(socket, 'connect');
    const [peer] = await accepted;
    scope.add(() => {
      peer.destroy();
    });
    const ending = new Promise<string>((resolve) => {
      peer.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      peer.once('close', () => resolve('closed'));
    });
    const closed = once(socket, 'close').then(() => errors);
    return { socket, peer, ending, closed };
  }

  it('resets a connection whose FIN was asked for in the same turn', async () => {
    const { socket, peer, ending, closed } = await pair();
    peer.resume();
    socket.write('x');
    await once(peer, 'data');
    socket.end();
    resetSocket(socket);
    expect(await closed).to.deep.equal([]);
    peer.write('into nothing');
    expect(await ending).to.be.oneOf(['ECONNRESET', 'EPIPE']);
  });

  it('resets one with queued bytes at once, with an end behind them or not', async () => {
    for (const hasEnd of [false, true]) {
      const { socket, peer, ending, closed } = await pair();
      peer.pause();
      while (socket.write(Buffer.alloc(1 << 20))) await new Promise((resolve) => setImmediate(resolve));
      if (hasEnd) socket.end();
      resetSocket(socket);
      expect(await closed).to.deep.equal([]);
      peer.resume();
      expect(await ending).to.equal('ECONNRESET');
    }
  });
});
