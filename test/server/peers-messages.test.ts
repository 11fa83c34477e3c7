// What another kexer says is believed to be sessions only if all that is read of them is there and of its kind: a newer kexer may say more.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { readEndOrder, readEndOutcome, readPeerSessions } from '../../src/server/peers-messages.ts';
import { sessionKind } from '../../src/server/sessions-object.ts';
import { toldSession } from './support/session-stand.ts';

const bytes = (value: unknown): Buffer => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

function codeIn(run: () => unknown): string {
  try {
    run();
    return 'read';
  } catch (error) {
    return codeOf(error);
  }
}

/** A session with one field changed or, by undefined, left out. */
function changed(path: string, value: unknown): unknown {
  const object = structuredClone(toldSession('a')) as unknown as Record<string, unknown>;
  const keys = path.split('.');
  let place = object;
  for (const key of keys.slice(0, -1)) place = place[key] as Record<string, unknown>;
  place[keys.at(-1) ?? ''] = value;
  return object;
}

describe('readPeerSessions', () => {
  it('reads what a kexer says of itself, as it was', () => {
    const sessions = [toldSession('a'), toldSession('b', { pod: '', node: '', container: '', kubeletProtocol: '' })];
    expect(readPeerSessions(bytes({ instance: 'x', sessions }))).to.deep.equal({ instance: 'x', sessions });
  });

  it('lets pass what a newer one adds', () => {
    const newer = changed('spec.newer', { any: 'thing' });
    expect(readPeerSessions(bytes({ instance: 'x', sessions: [newer], more: 1 })).sessions).to.have.length(1);
  });

  const wholes: readonly unknown[] = [
    '',
    '{',
    'null',
    '[]',
    {},
    { instance: 'x' },
    { sessions: [] },
    { instance: 7, sessions: [] },
    { instance: 'x', sessions: {} },
    { instance: 'x', sessions: [null] },
    '<html>',
    { kind: 'Status', code: 401 },
  ];
  for (const whole of wholes) {
    it(`refuses ${JSON.stringify(whole)}`, () => {
      expect(codeIn(() => readPeerSessions(bytes(whole)))).to.equal('badGateway');
    });
  }

  const fields: readonly (readonly [path: string, value: unknown])[] = [
    ['kind', 'Pod'],
    ['apiVersion', 'backup.cv.io/v2'],
    ['metadata', null],
    ['metadata.name', undefined],
    ['metadata.namespace', 7],
    ['metadata.uid', undefined],
    ['metadata.creationTimestamp', 'yesterday'],
    ['spec', []],
    ['spec.kind', undefined],
    ['spec.user', undefined],
    ['spec.user.username', 7],
    ['spec.cluster', 'local'],
    ['spec.cluster.name', undefined],
    ['spec.cluster.namespace', undefined],
    ['spec.pod', 'db'],
    ['spec.pod.name', undefined],
    ['spec.pod.node', 7],
    ['spec.originalUser', 'admin'],
    ['spec.container', 7],
    ['spec.clientAddress', {}],
    ['spec.clientProtocol', undefined],
    ['spec.backendProtocol', 7],
    ['spec.command', 'ls'],
    ['spec.command', [7]],
    ['status', undefined],
    ['status.replica', undefined],
    ['status.bytesIn', '7'],
    ['status.bytesOut', 1.5],
    ['status.lastActivityTime', ''],
    ['status.conditions', undefined],
    ['status.conditions', [{ type: 'Direct' }]],
  ];
  for (const [path, value] of fields) {
    it(`refuses a session whose ${path} is ${JSON.stringify(value) ?? 'missing'}`, () => {
      expect(codeIn(() => readPeerSessions(bytes({ instance: 'x', sessions: [changed(path, value)] })))).to.equal(
        'badGateway',
      );
    });
  }

  it('lets nothing pass of which a table could not be made', () => {
    for (const path of ['spec.pod', 'spec.container', 'spec.command', 'spec.backendProtocol', 'spec.originalUser']) {
      const { sessions } = readPeerSessions(bytes({ instance: 'x', sessions: [changed(path, undefined)] }));
      for (const session of sessions) {
        expect(sessionKind.cells(session, Date.UTC(2026, 10, 20)).join(), path).not.to.match(/undefined|NaN/);
      }
    }
  });
});

describe('readEndOutcome', () => {
  it('reads three words and no other', () => {
    expect(['ended', 'ending', 'notFound'].map((outcome) => readEndOutcome(bytes({ outcome })))).to.deep.equal([
      'ended',
      'ending',
      'notFound',
    ]);
    for (const body of [{}, { outcome: 'yes' }, { outcome: ['ended'] }, '', '[]']) {
      expect(codeIn(() => readEndOutcome(bytes(body)))).to.equal('badGateway');
    }
  });
});

describe('readEndOrder', () => {
  const order = { namespace: 'shop', name: 's1', uid: 'u', user: 'bob' };

  it('reads an order, and nothing that it does not know', () => {
    expect(readEndOrder(bytes({ ...order, more: 1 }))).to.deep.equal(order);
    const behind = { ...order, originalUser: 'admin' };
    expect(readEndOrder(bytes(behind))).to.deep.equal(behind);
  });

  it('refuses one that leaves open which session, or who', () => {
    for (const key of ['namespace', 'name', 'uid', 'user']) {
      for (const value of [undefined, '', 7, null]) {
        expect(codeIn(() => readEndOrder(bytes({ ...order, [key]: value })))).to.equal('badRequest');
      }
    }
    for (const value of ['', 7, null]) {
      expect(codeIn(() => readEndOrder(bytes({ ...order, originalUser: value })))).to.equal('badRequest');
    }
    for (const body of ['', '{', '[]', 'null']) expect(codeIn(() => readEndOrder(bytes(body)))).to.equal('badRequest');
  });
});
