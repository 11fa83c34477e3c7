// `kubectl --as` on what kexer answers itself: who is asked about whom, whose rights count, and what is left alone. The filters are the real ones from
// authentication on; kube-apiserver's reviews are rules.

import { EventEmitter } from 'node:events';

import { expect } from 'chai';

import type { Caller } from '../../src/auth/caller.ts';
import { Authorizer, type AccessQuestion } from '../../src/auth/authorize.ts';
import { OutgoingIdentities } from '../../src/auth/outgoing.ts';
import { encodeStatus, statusOf } from '../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import type { RawHeader } from '../../src/protocol/raw-headers.ts';
import { ActingUsers } from '../../src/server/acting-user.ts';
import { createFilters } from '../../src/server/filters.ts';
import { type Arrival, type Exchange, RequestContext } from '../../src/server/request-context.ts';
import { RequestLimits } from '../../src/server/request-limits.ts';
import { Shutdown } from '../../src/server/shutdown.ts';
import { FakeClock } from '../support/fake-clock.ts';

const group = '/apis/backup.cv.io/v1';
const sessions = `${group}/namespaces/default/sessions`;
const as = (name: string, ...groups: string[]): RawHeader[] => [
  ['Impersonate-User', name],
  ...groups.map((text): RawHeader => ['Impersonate-Group', text]),
];

