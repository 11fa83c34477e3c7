// What is shown of a session, to programs and in a table: everything an operator needs, and nothing of a credential.

import { expect } from 'chai';

import { makeUser } from '../../src/kube/user.ts';
import { sessionKind, type SessionObject, sessionObject } from '../../src/server/sessions-object.ts';
import { Session, type SessionSubject } from '../../src/streams/session.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { plainSubject } from './support/session-stand.ts';

const identity = { uid: 'uid-1', replica: 'kexer-0', command: ['mysql', '-p[redacted]'] };

describe('sessionObject', () => {
  let clock: FakeClock;

  beforeEach(() => {
    clock = new FakeClock();
  });

  function sessionOf(more: Partial<SessionSubject> = {}): Session {
    return new Session({ clock }, { id: 's1', subject: { ...plainSubject, ...more }, endByRequest: () => {} });
  }

  function objectOf(more: Partial<SessionSubject> = {}, command = identity.command): SessionObject {
    return sessionObject(sessionOf(more), { ...identity, command });
  }

  function cells(object: SessionObject, nowMs = clock.now()): Record<string, string | number> {
    return Object.fromEntries(
      sessionKind.cells(object, nowMs).map((cell, index) => [sessionKind.columns[index]?.name ?? '?', cell]),
    );
  }

  it('says who, where, what, over what, how much and since when, without extras of the user', () => {
    const session = sessionOf();
    clock.advance(5000);
    session.countIn(10);
    session.countOut(2048);
    clock.advance(60_000);
    expect(sessionObject(session, identity)).to.deep.equal({
      kind: 'Session',
      apiVersion: 'backup.cv.io/v1',
      metadata: { name: 's1', namespace: 'shop', uid: 'uid-1', creationTimestamp: '2026-11-20T00:00:00Z' },
      spec: {
        kind: 'exec',
        user: { username: 'alice', groups: ['dev'] },
        cluster: { namespace: 'tools', name: 'local' },
        pod: { namespace: 'shop', name: 'db', uid: 'pod-uid', node: 'node1' },
        container: 'main',
        command: ['mysql', '-p[redacted]'],
        clientAddress: '192.0.2.7',
        clientProtocol: 'websocket v5.channel.k8s.io',
        backendProtocol: 'SPDY/3.1 v4.channel.k8s.io',
        auditID: 'audit-1',
      },
      status: {
        phase: 'Running',
        replica: 'kexer-0',
        bytesIn: 10,
        bytesOut: 2048,
        lastActivityTime: '2026-11-20T00:00:05Z',
        conditions: [
          {
            type: 'Direct',
            status: 'True',
            lastTransitionTime: '2026-11-20T00:00:00Z',
            reason: 'Kubelet',
            message: 'straight to the kubelet of node node1',
          },
          {
            type: 'EndRequested',
            status: 'False',
            lastTransitionTime: '2026-11-20T00:00:00Z',
            reason: 'NotRequested',
            message: '',
          },
        ],
      },
    });
  });

  it('says who wanted its end, and when, until it is over', () => {
    const session = sessionOf();
    clock.advance(61_000);
    session.end('session ended by bob', 'user');
    session.end('session was idle', 'idle');
    const { status } = sessionObject(session, identity);
    expect([status.phase, status.conditions[1]]).to.deep.equal([
      'Ending',
      {
        type: 'EndRequested',
        status: 'True',
        lastTransitionTime: '2026-11-20T00:01:01Z',
        reason: 'Requested',
        message: 'session ended by bob',
      },
    ]);
  });

  it('names the caller beside whom they became, and nobody twice', () => {
    const { user } = plainSubject;
    const carol = makeUser({ name: 'carol', uid: '7' });
    expect(objectOf({ originalUser: carol }).spec.originalUser).to.deep.equal({ username: 'carol', uid: '7' });
    expect(objectOf({ originalUser: user }).spec).not.to.have.property('originalUser');
  });

  it('leaves out what it does not know', () => {
    const { spec, status } = objectOf(
      { kind: 'upgrade', pod: '', podUid: '', node: '', container: '', kubeletProtocol: '', remoteAddress: '' },
      [],
    );
    expect(spec).to.have.all.keys('kind', 'user', 'cluster', 'clientProtocol', 'auditID');
    // Which way an upgrade goes is kube-apiserver's to decide.
    expect(status.conditions.map(({ type }) => type)).to.deep.equal(['EndRequested']);
    expect(objectOf({ podUid: '', node: '' }).spec.pod).to.deep.equal({ namespace: 'shop', name: 'db' });
  });

  it('says why it goes by kube-apiserver', () => {
    const [direct] = objectOf({ detour: 'admission' } as unknown as Partial<SessionSubject>).status.conditions;
    expect(direct).to.deep.include({
      status: 'False',
      reason: 'Admission',
      message: "by kube-apiserver's own streaming",
    });
  });

  const places: readonly (readonly [what: string, more: Partial<SessionSubject>, namespace: string])[] = [
    ['of a pod of the local cluster', {}, 'shop'],
    ['of another cluster', { cluster: 'far' }, 'tools'],
    ['of the local cluster, about no namespace', { namespace: '', pod: '' }, 'tools'],
    ['of another cluster, about no namespace', { cluster: 'far', namespace: '', pod: '' }, 'tools'],
  ];
  for (const [what, more, namespace] of places) {
    it(`puts a session ${what} into the namespace ${namespace}`, () => {
      expect(objectOf(more).metadata.namespace).to.equal(namespace);
    });
  }

  describe('in a table', () => {
    it('has a cell for each column, rounded for people', () => {
      const object = objectOf();
      const session = { ...object, status: { ...object.status, bytesIn: 0, bytesOut: 3_500_000 } };
      expect(cells(session, clock.now() + 200_000)).to.deep.equal({
        Name: 's1',
        Kind: 'exec',
        User: 'alice',
        Pod: 'db',
        Container: 'main',
        Command: 'mysql -p[redacted]',
        Client: 'websocket v5',
        Backend: 'SPDY/3.1 v4',
        Age: '3m20s',
        Idle: '3m20s',
        In: '0',
        Out: '3.3Mi',
        Cluster: 'local',
        Node: 'node1',
        From: '192.0.2.7',
        'Original user': '<none>',
        Direct: 'True',
        Replica: 'kexer-0',
      });
      expect(sessionKind.cells(session, 0)).to.have.length(sessionKind.columns.length);
    });

    it('shows what is not there as kubectl does', () => {
      const upgrade = objectOf({ kind: 'upgrade', pod: '', node: '', container: '', kubeletProtocol: '' }, []);
      const { Pod, Container, Command, Backend, Node, Direct } = cells(upgrade);
      expect({ Pod, Container, Command, Backend, Node, Direct }).to.deep.equal({
        Pod: '<none>',
        Container: '<none>',
        Command: '<none>',
        Backend: '<none>',
        Node: '<none>',
        Direct: '<none>',
      });
    });

    it('names another cluster with its namespace, and why a stream is not direct', () => {
      const object = objectOf({ cluster: 'far', detour: 'admission' } as unknown as Partial<SessionSubject>);
      expect(cells(object)).to.deep.include({ Cluster: 'tools/far', Direct: 'Admission' });
    });

    const commands: readonly (readonly [words: string[], shown: string])[] = [
      [['ls', '-l', '/tmp'], 'ls -l /tmp'],
      [['sh', '-c', 'echo "a b"; exit'], String.raw`sh -c "echo \"a b\"; exit"`],
      [['printf', '\u001B[2J\n'], String.raw`printf "\u001b[2J\n"`],
      [[''], '""'],
      [['x'.repeat(48)], 'x'.repeat(48)],
      [['x'.repeat(49)], `${'x'.repeat(47)}…`],
    ];
    for (const [words, shown] of commands) {
      it(`shows the command ${JSON.stringify(words).slice(0, 40)} on one line`, () => {
        expect(cells(objectOf({}, words))['Command']).to.equal(shown);
      });
    }

    const protocols: readonly (readonly [protocol: string, shown: string])[] = [
      ['websocket SPDY/3.1+portforward.k8s.io', 'websocket SPDY/3.1'],
      ['SPDY/3.1 portforward.k8s.io', 'SPDY/3.1'],
      ['websocket base64.channel.k8s.io', 'websocket base64'],
      ['HTTP/2.0', 'HTTP/2.0'],
    ];
    for (const [protocol, shown] of protocols) {
      it(`calls ${protocol} ${shown}`, () => {
        expect(cells(objectOf({ clientProtocol: protocol }))['Client']).to.equal(shown);
      });
    }
  });
});
