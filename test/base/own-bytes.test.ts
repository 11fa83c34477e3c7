import { expect } from 'chai';

import { ownBytes } from '../../src/base/own-bytes.ts';

describe('ownBytes', () => {
  const read = Buffer.from(new ArrayBuffer(1000)).fill('abcd');

  for (const [length, isCopied] of [
    [0, true],
    [1, true],
    [500, true],
    [501, false],
    [1000, false],
  ] as const) {
    it(`${isCopied ? 'copies' : 'keeps'} ${length} bytes of a read of 1000`, () => {
      const bytes = read.subarray(0, length);
      const own = ownBytes(bytes);
      expect([own.equals(bytes), own.buffer.byteLength, own === bytes]).to.deep.equal([
        true,
        isCopied ? length : 1000,
        !isCopied,
      ]);
    });
  }
});
