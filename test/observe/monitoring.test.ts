// config/monitoring asks only for what there is: every expression is PromQL, every metric, label and value it names is one of kexer's.

import { expect } from 'chai';

import { catalogue } from '../../src/observe/metrics/catalogue.ts';
import { alerts, allExpressions, dashboard, dashboardExpressions, familyOf } from './support/monitoring.ts';
import { readPromql } from './support/promql.ts';

const definitions = new Map(catalogue.flatMap(({ metrics }) => metrics).map((metric) => [metric.name, metric]));
/** What Prometheus itself adds. */
const targetLabels = ['job', 'pod'];

describe('readPromql', () => {
  it('finds metrics and labels', () => {
    const expr = 'sum by (a, b) (rate(x_total{c="1", d=~"2"}[5m])) / on (e) group_left y > 3';
    expect(readPromql(expr)).to.deep.equal({
      selectors: [
        { metric: 'x_total', labels: ['c', 'd'] },
        { metric: 'y', labels: [] },
      ],
      groupedBy: ['a', 'b', 'e'],
    });
  });

  for (const wrong of ['', 'sum by (a (x)', 'rate(x[5m]', 'x{a="1"', 'x{a=1}', 'x y', 'histogram_quantile(0.5 x)']) {
    it(`refuses ${JSON.stringify(wrong)}`, () => {
      expect(() => {
        const { selectors } = readPromql(wrong);
        if (selectors.length === 0) throw new Error('nothing is asked for');
      }).to.throw();
    });
  }
});

describe('config/monitoring', () => {
  it('has expressions to look at', () => {
    expect([alerts().length, dashboardExpressions().length].every((count) => count >= 20)).to.equal(true);
  });

  for (const expr of allExpressions()) {
    it(`asks for what there is: ${expr.trim().replaceAll(/\s+/g, ' ')}`, () => {
      const { selectors, groupedBy } = readPromql(expr);
      expect(selectors).to.not.deep.equal([]);
      const labels = new Set([...targetLabels, 'le']);
      for (const { metric, labels: matched } of selectors) {
        if (metric === 'up') continue;
        const definition = definitions.get(familyOf(metric));
        expect(definition, metric).to.not.equal(undefined);
        const own = Object.keys(definition?.labels ?? {});
        for (const label of own) labels.add(label);
        for (const label of matched) expect([...own, ...targetLabels], `${metric}{${label}}`).to.include(label);
        // Others have metrics of the same names.
        expect(matched, metric).to.include('job');
        const isHistogram = definition?.kind === 'histogram';
        expect(familyOf(metric) !== metric, metric).to.equal(isHistogram);
      }
      for (const label of groupedBy) expect([...labels], expr).to.include(label);
    });
  }

  it('matches only values that a label can have', () => {
    for (const expr of allExpressions()) {
      for (const [, metric = '', body = ''] of expr.matchAll(/(\w+)\{([^}]*)\}/g)) {
        const { labels = {} } = definitions.get(familyOf(metric)) ?? {};
        for (const [, label = '', operator = '', pattern = ''] of body.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)) {
          const documented = labels[label] ?? '';
          if (targetLabels.includes(label) || label === 'code' || pattern.includes('+')) continue;
          for (const value of operator.endsWith('~') ? pattern.split('|') : [pattern]) {
            const isLimit = metric === 'kexer_limit_refusals_total';
            expect(isLimit || documented.includes(value), `${metric}{${label}${operator}"${value}"}`).to.equal(true);
          }
        }
      }
    }
  });

  it('says of each alert how bad it is, what it is and what to do', () => {
    const all = alerts();
    expect(all.map(({ alert }) => alert)).to.deep.equal([...new Set(all.map(({ alert }) => alert))]);
    for (const { alert, labels, annotations } of all) {
      expect(alert).to.match(/^Kexer[A-Z]\w+$/);
      expect(labels['severity'], alert).to.be.oneOf(['warning', 'critical']);
      expect(annotations['summary'], alert).to.match(/^[^.]{10,80}$/);
      expect(annotations['description'], alert).to.match(/\w{3,}.*[.?]$/);
    }
  });

  it('names in descriptions only labels that the expression leaves', () => {
    for (const { alert, expr, annotations } of alerts()) {
      const { selectors, groupedBy } = readPromql(expr);
      const isAggregated = /\b(?:sum|min|max|absent|histogram_quantile)\b/.test(expr);
      const own = selectors.flatMap(({ metric }) => Object.keys(definitions.get(familyOf(metric))?.labels ?? {}));
      const left = isAggregated ? groupedBy : [...own, ...targetLabels];
      for (const [, label] of (annotations['description'] ?? '').matchAll(/\$labels\.(\w+)/g)) {
        expect(left, alert).to.include(label);
      }
    }
  });

  it('has a dashboard that Grafana can draw: ids and places are each of one panel', () => {
    const { panels, templating, uid } = dashboard();
    expect(uid).to.equal('kexer');
    expect(templating.list.map(({ name }) => name)).to.deep.equal(['datasource', 'job', 'pod']);
    expect(new Set(panels.map(({ id }) => id)).size).to.equal(panels.length);
    const taken = new Set<string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).to.be.at.most(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(taken.has(`${x} ${y}`), title).to.equal(false);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });

  it('names every metric that has an end in sight for an operator', () => {
    const asked = new Set(
      allExpressions().flatMap((expr) => readPromql(expr).selectors.map(({ metric }) => familyOf(metric))),
    );
    // What is in no panel and no alert is for looking closer: an omission here is a decision.
    const unasked = [...definitions.keys()].filter((name) => !asked.has(name));
    expect(unasked.toSorted()).to.deep.equal([
      'apiserver_audit_event_total',
      'apiserver_client_certificate_expiration_seconds',
      'apiserver_tls_handshake_errors_total',
      'authenticated_user_requests',
      'authentication_duration_seconds',
      'authorization_duration_seconds',
      'kexer_certificate_reloads_total',
      'kexer_certificate_renewals_total',
      'kexer_pod_watches',
      'kexer_rights_watched',
      'kexer_trace_spans_total',
      'nodejs_eventloop_lag_mean_seconds',
      'nodejs_heap_size_total_bytes',
      'process_start_time_seconds',
      'process_virtual_memory_bytes',
    ]);
  });
});
