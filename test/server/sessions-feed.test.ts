// The sessions of this kexer and what others told of theirs, as lists and watches read them.

import { expect } from 'chai';

import { SessionStand, toldSession } from './support/session-stand.ts';

describe('SessionsFeed', () => {
  let stand: SessionStand;

  beforeEach(() => {
    stand = new SessionStand();
  });

  describe('of this process', () => {
    it('makes an object only when somebody asks, with one UID for its life, and takes it away with the session', () => {
      const session = stand.open();
      expect([stand.names(), stand.events]).to.deep.equal([[], []]);
      stand.feed.refresh();
      const uid = stand.feed.feed.get('shop', 's1')?.metadata.uid;
      session.countOut(1);
      stand.feed.refresh();
      expect(stand.feed.feed.get('shop', 's1')?.metadata.uid).to.equal(uid);
      stand.finish(session);
      expect([stand.names(), stand.events]).to.deep.equal([
        [],
        ['ADDED shop/s1', 'MODIFIED shop/s1', 'DELETED shop/s1'],
      ]);
    });

    it('says nothing of a session that nobody saw', () => {
      stand.finish(stand.open());
      expect(stand.events).to.deep.equal([]);
    });

    it('tells who watches of each start, and the last numbers with each end', () => {
      const before = stand.open();
      stand.feed.setLive(true);
      const session = stand.open();
      session.countOut(77);
      stand.finish(session);
      expect(stand.events).to.deep.equal(['ADDED shop/s1', 'ADDED shop/s2', 'MODIFIED shop/s2', 'DELETED shop/s2']);
      stand.feed.setLive(false);
      stand.open();
      stand.finish(before);
      expect(stand.events.slice(4)).to.deep.equal(['DELETED shop/s1']);
    });

    it('redacts commands', () => {
      stand.open();
      stand.feed.refresh();
      expect(stand.feed.feed.get('shop', 's1')?.spec.command).to.deep.equal(['mysql', '-p[redacted]']);
    });

    it('finds a session in its own namespace alone', () => {
      const session = stand.open();
      expect(stand.feed.local('shop', 's1')?.session).to.equal(session);
      expect([stand.feed.local('default', 's1'), stand.feed.local('shop', 's2')]).to.deep.equal([undefined, undefined]);
    });

    it('lists those of a namespace to others, and never what others told', () => {
      stand.open();
      stand.open({ namespace: 'web' });
      stand.feed.accept('kexer-1', '', [toldSession('far')], { isBrief: false });
      const names = (namespace: string): string[] =>
        stand.feed.localObjects(namespace).map(({ metadata }) => metadata.name);
      expect([names(''), names('web'), names('none')]).to.deep.equal([['s1', 's2'], ['s2'], []]);
    });
  });

  describe('whenOver', () => {
    it('resolves with the end, for everybody who waits', async () => {
      const session = stand.open();
      const waits = [stand.feed.whenOver('s1', 500), stand.feed.whenOver('s1', 500)];
      stand.finish(session);
      await Promise.all(waits);
      expect(stand.clock.pendingCount).to.equal(0);
    });

    it('resolves at once where there is none, and after the limit where it runs on', async () => {
      await stand.feed.whenOver('s1', 500);
      const session = stand.open();
      const wait = stand.feed.whenOver('s1', 500);
      stand.clock.advance(500);
      await wait;
      stand.finish(session);
      expect(stand.clock.pendingCount).to.equal(0);
    });
  });

  describe('of others', () => {
    it('adds what they name and takes away what they name no more', () => {
      stand.feed.accept('kexer-1', '', [toldSession('a'), toldSession('b')], { isBrief: false });
      stand.feed.accept('kexer-2', '', [toldSession('c')], { isBrief: false });
      stand.feed.accept('kexer-1', '', [toldSession('b')], { isBrief: false });
      expect(stand.names()).to.deep.equal(['shop/b', 'shop/c']);
      expect([
        stand.feed.ownerOf('shop', 'b'),
        stand.feed.ownerOf('shop', 'c'),
        stand.feed.ownerOf('web', 'c'),
      ]).to.deep.equal(['kexer-1', 'kexer-2', undefined]);
    });

    it('takes an answer about one namespace for nothing else', () => {
      const [one, two] = [toldSession('a'), toldSession('b', { namespace: 'web' })];
      stand.feed.accept('kexer-1', '', [one, two], { isBrief: false });
      stand.feed.accept('kexer-1', 'web', [], { isBrief: false });
      expect(stand.names()).to.deep.equal(['shop/a']);
    });

    it('leaves alone what changed in numbers only, if told to be brief; never that one is ending', () => {
      stand.feed.accept('kexer-1', '', [toldSession('a')], { isBrief: true });
      stand.feed.accept('kexer-1', '', [toldSession('a', { bytesOut: 9 })], { isBrief: true });
      expect(stand.events).to.deep.equal(['ADDED shop/a']);
      stand.feed.accept('kexer-1', '', [toldSession('a', { bytesOut: 9 })], { isBrief: false });
      const ending = toldSession('a', { bytesOut: 10 });
      stand.feed.accept('kexer-1', '', [{ ...ending, status: { ...ending.status, phase: 'Ending' } }], {
        isBrief: true,
      });
      expect(stand.events).to.deep.equal(['ADDED shop/a', 'MODIFIED shop/a', 'MODIFIED shop/a']);
    });

    it('knows better what is here, also when another ceases to tell of it', () => {
      stand.feed.accept('kexer-1', '', [toldSession('s1', { replica: 'kexer-1' })], { isBrief: false });
      stand.open({}, 's1');
      stand.feed.refresh();
      stand.feed.accept('kexer-1', '', [toldSession('s1')], { isBrief: false });
      expect(stand.feed.feed.get('shop', 's1')?.status.replica).to.equal('kexer-0');
      stand.feed.accept('kexer-1', '', [], { isBrief: false });
      stand.feed.forget('kexer-1');
      expect(stand.names()).to.deep.equal(['shop/s1']);
    });

    it('forgets one of them, or all of one', () => {
      stand.feed.accept('kexer-1', '', [toldSession('a'), toldSession('b')], { isBrief: false });
      stand.feed.remoteEnded('kexer-1', 'a');
      stand.feed.remoteEnded('kexer-1', 'nope');
      stand.feed.remoteEnded('nobody', 'b');
      expect(stand.names()).to.deep.equal(['shop/b']);
      stand.feed.forget('kexer-1');
      stand.feed.forget('kexer-1');
      expect([stand.names(), stand.events.filter((event) => event.startsWith('DELETED'))]).to.deep.equal([
        [],
        ['DELETED shop/a', 'DELETED shop/b'],
      ]);
    });
  });

  it('counts the sessions of a cluster, here and at others: those of the local one whatever the namespace of the URL', () => {
    stand.open();
    stand.open({ clusterNamespace: 'default' });
    stand.open({ cluster: 'far' });
    const told = [
      toldSession('a'),
      toldSession('b', { cluster: 'far' }),
      toldSession('c', { cluster: 'far', clusterNamespace: 'x' }),
    ];
    stand.feed.accept('kexer-1', '', told, { isBrief: true });
    const counts = (): number[] => [
      stand.feed.countIn('tools', 'local'),
      stand.feed.countIn('', 'local'),
      stand.feed.countIn('tools', 'far'),
      stand.feed.countIn('x', 'far'),
      stand.feed.countIn('x', 'nope'),
    ];
    expect(counts()).to.deep.equal([3, 3, 2, 1, 0]);
    stand.feed.forget('kexer-1');
    expect(counts()).to.deep.equal([2, 2, 1, 0, 0]);
  });
});
