// What this kexer answers others, and to whom: those alone who show a token for peers of the very account it runs as.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import type { TokenAnswer } from '../../src/kube/reviews.ts';
import { StatusError, statusOf, tooManyRequests } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { PeersEndpoint } from '../../src/server/peers-endpoint.ts';
import type { PeerSessions } from '../../src/server/peers-messages.ts';
import { type Arrival, type Exchange, RequestContext } from '../../src/server/request-context.ts';
import { SessionStand, toldSession } from './support/session-stand.ts';
import { until } from '../streams/support/rig.ts';

const account = 'system:serviceaccount:kexec-system:kexer';
const list = '/peer/v1/sessions';
const end = '/peer/v1/sessions/end';
const bearer = (token: string): RawHeaders => [['Authorization', `Bearer ${token}`]];

describe('PeersEndpoint', () => {
  let stand: SessionStand;
  let users: Map<string, [name: string, uid: string]>;
  let reviewed: string[];
  let ended: unknown[];
  let endpoint: PeersEndpoint;

  beforeEach(() => {
    stand = new SessionStand();
    users = new Map([
      ['own', [account, 'uid-1']],
      ['peer', [account, 'uid-1']],
      ['other', ['system:serviceaccount:kexec-system:other', 'uid-2']],
      ['made-anew', [account, 'uid-3']],
    ]);
    reviewed = [];
    ended = [];
    endpoint = new PeersEndpoint(
      {
        sessions: stand.feed,
        tokens: {
          authenticate: async (token, source): Promise<TokenAnswer> => {
            reviewed.push(`${token} from ${source}`);
            if (token === 'flood') throw new StatusError(tooManyRequests('too many', 1));
            const [name, uid] = users.get(token) ?? [];
            return name === undefined
              ? { isAuthenticated: false, error: 'not known to be for the audience kexer-peer' }
              : { isAuthenticated: true, user: makeUser({ name, uid: uid ?? '' }) };
          },
        },
        ownToken: { read: async () => 'own', invalidate: () => {} },
        onEnded: (fields) => ended.push(fields),
      },
      { instance: 'i-1' },
    );
  });

  function contextOf(
    method: string,
    rawTarget: string,
    headers: RawHeaders = bearer('peer'),
    kind: 'request' | 'upgrade' = 'request',
  ): RequestContext {
    const arrival = { method, rawTarget, headers, remoteAddress: '10.0.0.7', auditId: 'audit-7' } as Arrival;
    return new RequestContext(arrival, { kind } as Exchange);
  }

  async function ask(method: string, target: string, body = ''): Promise<[number, unknown]> {
    const context = contextOf(method, target);
    await endpoint.authenticate(context);
    const query = new URLSearchParams(target.split('?')[1] ?? '');
    try {
      const answer = await endpoint.answer(context, query, async () => Buffer.from(body));
      const text = String(answer.body);
      return [answer.status, text.startsWith('{') ? JSON.parse(text) : text];
    } catch (error) {
      return [statusOf(error).code, statusOf(error).message];
    }
  }

  describe('handles', () => {
    const targets: readonly (readonly [target: string, isHandled: boolean])[] = [
      [list, true],
      [`${list}?namespace=shop`, true],
      [end, true],
      [`${list}/`, false],
      ['/peer/v1/session%73', false],
      ['/peer/v1//sessions', false],
      ['/PEER/v1/sessions', false],
      ['/peer/v1', false],
      ['/apis/backup.cv.io/v1/sessions', false],
    ];
    for (const [target, isHandled] of targets) {
      it(`${isHandled ? 'is' : 'is not'} for ${target}`, () => {
        expect(endpoint.handles(contextOf('GET', target))).to.equal(isHandled);
      });
    }

    it('is for no upgrade', () => {
      expect(endpoint.handles(contextOf('GET', list, [], 'upgrade'))).to.equal(false);
    });
  });

  describe('authenticate', () => {
    async function who(headers: RawHeaders): Promise<string> {
      try {
        const { user, via } = await endpoint.authenticate(contextOf('GET', list, headers));
        return `${user.name} by ${via}`;
      } catch (error) {
        const { code } = statusOf(error);
        return `${code} ${error instanceof Error && error.cause instanceof Error ? error.cause.message : ''}`;
      }
    }

    it('takes the account this kexer runs as, whoever reviews it for whom', async () => {
      expect(await who(bearer('peer'))).to.equal(`${account} by token`);
      expect(reviewed).to.deep.equal(['peer from 10.0.0.7', 'own from kexer itself']);
    });

    const refused: readonly (readonly [what: string, headers: RawHeaders, why: RegExp])[] = [
      ['nobody without a token', [], /^401 .*it shows no token$/],
      ['no front proxy', [['X-Remote-User', account]], /^401 .*it shows no token$/],
      ['no token for anything else', bearer('unknown'), /^401 .*not known to be for the audience kexer-peer$/],
      ['no other account', bearer('other'), /^401 .*kexec-system:other is not .*kexec-system:kexer$/],
      ['no account of the same name that was made anew', bearer('made-anew'), /^401 /],
      ['two tokens for one', [...bearer('peer'), ...bearer('other')], /^401 /],
      ['more than may be reviewed', bearer('flood'), /^429 /],
    ];
    for (const [what, headers, why] of refused) {
      it(`takes ${what}`, async () => expect(await who(headers)).to.match(why));
    }

    it('takes nobody while its own token is not good', async () => {
      users.delete('own');
      expect(await who(bearer('peer'))).to.match(/^401 .*this kexer's own token is not good/);
    });
  });

  it('answers nobody whom it has not let in itself', async () => {
    const context = contextOf('GET', list);
    context.caller = { via: 'token', user: makeUser({ name: account }), token: 'peer' };
    let message = '';
    await endpoint
      .answer(context, new URLSearchParams(), async () => Buffer.alloc(0))
      .catch((error: unknown) => (message = error instanceof Error ? error.message : ''));
    expect(message).to.equal('Cannot answer a peer: nobody has looked who it is');
  });

  it('lists its own sessions, and never what others told it', async () => {
    stand.open();
    stand.open({ namespace: 'web' });
    stand.feed.accept('kexer-2', '', [toldSession('far')], { isBrief: false });
    const namesIn = async (target: string): Promise<unknown> => {
      const [status, body] = await ask('GET', target);
      const { instance, sessions } = body as PeerSessions;
      return [status, instance, ...sessions.map(({ metadata }) => metadata.name)];
    };
    expect(await namesIn(list)).to.deep.equal([200, 'i-1', 's1', 's2']);
    expect(await namesIn(`${list}?namespace=web`)).to.deep.equal([200, 'i-1', 's2']);
    expect(await namesIn(`${list}?namespace=nope`)).to.deep.equal([200, 'i-1']);
  });

  describe('an order to end', () => {
    const orderFor = (uid: string, more: object = {}): string =>
      JSON.stringify({ namespace: 'shop', name: 's1', uid, user: 'bob', ...more });
    const uidOf = (): string => stand.feed.local('shop', 's1')?.object.metadata.uid ?? '';

    it('ends the session, tells its client by whom, and waits until it is over', async () => {
      const session = stand.open();
      const answer = ask('POST', end, orderFor(uidOf()));
      // The order is read asynchronously.
      await until(() => stand.ends.length > 0);
      stand.finish(session);
      expect(await answer).to.deep.equal([200, { outcome: 'ended' }]);
      expect([stand.ends, ended]).to.deep.equal([
        ['session ended by bob'],
        [{ session: 's1', user: 'bob', remoteAddress: '10.0.0.7', auditId: 'audit-7' }],
      ]);
    });

    it('tells the log who stands behind the one who ends it', async () => {
      const session = stand.open();
      const answer = ask('POST', end, orderFor(uidOf(), { originalUser: 'admin' }));
      await until(() => stand.ends.length > 0);
      stand.finish(session);
      await answer;
      expect([stand.ends, ended]).to.deep.equal([
        ['session ended by bob'],
        [{ session: 's1', user: 'bob', originalUser: 'admin', remoteAddress: '10.0.0.7', auditId: 'audit-7' }],
      ]);
    });

    it('says so of one whose client takes longer than half a second', async () => {
      const session = stand.open();
      const answer = ask('POST', end, orderFor(uidOf()));
      await until(() => stand.clock.pendingCount > 0);
      stand.clock.advance(500);
      expect(await answer).to.deep.equal([200, { outcome: 'ending' }]);
      stand.finish(session);
    });

    it('ends no other session of that name, and none in another namespace', async () => {
      const session = stand.open();
      const uid = uidOf();
      for (const body of [orderFor('other'), orderFor(uid, { namespace: 'web' }), orderFor(uid, { name: 's2' })]) {
        expect(await ask('POST', end, body)).to.deep.equal([200, { outcome: 'notFound' }]);
      }
      expect([stand.ends, ended]).to.deep.equal([[], []]);
      stand.finish(session);
    });

    it('is refused if it does not say which, or by whom', async () => {
      for (const body of ['', '{}', orderFor('u', { user: '' })])
        expect((await ask('POST', end, body))[0]).to.equal(400);
    });

    it('comes by POST alone, and lists by GET alone', async () => {
      expect((await ask('GET', end))[0]).to.equal(405);
      expect((await ask('POST', list))[0]).to.equal(405);
      expect((await ask('DELETE', list))[0]).to.equal(405);
    });
  });
});
