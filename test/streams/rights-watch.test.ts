// Rights of running sessions in virtual time: who is asked about, how often, and what ends a session.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { AccessAnswer, AccessQuestion } from '../../src/kube/reviews.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import { type RightsObserver, RightsWatch, type RightsWatchOptions } from '../../src/streams/rights-watch.ts';
import type { Session } from '../../src/streams/session.ts';
import type { AnswerThere } from '../../src/clusters/remote-rights.ts';
import { lostRightText } from '../../src/streams/session-rights.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { subject } from './support/rig.ts';

const minuteMs = 60_000;
const allowed: AccessAnswer = { isAllowed: true, isDenied: false, reason: '', evaluationError: '' };
const refused: AccessAnswer = { isAllowed: false, isDenied: false, reason: '', evaluationError: '' };
const unsure: AccessAnswer = { ...refused, evaluationError: 'webhook: timed out' };
const outage = new KexerError('unreachable', 'Cannot reach the apiserver');

const execQuestion: AccessQuestion = {
  isResourceRequest: true,
  path: '',
  verb: 'create',
  apiGroup: '',
  apiVersion: 'v1',
  resource: 'pods',
  subresource: 'exec',
  namespace: 'default',
  name: 'demo',
};
const lost = 'alice may no longer create pods/exec in namespace default';

class Stand {
  readonly clock = new FakeClock();
  /** User and pod of each review. */
  readonly asked: string[] = [];
  readonly told: string[] = [];
  readonly ended: string[] = [];
  readonly watch: RightsWatch;
  readonly #sessions: SessionRegistry;
  /** For each review the next, the last one for all after it. */
  answers: (AccessAnswer | Error)[] = [allowed];
  /** The cluster of each question that was asked in another one, and the same of its answers. */
  readonly askedThere: string[] = [];
  answersThere: (AnswerThere | Error)[] = [allowed];
  hold: Promise<void> | undefined;

  constructor(options: Partial<RightsWatchOptions> = {}) {
    const reviews = {
      reviewAccess: async (user: UserInfo, question: AccessQuestion): Promise<AccessAnswer> => {
        this.asked.push(`${user.name} ${question.name}`);
        const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
        await this.hold;
        if (answer instanceof Error) throw answer;
        return answer ?? allowed;
      },
    };
    const observer: RightsObserver = {
      unverified: (_right, reason) =>
        this.told.push(`unverified: ${reason instanceof Error ? reason.message : String(reason)}`),
      refused: (_right, sessions) => this.told.push(`refused: ${sessions}`),
    };
    this.watch = new RightsWatch(
      { clock: this.clock, reviews, random: () => 0.5, observer },
      { intervalMs: 5 * minuteMs, maxUnverifiedMs: 0, ...options },
    );
    this.#sessions = new SessionRegistry({ clock: this.clock, observer: this.watch });
  }

