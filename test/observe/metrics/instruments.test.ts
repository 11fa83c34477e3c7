import { expect } from 'chai';
import fc from 'fast-check';

import { define } from '../../../src/observe/metrics/definition.ts';
import { Counter, Histogram } from '../../../src/observe/metrics/instruments.ts';

const definition = define({ name: 'c_total', kind: 'counter', help: '', labels: { a: '', b: '' } });

describe('Counter', () => {
  it('keeps label sets apart, whatever order they are given in', () => {
    const counter = new Counter(definition);
    counter.inc({ a: '1', b: '2' });
    counter.inc({ b: '2', a: '1' });
    counter.inc({ a: '2', b: '1' });
    expect([...counter.cells()]).to.deep.equal([
      { values: ['1', '2'], value: 2 },
      { values: ['2', '1'], value: 1 },
    ]);
  });

  it('counts what is beyond its bound as other, and loses nothing', () => {
    const counter = new Counter(definition, 3);
    for (let index = 0; index < 10; index += 1) counter.inc({ a: String(index), b: 'x' });
    counter.inc({ a: '0', b: 'x' });
    expect([...counter.cells()]).to.deep.equal([
      { values: ['0', 'x'], value: 2 },
      { values: ['1', 'x'], value: 1 },
      { values: ['2', 'x'], value: 1 },
      { values: ['other', 'other'], value: 7 },
    ]);
  });
});

describe('Histogram', () => {
  it('puts each value below the first bound that is not smaller, for any bounds and values', () => {
    const bounds = fc.uniqueArray(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { maxLength: 12 });
    const values = fc.array(fc.double({ noNaN: true, min: -2e6, max: 2e6 }), { maxLength: 40 });
    fc.assert(
      fc.property(bounds, values, (unsorted, observed) => {
        const buckets = unsorted.toSorted((a, b) => a - b);
        const histogram = new Histogram(define({ name: 'h', kind: 'histogram', help: '', labels: {}, buckets }));
        histogram.touch({});
        for (const value of observed) histogram.observe({}, value);
        const [bins] = [...histogram.cells()];
        const upTo = [...buckets, Infinity].map((bound) => observed.filter((value) => value <= bound).length);
        let total = 0;
        expect(bins?.counts.map((count) => (total += count))).to.deep.equal(upTo);
        expect(bins?.count).to.equal(observed.length);
      }),
    );
  });
});
