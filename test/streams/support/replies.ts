// What a client of an upgrade reads on its raw socket: a refusal to its end, or the head of a 101 with the connection behind it.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../../src/base/clock.ts';
import { SpdyConnection } from '../../../src/net/spdy-connection.ts';

export interface Reply {
  readonly status: number;
  /** By name in lower case. */
  readonly headers: Map<string, string>;
  readonly body: string;
}

/** The answer to an upgrade that is refused, to its end. */
export async function readRefusal(client: Duplex): Promise<Reply & { readonly head: string }> {
  const parts: Buffer[] = [];
  for await (const chunk of client) parts.push(chunk as Buffer);
  client.end();
  const [head = '', ...rest] = Buffer.concat(parts).toString().split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const headers = new Map(lines.map((line) => [line.split(': ')[0]?.toLowerCase() ?? '', line.split(': ')[1] ?? '']));
  return { status: Number(first.split(' ')[1]), headers, body: rest.join('\r\n\r\n'), head };
}

/** `CODE REASON: MESSAGE` of the Status in it, whose code is the answer's. */
export function statusIn(reply: Reply): string {
  const status = JSON.parse(reply.body) as { code: number; reason?: string; message: string };
  expect(reply.headers.get('content-type')).to.equal('application/json');
  expect(status.code).to.equal(reply.status);
  return `${status.code} ${status.reason ?? ''}: ${status.message}`;
}

/** Reads the head of an answer and leaves what follows to be read. */
export async function readHead(client: Duplex): Promise<string> {
  const chunk = await new Promise<Buffer>((resolve) => {
    client.once('data', resolve);
  });
  client.pause();
  const at = chunk.indexOf('\r\n\r\n') + 4;
  if (at < chunk.length) client.unshift(chunk.subarray(at));
  return chunk.subarray(0, at).toString('latin1');
}

/** Reads the 101, behind which is silence until the client speaks, and gives the rest of the connection to a SPDY client. */
export async function joinSpdy(client: Duplex): Promise<{ head: string; spdy: SpdyConnection }> {
  const head = await readHead(client);
  expect(client.readableLength).to.equal(0);
  const spdy: SpdyConnection = new SpdyConnection(
    { socket: client, clock: systemClock },
    { role: 'client' },
    { onEnd: () => spdy.destroy() },
  );
  return { head, spdy };
}
