import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import { RequestStages } from '../../../src/observe/stages.ts';
import { type FinishedSpan, Tracer } from '../../../src/observe/traces/trace.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const theirs = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) };
const inbound: RawHeaders = [
  ['Traceparent', `00-${theirs.traceId}-${theirs.spanId}-01`],
  ['Tracestate', 'vendor=1'],
];
const masters = { groups: ['system:masters'] };

class Stand {
  readonly clock = new FakeClock();
  readonly spans: FinishedSpan[] = [];
  readonly tracer: Tracer;
  #byte = 0;

  constructor(samplingRatePerMillion = 0) {
    const random = (size: number): Buffer => Buffer.alloc(size, (this.#byte += 1));
    const onSpan = (span: FinishedSpan): void => void this.spans.push(span);
    this.tracer = new Tracer({ clock: this.clock, onSpan, random }, { samplingRatePerMillion });
  }

  names(): string[] {
    return this.spans.map(({ name }) => name);
  }
}

describe('Tracer', () => {
  it('continues the trace of system:masters and system:monitoring, as they say', () => {
    for (const user of [masters, { groups: ['a', 'system:monitoring'] }]) {
      const stand = new Stand();
      const trace = stand.tracer.begin(inbound);
      trace.identified(user);
      trace.end('GET', { status: 200 });
      expect(stand.spans[0]).to.deep.include({
        traceId: theirs.traceId,
        parentSpanId: theirs.spanId,
        name: 'GET',
        kind: 'server',
        isError: false,
        link: undefined,
      });
      const [header, state] = trace.headers();
      expect(header?.[1]).to.match(new RegExp(`^00-${theirs.traceId}-(?!${theirs.spanId})\\w{16}-01$`));
      expect(state).to.deep.equal(['Tracestate', 'vendor=1']);
    }
  });

  it('gives anybody else a trace of their own, which only links to theirs and is sampled by rate alone', () => {
    for (const user of [{ groups: ['system:authenticated'] }, undefined]) {
      const [off, on] = [new Stand(0), new Stand(1_000_000)];
      for (const stand of [off, on]) {
        const trace = stand.tracer.begin(inbound);
        trace.identified(user);
        trace.end('GET', { status: 200 });
        const [header, ...others] = trace.headers();
        expect(header?.[1]).to.not.contain(theirs.traceId);
        expect(header?.[1].endsWith(stand === on ? '-01' : '-00')).to.equal(true);
        expect(others).to.deep.equal([]);
      }
      expect(off.spans).to.deep.equal([]);
      expect(on.spans[0]).to.deep.include({
        parentSpanId: '',
        link: { ...theirs, isSampled: true, state: 'vendor=1' },
      });
    }
  });

  it('does not trace what a trusted caller does not want traced, whatever the rate', () => {
    const stand = new Stand(1_000_000);
    const trace = stand.tracer.begin([['traceparent', `00-${theirs.traceId}-${theirs.spanId}-00`]]);
    trace.identified(masters);
    trace.end('GET', { status: 200 });
    expect(stand.spans).to.deep.equal([]);
  });

  it('samples about as many as it was told, by the trace id', () => {
    const clock = new FakeClock();
    let count = 0;
    const tracer = new Tracer({ clock, onSpan: () => (count += 1) }, { samplingRatePerMillion: 250_000 });
    for (let index = 0; index < 4000; index += 1) tracer.begin([]).end('GET', { status: 200 });
    expect(count).to.be.within(850, 1150);
  });

  it('keeps spans until it knows whose trace it is, then tells each as it ends', async () => {
    const stand = new Stand();
    const trace = stand.tracer.begin(inbound);
    const stages = new RequestStages({ clock: stand.clock, observer: { stageEnded: () => {} }, trace });
    await stages.run('authn', async () => stand.clock.advance(3));
    expect(stand.names()).to.deep.equal([]);
    trace.identified(masters);
    expect(stand.names()).to.deep.equal(['authn']);
    let sent: RawHeaders = [];
    await stages.run(
      'preflight',
      async (headers) => {
        sent = headers();
        stand.clock.advance(5);
        return 403;
      },
      (status) => status,
    );
    trace.end('POST /api/v1/namespaces/{:namespace}/pods/{:name}/exec', { status: 403 });
    const [authn, preflight, root] = stand.spans;
    expect([authn?.endMs, preflight?.endMs].map((end) => (end ?? 0) - (root?.startMs ?? 0))).to.deep.equal([3, 8]);
    expect([authn?.parentSpanId, preflight?.parentSpanId]).to.deep.equal([root?.spanId, root?.spanId]);
    expect(preflight).to.deep.include({
      kind: 'client',
      attributes: { 'http.response.status_code': 403 },
      isError: false,
    });
    expect(sent[0]).to.deep.equal(['Traceparent', `00-${theirs.traceId}-${preflight?.spanId}-01`]);
  });

  it('marks what failed by the code alone', async () => {
    const stand = new Stand(1_000_000);
    const trace = stand.tracer.begin([]);
    const stages = new RequestStages({ clock: stand.clock, observer: { stageEnded: () => {} }, trace });
    const failing = stages.run('dial', () => Promise.reject(new KexerError('unreachable', 'node secret-name is away')));
    await failing.catch(() => {});
    trace.end('POST', { status: 503 });
    expect(JSON.stringify(stand.spans)).to.not.contain('secret-name');
    expect(stand.spans.map(({ name, isError, attributes }) => [name, isError, attributes])).to.deep.equal([
      ['dial', true, { 'error.type': 'unreachable' }],
      ['POST', true, { 'http.response.status_code': 503 }],
    ]);
  });

  it('ends a span, and the request, once', () => {
    const stand = new Stand(1_000_000);
    const trace = stand.tracer.begin([]);
    const span = trace.begin('session');
    span.end({});
    span.end({});
    trace.end('POST', { status: 101 });
    trace.end('POST', { status: 500 });
    expect(stand.names()).to.deep.equal(['session', 'POST']);
  });
});

describe('RequestStages', () => {
  it('tells each stage, its time, and what came of it; sums a stage that was done twice', async () => {
    const clock = new FakeClock();
    const told: unknown[] = [];
    const stages = new RequestStages({
      clock,
      trace: undefined,
      observer: { stageEnded: (stage, durationMs, end) => void told.push([stage, durationMs, end]) },
    });
    const failure = new Error('no');
    const step = async (ms: number): Promise<number> => {
      clock.advance(ms);
      return 404;
    };
    expect(await stages.run('authz', () => step(2))).to.equal(404);
    await stages.run(
      'authz',
      () => step(3),
      (status) => status,
    );
    const failed = await stages.run('dial', () => Promise.reject(failure)).catch((error: unknown) => error);
    expect(failed).to.equal(failure);
    expect(told).to.deep.equal([
      ['authz', 2, { isOk: true, status: undefined }],
      ['authz', 3, { isOk: true, status: 404 }],
      ['dial', 0, { isOk: false, error: failure }],
    ]);
    expect([...stages.durationsMs]).to.deep.equal([
      ['authz', 5],
      ['dial', 0],
    ]);
  });
});
