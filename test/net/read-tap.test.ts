import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Duplex } from 'node:stream';
import { createServer, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { dialTls } from '../../src/net/dial.ts';
import { ReadTap, tapReads } from '../../src/net/read-tap.ts';
import { sharedMaskMemory } from '../../src/protocol/websocket/mask-memory.ts';

/** Two ends of a TLS connection. */
async function tlsPair(scope: Scope, tap: ReadTap | undefined): Promise<{ client: TLSSocket; server: TLSSocket }> {
  const authority = await generateAuthority({ commonName: 'test' });
  const pair = await generateServing(authority, { commonName: 'test', ipAddresses: ['127.0.0.1'] });
  const listener = createServer({ cert: pair.cert, key: pair.key });
  scope.add(() => void listener.close());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const { port } = listener.address() as AddressInfo;
  const client = await dialTls({
    host: '127.0.0.1',
    port,
    ca: [authority.cert],
    isVerified: true,
    timeoutMs: 5000,
    tap,
  });
  scope.add(() => void client.destroy());
  const [server] = await accepted;
  scope.add(() => void server.destroy());
  server.on('error', () => {});
  return { client, server };
}

/** Takes what a socket gives by either way; notes by which, and copies at once. */
function collect(socket: Duplex): { text: () => string; byTap: () => number; byData: () => number; views: Buffer[] } {
  const chunks: Buffer[] = [];
  const views: Buffer[] = [];
  let byData = 0;
  socket.on('data', (chunk: Buffer) => {
    byData += chunk.length;
    chunks.push(chunk);
  });
  tapReads(socket, (bytes) => {
    views.push(bytes);
    chunks.push(Buffer.from(bytes));
  });
  return {
    text: () => Buffer.concat(chunks).toString(),
    byTap: () => views.reduce((sum, { length }) => sum + length, 0),
    byData: () => byData,
    views,
  };
}

async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000 && !isSo(); turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  expect(isSo()).to.equal(true);
}

describe('tapReads', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  it('lets no busy socket hold up the others: a turn has its bounds, and none is left behind', async () => {
    const count = 16;
    const sent = 512 * 1024;
    const pairs = await Promise.all(Array.from({ length: count }, () => tlsPair(scope, new ReadTap())));
    const got = pairs.map(() => 0);
    const turns = [0];
    for (const [index, { client, server }] of pairs.entries()) {
      client.pause();
      server.write(Buffer.alloc(sent));
      client.on('data', () => {});
      tapReads(client, ({ length }) => {
        got[index] = (got[index] ?? 0) + length;
        turns[turns.length - 1] = (turns.at(-1) ?? 0) + length;
      });
    }
    // For the network's buffers to fill: then each could read for long.
    for (let passed = 0; passed < 200; passed += 1) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    for (const { client } of pairs) client.resume();
    await until(() => {
      turns.push(0);
      return got.every((bytes) => bytes === sent);
    });
    const read = turns.filter((bytes) => bytes > 0);
    // In the first nobody stands in the queue yet.
    const [first = 0, ...others] = read;
    expect(first).to.be.lessThan((128 + (count + 1) * 64) * 1024);
    expect(first).to.be.greaterThan(128 * 1024);
    // A measure, one read of each of the two that were let in and of those that had not met the bound before, and what stood decrypted in
    // OpenSSL: far from one read of each, which would be a mebibyte.
    expect(Math.max(...others)).to.be.lessThan(768 * 1024);
  });

  it('does not set reading again what was paused meanwhile', async () => {
    const { client, server } = await tlsPair(scope, new ReadTap());
    let got = 0;
    client.on('data', () => {});
    tapReads(client, ({ length }) => {
      got += length;
      if (got > 1024 * 1024) client.pause();
    });
    client.resume();
    server.write(Buffer.alloc(4 * 1024 * 1024));
    await until(() => got > 1024 * 1024);
    for (let passed = 0; passed < 20; passed += 1) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(got).to.be.lessThan(1024 * 1024 + 4 * 64 * 1024);
    client.resume();
    // Pauses at each read from now on.
    await until(() => {
      if (client.isPaused()) client.resume();
      return got === 4 * 1024 * 1024;
    });
  });

  for (const who of ['dialled', 'accepted'] as const) {
    it(`gives what an ${who} socket reads in one and the same memory`, async () => {
      const { client, server } = await tlsPair(scope, who === 'dialled' ? new ReadTap() : undefined);
      const [reader, writer] = who === 'dialled' ? [client, server] : [server, client];
      const got = collect(reader);
      reader.resume();
      const sent = Array.from({ length: 40 }, (_, index) => String(index).repeat(5000)).join('');
      writer.write(sent);
      await until(() => got.text().length === sent.length);
      expect(got.text() === sent).to.equal(true);
      // On the Node that the tests run on; elsewhere an accepted socket may have to do without.
      expect([got.byTap(), got.byData()]).to.deep.equal([sent.length, 0]);
      expect(new Set(got.views.map(({ buffer }) => buffer)).size).to.equal(1);
      expect(got.views.every((view) => sharedMaskMemory.holds(view))).to.equal(true); // where unmasking costs least
    });

    it(`holds and resumes an ${who} socket`, async () => {
      const { client, server } = await tlsPair(scope, who === 'dialled' ? new ReadTap() : undefined);
      const [reader, writer] = who === 'dialled' ? [client, server] : [server, client];
      const got = collect(reader);
      reader.resume();
      writer.write('a');
      await until(() => got.text() === 'a');
      reader.pause();
      const total = 64 * 1024 * 1024;
      writer.write(Buffer.alloc(total, 'b'));
      await until(() => writer.writableLength > 0);
      for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      expect(got.byTap()).to.be.below(1024 * 1024); // what had been read already, no more
      reader.resume();
      await until(() => got.byTap() + got.byData() === total + 1);
    });

    it(`tells the end of an ${who} socket after its last byte`, async () => {
      const { client, server } = await tlsPair(scope, who === 'dialled' ? new ReadTap() : undefined);
      const [reader, writer] = who === 'dialled' ? [client, server] : [server, client];
      const got = collect(reader);
      let textAtEnd = '';
      reader.on('end', () => {
        textAtEnd = got.text();
      });
      reader.resume();
      writer.end('the last');
      await once(reader, 'end');
      expect(textAtEnd).to.equal('the last');
    });
  }

  it('reads as ever until somebody takes it, and gives what was read before first', async () => {
    const { client, server } = await tlsPair(scope, new ReadTap());
    server.write('head;');
    const [head] = (await once(client, 'data')) as [Buffer];
    client.pause();
    client.unshift(Buffer.from('rest;'));
    const got = collect(client);
    server.write('body');
    client.resume();
    await until(() => got.text().length === 9);
    expect([head.toString(), got.text()]).to.deep.equal(['head;', 'rest;body']);
  });

  it('leaves a Duplex that has no such parts alone', () => {
    const socket = new Duplex({ read() {}, write() {} });
    const got = collect(socket);
    socket.push('as ever');
    socket.read(0);
    expect(got.byTap()).to.equal(0);
    socket.destroy();
  });
});
