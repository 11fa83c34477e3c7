// What is learnt of a request from its arrival to its end, whoever answers it.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { makeUser } from '../../src/kube/user.ts';
import { noAudit, noRecord } from '../../src/observe/audit/call-audit.ts';
import { exposition } from '../../src/observe/metrics/exposition.ts';
import { Registry } from '../../src/observe/metrics/registry.ts';
import { RequestMetrics } from '../../src/observe/metrics/request-metrics.ts';
import { SessionMetrics } from '../../src/observe/metrics/session-metrics.ts';
import { type FinishedSpan, Tracer } from '../../src/observe/traces/trace.ts';
import { MetricsAnswers } from '../../src/server/metrics-answers.ts';
import { type Arrival, type Exchange, RequestContext } from '../../src/server/request-context.ts';
import { type ObservedRequest, RequestObserver, runningRequest } from '../../src/server/request-observer.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { FakeClock } from '../support/fake-clock.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const execPath = `${outer}/api/v1/namespaces/x/pods/y/exec`;

class Stand {
  readonly clock = new FakeClock();
  readonly registry = new Registry({ onError: () => {} });
  readonly spans: FinishedSpan[] = [];
  readonly observer: RequestObserver;

  constructor() {
    const tracer = new Tracer(
      { clock: this.clock, onSpan: (span) => void this.spans.push(span) },
      { samplingRatePerMillion: 1_000_000 },
    );
    this.observer = new RequestObserver({
      clock: this.clock,
      requests: new RequestMetrics(this.registry),
      sessions: new SessionMetrics(this.registry),
      tracer,
    });
  }

  begin(
    target: string,
    kind: 'request' | 'upgrade' = 'upgrade',
    aborted = false,
  ): { context: RequestContext; observed: ObservedRequest } {
    const signal = aborted ? AbortSignal.abort() : new AbortController().signal;
    const arrival = {
      id: 'id',
      method: 'POST',
      rawTarget: target,
      headers: [['Traceparent', 'x']],
      httpVersion: '1.1',
      auditId: 'a',
      signal,
      receivedAtMs: this.clock.monotonic(),
    } as unknown as Arrival;
    const context = new RequestContext(arrival, { kind } as Exchange);
    context.path = parseRequestPath('POST', target);
    const observed = this.observer.begin(context);
    context.observed = observed;
    return { context, observed };
  }

  /** Codes of requests that have ended, by verb. */
  ended(): string[] {
    return [
      ...exposition(this.registry.collect(), 'text').matchAll(
        /^apiserver_request_total\{verb="(\w+)".*code="(\w+)"\} (\d+)$/gm,
      ),
    ].map(([, verb, code, count]) => `${verb} ${code} ${count}`);
  }

  lines(name: string): string[] {
    return exposition(this.registry.collect(), 'text')
      .split('\n')
      .filter((line) => line.startsWith(name) && !line.includes('_bucket') && !line.endsWith(' 0'));
  }
}

const session = {
  id: 's1',
  kind: 'exec',
  podUid: '',
  node: '',
  container: '',
  command: ['secret'],
  clientProtocol: 'SPDY/3.1',
  kubeletProtocol: '',
  code: 101,
};
const end = { cause: 'normal', message: 'm', bytesIn: 0, bytesOut: 0, durationMs: 0 };

