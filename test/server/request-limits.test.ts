// What one user may have under way, and that it takes nothing from another.

import { EventEmitter } from 'node:events';

import { expect } from 'chai';

import { StatusError } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { type Arrival, type Exchange, RequestContext } from '../../src/server/request-context.ts';
import { type RequestLimitOptions, RequestLimits } from '../../src/server/request-limits.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { FakeClock } from '../support/fake-clock.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const exec = `${outer}/api/v1/namespaces/x/pods/y/exec`;
const log = `${outer}/api/v1/namespaces/x/pods/y/log`;
const pods = `${outer}/api/v1/namespaces/x/pods`;

const unlimited: RequestLimitOptions = {
  sessions: { perKey: 0, total: 0 },
  sessionStarts: { perKeyPerMinute: 0, totalPerMinute: 0 },
  longRunning: { perKey: 0, total: 0 },
  requests: { perKey: 0, total: 0 },
  eventLoopDelayMs: 0,
};

interface Flight {
  readonly context: RequestContext;
  /** `ok`, or code, seconds and message of the refusal. */
  readonly outcome: string;
  end(): void;
}

class Stand {
  readonly clock = new FakeClock();
  readonly limits: RequestLimits;
  eventLoopDelayMs = 0;

  constructor(options: Partial<RequestLimitOptions>) {
    this.limits = new RequestLimits(
      { clock: this.clock, eventLoopDelayMs: () => this.eventLoopDelayMs },
      { ...unlimited, ...options },
    );
  }

  begin(user: string, target: string, options: { method?: string; isUpgrade?: boolean } = {}): Flight {
    const { method = 'GET', isUpgrade = false } = options;
    const end = Object.assign(new EventEmitter(), { destroyed: false });
    const kind = isUpgrade ? 'upgrade' : 'request';
    const exchange = { kind, response: end, socket: end } as unknown as Exchange;
    const context = new RequestContext({ method, rawTarget: target } as Arrival, exchange);
    context.path = parseRequestPath(method, target);
    context.caller = { via: 'frontProxy', user: makeUser({ name: user }) };
    const outcome = outcomeOf(() => this.limits.admit(context));
    return { context, outcome, end: () => void end.emit('close') };
  }
}

function outcomeOf(run: () => void): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    const { code, reason, message, details } = error.status;
    return `${code} ${reason} ${details?.retryAfterSeconds}: ${message}`;
  }
}

