// A server where a Secret says that a kube-apiserver is: answers what a test wants, and keeps every byte it was sent.

import { createServer, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';

import type { Scope } from '../../../src/base/scope.ts';
import { servingPair } from '../../support/serving-pair.ts';

export class FarServer {
  readonly port: number;
  /** PEM */
  readonly ca: string;
  /** Everything that came, latin1. */
  received: string;
  /** What each request is answered. */
  answer: string;

  private constructor(port: number, ca: string) {
    this.port = port;
    this.ca = ca;
    this.received = '';
    this.answer = '';
  }

  static async start(scope: Scope): Promise<FarServer> {
    const pair = await servingPair();
    const sockets = new Set<TLSSocket>();
    const server = createServer({ cert: pair.cert, key: pair.key, ALPNProtocols: ['http/1.1'] }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      socket.on('data', (chunk: Buffer) => {
        far.received += chunk.toString('latin1');
        if (chunk.includes('\r\n\r\n')) socket.end(far.answer);
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const far = new FarServer((server.address() as AddressInfo).port, pair.ca);
    scope.add(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    });
    return far;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** Answers with this from now on, and forgets what came. */
  will(status: string, headers: readonly string[], body: string): void {
    this.received = '';
    this.answer = [
      `HTTP/1.1 ${status}`,
      ...headers,
      `Content-Length: ${body.length}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n');
  }
}
