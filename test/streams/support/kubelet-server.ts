// A kubelet as far as TLS, HTTP and the SPDY handshake go; what it answers is the test's.

import { Buffer } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

import { systemClock } from '../../../src/base/clock.ts';
import type { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../../src/certs/generate.ts';
import { SpdyConnection, type SpdyStream } from '../../../src/net/spdy-connection.ts';

export interface KubeletScript {
  /** Bytes to write in answer to an upgrade instead of a 101. */
  refusal?: (request: IncomingMessage) => string | undefined;
  /** What an upgrade's answer waits for, once it has come in; default nothing. */
  answerAfter?: () => Promise<void>;
  onStream?: (stream: SpdyStream, connection: SpdyConnection) => void;
  onGet?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Echoed in the 101; default what was offered. */
  protocol?: string;
}

export interface KubeletServer {
  readonly port: number;
  readonly ca: string;
  /** `POST /exec/…` of every request, in order. */
  readonly requests: string[];
  readonly headers: IncomingMessage['headers'][];
  readonly script: KubeletScript;
  connections: number;
  readonly sockets: Set<Duplex>;
}

export interface Certificates {
  readonly authority: KeyPairPem;
  readonly serving: KeyPairPem;
}

export async function makeCertificates(): Promise<Certificates> {
  const authority = await generateAuthority({ commonName: 'kubelet-ca' });
  const serving = await generateServing(authority, {
    commonName: 'node1',
    dnsNames: ['node1'],
    ipAddresses: ['127.0.0.1'],
  });
  return { authority, serving };
}

export async function startKubelet(
  scope: Scope,
  certificates: Certificates,
  script: KubeletScript,
): Promise<KubeletServer> {
  const { cert, key } = certificates.serving;
  const server = createServer({ cert, key });
  const seen: KubeletServer = {
    port: 0,
    ca: certificates.authority.cert,
    requests: [],
    headers: [],
    script,
    connections: 0,
    sockets: new Set(),
  };
  server.on('secureConnection', (socket) => {
    seen.connections += 1;
    seen.sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => seen.sockets.delete(socket));
  });
  server.on('tlsClientError', () => {});
  const keep = (request: IncomingMessage): void => {
    seen.requests.push(`${request.method ?? ''} ${request.url ?? ''}`);
    seen.headers.push(request.headers);
  };
  server.on('request', (request, response) => {
    keep(request);
    script.onGet?.(request, response);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    keep(request);
    const after = script.answerAfter?.();
    if (after === undefined) answer(request, socket, head);
    else void after.then(() => answer(request, socket, head));
  });
  const answer = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const refusal = script.refusal?.(request);
    if (refusal !== undefined) {
      socket.end(refusal);
      return;
    }
    const offered = String(request.headers['x-stream-protocol-version']);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${script.protocol ?? offered}\r\n\r\n`,
    );
    const connection: SpdyConnection = new SpdyConnection(
      { socket, clock: systemClock },
      { role: 'server', head },
      {
        onStream: (stream) => {
          stream.reply();
          script.onStream?.(stream, connection);
        },
        onEnd: () => connection.destroy(),
      },
    );
  };
  scope.add(
    () =>
      new Promise<void>((resolve) => {
        for (const socket of seen.sockets) socket.destroy();
        server.close(() => resolve());
      }),
  );
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return Object.assign(seen, { port: (server.address() as AddressInfo).port });
}

/** A refusal as a kubelet writes it. */
export function plainRefusal(status: string, text: string, type = 'text/plain; charset=utf-8'): string {
  return `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}
