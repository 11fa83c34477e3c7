// The audit webhook in virtual time: batches by size and by time, one under way at a time, tries that grow apart, a bounded buffer, and the
// events somebody waits for.

import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import type { SinkObserver } from '../../../src/observe/audit/sink.ts';
import { WebhookSink } from '../../../src/observe/audit/webhook-sink.ts';
import { FakeClock } from '../../support/fake-clock.ts';

interface Posted {
  readonly events: readonly unknown[];
  readonly atMs: number;
  answer(outcome: number | Error): Promise<void>;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe('WebhookSink', () => {
  let clock: FakeClock;
  let startMs: number;
  let posted: Posted[];
  let told: string[];
  let sink: WebhookSink;

  beforeEach(() => {
    clock = new FakeClock();
    startMs = clock.now();
    posted = [];
    told = [];
    const observer: SinkObserver = {
      dropped: (name, count, reason) => told.push(`${name} dropped ${count}: ${reason}`),
      failing: (name, error) => told.push(`${name} failing: ${(error as Error).message}`),
    };
    sink = new WebhookSink(
      {
        clock,
        observer,
        random: () => 0,
        post: (body) => {
          const { kind, apiVersion, items } = JSON.parse(body.toString()) as Record<string, unknown>;
          expect([kind, apiVersion]).to.deep.equal(['EventList', 'audit.k8s.io/v1']);
          return new Promise((resolve, reject) => {
            posted.push({
              events: items as unknown[],
              atMs: clock.now() - startMs,
              answer: (outcome) => {
                if (typeof outcome === 'number') resolve({ status: outcome });
                else reject(outcome);
                return turns();
              },
            });
          });
        },
      },
      { bufferSize: 5, maxBatchSize: 3, maxWaitMs: 30_000, initialBackoffMs: 10_000 },
    );
  });

  const write = (...events: number[]): void => {
    for (const event of events) sink.write(String(event));
  };
  const batches = (): unknown[] => posted.map(({ events, atMs }) => [...events, `at ${atMs}`]);

  it('sends a full batch at once, and others when the oldest has waited long enough', async () => {
    write(1, 2);
    clock.advance(29_999);
    expect(batches()).to.deep.equal([]);
    clock.advance(1);
    await posted[0]?.answer(200);
    write(3, 4, 5);
    await posted[1]?.answer(204);
    expect({ batches: batches(), counts: sink.counts }).to.deep.equal({
      batches: [
        [1, 2, 'at 30000'],
        [3, 4, 5, 'at 30000'],
      ],
      counts: { written: 5, dropped: 0 },
    });
    await sink.close();
    expect(clock.pendingCount).to.equal(0);
  });

  it('has one batch under way, drops what its buffer cannot hold and counts it', async () => {
    write(1, 2, 3);
    write(4, 5, 6, 7, 8, 9, 10);
    expect(batches()).to.deep.equal([[1, 2, 3, 'at 0']]);
    await posted[0]?.answer(200);
    await posted[1]?.answer(200);
    clock.advance(30_000);
    await turns();
    await posted[2]?.answer(200);
    expect({ batches: batches(), counts: sink.counts, told }).to.deep.equal({
      batches: [
        [1, 2, 3, 'at 0'],
        [4, 5, 6, 'at 0'],
        [7, 8, 'at 30000'],
      ],
      counts: { written: 8, dropped: 2 },
      told: [
        'webhook dropped 1: the buffer of the audit webhook is full',
        'webhook dropped 1: the buffer of the audit webhook is full',
      ],
    });
    await sink.close();
  });

  it('tries five times, each pause half as long again, then drops the batch and goes on', async () => {
    write(1, 2, 3);
    write(4);
    for (const outcome of [500, 429, new KexerError('cut', 'reset'), 503]) {
      await posted.at(-1)?.answer(outcome);
      clock.advance(40_000);
      await turns();
    }
    expect(posted.map(({ atMs }) => atMs)).to.deep.equal([0, 40_000, 80_000, 120_000, 160_000]);
    await posted.at(-1)?.answer(500);
    await posted.at(-1)?.answer(200);
    expect({ last: posted.at(-1)?.events, counts: sink.counts, told }).to.deep.equal({
      last: [4],
      counts: { written: 1, dropped: 3 },
      told: [
        'webhook failing: Cannot deliver audit events: the webhook answered 500',
        'webhook dropped 3: the audit webhook did not take them',
      ],
    });
    await sink.close();
  });

  it('lets pauses grow', async () => {
    write(1, 2, 3);
    for (const pauseMs of [10_000, 15_000, 22_500, 33_750]) {
      await posted.at(-1)?.answer(500);
      clock.advance(pauseMs - 1);
      await turns();
      const before = posted.length;
      clock.advance(1);
      await turns();
      expect(posted.length - before, `after ${pauseMs}`).to.equal(1);
    }
    await posted.at(-1)?.answer(200);
    await sink.close();
  });

  it('does not repeat what will not be taken', async () => {
    write(1, 2, 3);
    await posted[0]?.answer(400);
    expect({ posted: posted.length, dropped: sink.counts.dropped }).to.deep.equal({ posted: 1, dropped: 3 });
    await sink.close();
  });

  it('sends an event somebody waits for at once, and says when it is taken', async () => {
    write(1);
    const safe = sink.writeSafely('2');
    expect(batches()).to.deep.equal([[1, 2, 'at 0']]);
    await posted[0]?.answer(200);
    await safe;
    await sink.close();
  });

  it('cuts a pause short for an event somebody waits for, to one try a second', async () => {
    write(1, 2, 3);
    await posted[0]?.answer(500);
    clock.advance(200);
    const safe = sink.writeSafely('4');
    const more = sink.writeSafely('5');
    await turns();
    clock.advance(799);
    expect(posted.length).to.equal(1);
    clock.advance(1);
    await turns();
    await posted[1]?.answer(200);
    await posted[2]?.answer(200);
    await Promise.all([safe, more]);
    expect(batches()).to.deep.equal([
      [1, 2, 3, 'at 0'],
      [1, 2, 3, 'at 1000'],
      [4, 5, 'at 1000'],
    ]);
    await sink.close();
  });

  it('tells at the first failure that an event is not safe, and still delivers it', async () => {
    const outcomes = ['1', '2'].map((event) => sink.writeSafely(event).catch((error: unknown) => error));
    await posted[0]?.answer(503);
    for (const outcome of outcomes) expect(await outcome).to.have.property('code', 'badGateway');
    clock.advance(10_000);
    await turns();
    await posted[1]?.answer(200);
    await posted[2]?.answer(200);
    expect([batches(), sink.counts]).to.deep.equal([
      [
        [1, 'at 0'],
        [1, 'at 10000'],
        [2, 'at 10000'],
      ],
      { written: 2, dropped: 0 },
    ]);
    await sink.close();
  });

  it('says in time that an event is not safe: no answer, a refusal, a full buffer', async () => {
    const slow = sink.writeSafely('1').catch((error: unknown) => error);
    clock.advance(10_000);
    expect(await slow).to.have.property('code', 'timeout');
    await posted[0]?.answer(200);
    const refused = sink.writeSafely('2').catch((error: unknown) => error);
    await posted[1]?.answer(403);
    expect(await refused).to.have.property('code', 'badGateway');
    write(3, 4, 5);
    write(6, 7, 8, 9, 10);
    const full = await sink.writeSafely('11').catch((error: unknown) => error);
    expect(full).to.have.property('code', 'overLimit');
    const closing = sink.close();
    for (let index = 2; index < 5; index += 1) await posted[index]?.answer(200);
    await closing;
  });

  it('delivers what waits when it ends, with one more try, but does not wait forever', async () => {
    write(1);
    const closing = sink.close();
    await posted[0]?.answer(500);
    await closing;
    expect({ dropped: sink.counts.dropped, pending: clock.pendingCount }).to.deep.equal({ dropped: 1, pending: 0 });
  });

  it('gives up an end that takes too long', async () => {
    write(1, 2, 3, 4);
    const closing = sink.close();
    clock.advance(10_000);
    await closing;
    expect(sink.counts).to.deep.equal({ written: 0, dropped: 1 });
    await posted[0]?.answer(200);
    expect(posted.length).to.equal(1);
  });
});
