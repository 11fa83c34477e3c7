// The attack: to make a reader act within its call so that another socket is read into the same memory before it is done. Nothing that kexer
// does with sockets may read at once: not a write to another one that has bytes waiting, a pause, a resume, an end or a destroy.

import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { dialTls } from '../../src/net/dial.ts';
import { ReadTap, tapReads } from '../../src/net/read-tap.ts';
import { quiet } from '../streams/support/rig.ts';

describe('what a reader of the shared buffer does within its call', function () {
  this.timeout(30_000);
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** `count` tapped TLS sockets with their other ends. */
  async function tapped(count: number): Promise<{ near: TLSSocket; far: TLSSocket }[]> {
    const authority = await generateAuthority({ commonName: 'test' });
    const pair = await generateServing(authority, { commonName: 'test', ipAddresses: ['127.0.0.1'] });
    const listener = createServer({ cert: pair.cert, key: pair.key });
    scope.add(() => void listener.close());
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const ends: { near: TLSSocket; far: TLSSocket }[] = [];
    for (let index = 0; index < count; index += 1) {
      const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
      const near = await dialTls({
        host: '127.0.0.1',
        port,
        ca: [authority.cert],
        isVerified: true,
        timeoutMs: 5000,
        tap: new ReadTap(),
      });
      const [far] = await accepted;
      for (const socket of [near, far]) {
        socket.on('error', () => {});
        scope.add(() => void socket.destroy());
      }
      ends.push({ near, far });
    }
    return ends;
  }

  const habits: readonly {
    what: string;
    act: (own: TLSSocket, other: TLSSocket, others: readonly TLSSocket[]) => void;
  }[] = [
    { what: 'pauses and resumes itself', act: (own) => void own.pause().resume() },
    {
      what: 'writes to others that have something to read',
      act: (_own, other) => void other.write(Buffer.alloc(20_000, 0xee)),
    },
    { what: 'resumes others that have something to read', act: (_own, other) => void other.pause().resume() },
    { what: 'ends another', act: (_own, other, others) => void (others[0] === other && other.end('bye')) },
    { what: 'destroys another', act: (_own, other, others) => void (others[0] === other && other.destroy()) },
    { what: 'destroys itself', act: (own, _other, others) => void (others.includes(own) && own.destroy()) },
  ];
  for (const { what, act } of habits) {
    it(`leaves the bytes as they are: it ${what}`, async () => {
      const ends = await tapped(4);
      const sockets = ends.map(({ near }) => near);
      let [depth, reads, deepest] = [0, 0, 0];
      const changed: number[] = [];
      for (const [index, { near }] of ends.entries()) {
        near.on('data', () => {});
        tapReads(near, (bytes) => {
          depth += 1;
          reads += 1;
          deepest = Math.max(deepest, depth);
          const before = Buffer.from(bytes);
          for (const other of sockets) if (other !== near) act(near, other, sockets.slice(0, 1));
          if (!before.equals(bytes)) changed.push(index);
          if (bytes.some((byte) => byte !== index + 1)) changed.push(index);
          depth -= 1;
        });
        near.resume();
      }
      // All at once, so that every socket has bytes waiting while another one is read.
      for (const [index, { far }] of ends.entries()) {
        far.resume();
        far.write(Buffer.alloc(200_000, index + 1));
      }
      for (let turn = 0; turn < 300; turn += 1) await quiet();
      expect(reads).to.be.above(20);
      expect({ changed, deepest }).to.deep.equal({ changed: [], deepest: 1 });
    });
  }
});
