import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { applyMask } from '../../../src/protocol/websocket/mask.ts';

describe('applyMask', () => {
  it('equals the byte loop of the RFC for every alignment, length around the word border, and phase', () => {
    const source = randomBytes(1100);
    const key = Uint8Array.of(0x12, 0x34, 0x56, 0x78);
    for (const length of [0, 1, 3, 4, 63, 255, 256, 257, 259, 263, 300, 1024, 1029]) {
      for (let offset = 0; offset < 8; offset += 1) {
        for (let phase = 0; phase < 4; phase += 1) {
          const target = Buffer.alloc(1200).subarray(offset, offset + length);
          source.copy(target, 0, 0, length);
          applyMask(target, key, phase);
          const want = Buffer.from(source.subarray(0, length).map((byte, at) => byte ^ (key[(at + phase) % 4] ?? 0)));
          expect(target.equals(want), `${length} bytes at ${offset}, phase ${phase}`).to.equal(true);
        }
      }
    }
  });
});
