import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { splice, type SpliceEnd, type SpliceOptions } from '../../src/net/splice.ts';
import { duplexPair } from '../support/duplex-pair.ts';

async function settle(): Promise<void> {
  for (let round = 0; round < 20; round += 1) await turn();
}

/** client ⇄ a | splice | b ⇄ server */
function join(
  options: SpliceOptions = {},
  highWaterMark = 64 * 1024,
): { client: Duplex; server: Duplex; a: Duplex; b: Duplex; end: Promise<SpliceEnd> } {
  const [client, a] = duplexPair({ highWaterMark });
  const [b, server] = duplexPair({ highWaterMark });
  client.on('error', () => {});
  server.on('error', () => {});
  return { client, server, a, b, end: splice(a, b, options) };
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('splice', () => {
  it('carries heads first, then bytes both ways, and half-closes', async () => {
    const counted: string[] = [];
    const { client, server, end } = join({
      headToA: Buffer.from('head-a '),
      headToB: Buffer.from('head-b '),
      onBytes: (to, length) => counted.push(`${to}${length}`),
    });
    client.end('request');
    const request = await readAll(server);
    // The server answers after the client's half has ended.
    server.end('answer');
    const answer = await readAll(client);
    expect([request.toString(), answer.toString(), await end]).to.deep.equal([
      'head-b request',
      'head-a answer',
      { bytesToA: 13, bytesToB: 14, error: undefined, failedSide: undefined },
    ]);
    expect(counted).to.deep.equal(['a7', 'b7', 'b7', 'a6']);
  });

  it('carries megabytes both ways at once, through small buffers', async () => {
    const { client, server, end } = join({}, 1000);
    const up = randomBytes(1_000_000);
    const down = randomBytes(700_000);
    client.end(up);
    server.end(down);
    const [gotUp, gotDown] = await Promise.all([readAll(server), readAll(client)]);
    expect([gotUp.equals(up), gotDown.equals(down), (await end).error]).to.deep.equal([true, true, undefined]);
  });

  it('stops reading while the other side takes nothing', async () => {
    const { client, server, a, b, end } = join({}, 1000);
    let sent = 0;
    for (; sent < 100 && !client.writableNeedDrain; sent += 1) {
      client.write(Buffer.alloc(500));
      await settle();
    }
    expect([sent < 20, a.readableLength + b.writableLength < 10_000]).to.deep.equal([true, true]);
    server.resume();
    await settle();
    expect(client.writableLength).to.equal(0);
    server.end();
    client.end();
    client.resume();
    expect((await end).bytesToB).to.equal(sent * 500);
  });

  for (const side of ['a', 'b'] as const) {
    it(`destroys the other side when ${side} is reset, and says so`, async () => {
      const { client, server, end } = join();
      const [broken, other] = side === 'a' ? [client, server] : [server, client];
      await settle();
      broken.destroy();
      const { failedSide, error } = await end;
      await settle();
      expect([failedSide, error?.message, other.destroyed]).to.deep.equal([side, 'read ECONNRESET', true]);
    });
  }

  it('ends when a socket is destroyed by somebody else, or was before it began', async () => {
    const { a, client, end } = join();
    await settle();
    a.destroy();
    expect((await end).failedSide).to.equal('a');
    await settle();
    expect(client.destroyed).to.equal(true);
    const [gone, farEnd] = duplexPair();
    farEnd.on('error', () => {});
    gone.destroy();
    const [fresh, far] = duplexPair();
    far.on('error', () => {});
    const late = await splice(fresh, gone);
    expect([late.failedSide, fresh.destroyed]).to.deep.equal(['b', true]);
  });

  it('passes on an end that came before it began', async () => {
    const [client, a] = duplexPair();
    const [b, server] = duplexPair();
    client.end();
    a.resume();
    await settle();
    expect(a.readableEnded).to.equal(true);
    const end = splice(a, b, {});
    server.end('late');
    const [request, answer] = await Promise.all([readAll(server), readAll(client)]);
    expect([request.length, answer.toString(), (await end).error]).to.deep.equal([0, 'late', undefined]);
  });
});