describe('impersonation on paths of kexer’s own', () => {
  const alice = makeUser({ name: 'alice', groups: ['system:authenticated'] });
  let asked: string[];
  let allowed: Set<string>;
  let isConstrained: boolean;
  let perUser: number;
  let clock: FakeClock;
  let contexts: RequestContext[];
  let filters: ReturnType<typeof createFilters> | undefined;
  let caller: Caller;

  beforeEach(() => {
    asked = [];
    contexts = [];
    filters = undefined;
    allowed = new Set();
    isConstrained = false;
    perUser = 0;
    clock = new FakeClock();
    caller = { via: 'token', user: alice, token: 't' };
  });

  function build(): ReturnType<typeof createFilters> {
    const authorizer = new Authorizer({
      clock,
      reviews: {
        reviewAccess: async (user, question) => {
          const text = textOf(user, question);
          asked.push(text);
          return { isAllowed: allowed.has(text), isDenied: false, reason: '', evaluationError: '' };
        },
      },
    });
    return createFilters({
      authenticator: { authenticate: async () => caller },
      authorizer,
      limits: new RequestLimits(
        { clock },
        {
          sessions: { perKey: 0, total: 0 },
          sessionStarts: { perKeyPerMinute: 0, totalPerMinute: 0 },
          longRunning: { perKey: 0, total: 0 },
          requests: { perKey: perUser, total: 0 },
          eventLoopDelayMs: 0,
        },
      ),
      acting: new ActingUsers({
        identities: new OutgoingIdentities({ authorizer }, { impersonation: false, allowPrivileged: false }),
        cluster: { hasConstraints: async () => isConstrained },
      }),
      shutdown: new Shutdown(),
      audit: { begin: () => {} },
    });
  }

  function textOf(
    user: UserInfo,
    { isResourceRequest, verb, apiGroup, resource, subresource, namespace, name, path }: AccessQuestion,
  ): string {
    const what = [apiGroup, resource, subresource].filter((part) => part !== '').join('/');
    const where = [namespace, name, isResourceRequest ? '' : path].filter((part) => part !== '').join(' ');
    return `${user.name}[${user.groups.join()}] ${verb} ${what} ${where}`.trimEnd();
  }

  /** @returns whose rights count, or the refusal. */
  async function pass(method: string, target: string, headers: RawHeader[] = []): Promise<string> {
    filters ??= build();
    const response = Object.assign(new EventEmitter(), { destroyed: false });
    const context = new RequestContext(
      { method, rawTarget: target, headers, markKnown: () => {}, remoteAddress: '' } as unknown as Arrival,
      { kind: 'request', request: {}, response } as unknown as Exchange,
    );
    contexts.push(context);
    try {
      for (const filter of filters) await filter.apply(context);
    } catch (error) {
      return encodeStatus(statusOf(error)).toString();
    }
    return context.actingUser.name;
  }

  it('acts as another whom the caller may be, with the groups kube-apiserver would give them, and no rights of the caller', async () => {
    allowed = new Set([
      'alice[system:authenticated] impersonate users bob',
      'alice[system:authenticated] impersonate groups ops',
      'bob[ops,system:authenticated] list backup.cv.io/sessions default',
      'alice[system:authenticated] delete backup.cv.io/sessions default s1',
    ]);
    expect(await pass('GET', sessions, as('bob', 'ops'))).to.equal('bob');
    expect(asked).to.deep.equal([
      'alice[system:authenticated] impersonate users bob',
      'alice[system:authenticated] impersonate groups ops',
      'bob[ops,system:authenticated] list backup.cv.io/sessions default',
    ]);
    expect(contexts[0]?.acting).to.deep.equal({
      user: makeUser({ name: 'bob', groups: ['ops', 'system:authenticated'] }),
      isProven: true,
    });
    expect(contexts[0]?.caller.user).to.equal(alice);
    expect(await pass('DELETE', `${sessions}/s1`, as('bob', 'ops'))).to.contain(
      'sessions.backup.cv.io \\"s1\\" is forbidden: User \\"bob\\" cannot delete resource \\"sessions\\"',
    );
    expect(await pass('DELETE', `${sessions}/s1`)).to.equal('alice');
  });

  it('is refused in kube-apiserver’s words to whom may not be that user', async () => {
    const refused = await pass('GET', sessions, as('bob'));
    expect(refused).to.contain(
      'users \\"bob\\" is forbidden: User \\"alice\\" cannot impersonate resource \\"users\\"',
    );
    expect(asked).to.deep.equal(['alice[system:authenticated] impersonate users bob']);
    expect(contexts[0]?.acting).to.deep.include({ isProven: false });
    expect(() => contexts[0]?.actingUser).to.throw('no filter has set it');
  });

  it('is refused in the words of constrained impersonation where kube-apiserver knows it', async () => {
    isConstrained = true;
    expect(await pass('GET', sessions, as('bob'))).to.contain(
      'cannot impersonate-on:user-info:list resource \\"sessions\\" in API group \\"backup.cv.io\\" in the namespace \\"default\\"',
    );
  });

  it('is a 400 to groups, a UID or extras without a user, and nobody is asked', async () => {
    for (const [name, value] of [
      ['Impersonate-Group', 'system:masters'],
      ['Impersonate-Uid', '0'],
      ['Impersonate-Extra-Scopes', 'all'],
    ] as const) {
      expect(await pass('GET', sessions, [[name, value]])).to.match(
        /"message":"requested .* without impersonating a user name","reason":"BadRequest","code":400/,
      );
    }
    expect(asked).to.deep.equal([]);
  });

  it('holds for a service account, who has its groups, and for the guarded path without a resource', async () => {
    const account = 'system:serviceaccount:ops:robot';
    const groups = 'system:serviceaccounts,system:serviceaccounts:ops,system:authenticated';
    allowed = new Set([
      'alice[system:authenticated] impersonate serviceaccounts ops robot',
      `${account}[${groups}] get  /metrics`,
    ]);
    expect(await pass('GET', '/metrics', as(account))).to.equal(account);
  });

  it('is nobody’s business on open paths, discovery and calls on a cluster, which are judged elsewhere', async () => {
    allowed = new Set(['alice[system:authenticated] get backup.cv.io/clusters/exec default local']);
    const inner = `${group}/namespaces/default/clusters/local/exec/api/v1/namespaces/default/pods`;
    const passed = [];
    for (const target of ['/apis', group, inner]) passed.push(await pass('GET', target, as('bob')));
    expect(passed).to.deep.equal(['alice', 'alice', 'alice']);
    expect(contexts.map(({ acting }) => acting)).to.deep.equal([undefined, undefined, undefined]);
  });

  it('is judged by the rights of whom the front proxy names, should any header be left behind it', async () => {
    caller = { via: 'frontProxy', user: alice };
    expect(await pass('GET', sessions, as('admin', 'system:masters'))).to.contain('\\"alice\\" cannot impersonate');
    expect(asked).to.deep.equal(['alice[system:authenticated] impersonate users admin']);
  });

  it('counts as the other from then on, so that nobody has two shares', async () => {
    perUser = 1;
    allowed = new Set([
      'alice[system:authenticated] impersonate users bob',
      'bob[system:authenticated] list backup.cv.io/sessions default',
    ]);
    expect(await pass('GET', sessions, as('bob'))).to.equal('bob');
    expect(await pass('GET', sessions, as('bob'))).to.match(/1 of user \\"bob\\" are in flight.*"code":429/);
  });
});
