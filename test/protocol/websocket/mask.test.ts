import { randomBytes } from 'node:crypto';

import { expect } from 'chai';
import fc from 'fast-check';

import { hostWebAssembly, MaskMemory } from '../../../src/protocol/websocket/mask-memory.ts';
import { applyKeyWord, applyMask, keyWord } from '../../../src/protocol/websocket/mask.ts';

/** Repeat a failure with KEXER_TEST_SEED; fast-check prints seed and path of what failed. */
const seed = Number(process.env['KEXER_TEST_SEED'] ?? Date.now() % 2 ** 31);

/** Section 5.3: `transformed-octet-i = original-octet-i XOR masking-key-octet-(i modulo 4)`. */
function masked(bytes: Uint8Array, key: Uint8Array, phase: number): Buffer {
  return Buffer.from(bytes.map((byte, at) => byte ^ (key[(at + phase) % 4] ?? 0)));
}

const memories = {
  'in the memory of WebAssembly': (): Buffer => vectors.bytes,
  elsewhere: (): Buffer => elsewhere,
};
const vectors = new MaskMemory({ wasm: hostWebAssembly() });
const elsewhere = Buffer.alloc(vectors.bytes.length);

for (const [where, memory] of Object.entries(memories)) {
  describe(`applyMask, of bytes ${where}`, () => {
    const key = Uint8Array.of(0x12, 0x34, 0x9a, 0xf8);

    /** Masks a part of the memory in place; what it should be, and whether all around it is as it was. */
    function isRight(at: number, source: Buffer, phase: number, ofKey = key): boolean {
      const bytes = memory();
      const around = randomBytes(64);
      const from = Math.max(0, at - 32);
      const to = Math.min(bytes.length, at + source.length + 32);
      for (let index = from; index < to; index += 1) bytes[index] = around[index & 63] ?? 0;
      const target = bytes.subarray(at, at + source.length);
      target.set(source);
      applyKeyWord(target, keyWord(ofKey), phase, vectors);
      if (!target.equals(masked(source, ofKey, phase))) return false;
      for (let index = from; index < to; index += 1) {
        const isInside = index >= at && index < at + source.length;
        if (!isInside && bytes[index] !== around[index & 63]) return false;
      }
      return true;
    }

    it('is done by vectors there, and by nothing else', () => {
      expect(vectors.holds(memory())).to.equal(where !== 'elsewhere');
    });

    it('equals the definition for each length to 300, alignment and phase, and touches nothing beside', () => {
      const source = randomBytes(300);
      const wrong: string[] = [];
      for (let length = 0; length <= 300; length += 1) {
        for (let offset = 0; offset < 16; offset += 1) {
          const phase = (length + offset) % 4; // each phase with each residue of length and of offset
          if (!isRight(32 + offset, source.subarray(0, length), phase)) wrong.push(`${length} at ${offset}, ${phase}`);
        }
      }
      expect(wrong).to.deep.equal([]);
    });

    it('equals the definition for each phase and alignment of lengths around what is done at once', () => {
      const source = randomBytes(70_000);
      const wrong: string[] = [];
      for (const length of [0, 1, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 257, 1029, 16_384, 65_400]) {
        for (let offset = 0; offset < 16; offset += 1) {
          for (let phase = 0; phase < 4; phase += 1) {
            if (!isRight(32 + offset, source.subarray(0, length), phase))
              wrong.push(`${length} at ${offset}, ${phase}`);
          }
        }
      }
      expect(wrong).to.deep.equal([]);
    });

    it('reaches the first and the last byte', () => {
      const source = randomBytes(memory().length);
      expect(isRight(0, source, 3)).to.equal(true);
      for (let length = 0; length < 100; length += 1) {
        expect(isRight(memory().length - length, source.subarray(0, length), 1), `the last ${length}`).to.equal(true);
      }
    });

    it('equals the definition for any bytes, key, phase and place; a payload in pieces equals the whole', () => {
      const aKey = fc.uint8Array({ minLength: 4, maxLength: 4 });
      fc.assert(
        fc.property(
          fc.uint8Array({ maxLength: 2000 }),
          aKey,
          fc.nat(3),
          fc.nat(60_000),
          fc.array(fc.nat(2000), { maxLength: 6 }),
          (bytes, ofKey, phase, at, cuts) => {
            const source = Buffer.from(bytes);
            if (!isRight(at, source, phase, ofKey)) return false;
            const target = memory().subarray(at, at + source.length);
            target.set(source);
            const ends = [0, ...cuts.filter((cut) => cut < source.length).sort((one, other) => one - other)];
            for (const [index, end] of ends.entries()) {
              const piece = target.subarray(end, ends[index + 1] ?? source.length);
              applyKeyWord(piece, keyWord(ofKey), (phase + end) & 3, vectors);
            }
            return target.equals(masked(source, ofKey, phase));
          },
        ),
        { seed, numRuns: 500 },
      );
    });
  });
}

describe('applyMask', () => {
  it('takes a key of bytes, and undoes itself', () => {
    const bytes = Buffer.from('Hello');
    applyMask(bytes, Uint8Array.of(0x37, 0xfa, 0x21, 0x3d), 0);
    expect(bytes.toString('hex')).to.equal('7f9f4d5158'); // RFC 6455, section 5.7
    applyMask(bytes, Uint8Array.of(0x37, 0xfa, 0x21, 0x3d), 0);
    expect(bytes.toString()).to.equal('Hello');
  });
});
