// The same numbers recorded here and in prom-client give the same scrape.

import { expect } from 'chai';
import fc from 'fast-check';
import { Counter, Gauge, Histogram, Registry as PromRegistry } from 'prom-client';

import { define } from '../../../src/observe/metrics/definition.ts';
import { exposition } from '../../../src/observe/metrics/exposition.ts';
import { Registry } from '../../../src/observe/metrics/registry.ts';
import { labelsText, type ParsedFamily, parseExposition } from '../support/parse-exposition.ts';

const buckets = [0.1, 1, 10];

describe('exposition beside prom-client', () => {
  it('says the same, for any labels and values', async () => {
    const label = fc.string({ unit: 'binary-ascii', maxLength: 6 });
    const number = fc.double({ noNaN: true, noDefaultInfinity: true, min: 0, max: 1e9 });
    const events = fc.array(fc.record({ label, number }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(events, async (recorded) => {
        const ours = new Registry({ onError: () => {} });
        const theirs = new PromRegistry();
        const common = { help: 'A "help"\\ text\nin two lines.', labelNames: ['l'] as const, registers: [theirs] };
        const labels = { l: 'a label' };
        const counter = ours.counter(define({ name: 'c_total', kind: 'counter', help: common.help, labels }));
        const histogram = ours.histogram(
          define({ name: 'h_seconds', kind: 'histogram', help: common.help, labels, buckets }),
        );
        const gauges = new Map<string, number>();
        ours.read(define({ name: 'g', kind: 'gauge', help: common.help, labels }), () =>
          [...gauges].map(([l, value]) => [{ l }, value] as const),
        );
        const promCounter = new Counter({ name: 'c_total', ...common });
        const promHistogram = new Histogram({ name: 'h_seconds', buckets, ...common });
        const promGauge = new Gauge({ name: 'g', ...common });
        for (const { label: l, number: value } of recorded) {
          counter.inc({ l }, value);
          promCounter.inc({ l }, value);
          histogram.observe({ l }, value);
          promHistogram.observe({ l }, value);
          gauges.set(l, value);
          promGauge.set({ l }, value);
        }
        const promText = (await theirs.metrics()).replaceAll(/\n{2,}/g, '\n').replace(/^\n/, '');
        expect(sorted(parseExposition(exposition(ours.collect(), 'text'), 'text'))).to.deep.equal(
          sorted(parseExposition(promText.endsWith('\n') ? promText : `${promText}\n`, 'text')),
        );
        parseExposition(exposition(ours.collect(), 'openmetrics'), 'openmetrics');
      }),
      { numRuns: 50 },
    );
  });
});

/** Neither format says anything about order. */
function sorted(families: ReadonlyMap<string, ParsedFamily>): unknown[] {
  return [...families]
    .map(([name, { type, help, samples }]) => ({
      name,
      type,
      help,
      samples: samples.map(({ name: sample, labels, value }) => `${sample} ${labelsText(labels)} ${value}`).toSorted(),
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
