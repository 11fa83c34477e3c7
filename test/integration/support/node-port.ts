// A port of the range that Kubernetes keeps for node ports, on loopback, behind which a port of this machine is: what kube-proxy makes of a Service.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Below what systems give out by themselves, so that only another node port can be in the way. */
const [first, last] = [30_000, 32_767];
const maxTries = 50;

export interface NodePort {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** @param target a port of 127.0.0.1. @throws Error if no port of the range is free */
export async function nodePort(target: number): Promise<NodePort> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const inner = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true });
    for (const [socket, other] of [
      [client, inner],
      [inner, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.once('close', () => sockets.delete(socket));
      socket.pipe(other);
    }
  });
  for (let tries = 0; tries < maxTries; tries += 1) {
    const port = first + Math.floor(Math.random() * (last - first + 1));
    const listening = once(server, 'listening').then(() => true);
    server.listen(port, '127.0.0.1');
    // Somebody else has it: another one.
    if (!(await listening.catch(() => false))) continue;
    return {
      port,
      close: async () => {
        for (const socket of sockets) socket.destroy();
        const closed = once(server, 'close');
        server.close();
        await closed;
      },
    };
  }
  throw new Error(`Cannot find a free port between ${first} and ${last}`);
}