describe('RequestObserver', () => {
  it('counts a session when it ends, with what it had waited for when it began', async () => {
    const stand = new Stand();
    const { observed } = stand.begin(execPath);
    await observed.stages.run('authn', async () => stand.clock.advance(2));
    observed.identified({ via: 'token', user: makeUser({ name: 'alice' }), token: 't' });
    await observed.stages.run(
      'preflight',
      async () => stand.clock.advance(5),
      () => 101,
    );
    const record = await observed.audit(noAudit).sessionStarting(session);
    expect(stand.ended()).to.deep.equal([]);
    expect(stand.lines('kexer_session_start_seconds').filter((line) => line.includes('_sum'))).to.deep.equal([
      'kexer_session_start_seconds_sum{stage="authn"} 0.002',
      'kexer_session_start_seconds_sum{stage="preflight"} 0.005',
      'kexer_session_start_seconds_sum{stage="total"} 0.007',
    ]);
    stand.clock.advance(1000);
    record.ended(end);
    observed.ended(undefined);
    observed.ended(undefined);
    expect(stand.ended()).to.deep.equal(['CONNECT 101 1']);
    expect(observed.refusal).to.equal(undefined);
    expect(stand.spans.map(({ name, attributes }) => [name, attributes['kexer.session.end'] ?? ''])).to.deep.equal([
      ['authn', ''],
      ['preflight', ''],
      ['session', 'normal'],
      ['POST /api/v1/namespaces/{:namespace}/pods/{:name}/exec', ''],
    ]);
    expect(JSON.stringify(stand.spans)).to.not.contain('secret');
  });

  it('has the code that the client of an upgrade was answered, whoever answered it', () => {
    const cases: readonly (readonly [refuse: (observed: ObservedRequest) => void, code: number])[] = [
      [(observed) => observed.audit(noAudit).answered({ status: 403, body: Buffer.alloc(0) }), 403],
      [(observed) => observed.audit(noAudit).failed(new KexerError('tls', 'x')), 502],
      [(observed) => observed.failed(new KexerError('overLimit', 'x')), 429],
      [() => {}, 499],
    ];
    for (const [refuse, code] of cases) {
      const stand = new Stand();
      const { observed } = stand.begin(execPath);
      refuse(observed);
      observed.ended(undefined);
      expect(stand.ended()).to.deep.equal([`CONNECT ${code} 1`]);
    }
  });

  it('tells refusals of the code that serves a call apart from those of the pipeline, which logs its own', () => {
    const stand = new Stand();
    const error = new KexerError('tls', 'x');
    const served = stand.begin(execPath).observed;
    served.audit(noAudit).failed(error);
    const pipeline = stand.begin(execPath).observed;
    pipeline.failed(error);
    expect([served.refusal, pipeline.refusal]).to.deep.equal([{ status: 502, error }, undefined]);
  });

  it('calls a client that left 499, whatever failed then', () => {
    const stand = new Stand();
    const { observed } = stand.begin(execPath, 'upgrade', true);
    observed.failed(new KexerError('unreachable', 'x'));
    observed.ended(undefined);
    expect(stand.ended()).to.deep.equal(['CONNECT 499 1']);
  });

  it('passes on to the audit record what it is told, failures to record included', async () => {
    const stand = new Stand();
    const { observed } = stand.begin(execPath);
    const told: string[] = [];
    const failure = new Error('no record, no session');
    const audit = observed.audit({
      answered: () => void told.push('answered'),
      failed: () => void told.push('failed'),
      sessionStarting: async () => {
        told.push('starting');
        if (told.length > 1) throw failure;
        return noRecord;
      },
    });
    (await audit.sessionStarting(session)).ended(end);
    audit.answered({ status: 400, body: Buffer.alloc(0) });
    audit.failed(failure);
    const failed = await audit.sessionStarting(session).catch((error: unknown) => error);
    expect([told, failed]).to.deep.equal([['starting', 'answered', 'failed', 'starting'], failure]);
    expect(stand.lines('kexer_session_start_seconds_count')).to.deep.equal([
      'kexer_session_start_seconds_count{stage="total"} 1',
    ]);
  });

  it('knows what runs long', () => {
    const stand = new Stand();
    const isLong = (target: string, kind: 'request' | 'upgrade' = 'request'): boolean =>
      runningRequest(stand.begin(target, kind).context).isLongRunning;
    expect([
      isLong(`${outer}/api/v1/pods`),
      isLong(execPath),
      isLong(`${outer}/api/v1/namespaces/x/services/y/proxy/z`),
      isLong(`${outer}/api/v1/pods`, 'upgrade'),
      isLong('/version'),
    ]).to.deep.equal([false, true, true, true, false]);
  });
});

describe('MetricsAnswers', () => {
  const answers = new MetricsAnswers({
    registry: new Registry({ onError: () => {} }),
    process: { refresh: () => Promise.resolve() },
  });

  it('answers GET and HEAD of its own path alone', async () => {
    const status = async (path: string, method: string): Promise<number | undefined> =>
      (await answers.answer(path, { method, headers: [] }))?.status;
    expect(
      await Promise.all([
        status('/metrics', 'GET'),
        status('/metrics', 'HEAD'),
        status('/metrics', 'POST'),
        status('/metricss', 'GET'),
      ]),
    ).to.deep.equal([200, 200, 405, undefined]);
  });

  it('reads several Accept headers as one', async () => {
    const headers = [
      ['Accept', 'text/plain;q=0.5'],
      ['accept', 'application/openmetrics-text;version=1.0.0'],
    ] as const;
    const answer = await answers.answer('/metrics', { method: 'GET', headers });
    expect(answer).to.include({
      contentType: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
      body: '# EOF\n',
    });
  });
});
