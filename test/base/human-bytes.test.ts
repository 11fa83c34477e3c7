import { expect } from 'chai';

import { humanBytes } from '../../src/base/human-bytes.ts';

describe('humanBytes', () => {
  const cases: readonly (readonly [bytes: number, text: string])[] = [
    [0, '0'],
    [1, '1'],
    [1023, '1023'],
    [1024, '1Ki'],
    [1536, '1.5Ki'],
    [10 * 1024 - 1, '9.9Ki'],
    [10 * 1024, '10Ki'],
    [1024 ** 2 - 1, '1023Ki'],
    [64 * 1024 ** 2, '64Mi'],
    [1024 ** 3 - 1, '1023Mi'],
    [1024 ** 3, '1Gi'],
    [2.5 * 1024 ** 4, '2.5Ti'],
    [Number.MAX_SAFE_INTEGER, '7.9Pi'],
    [-1, '0'],
  ];

  for (const [bytes, text] of cases) {
    it(`says ${text} for ${bytes}`, () => {
      expect(humanBytes(bytes)).to.equal(text);
    });
  }
});
