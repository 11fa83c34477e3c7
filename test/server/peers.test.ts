// The other kexers of a Service, asked all at once: what is shown of those that answer, said of those that do not, and forgotten of those that are gone.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { statusOf } from '../../src/kube/status.ts';
import { Peers } from '../../src/server/peers.ts';
import type { PeerAddress } from '../../src/server/peers-directory.ts';
import type { EndOrder, EndOutcome, PeerSessions } from '../../src/server/peers-messages.ts';
import type { SessionObject } from '../../src/server/sessions-object.ts';
import { SessionStand, toldSession } from './support/session-stand.ts';

const address = (name: string): PeerAddress => ({ name, host: '127.0.0.1', port: 1 });
const late = new KexerError('timeout', 'it did not answer within 1 s');
const order: EndOrder = { namespace: 'shop', name: 'a', uid: 'uid-a', user: 'bob' };

describe('Peers', () => {
  let stand: SessionStand;
  let others: () => Promise<PeerAddress[]>;
  let told: Map<string, (namespace: string) => Promise<PeerSessions>>;
  let ends: string[];
  let outcome: EndOutcome | Error;
  let kept: string[][];
  let troubles: string[];
  let peers: Peers;

  const sessionsOf =
    (...sessions: SessionObject[]) =>
    async (namespace: string): Promise<PeerSessions> => ({
      instance: 'other',
      sessions: sessions.filter(({ metadata }) => namespace === '' || metadata.namespace === namespace),
    });
  const silent = async (): Promise<never> => {
    throw late;
  };

  beforeEach(() => {
    stand = new SessionStand();
    told = new Map();
    others = async () => [...told.keys()].map(address);
    ends = [];
    outcome = 'ended';
    kept = [];
    troubles = [];
    peers = new Peers(
      {
        clock: stand.clock,
        sessions: stand.feed,
        directory: { others: () => others() },
        client: {
          list: async ({ name }, namespace) => (told.get(name) ?? silent)(namespace),
          end: async ({ name }, { name: session, user }, auditId) => {
            ends.push(`${session} at ${name} by ${user} (${auditId})`);
            if (outcome instanceof Error) throw outcome;
            return outcome;
          },
          keep: async (addresses) => void kept.push(addresses.map(({ name }) => name)),
        },
        onTrouble: (peer, error) => troubles.push(`${peer}: ${error instanceof Error ? error.message : ''}`),
      },
      { instance: 'own' },
    );
  });

  const refresh = (namespace = '', isBrief = false): Promise<string[]> => peers.refresh(namespace, { isBrief });

  describe('refresh', () => {
    it('shows the sessions of all of them, asked at once', async () => {
      const waiting: (() => void)[] = [];
      for (const name of ['kexer-1', 'kexer-2']) {
        told.set(name, async (namespace) => {
          await new Promise<void>((resolve) => {
            waiting.push(resolve);
            // The second question releases both.
            if (waiting.length === 2) for (const go of waiting) go();
          });
          return sessionsOf(toldSession(`of-${name}`))(namespace);
        });
      }
      expect(await refresh()).to.deep.equal([]);
      expect(stand.names()).to.deep.equal(['shop/of-kexer-1', 'shop/of-kexer-2']);
      expect(kept).to.deep.equal([['kexer-1', 'kexer-2']]);
    });

    it('passes over itself, where no slice tells which of them it is', async () => {
      told.set('10.0.0.1:8443', async () => ({ instance: 'own', sessions: [toldSession('mine')] }));
      expect([await refresh(), stand.names()]).to.deep.equal([[], []]);
    });

    it('names one that is silent and has never answered, in the log once until it answers again', async () => {
      told.set('kexer-1', silent);
      told.set('kexer-2', sessionsOf(toldSession('b')));
      const warning = 'kexer replica kexer-1: it did not answer within 1 s; its sessions are missing';
      expect([await refresh(), await refresh()]).to.deep.equal([[warning], [warning]]);
      expect([stand.names(), troubles]).to.deep.equal([['shop/b'], ['kexer-1: it did not answer within 1 s']]);
      told.set('kexer-1', sessionsOf());
      await refresh();
      told.set('kexer-1', silent);
      await refresh();
      expect(troubles).to.have.length(2);
    });

    it('shows what one said lately while it is silent, for half a minute, and says how old that is', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      await refresh();
      told.set('kexer-1', silent);
      stand.clock.advance(4400);
      expect(await refresh()).to.deep.equal([
        'kexer replica kexer-1: it did not answer within 1 s; its sessions are as they were 4 s ago',
      ]);
      expect(stand.names()).to.deep.equal(['shop/a']);
      stand.clock.advance(25_600);
      expect(await refresh()).to.deep.equal([
        'kexer replica kexer-1: it did not answer within 1 s; its sessions are missing',
      ]);
      expect(stand.names()).to.deep.equal([]);
    });

    it('claims to know only what was asked about', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a'), toldSession('b', { namespace: 'web' })));
      await refresh('shop');
      told.set('kexer-1', silent);
      stand.clock.advance(2000);
      const [web] = await refresh('web');
      const [all] = await refresh('');
      const [shop] = await refresh('shop');
      expect([web, all, shop].map((text) => text?.split('; ')[1])).to.deep.equal([
        'its sessions are missing',
        'some of its sessions are missing',
        'its sessions are as they were 2 s ago',
      ]);
      expect(stand.names()).to.deep.equal(['shop/a']);
    });

    it('shows no namespace as it was long ago because another one was asked about since', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      await refresh('shop');
      stand.clock.advance(29_000);
      await refresh('web');
      told.set('kexer-1', silent);
      stand.clock.advance(2000);
      expect((await refresh('shop'))[0]).to.contain('its sessions are missing');
      expect(stand.names()).to.deep.equal([]);
    });

    it('knows a namespace from an answer about all of them', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      await refresh('');
      told.set('kexer-1', silent);
      stand.clock.advance(3000);
      expect((await refresh('shop'))[0]).to.contain('as they were 3 s ago');
    });

    it('lets no answer that comes late undo a later one', async () => {
      let release = (): void => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      told.set('kexer-1', async (namespace) => {
        await held;
        return sessionsOf(toldSession('over'))(namespace);
      });
      const early = refresh();
      // It has been asked once the directory has answered.
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      told.set('kexer-1', sessionsOf(toldSession('now')));
      await refresh();
      release();
      expect([await early, stand.names()]).to.deep.equal([[], ['shop/now']]);
    });

    it('forgets those that are in no slice any more, with all they had', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      told.set('kexer-2', silent);
      await refresh();
      told.clear();
      expect(await refresh()).to.deep.equal([]);
      expect([stand.names(), kept.at(-1)]).to.deep.equal([[], []]);
      // Nor is it known to have been silent.
      told.set('kexer-2', silent);
      await refresh();
      expect(troubles).to.have.length(2);
    });

    it('says that it cannot find them, and shows what they said for half a minute', async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      await refresh();
      others = async () => {
        throw new KexerError('unreachable', 'away');
      };
      const warning =
        'kexer cannot find its other replicas now: their sessions are missing or as they were a moment ago';
      expect([await refresh(), await refresh()]).to.deep.equal([[warning], [warning]]);
      expect([stand.names(), troubles]).to.deep.equal([['shop/a'], [': away']]);
      stand.clock.advance(30_000);
      await refresh();
      expect(stand.names()).to.deep.equal([]);
    });

    const reasons: readonly (readonly [error: Error, text: string])[] = [
      [new KexerError('unreachable', 'connect ECONNREFUSED 10.0.0.7:8443'), 'it cannot be reached'],
      [new KexerError('unreachable', 'no connection within 1000 ms to 10.0.0.7'), 'it did not answer within 1 s'],
      [new KexerError('tls', 'unable to verify 10.0.0.7'), 'its certificate is not trusted'],
      [new KexerError('badGateway', 'it answered 401'), 'it answered 401'],
      [
        new KexerError('badGateway', 'its answer cannot be used', { cause: new Error('10.0.0.7') }),
        'its answer cannot be used',
      ],
      [new KexerError('config', 'Cannot read "/var/run/token"'), 'it cannot be asked now'],
      [new KexerError('cut', 'socket 10.0.0.7 closed'), 'it cannot be asked now'],
      [new Error('10.0.0.7'), 'it cannot be asked now'],
    ];
    for (const [error, text] of reasons) {
      it(`says "${text}" of "${error.message}", and no address or file`, async () => {
        told.set('kexer-1', async () => {
          throw error;
        });
        expect(await refresh()).to.deep.equal([`kexer replica kexer-1: ${text}; its sessions are missing`]);
      });
    }
  });

  describe('end', () => {
    beforeEach(async () => {
      told.set('kexer-1', sessionsOf(toldSession('a')));
      await refresh();
    });

    async function refusalOf(run: Promise<unknown>): Promise<unknown> {
      try {
        return await run;
      } catch (error) {
        const { code, message, details } = statusOf(error);
        return [code, message, details?.retryAfterSeconds];
      }
    }

    it('passes the order on, and takes the session out of lists when it is over', async () => {
      expect(await peers.end('kexer-1', order, 'audit-1')).to.equal('ended');
      expect([ends, stand.names()]).to.deep.equal([['a at kexer-1 by bob (audit-1)'], []]);
    });

    it('leaves one in lists whose client still reads', async () => {
      outcome = 'ending';
      expect([await peers.end('kexer-1', order, ''), stand.names()]).to.deep.equal(['ending', ['shop/a']]);
    });

    it('finds nothing at a kexer that is gone', async () => {
      told.clear();
      expect([await peers.end('kexer-1', order, ''), ends]).to.deep.equal(['notFound', []]);
    });

    it('says what is not known when no answer comes, and asks nobody to try again', async () => {
      outcome = new KexerError('timeout', 'it did not answer within 3 s');
      expect(await refusalOf(peers.end('kexer-1', order, ''))).to.deep.equal([
        503,
        'kexer replica kexer-1 has this session, and it did not answer within 3 s: it may have ended it or not',
        undefined,
      ]);
      expect(stand.names()).to.deep.equal(['shop/a']);
    });

    it('says that nothing was ended when it could not even look where that kexer is, and nothing of kube-apiserver', async () => {
      others = async () => {
        throw new KexerError('timeout', 'no answer from https://10.0.0.1:6443 within 1000 ms');
      };
      expect(await refusalOf(peers.end('kexer-1', order, ''))).to.deep.equal([
        503,
        'kexer replica kexer-1 has this session, and kexer cannot find it now: the session was not ended',
        undefined,
      ]);
      expect(ends).to.deep.equal([]);
    });
  });
});
