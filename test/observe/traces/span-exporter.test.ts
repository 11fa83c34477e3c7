import { expect } from 'chai';

import { SpanExporter } from '../../../src/observe/traces/span-exporter.ts';
import type { FinishedSpan } from '../../../src/observe/traces/trace.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const span: FinishedSpan = {
  traceId: 'ab'.repeat(16),
  spanId: 'cd'.repeat(8),
  parentSpanId: '',
  name: 'GET',
  kind: 'server',
  startMs: 1_700_000_000_000.25,
  endMs: 1_700_000_000_001,
  attributes: { text: 'a', count: 3, ratio: 0.5, isTrue: true },
  isError: true,
  link: { traceId: 'ef'.repeat(16), spanId: '01'.repeat(8), isSampled: true, state: 's=1' },
};

type Answer = { status: number; retryAfterSeconds: number | undefined } | Error;

class Stand {
  readonly clock = new FakeClock();
  readonly bodies: string[] = [];
  readonly errors: unknown[] = [];
  readonly exporter: SpanExporter;
  answers: Answer[] = [];

  constructor() {
    this.exporter = new SpanExporter(
      {
        clock: this.clock,
        onError: (error) => this.errors.push(error),
        post: async (body) => {
          this.bodies.push(body.toString());
          const answer = this.answers.shift() ?? { status: 200, retryAfterSeconds: undefined };
          if (answer instanceof Error) throw answer;
          return answer;
        },
      },
      { version: '1.2.3', instance: 'kexer-0' },
    );
  }

  /** Lets promises run that wait for nothing but each other. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }
}

describe('SpanExporter', () => {
  it('sends OTLP JSON five seconds after the first span', async () => {
    const stand = new Stand();
    stand.exporter.add(span);
    stand.clock.advance(4999);
    await stand.settle();
    expect(stand.bodies).to.deep.equal([]);
    stand.clock.advance(1);
    await stand.settle();
    expect(stand.bodies.map((body) => JSON.parse(body) as unknown)).to.deep.equal([
      {
        resourceSpans: [
          {
            resource: {
              attributes: [
                { key: 'service.name', value: { stringValue: 'kexer' } },
                { key: 'service.version', value: { stringValue: '1.2.3' } },
                { key: 'service.instance.id', value: { stringValue: 'kexer-0' } },
              ],
            },
            scopeSpans: [
              {
                scope: { name: 'kexer', version: '1.2.3' },
                spans: [
                  {
                    traceId: 'ab'.repeat(16),
                    spanId: 'cd'.repeat(8),
                    name: 'GET',
                    kind: 2,
                    startTimeUnixNano: '1700000000000250000',
                    endTimeUnixNano: '1700000000001000000',
                    attributes: [
                      { key: 'text', value: { stringValue: 'a' } },
                      { key: 'count', value: { intValue: '3' } },
                      { key: 'ratio', value: { doubleValue: 0.5 } },
                      { key: 'isTrue', value: { boolValue: true } },
                    ],
                    links: [{ traceId: 'ef'.repeat(16), spanId: '01'.repeat(8), traceState: 's=1' }],
                    status: { code: 2 },
                  },
                ],
              },
            ],
          },
        ],
      },
    ]);
    expect(stand.exporter.counts()).to.deep.equal({ exported: 1, dropped: 0 });
  });

  it('tries again what may succeed later, and waits as long as it is told', async () => {
    const stand = new Stand();
    stand.answers = [new Error('away'), { status: 503, retryAfterSeconds: 7 }];
    stand.exporter.add(span);
    stand.clock.advance(5000);
    await stand.settle();
    stand.clock.advance(1000);
    await stand.settle();
    stand.clock.advance(6999);
    await stand.settle();
    expect(stand.bodies).to.have.length(2);
    stand.clock.advance(1);
    await stand.settle();
    expect(stand.bodies).to.have.length(3);
    expect(stand.exporter.counts()).to.deep.equal({ exported: 1, dropped: 0 });
    expect(stand.errors).to.have.length(1); // one for the whole stretch
  });

  it('drops at once what the collector does not want', async () => {
    const stand = new Stand();
    stand.answers = [{ status: 400, retryAfterSeconds: undefined }];
    stand.exporter.add(span);
    stand.clock.advance(5000);
    await stand.settle();
    expect(stand.exporter.counts()).to.deep.equal({ exported: 0, dropped: 1 });
    expect(stand.clock.pendingCount).to.equal(0);
  });

  it('gives up after three tries', async () => {
    const stand = new Stand();
    stand.answers = [new Error('1'), new Error('2'), new Error('3')];
    stand.exporter.add(span);
    for (const ms of [5000, 1000, 5000]) {
      stand.clock.advance(ms);
      await stand.settle();
    }
    expect(stand.exporter.counts()).to.deep.equal({ exported: 0, dropped: 1 });
    expect(stand.bodies).to.have.length(3);
  });

  it('holds no more than its queue, and sends a full batch at once', async () => {
    const stand = new Stand();
    stand.answers = [new Error('away')];
    for (let index = 0; index < 3000; index += 1) stand.exporter.add(span);
    await stand.settle();
    // One batch is under way; 2048 wait.
    expect(stand.exporter.counts().dropped).to.equal(3000 - 512 - 2048);
    expect(stand.bodies).to.have.length(1);
  });

  it('sends what is queued when it is closed, and does not wait for a collector that is away', async () => {
    const stand = new Stand();
    stand.exporter.add(span);
    await stand.exporter.close();
    expect(stand.exporter.counts()).to.deep.equal({ exported: 1, dropped: 0 });
    stand.exporter.add(span);
    expect(stand.exporter.counts()).to.deep.equal({ exported: 1, dropped: 1 });

    const other = new Stand();
    other.answers = [new Error('away'), new Error('away')];
    other.exporter.add(span);
    other.clock.advance(5000);
    await other.settle();
    await other.exporter.close();
    expect(other.exporter.counts()).to.deep.equal({ exported: 0, dropped: 1 });
    expect(other.clock.pendingCount).to.equal(0);
  });
});