describe('RequestLimits', () => {
  it('refuses a user at a limit with 429 and leaves everybody else alone', () => {
    const stand = new Stand({ sessions: { perKey: 2, total: 0 } });
    const first = stand.begin('alice', exec, { isUpgrade: true });
    const outcomes = [
      first.outcome,
      stand.begin('alice', log).outcome,
      stand.begin('alice', exec, { isUpgrade: true }).outcome,
      stand.begin('bob', exec, { isUpgrade: true }).outcome,
      stand.begin('alice', pods).outcome,
    ];
    first.end();
    outcomes.push(stand.begin('alice', exec, { isUpgrade: true }).outcome);
    expect(outcomes).to.deep.equal([
      'ok',
      'ok',
      '429 TooManyRequests 1: too many sessions: 2 of user "alice" are running, the limit (limits.sessionsPerUser)',
      'ok',
      'ok',
      'ok',
    ]);
  });

  const cases: readonly (readonly [
    limit: string,
    options: Partial<RequestLimitOptions>,
    target: string,
    refusal: string,
  ])[] = [
    [
      'sessions in total',
      { sessions: { perKey: 0, total: 1 } },
      log,
      '429 TooManyRequests 1: too many sessions: 1 are running, the limit (limits.sessions)',
    ],
    [
      'starts of a user',
      { sessionStarts: { perKeyPerMinute: 1, totalPerMinute: 0 } },
      log,
      '429 TooManyRequests 60: too many sessions: user "alice" has begun 1 within a minute, the limit (limits.sessionStartsPerUser)',
    ],
    [
      'starts in total',
      { sessionStarts: { perKeyPerMinute: 0, totalPerMinute: 1 } },
      log,
      '429 TooManyRequests 60: too many sessions: 1 were begun within a minute, the limit (limits.sessionStarts)',
    ],
    [
      'calls of a user',
      { requests: { perKey: 1, total: 0 } },
      pods,
      '429 TooManyRequests 1: too many requests: 1 of user "alice" are in flight, the limit (limits.requestsPerUser)',
    ],
    [
      'calls in total',
      { requests: { perKey: 0, total: 1 } },
      pods,
      '429 TooManyRequests 1: too many requests: 1 are in flight, the limit (limits.requests)',
    ],
    [
      'watches of a user',
      { longRunning: { perKey: 1, total: 0 } },
      `${pods}?watch=1`,
      '429 TooManyRequests 1: too many watches and proxied requests: 1 of user "alice" are under way, the limit (limits.longRunningPerUser)',
    ],
    [
      'watches in total',
      { longRunning: { perKey: 0, total: 1 } },
      `${pods}?watch=1`,
      '429 TooManyRequests 1: too many watches and proxied requests: 1 are under way, the limit (limits.longRunning)',
    ],
  ];
  for (const [limit, options, target, refusal] of cases) {
    it(`bounds ${limit}`, () => {
      const stand = new Stand(options);
      expect([stand.begin('alice', target).outcome, stand.begin('alice', target).outcome]).to.deep.equal([
        'ok',
        refusal,
      ]);
      expect(stand.limits.counts().refused).to.equal(1);
    });
  }

  it('counts each request as one kind, and as nothing once it ended', () => {
    const stand = new Stand({});
    const flights = [
      stand.begin('a', exec, { isUpgrade: true }),
      stand.begin('a', exec, { method: 'POST' }), // without an upgrade it still costs a preflight
      stand.begin('a', log),
      stand.begin('a', `${pods}?watch=1`, { isUpgrade: true }), // over WebSocket
      stand.begin('a', `${pods}?watch=1`),
      stand.begin('a', `${outer}/api/v1/watch/pods`),
      stand.begin('a', `${outer}/api/v1/namespaces/x/services/y/proxy/path`, { method: 'POST' }),
      stand.begin('a', pods, { method: 'POST' }),
      stand.begin('a', `${outer}/version`),
      stand.begin('a', '/apis/backup.cv.io/v1/namespaces/default/clusters'),
    ];
    expect(stand.limits.counts()).to.deep.equal({ sessions: 4, longRunning: 3, requests: 3, refused: 0 });
    for (const flight of flights) flight.end();
    expect(stand.limits.counts()).to.deep.equal({ sessions: 0, longRunning: 0, requests: 0, refused: 0 });
  });

  it('never refuses what tells about kexer itself', () => {
    const stand = new Stand({ requests: { perKey: 1, total: 1 } });
    stand.begin('alice', pods);
    for (const path of ['/livez', '/readyz', '/version', '/apis', '/apis/backup.cv.io/v1', '/openapi/v2', '/metrics']) {
      expect(stand.begin('alice', path).outcome, path).to.equal('ok');
    }
  });

  it('gives starts back with time, and says when', () => {
    const stand = new Stand({ sessionStarts: { perKeyPerMinute: 30, totalPerMinute: 0 } });
    for (let index = 0; index < 30; index += 1) stand.begin('alice', log).end();
    expect(stand.begin('alice', log).outcome).to.match(/^429 TooManyRequests 2: /);
    stand.clock.advance(2000);
    expect(stand.begin('alice', log).outcome).to.equal('ok');
  });

  it('does not spend a start on what it refuses for another reason', () => {
    const stand = new Stand({
      sessions: { perKey: 1, total: 0 },
      sessionStarts: { perKeyPerMinute: 2, totalPerMinute: 0 },
    });
    const first = stand.begin('alice', log);
    stand.begin('alice', log);
    stand.begin('alice', log);
    first.end();
    expect(stand.begin('alice', log).outcome).to.equal('ok');
  });

  it('refuses new sessions while the event loop is later than the limit, and nothing else', () => {
    const stand = new Stand({ eventLoopDelayMs: 100 });
    stand.eventLoopDelayMs = 100;
    expect(stand.begin('alice', log).outcome).to.equal('ok');
    stand.eventLoopDelayMs = 101;
    expect(stand.begin('alice', exec, { isUpgrade: true }).outcome).to.match(
      /^429 TooManyRequests 10: .*limits\.eventLoopDelay/,
    );
    expect(stand.begin('alice', pods).outcome).to.equal('ok');
    expect(stand.begin('alice', `${pods}?watch=1`).outcome).to.equal('ok');
    expect(Object.fromEntries(stand.limits.refusedBy())).to.include({ eventLoopDelay: 1, sessions: 0 });
    expect(stand.limits.counts().refused).to.equal(1);
  });

  describe('with an impersonation', () => {
    it('counts as the caller until it is accepted, then as the effective user', () => {
      const stand = new Stand({ sessions: { perKey: 1, total: 0 } });
      const first = stand.begin('proxy', log);
      expect(stand.begin('alice', exec, { isUpgrade: true }).outcome).to.equal('ok'); // nobody's claim took her place
      expect(stand.begin('proxy', log).outcome).to.match(/^429 /);
      first.context.ticket?.countAs('bob');
      expect(stand.begin('proxy', log).outcome).to.equal('ok');
      expect(stand.begin('bob', log).outcome).to.match(/^429 .*"bob"/);
    });

    it('is refused when the effective user has no room, and stays the caller’s', () => {
      const stand = new Stand({ sessions: { perKey: 1, total: 2 } });
      stand.begin('alice', log);
      const second = stand.begin('proxy', log);
      expect(outcomeOf(() => second.context.ticket?.countAs('alice'))).to.match(
        /^429 .* 1 of user "alice" are running/,
      );
      expect(stand.begin('proxy', log).outcome).to.match(/^429 .*"proxy"/);
      second.end();
      expect(stand.begin('proxy', log).outcome).to.equal('ok');
    });

    it('spends a start of the effective user instead of the caller’s', () => {
      const stand = new Stand({ sessionStarts: { perKeyPerMinute: 1, totalPerMinute: 0 } });
      for (const user of ['alice', 'bob', 'carol']) {
        const flight = stand.begin('proxy', log);
        expect(flight.outcome).to.equal('ok');
        flight.context.ticket?.countAs(user);
      }
      const again = stand.begin('proxy', log);
      expect(outcomeOf(() => again.context.ticket?.countAs('alice'))).to.match(/^429 .*"alice" has begun 1/);
    });

    it('has its place in the total already', () => {
      const stand = new Stand({ sessions: { perKey: 0, total: 1 } });
      const flight = stand.begin('proxy', log);
      expect(outcomeOf(() => flight.context.ticket?.countAs('alice'))).to.equal('ok');
    });
  });
});
