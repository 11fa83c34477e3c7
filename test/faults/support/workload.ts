// Data that both ends know: numbers as `seq` prints them, random bytes with their checksum, pods that print or echo them, and TCP servers
// to forward to.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

import type { Sandbox } from '../../../src/sandbox/sandbox.ts';
import type { Random } from './random.ts';
import type { NodeName } from './stage.ts';

/** The output of `seq 1 LAST` with about `size` bytes. */
export function sequence(size: number): { last: number; bytes: Buffer } {
  const lines: string[] = [];
  let length = 0;
  for (let number = 1; length < size; number += 1) {
    const line = `${number}\n`;
    lines.push(line);
    length += line.length;
  }
  return { last: lines.length, bytes: Buffer.from(lines.join('')) };
}

/** The same with lines of 80 bytes: in a container's log every line costs 40 more, and a log is rotated. */
export function wideSequence(size: number): { last: number; format: string; bytes: Buffer } {
  const last = Math.ceil(size / 80);
  const lines = Array.from({ length: last }, (_, index) => `${String(index + 1).padStart(79, '0')}\n`);
  return { last, format: '%079.0f', bytes: Buffer.from(lines.join('')) };
}

const blockBytes = 16 * 1024;

/** `size` bytes that do not repeat: one random block, each copy begins with its number. */
export function payload(random: Random, size: number): Buffer {
  const block = random.bytes(Math.min(blockBytes, size));
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += blockBytes) {
    block.copy(bytes, at);
    if (at + 4 <= size) bytes.writeUInt32BE(at, at);
  }
  return bytes;
}

/** What `sha256sum` prints for it. */
export function sha256Line(bytes: Buffer): Buffer {
  return Buffer.from(`${createHash('sha256').update(bytes).digest('hex')}  -\n`);
}

export const podResource = { group: '', resource: 'pods' } as const;

/** Settles when `isMet` of the pod; the store tells of every change. */
function whenPod(sandbox: Sandbox, name: string, isMet: (status: Record<string, unknown>) => boolean): Promise<void> {
  const look = (): boolean => {
    const pod = sandbox.store.get({ ...podResource, namespace: 'default', name });
    return isMet((pod?.['status'] ?? {}) as Record<string, unknown>);
  };
  return new Promise((resolve) => {
    if (look()) {
      resolve();
      return;
    }
    const stop = sandbox.store.watch(podResource, undefined, () => {
      if (!look()) return;
      stop();
      resolve();
    });
  });
}

/** A pod of one shell script; settles when it runs (or, with `isFinished`, when it has ended). */
export async function startPod(
  sandbox: Sandbox,
  options: { name: string; node: NodeName; script: string; isFinished?: boolean },
): Promise<void> {
  const { name, node, script } = options;
  sandbox.store.create(podResource, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      nodeName: node,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'busybox', command: ['sh', '-c', script], stdin: true, stdinOnce: true }],
    },
  });
  await whenPod(sandbox, name, (status) =>
    options.isFinished === true ? status['phase'] === 'Succeeded' : status['phase'] === 'Running',
  );
}

/** Takes the pod away at once; its kubelet kills what runs. */
export function removePod(sandbox: Sandbox, name: string): void {
  const key = { ...podResource, namespace: 'default', name };
  if (sandbox.store.get(key) !== undefined) sandbox.store.delete(key);
}

/** A server on 127.0.0.1 that port-forward can reach, and its end. */
export class PortServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(serve: (socket: Socket) => void): Promise<PortServer> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    const portServer = new PortServer(server);
    server.on('connection', (socket) => {
      portServer.#sockets.add(socket);
      socket.on('error', () => {}); // a broken session; what counts is what the client saw
      socket.once('close', () => portServer.#sockets.delete(socket));
      serve(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return portServer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** Sends back what comes, and ends when the other side has ended. */
export function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** Reads a line with a number and answers with so many bytes of the sequence, then ends. */
export function serveSequence(socket: Socket): void {
  let line = '';
  socket.on('data', (chunk: Buffer) => {
    if (line.endsWith('\n')) return;
    line += chunk.toString();
    if (line.endsWith('\n')) socket.end(sequence(Number(line)).bytes);
  });
  socket.on('end', () => {
    if (!socket.writableEnded) socket.end();
  });
}
