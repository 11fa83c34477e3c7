import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { tapReads } from '../../src/net/read-tap.ts';
import { encodeFrame, opcodes } from '../../src/protocol/websocket/frame.ts';
import { TunnelDuplex } from '../../src/streams/tunnel.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { quiet } from './support/rig.ts';

const key = Buffer.of(1, 2, 3, 4);

describe('TunnelDuplex', () => {
  for (const isTapped of [true, false]) {
    it(`takes a bounded part of what a client sends while it is held, and loses nothing, ${isTapped ? 'by its tap' : 'as a stream'}`, async () => {
      const [own, client] = duplexPair();
      const tunnel = new TunnelDuplex({ clock: new FakeClock() }, { socket: own, head: Buffer.alloc(0) });
      const taken: Buffer[] = [];
      tunnel.on('data', (bytes: Buffer) => taken.push(Buffer.from(bytes)));
      if (isTapped) tapReads(tunnel, (bytes) => taken.push(Buffer.from(bytes)));
      const length = (): number => taken.reduce((sum, { length: part }) => sum + part, 0);
      const chunks = Array.from({ length: 300 }, (_, index) => Buffer.alloc(10_000, index));
      await quiet();
      tunnel.pause();
      for (const chunk of chunks) for (const part of encodeFrame(opcodes.binary, [chunk], { key })) client.write(part);
      await quiet();
      expect([length(), tunnel.readableLength < 300_000, client.writableLength > 1_000_000]).to.deep.equal([
        0,
        true,
        true,
      ]);
      tunnel.resume();
      for (let round = 0; round < 100 && length() < 3_000_000; round += 1) await quiet();
      expect(Buffer.concat(taken).equals(Buffer.concat(chunks))).to.equal(true);
      tunnel.destroy();
      client.destroy();
      await quiet();
    });
  }
});
