// Upgrades that are not kexer's to read are sessions like all others: listed, counted while they run, ended from outside.

import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { makeUser } from '../../src/kube/user.ts';
import type { CallAudit } from '../../src/observe/audit/call-audit.ts';
import type { RequestAudit } from '../../src/server/request-audit.ts';
import { RequestContext, type Arrival } from '../../src/server/request-context.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { createRoute, type RouterDeps } from '../../src/server/router.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session, SessionEnd } from '../../src/streams/session.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { until } from '../streams/support/rig.ts';

const target =
  '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/apis/subresources.kubevirt.io/v1/namespaces/x/virtualmachineinstances/vm/console';
const headers = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
] as const;

describe('an upgrade that is relayed', () => {
  let sessions: SessionRegistry;
  let ends: { session: Session; end: SessionEnd }[];
  let client: Duplex;
  let apiserver: Duplex;
  let routed: Promise<void>;
  let received: string;
  /** What the audit record was told, and what the client had by then. */
  let recorded: unknown[];

  beforeEach(async () => {
    ends = [];
    received = '';
    recorded = [];
    sessions = new SessionRegistry({
      clock: systemClock,
      observer: { sessionStarted() {}, sessionEnded: (session, end) => void ends.push({ session, end }) },
    });
    const [clientEnd, ourClientEnd] = duplexPair();
    const [apiserverEnd, ourApiserverEnd] = duplexPair();
    [client, apiserver] = [clientEnd, apiserverEnd];
    client.on('error', () => {});
    client.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
    apiserver.on('error', () => {});
    apiserver.once('data', () => {
      apiserver.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello');
      apiserver.resume();
    });
    const user = makeUser({ name: 'alice' });
    const cluster: Partial<Cluster> = {
      name: 'local',
      identify: async () => ({ headers: [], credential: 'none', effectiveUser: user, isEffectiveProven: true }),
      dialUpgrade: async (_call, request) => ({ ...request, socket: ourApiserverEnd }),
    };
    const deps = {
      clock: systemClock,
      directory: { find: () => cluster },
      streams: { handles: () => false, sessions },
    } as unknown as RouterDeps;
    const arrival: Partial<Arrival> = {
      method: 'GET',
      headers,
      httpVersion: '1.1',
      isUpgrade: true,
      remoteAddress: '192.0.2.1',
      auditId: 'audit-1',
      signal: new AbortController().signal,
    };
    const request = { httpVersion: '1.1' } as IncomingMessage;
    const context = new RequestContext(arrival as Arrival, {
      kind: 'upgrade',
      request,
      socket: ourClientEnd,
      head: Buffer.alloc(0),
    });
    context.path = parseRequestPath('GET', target);
    context.caller = { via: 'token', user, token: 'user-token' };
    const audit: Pick<CallAudit, 'sessionStarting'> = {
      sessionStarting: async ({ kind, code }) => {
        recorded.push([kind, code, received]);
        return { ended: ({ cause, bytesOut }) => void recorded.push([cause, bytesOut]) };
      },
    };
    context.audit = audit as RequestAudit;
    routed = Promise.resolve(createRoute(deps)(context));
    await until(() => received.endsWith('hello'));
  });

  afterEach(async () => {
    client.destroy();
    apiserver.destroy();
    await routed;
    expect(sessions.size).to.equal(0);
  });

  it('is a session of its kind, whose bytes are counted while it runs', async () => {
    const [session] = sessions.list();
    client.write('12345');
    await until(() => session?.bytesIn === 5);
    apiserver.write('123');
    await until(() => session?.bytesOut === 8);
    const { kind, clientProtocol, podUid } = session?.subject ?? {};
    expect([kind, clientProtocol, podUid]).to.deep.equal(['upgrade', 'websocket', '']);
  });

  it('can be ended from outside, and the reason is kept', async () => {
    sessions.list()[0]?.end('session was idle for 4h0m0s, the limit');
    await routed;
    expect(ends.map(({ end }) => end)).to.deep.equal([
      { cause: 'ended', message: 'session was idle for 4h0m0s, the limit' },
    ]);
    await until(() => apiserver.destroyed && client.destroyed);
  });

  it('ends with either side', async () => {
    client.destroy();
    await routed;
    expect(ends.map(({ end }) => end.cause)).to.deep.equal(['clientGone']);
    await until(() => apiserver.destroyed);
  });

  it('is recorded before the client is told, and when it has ended', async () => {
    client.destroy();
    await routed;
    expect(recorded).to.deep.equal([
      ['upgrade', 101, ''],
      ['clientGone', 5],
    ]);
  });
});
