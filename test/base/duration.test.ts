import { expect } from 'chai';

import { formatDuration, parseDuration } from '../../src/base/duration.ts';

describe('parseDuration', () => {
  const cases: readonly (readonly [text: string, ms: number | undefined])[] = [
    ['0', 0],
    ['0s', 0],
    ['15s', 15_000],
    ['+15s', 15_000],
    ['4h', 14_400_000],
    ['1m30s', 90_000],
    ['1h2m3.5s', 3_723_500],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['300ms', 300],
    ['1500us', 1.5],
    ['2µs', 0.002],
    ['2μs', 0.002],
    ['', undefined],
    ['+', undefined],
    ['15', undefined],
    ['1d', undefined],
    ['-15s', undefined],
    ['15 s', undefined],
    ['15S', undefined],
    ['s', undefined],
    ['1..5s', undefined],
    ['1m30', undefined],
    ['Infinity', undefined],
  ];
  for (const [text, ms] of cases) {
    it(`reads ${JSON.stringify(text)} as ${String(ms)}`, () => {
      expect(parseDuration(text)).to.equal(ms);
    });
  }
});

describe('formatDuration', () => {
  const cases: readonly (readonly [ms: number, text: string])[] = [
    [0, '0s'],
    [300, '300ms'],
    [1500, '1.5s'],
    [15_000, '15s'],
    [60_000, '1m0s'],
    [90_000, '1m30s'],
    [14_400_000, '4h0m0s'],
    [3_723_500, '1h2m3.5s'],
  ];
  for (const [ms, text] of cases) {
    it(`prints ${ms} ms as ${text}`, () => {
      expect([formatDuration(ms), parseDuration(text)]).to.deep.equal([text, ms]);
    });
  }
});
