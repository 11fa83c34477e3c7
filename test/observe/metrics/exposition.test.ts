import { expect } from 'chai';

import { define, exponentialBuckets, type MetricDefinition } from '../../../src/observe/metrics/definition.ts';
import { exposition, negotiateFormat } from '../../../src/observe/metrics/exposition.ts';
import { Registry } from '../../../src/observe/metrics/registry.ts';

function registry(): Registry {
  return new Registry({
    onError: (name, error) => {
      throw new Error(name, { cause: error });
    },
  });
}

const counted = define({ name: 'x_total', kind: 'counter', help: 'Counts.', labels: { kind: 'k', code: 'c' } });
const odd = define({ name: 'authentication_attempts', kind: 'counter', help: 'Odd.', labels: {} });
const timed = define({
  name: 't_seconds',
  kind: 'histogram',
  help: 'Times.',
  labels: { a: 'a' },
  buckets: [0.5, 1, 5],
});
const level = define({ name: 'g', kind: 'gauge', help: 'Level.', labels: {} });

describe('exposition', () => {
  it('writes counters, gauges and histograms as client_golang does', () => {
    const metrics = registry();
    const counter = metrics.counter(counted);
    counter.inc({ kind: 'exec', code: '101' });
    counter.inc({ kind: 'exec', code: '101' }, 2);
    counter.touch({ kind: 'log', code: '200' });
    const histogram = metrics.histogram(timed);
    for (const value of [0.5, 0.50001, 1, 4, 100]) histogram.observe({ a: 'b' }, value);
    metrics.readOne(level, () => 1.5e-7);
    metrics.counter(odd).inc({});
    expect(exposition(metrics.collect(), 'text')).to.equal(`# HELP authentication_attempts Odd.
# TYPE authentication_attempts counter
authentication_attempts 1
# HELP g Level.
# TYPE g gauge
g 1.5e-7
# HELP t_seconds Times.
# TYPE t_seconds histogram
t_seconds_bucket{a="b",le="0.5"} 1
t_seconds_bucket{a="b",le="1"} 3
t_seconds_bucket{a="b",le="5"} 4
t_seconds_bucket{a="b",le="+Inf"} 5
t_seconds_sum{a="b"} 106.00001
t_seconds_count{a="b"} 5
# HELP x_total Counts.
# TYPE x_total counter
x_total{kind="exec",code="101"} 3
x_total{kind="log",code="200"} 0
`);
    expect(exposition(metrics.collect(), 'openmetrics')).to.equal(`# HELP authentication_attempts Odd.
# TYPE authentication_attempts unknown
authentication_attempts 1
# HELP g Level.
# TYPE g gauge
g 1.5e-7
# HELP t_seconds Times.
# TYPE t_seconds histogram
t_seconds_bucket{a="b",le="0.5"} 1
t_seconds_bucket{a="b",le="1.0"} 3
t_seconds_bucket{a="b",le="5.0"} 4
t_seconds_bucket{a="b",le="+Inf"} 5
t_seconds_sum{a="b"} 106.00001
t_seconds_count{a="b"} 5
# HELP x Counts.
# TYPE x counter
x_total{kind="exec",code="101"} 3
x_total{kind="log",code="200"} 0
# EOF
`);
  });

  it('escapes what would end a value or a line', () => {
    const metrics = registry();
    const definition = define({ name: 'e', kind: 'gauge', help: 'a \\ "b"\nc', labels: { l: '' } });
    metrics.read(definition, () => [[{ l: 'q"\\\n{},=' }, Number.NaN]]);
    expect(exposition(metrics.collect(), 'text')).to.equal(
      '# HELP e a \\\\ "b"\\nc\n# TYPE e gauge\ne{l="q\\"\\\\\\n{},="} NaN\n',
    );
    expect(exposition(metrics.collect(), 'openmetrics')).to.contain('# HELP e a \\\\ \\"b\\"\\nc\n');
  });

  it('writes infinities as Go reads them', () => {
    const metrics = registry();
    const values = [Infinity, -Infinity, 1e21, 0];
    metrics.read(define({ name: 'i', kind: 'gauge', help: 'h', labels: { n: '' } }), () =>
      values.map((value, index) => [{ n: String(index) }, value] as const),
    );
    const text = exposition(metrics.collect(), 'text');
    expect(text.match(/(?<=} ).*$/gm)).to.deep.equal(['+Inf', '-Inf', '1e+21', '0']);
  });
});

describe('negotiateFormat', () => {
  const cases: readonly (readonly [accept: string | undefined, format: string])[] = [
    [undefined, 'text'],
    ['*/*', 'text'],
    ['text/html', 'text'],
    ['application/openmetrics-text', 'openmetrics'],
    ['application/openmetrics-text; version=1.0.0', 'openmetrics'],
    ['application/openmetrics-text; version=0.0.1', 'text'],
    ['application/openmetrics-text;version=2.0.0', 'text'],
    ['text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0', 'text'],
    ['application/openmetrics-text;q=0', 'text'],
    ['application/openmetrics-text;q=nonsense', 'text'],
    // Prometheus 2.5x and 3
    [
      'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      'openmetrics',
    ],
    [
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      'openmetrics',
    ],
    // Prometheus with native histograms asks for protobuf first.
    [
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2',
      'openmetrics',
    ],
  ];
  for (const [accept, format] of cases) {
    it(`gives ${format} for ${accept}`, () => {
      expect(negotiateFormat(accept)).to.equal(format);
    });
  }
});

describe('Registry', () => {
  it('refuses a name twice', () => {
    const metrics = registry();
    metrics.counter(counted);
    expect(() => metrics.counter(counted)).to.throw(/x_total/);
  });

  it('leaves out a metric that cannot be read, and says so', () => {
    const failed: string[] = [];
    const metrics = new Registry({ onError: (name) => failed.push(name) });
    metrics.readOne(level, () => {
      throw new Error('gone');
    });
    metrics.counter(odd).inc({});
    expect(metrics.collect().map(({ definition }: { definition: MetricDefinition }) => definition.name)).to.deep.equal([
      'authentication_attempts',
    ]);
    expect(failed).to.deep.equal(['g']);
  });
});

describe('exponentialBuckets', () => {
  it('multiplies', () => {
    expect(exponentialBuckets(0.001, 2, 4)).to.deep.equal([0.001, 0.002, 0.004, 0.008]);
  });
});