  start(rights: readonly { user?: string; groups?: string[]; pod?: string; far?: string }[] = [{}]): Session {
    const whole = rights.map(({ user = 'alice', groups = [], pod = 'demo', far }) => ({
      user: makeUser({ name: user, groups }),
      question: { ...execQuestion, name: pod },
      ...(far === undefined ? {} : { there: this.#there(far) }),
    }));
    const end = (message: string): void => {
      this.ended.push(message);
      this.finish(session);
    };
    const session = this.#sessions.open(subject, end, undefined, { rights: whole });
    return session;
  }

  #there(cluster: string): { user: UserInfo; cluster: string; key: string; ask: () => Promise<AnswerThere> } {
    const ask = async (): Promise<AnswerThere> => {
      this.askedThere.push(cluster);
      const answer = this.answersThere.length > 1 ? this.answersThere.shift() : this.answersThere[0];
      await Promise.resolve();
      if (answer instanceof Error) throw answer;
      return answer ?? allowed;
    };
    return { user: makeUser({ name: 'alice' }), cluster, key: cluster, ask };
  }

  finish(session: Session): void {
    this.#sessions.finish(session, { cause: 'normal', message: '' });
  }

  /** Virtual time in steps, with the turns that answers need. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1000) {
      this.clock.advance(Math.min(left, 1000));
      for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    }
  }
}

describe('RightsWatch', () => {
  it('asks after each interval, and only then', async () => {
    const stand = new Stand();
    stand.start();
    await stand.pass(5 * minuteMs - 1000);
    expect(stand.asked).to.deep.equal([]);
    await stand.pass(10 * minuteMs + 1000);
    expect([stand.asked.length, stand.ended, stand.told]).to.deep.equal([3, [], []]);
    expect(stand.watch.counts()).to.deep.equal({ allowed: 3, refused: 0, unverified: 0, ended: 0 });
  });

  it('asks each distinct question once for all sessions that stand on it', async () => {
    const stand = new Stand();
    for (let index = 0; index < 10; index += 1) stand.start();
    stand.start([{ pod: 'other' }]);
    stand.start([{ user: 'bob' }, {}]);
    expect(stand.watch.size).to.equal(3);
    await stand.pass(5 * minuteMs);
    expect(stand.asked.toSorted()).to.deep.equal(['alice demo', 'alice other', 'bob demo']);
  });

  it('spreads the intervals by a fifth both ways', async () => {
    for (const [random, ms] of [
      [0, 4 * minuteMs],
      [0.999_999, 6 * minuteMs],
    ] as const) {
      const stand = new Stand();
      const clock = new FakeClock();
      const asked: number[] = [];
      const watch = new RightsWatch(
        {
          clock,
          random: () => random,
          observer: { unverified: () => {}, refused: () => {} },
          reviews: { reviewAccess: () => (asked.push(clock.now()), new Promise(() => {})) },
        },
        { intervalMs: 5 * minuteMs, maxUnverifiedMs: 0 },
      );
      const startMs = clock.now();
      watch.sessionStarted(stand.start());
      clock.advance(10 * minuteMs);
      expect(Math.round((asked[0] ?? 0) - startMs)).to.be.within(ms - 1, ms);
    }
  });

  it('ends all sessions of a right that is refused twice, half a minute apart, and says so', async () => {
    const stand = new Stand();
    stand.start();
    stand.start();
    stand.start([{ user: 'bob' }]);
    stand.answers = [refused, allowed, refused];
    await stand.pass(5 * minuteMs);
    expect([stand.ended, stand.told]).to.deep.equal([[], ['refused: 2']]);
    await stand.pass(30_000);
    expect(stand.ended).to.deep.equal([lost, lost]);
    expect(stand.watch.counts()).to.deep.equal({ allowed: 1, refused: 2, unverified: 0, ended: 2 });
    expect(stand.watch.size).to.equal(1);
  });

  it('ends nothing when the second answer allows again', async () => {
    const stand = new Stand();
    stand.start();
    stand.answers = [refused, allowed, refused, allowed];
    await stand.pass(20 * minuteMs);
    expect([stand.ended, stand.asked.length > 3]).to.deep.equal([[], true]);
  });

  it('ends nothing when another session began meanwhile: kube-apiserver has allowed that one', async () => {
    const stand = new Stand();
    stand.start();
    stand.answers = [refused, refused, allowed];
    await stand.pass(5 * minuteMs);
    stand.start();
    await stand.pass(10 * minuteMs);
    expect(stand.ended).to.deep.equal([]);
  });

  for (const [what, answer, told] of [
    ['an error', outage, 'unverified: Cannot reach the apiserver'],
    ['a refusal that is no answer', unsure, 'unverified: webhook: timed out'],
  ] as const) {
    it(`never ends a session by ${what}, however often`, async () => {
      const stand = new Stand();
      stand.start();
      stand.start([{ user: 'bob' }]);
      stand.answers = [answer];
      await stand.pass(600 * minuteMs);
      expect([stand.ended, stand.told]).to.deep.equal([[], [told]]);
      expect(stand.watch.counts().unverified).to.equal(240);
      // The next outage is told again.
      stand.answers = [allowed];
      await stand.pass(6 * minuteMs);
      stand.answers = [answer];
      await stand.pass(6 * minuteMs);
      expect(stand.told).to.deep.equal([told, told]);
    });
  }

  it('takes an error between two refusals for neither', async () => {
    const stand = new Stand();
    stand.start();
    stand.answers = [refused, outage, unsure, refused];
    await stand.pass(5 * minuteMs + 60_000);
    expect(stand.ended).to.deep.equal([]);
    await stand.pass(30_000);
    expect(stand.ended).to.deep.equal([lost]);
  });

  it('starts anew with a session that begins after such an end', async () => {
    const stand = new Stand();
    stand.start();
    stand.answers = [refused, refused, allowed];
    await stand.pass(6 * minuteMs);
    stand.start();
    await stand.pass(5 * minuteMs);
    expect([stand.ended.length, stand.asked.length, stand.watch.size]).to.deep.equal([1, 3, 1]);
  });

  it('forgets a question with its last session, the one under way too', async () => {
    const stand = new Stand();
    const sessions = [stand.start(), stand.start()];
    let answer = (): void => {};
    stand.hold = new Promise((resolve) => {
      answer = resolve;
    });
    await stand.pass(5 * minuteMs);
    for (const session of sessions) stand.finish(session);
    expect([stand.watch.size, stand.clock.pendingCount]).to.deep.equal([0, 0]);
    answer();
    await stand.pass(20 * minuteMs);
    expect([stand.asked.length, stand.clock.pendingCount]).to.deep.equal([1, 0]);
  });

  it('asks nothing about system:masters, nor at all when it is off, nor when it was stopped', async () => {
    const masters = new Stand();
    masters.start([{ user: 'admin', groups: ['system:masters'] }]);
    const off = new Stand({ intervalMs: 0 });
    off.start();
    const stopped = new Stand();
    stopped.start();
    stopped.watch.stop();
    for (const stand of [masters, off, stopped]) {
      await stand.pass(10 * minuteMs);
      expect([stand.asked, stand.clock.pendingCount]).to.deep.equal([[], 0]);
    }
  });

  describe('of a session in another cluster', () => {
    it('are asked there, each once for all sessions, and not here', async () => {
      const stand = new Stand();
      stand.start([{ far: 'clusters/far' }]);
      stand.start([{ far: 'clusters/far' }]);
      stand.start([{ far: 'clusters/other' }]);
      stand.start();
      await stand.pass(5 * minuteMs);
      expect([stand.askedThere.toSorted(), stand.asked, stand.watch.size]).to.deep.equal([
        ['clusters/far', 'clusters/other'],
        ['alice demo'],
        3,
      ]);
    });

    it('end it when they are refused there twice, with a text that says where', async () => {
      const stand = new Stand();
      stand.start([{ far: 'clusters/far' }]);
      stand.start();
      stand.answersThere = [refused];
      await stand.pass(5 * minuteMs + 30_000);
      expect(stand.ended).to.deep.equal([`${lost} of the cluster clusters/far`]);
      expect(stand.watch.size).to.equal(1);
    });

    it('end it in the words of the answer where the account has lost its own', async () => {
      const stand = new Stand();
      stand.start([{ far: 'clusters/far' }]);
      stand.answersThere = [{ ...refused, why: 'cluster "clusters/far" does not accept the credential of its Secret' }];
      await stand.pass(5 * minuteMs + 30_000);
      expect(stand.ended).to.deep.equal(['cluster "clusters/far" does not accept the credential of its Secret']);
    });

    it('are forgotten with their last session, and so is the outage of their cluster', async () => {
      const stand = new Stand();
      const told = 'unverified: Cannot reach the apiserver';
      stand.answersThere = [outage];
      for (let count = 0; count < 2; count += 1) {
        const sessions = [stand.start([{ far: 'team/far' }]), stand.start([{ far: 'team/far' }])];
        await stand.pass(11 * minuteMs);
        for (const session of sessions) stand.finish(session);
      }
      expect(stand.told).to.deep.equal([told, told]);
    });

    it('are not lost by an outage there, which is told once and apart from those of others', async () => {
      const stand = new Stand();
      stand.start([{ far: 'clusters/far' }]);
      stand.start();
      stand.answersThere = [outage];
      await stand.pass(60 * minuteMs);
      const told = 'unverified: Cannot reach the apiserver';
      expect([stand.ended, stand.told, stand.askedThere.length]).to.deep.equal([[], [told], 12]);
      stand.answers = [outage];
      await stand.pass(10 * minuteMs);
      expect(stand.told).to.deep.equal([told, told]);
    });
  });

  describe('with a limit of the time without an answer', () => {
    it('ends sessions when it is over, by the clock and not by the interval', async () => {
      const stand = new Stand({ maxUnverifiedMs: 12 * minuteMs });
      stand.start();
      stand.answers = [outage];
      await stand.pass(12 * minuteMs - 1000);
      expect(stand.ended).to.deep.equal([]);
      await stand.pass(1000);
      expect(stand.ended).to.deep.equal(['its rights could not be verified for 12m0s, the limit']);
    });

    it('counts from the last answer that allowed it', async () => {
      const stand = new Stand({ maxUnverifiedMs: 12 * minuteMs });
      stand.start();
      stand.answers = [outage, allowed, outage, outage, allowed];
      await stand.pass(60 * minuteMs);
      expect(stand.ended).to.deep.equal([]);
    });
  });

  describe('lostRightText', () => {
    const texts: readonly (readonly [question: Partial<AccessQuestion>, text: string])[] = [
      [{}, lost],
      [{ verb: 'get', subresource: 'log' }, 'alice may no longer get pods/log in namespace default'],
      [
        { apiGroup: 'backup.cv.io', resource: 'clusters' },
        'alice may no longer create clusters.backup.cv.io/exec in namespace default',
      ],
      [
        { verb: 'watch', apiGroup: 'apps', resource: 'deployments', subresource: '', namespace: '' },
        'alice may no longer watch deployments.apps at the cluster scope',
      ],
      [{ isResourceRequest: false, verb: 'get', path: '/logs' }, 'alice may no longer get /logs'],
    ];
    for (const [question, text] of texts) {
      it(text, () => {
        const user = makeUser({ name: 'alice' });
        expect(lostRightText({ user, question: { ...execQuestion, ...question } })).to.equal(text);
      });
    }
  });
});
