// A server of a test on a free port of loopback, which ends with its test together with whatever is still connected to it.

import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';

import type { Scope } from '../../src/base/scope.ts';

/** @returns the port. Connections have no error listener of their own. */
export async function listening(scope: Scope, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket.on('close', () => sockets.delete(socket))));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.add(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return (server.address() as AddressInfo).port;
}
