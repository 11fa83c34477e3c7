// The resource `sessions`: who ends what, in whose name, at which kexer; what is said when one of them is silent; and how often others are asked while
// somebody watches.

import { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';

import { expect } from 'chai';

import { parseRequestInfo } from '../../src/kube/request-info.ts';
import { serviceUnavailable, StatusError, statusOf } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import type { AnyResponse } from '../../src/net/http-answer.ts';
import type { EndOrder, EndOutcome } from '../../src/server/peers-messages.ts';
import { type DeletedSession, SessionsResource } from '../../src/server/sessions-resource.ts';
import { SessionStand, toldSession } from './support/session-stand.ts';

const base = '/apis/backup.cv.io/v1/namespaces/shop/sessions';

describe('SessionsResource', () => {
  let stand: SessionStand;
  let deleted: DeletedSession[];
  let asked: string[];
  let orders: EndOrder[];
  let warnings: string[];
  let outcome: EndOutcome | StatusError;
  let onRefresh: () => Promise<void>;
  let resource: SessionsResource;

  beforeEach(() => {
    stand = new SessionStand();
    deleted = [];
    asked = [];
    orders = [];
    warnings = [];
    outcome = 'ended';
    onRefresh = async () => {};
    resource = build(true);
  });
  afterEach(() => resource.stop());

  function build(hasPeers: boolean): SessionsResource {
    return new SessionsResource({
      clock: stand.clock,
      sessions: stand.feed,
      peers: hasPeers
        ? {
            refresh: async (namespace, { isBrief }) => {
              asked.push(`${namespace === '' ? 'all' : namespace}${isBrief ? ' brief' : ''}`);
              await onRefresh();
              return warnings;
            },
            end: async (peer, order) => {
              asked.push(`end at ${peer}`);
              orders.push(order);
              if (outcome instanceof StatusError) throw outcome;
              return outcome;
            },
          }
        : undefined,
      onDeleted: (fields) => deleted.push(fields),
    });
  }

  /** @returns the status and what the body says. */
  async function ask(
    method: string,
    path: string,
    { body = '', as }: { body?: string; as?: string } = {},
  ): Promise<[number, unknown]> {
    const [bare = '', query = ''] = path.split('?');
    const params = new URLSearchParams(query);
    try {
      const answer = await resource.answer({
        info: parseRequestInfo(method, bare.slice(1).split('/'), params),
        query: params,
        headers: [],
        user: makeUser({ name: as ?? 'admin' }),
        originalUser: as === undefined ? undefined : makeUser({ name: 'admin' }),
        remoteAddress: '192.0.2.9',
        auditId: 'audit-9',
        signal: new AbortController().signal,
        readBody: async () => Buffer.from(body),
      });
      if ('run' in answer) throw new Error('this is a watch');
      return [answer.status, JSON.parse(String(answer.body))];
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      const { code, message } = statusOf(error);
      return [code, message];
    }
  }

  describe('delete', () => {
    it('ends a session of this process, whose client is told by whom, without asking anybody', async () => {
      stand.open();
      const [status, body] = await ask('DELETE', `${base}/s1`);
      expect([status, (body as { status: string }).status]).to.deep.equal([200, 'Success']);
      expect(stand.ends).to.deep.equal(['session ended by admin']);
      expect(asked).to.deep.equal([]);
      expect(deleted).to.deep.equal([
        {
          session: 's1',
          kind: 'exec',
          owner: 'alice',
          namespace: 'shop',
          pod: 'db',
          user: 'admin',
          replica: 'kexer-0',
          remoteAddress: '192.0.2.9',
          auditId: 'audit-9',
        },
      ]);
    });

    it('ends it in the name of whom the caller acts as, and the log has both', async () => {
      stand.open();
      await ask('DELETE', `${base}/s1`, { as: 'bob' });
      expect(stand.ends).to.deep.equal(['session ended by bob']);
      expect(deleted[0]).to.deep.include({ user: 'bob', originalUser: 'admin' });
    });

    it('has the kexer end it that carries it', async () => {
      onRefresh = async () => stand.feed.accept('kexer-1', 'shop', [toldSession('far')], { isBrief: false });
      expect((await ask('DELETE', `${base}/far`, { as: 'bob' }))[0]).to.equal(200);
      expect(asked).to.deep.equal(['shop', 'end at kexer-1']);
      expect(orders).to.deep.equal([
        { namespace: 'shop', name: 'far', uid: 'uid-far', user: 'bob', originalUser: 'admin' },
      ]);
      expect(deleted[0]).to.deep.include({ session: 'far', replica: 'kexer-1', user: 'bob', originalUser: 'admin' });
    });

    it('is 200 for one that is ending and whose client still reads', async () => {
      onRefresh = async () => stand.feed.accept('kexer-1', 'shop', [toldSession('far')], { isBrief: false });
      outcome = 'ending';
      expect((await ask('DELETE', `${base}/far`))[0]).to.equal(200);
    });

    it('is 404 for one that ended meanwhile, and the log says nothing', async () => {
      onRefresh = async () => stand.feed.accept('kexer-1', 'shop', [toldSession('far')], { isBrief: false });
      outcome = 'notFound';
      expect(await ask('DELETE', `${base}/far`)).to.deep.equal([404, 'sessions.backup.cv.io "far" not found']);
      expect(deleted).to.deep.equal([]);
    });

    it('is 503 where its kexer cannot be asked', async () => {
      onRefresh = async () => stand.feed.accept('kexer-1', 'shop', [toldSession('far')], { isBrief: false });
      outcome = new StatusError(serviceUnavailable('it may have ended it or not'));
      expect(await ask('DELETE', `${base}/far`)).to.deep.equal([503, 'it may have ended it or not']);
      expect(deleted).to.deep.equal([]);
    });

    it('is 404 for one that nobody has, and 503 while one who may have it is silent', async () => {
      expect(await ask('DELETE', `${base}/nope`)).to.deep.equal([404, 'sessions.backup.cv.io "nope" not found']);
      warnings = ['kexer replica kexer-1: it did not answer within 1 s; its sessions are missing', 'another'];
      expect(await ask('DELETE', `${base}/nope`)).to.deep.equal([
        503,
        'session "nope" was not found, but kexer replica kexer-1: it did not answer within 1 s; its sessions are missing',
      ]);
    });

    it('is 404 in another namespace than the session’s', async () => {
      stand.open({ namespace: 'web' });
      expect((await ask('DELETE', `${base}/s1`))[0]).to.equal(404);
      expect(stand.ends).to.deep.equal([]);
    });

    it('ends nothing in a dry run, or where a precondition fails', async () => {
      stand.open();
      const dry = await ask('DELETE', `${base}/s1`, { body: '{"dryRun":["All"]}' });
      const other = await ask('DELETE', `${base}/s1`, { body: '{"preconditions":{"uid":"other"}}' });
      expect([dry[0], other[0], stand.ends, deleted]).to.deep.equal([200, 409, [], []]);
      const uid = stand.feed.feed.get('shop', 's1')?.metadata.uid ?? '';
      await ask('DELETE', `${base}/s1`, { body: JSON.stringify({ preconditions: { uid } }) });
      expect(stand.ends).to.have.length(1);
    });

    it('works alone where there are no others', async () => {
      resource = build(false);
      stand.open();
      expect((await ask('DELETE', `${base}/nope`))[0]).to.equal(404);
      expect((await ask('DELETE', `${base}/s1`))[0]).to.equal(200);
    });

    it('serves no collection, no subresource and nothing without a namespace', async () => {
      stand.open();
      expect((await ask('DELETE', base))[0]).to.equal(405);
      expect((await ask('DELETE', `${base}/s1/status`))[0]).to.equal(404);
      expect((await ask('DELETE', '/apis/backup.cv.io/v1/sessions/s1'))[0]).to.equal(405);
      expect(stand.ends).to.deep.equal([]);
    });
  });

  it('asks the others for a list before it reads what is here, so that this is as of then', async () => {
    onRefresh = async () => {
      stand.open();
      stand.feed.accept('kexer-1', 'shop', [toldSession('far')], { isBrief: false });
    };
    const [, body] = await ask('GET', base);
    const { items } = body as { items: { metadata: { name: string } }[] };
    expect([asked, items.map(({ metadata }) => metadata.name)]).to.deep.equal([['shop'], ['far', 's1']]);
    for (const method of ['POST', 'PUT', 'PATCH']) expect((await ask(method, `${base}/s1`))[0]).to.equal(405);
  });

  describe('while somebody watches', () => {
    let end: () => void;

    beforeEach(async () => {
      end = await watch();
      asked = [];
    });

    /** @returns what makes its client leave. */
    async function watch(): Promise<() => void> {
      const params = new URLSearchParams('watch=true');
      const answer = await resource.answer({
        info: parseRequestInfo('GET', base.slice(1).split('/'), params),
        query: params,
        headers: [],
        user: makeUser({ name: 'admin' }),
        originalUser: undefined,
        remoteAddress: '',
        auditId: '',
        signal: new AbortController().signal,
        readBody: async () => Buffer.alloc(0),
      });
      if (!('run' in answer)) throw new Error('this is no watch');
      const response = Object.assign(new EventEmitter(), {
        destroyed: false,
        writableLength: 0,
        socket: { cork: () => {}, uncork: () => {} },
        setHeader: () => {},
        flushHeaders: () => {},
        writeHead: () => {},
        write: () => true,
        end: () => {},
      });
      void answer.run(response as unknown as AnyResponse).catch(() => {});
      return () => void response.emit('close');
    }

    /** Lets what was promised happen. */
    const settle = (): Promise<void> =>
      new Promise((resolve) => {
        setImmediate(resolve);
      });

    async function polls(count: number): Promise<void> {
      for (let index = 0; index < count; index += 1) {
        stand.clock.advance(2000);
        await settle();
      }
    }

    it('asks the others every two seconds, for numbers each fifth time, and nobody after the last one has left', async () => {
      await polls(10);
      expect(asked).to.deep.equal([
        ...Array.from({ length: 4 }, () => 'all brief'),
        'all',
        ...Array.from({ length: 4 }, () => 'all brief'),
        'all',
      ]);
      end();
      await settle();
      await polls(3);
      expect(asked).to.have.length(10);
      expect(stand.clock.pendingCount).to.equal(0);
    });

    it('asks no oftener when one leaves and another comes while the others are being asked', async () => {
      for (let round = 0; round < 3; round += 1) {
        const { promise, resolve } = Promise.withResolvers<void>();
        onRefresh = () => promise;
        await polls(1);
        onRefresh = async () => {};
        end();
        await settle();
        end = await watch();
        resolve();
        await settle();
      }
      asked = [];
      await polls(5);
      expect(asked).to.have.length(5);
      end();
      await settle();
      expect(stand.clock.pendingCount).to.equal(0);
    });

    it('spends no more than a twentieth of its time on asking', async () => {
      onRefresh = async () => {
        await Promise.resolve();
        stand.clock.advance(1000);
      };
      await polls(1);
      expect(asked).to.have.length(1);
      // It took a second, so that the next one comes after twenty.
      await polls(9);
      expect(asked).to.have.length(1);
      await polls(1);
      expect(asked).to.have.length(2);
      end();
      await settle();
    });
  });
});
