// The order of an end, in virtual time: what is asked of the listener, and when sessions are ended.

import { EventEmitter } from 'node:events';

import { expect } from 'chai';

import { Drain } from '../../src/server/drain.ts';
import { InFlight } from '../../src/server/in-flight.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { RequestContext, type Arrival, type Exchange } from '../../src/server/request-context.ts';
import { Shutdown } from '../../src/server/shutdown.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session } from '../../src/streams/session.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { quiet, subject } from '../streams/support/rig.ts';

const hourMs = 3_600_000;
const inner = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default';

/** The end of an exchange that a drain may wait for or break off. */
class FakeEnd extends EventEmitter {
  destroyed = false;

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}

describe('Drain', () => {
  let clock: FakeClock;
  let shutdown: Shutdown;
  let inFlight: InFlight;
  let sessions: SessionRegistry;
  let drain: Drain;
  let log: string[];
  let startedMs: number;
  let isOver: boolean;
  /** What each session does when it is asked to end. */
  let onAsked: (end: FakeEnd) => void;

  function note(text: string): void {
    log.push(`${(clock.now() - startedMs) / 1000}s ${text}`);
  }

  function build(options: { delayMs: number; gracePeriodMs: number }): void {
    clock = new FakeClock();
    startedMs = clock.now();
    shutdown = new Shutdown();
    inFlight = new InFlight();
    log = [];
    isOver = false;
    onAsked = (end) => end.destroy();
    sessions = new SessionRegistry({ clock, observer: { sessionStarted() {}, sessionEnded() {} } });
    drain = new Drain(
      {
        clock,
        shutdown,
        inFlight,
        sessions,
        listener: {
          shed: () => note('shed'),
          drain: async () => note('drain'),
          destroy: () => note('destroy'),
        },
        observer: {
          refusing: (counts) => note(`refusing ${JSON.stringify(counts)}`),
          endingSessions: (fields) => note(`ending ${fields.sessions}: ${fields.reason}`),
        },
      },
      options,
    );
  }

  /** An exchange under way; `target` decides its kind. */
  function begin(target: string, kind: 'request' | 'upgrade' = 'request'): FakeEnd {
    const end = new FakeEnd();
    const exchange = (kind === 'request' ? { kind, response: end } : { kind, socket: end }) as unknown as Exchange;
    const context = new RequestContext({ method: 'GET' } as Arrival, exchange);
    context.path = parseRequestPath('GET', target);
    inFlight.add(context);
    return end;
  }

  function beginSession(): { end: FakeEnd; session: Session } {
    const end = begin(`${inner}/pods/demo/exec?command=dump`, 'upgrade');
    const session = sessions.open(subject, (message) => {
      note(`told: ${message}`);
      onAsked(end);
    });
    end.once('close', () => sessions.finish(session, { cause: 'ended', message: '' }));
    return { end, session };
  }

  async function pass(ms: number): Promise<void> {
    clock.advance(ms);
    await quiet();
  }

  async function order(): Promise<void> {
    void drain.run().then(() => {
      isOver = true;
    });
    await quiet();
  }

  afterEach(() => {
    expect(isOver).to.equal(true);
    expect(clock.pendingCount).to.equal(0);
  });

  it('is not ready at once, refuses after the delay, and is over when nothing runs', async () => {
    build({ delayMs: 15_000, gracePeriodMs: hourMs });
    await order();
    expect([shutdown.isStopping, shutdown.isRefusing, log]).to.deep.equal([true, false, []]);
    await pass(14_999);
    expect([shutdown.isRefusing, log]).to.deep.equal([false, []]);
    await pass(1);
    expect(shutdown.isRefusing).to.equal(true);
    expect(log).to.deep.equal(['15s shed', '15s refusing {"sessions":0,"calls":0,"watches":0}', '15s drain']);
  });

  it('waits for sessions, those that began in the delay included', async () => {
    build({ delayMs: 15_000, gracePeriodMs: 4 * hourMs });
    const first = beginSession();
    await order();
    await pass(10_000);
    const second = beginSession();
    await pass(5000);
    await pass(2 * hourMs - 15_000);
    first.end.destroy();
    await pass(hourMs);
    expect([isOver, sessions.size]).to.deep.equal([false, 1]);
    second.end.destroy();
    await pass(0);
    expect(log.slice(1)).to.deep.equal(['15s refusing {"sessions":2,"calls":0,"watches":0}', '10800s drain']);
  });

  it('ends sessions when the grace period is over, says so, and waits until their clients have read it', async () => {
    build({ delayMs: 0, gracePeriodMs: hourMs });
    onAsked = () => {};
    const { end } = beginSession();
    await order();
    await pass(0);
    await pass(hourMs);
    const reason = 'kexer is shutting down and its grace period of 1h0m0s is over';
    expect(log.slice(2)).to.deep.equal([`3600s ending 1: ${reason}`, `3600s told: ${reason}`]);
    await pass(9_000);
    expect(isOver).to.equal(false);
    end.destroy();
    await pass(0);
    expect(log.slice(4)).to.deep.equal(['3609s drain']);
  });

  it('gives up on a client that reads nothing', async () => {
    build({ delayMs: 0, gracePeriodMs: hourMs });
    onAsked = () => {};
    beginSession();
    await order();
    await pass(0);
    await pass(hourMs);
    await pass(10_000);
    expect(log.at(-1)).to.equal('3610s drain');
  });

  it('gives ordinary calls a minute, and ends watches when only they are left', async () => {
    build({ delayMs: 0, gracePeriodMs: hourMs });
    const list = begin(`${inner}/pods`);
    const slow = begin(`${inner}/services/x/proxy/events`);
    const watch = begin(`${inner}/pods?watch=true`);
    const tail = begin(`${inner}/pods/demo/log?follow=true`);
    await order();
    await pass(0);
    list.destroy();
    await pass(59_999);
    expect([slow.destroyed, watch.destroyed]).to.deep.equal([false, false]);
    await pass(1);
    expect([slow.destroyed, watch.destroyed, tail.destroyed]).to.deep.equal([true, false, false]);
    tail.destroy();
    await pass(0);
    expect(watch.destroyed).to.equal(true);
    expect(log.slice(1)).to.deep.equal(['0s refusing {"sessions":0,"calls":2,"watches":1}', '60s drain']);
  });

  it('without periods ends everything at once, and waits 2 s for last words', async () => {
    build({ delayMs: 0, gracePeriodMs: 0 });
    onAsked = () => {};
    beginSession();
    const call = begin(`${inner}/pods`);
    await order();
    await pass(0);
    await pass(0);
    expect(log.slice(2)).to.deep.equal(['0s ending 1: kexer is shutting down', '0s told: kexer is shutting down']);
    await pass(1999);
    expect([isOver, call.destroyed]).to.deep.equal([false, false]);
    await pass(1);
    expect([call.destroyed, log.at(-1)]).to.deep.equal([true, '2s drain']);
  });

  for (const [when, afterMs] of [
    ['in the delay', 5000],
    ['in the grace period', 20_000],
  ] as const) {
    it(`a second order ${when} ends sessions at once, with their last words`, async () => {
      build({ delayMs: 15_000, gracePeriodMs: hourMs });
      beginSession();
      await order();
      await pass(afterMs);
      drain.hurry();
      await pass(0);
      await pass(0);
      const seconds = afterMs / 1000;
      expect(log.slice(-3)).to.deep.equal([
        `${seconds}s ending 1: kexer is shutting down at once`,
        `${seconds}s told: kexer is shutting down at once`,
        `${seconds}s drain`,
      ]);
    });
  }

  it('a second order while clients read their last words leaves them 2 s', async () => {
    build({ delayMs: 0, gracePeriodMs: 1000 });
    onAsked = () => {};
    beginSession();
    await order();
    await pass(0);
    await pass(1000);
    drain.hurry();
    await pass(0);
    await pass(1999);
    expect(isOver).to.equal(false);
    await pass(1);
    expect(log.at(-1)).to.equal('3s drain');
  });

  it('may be hurried before it begins, and runs once', async () => {
    build({ delayMs: 15_000, gracePeriodMs: hourMs });
    drain.hurry();
    expect(drain.run()).to.equal(drain.run());
    await order();
    await pass(0);
    await pass(0);
    expect(log.at(-1)).to.equal('0s drain');
  });
});
