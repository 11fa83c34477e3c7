// docs/metrics.md is what the definitions say, and the definitions keep to their own rules.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { catalogue } from '../../src/observe/metrics/catalogue.ts';
import { metricsPage } from './support/metrics-page.ts';

const text = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');
const metrics = catalogue.flatMap((group) => group.metrics);

describe('docs/metrics.md', () => {
  it('is what the definitions say', () => {
    expect(text).to.equal(metricsPage());
  });
});

describe('catalogue', () => {
  it('has each name once, and names that Prometheus takes', () => {
    const names = metrics.map(({ name }) => name);
    expect(names).to.deep.equal([...new Set(names)]);
    for (const { name, labels } of metrics) {
      expect(name).to.match(/^[a-z][a-z0-9_]*$/);
      for (const label of Object.keys(labels)) expect(label, name).to.match(/^[a-z][a-z0-9_]*$/);
    }
  });

  it('ends counters of its own with _total, and nothing else so', () => {
    for (const { name, kind, origin } of metrics) {
      if (origin !== 'kube-apiserver') expect(name.endsWith('_total'), name).to.equal(kind === 'counter');
    }
  });

  it('says in base units what it measures', () => {
    for (const { name } of metrics)
      expect(name).to.not.match(/_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|percent)(_|$)/);
  });

  it('has rising buckets for histograms alone', () => {
    for (const { name, kind, buckets } of metrics) {
      expect(buckets !== undefined, name).to.equal(kind === 'histogram');
      for (const [index, bound] of (buckets ?? []).entries()) {
        if (index > 0) expect(bound, name).to.be.above(buckets?.[index - 1] ?? Infinity);
      }
    }
  });

  it('names no user, pod, node, address or path in a label', () => {
    for (const { name, labels } of metrics) {
      for (const label of Object.keys(labels)) {
        expect(label, name).to.not.match(
          /^(user|pod|node_name|address|ip|path|uri|url|token|namespace|container|session)$/,
        );
      }
    }
  });
});
