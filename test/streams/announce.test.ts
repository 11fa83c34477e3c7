// A session between its backend and its beginning: recorded first, and nothing left open when it may not begin.

import { PassThrough } from 'node:stream';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { serviceUnavailable, StatusError } from '../../src/kube/status.ts';
import {
  type CallAudit,
  noAudit,
  type SessionEndFacts,
  type SessionFacts,
} from '../../src/observe/audit/call-audit.ts';
import { makeUser } from '../../src/kube/user.ts';
import { announceSession } from '../../src/streams/announce.ts';
import type { SessionSubject } from '../../src/streams/session.ts';

const subject: SessionSubject = {
  kind: 'exec',
  user: makeUser({ name: 'alice' }),
  clusterNamespace: 'default',
  cluster: 'local',
  namespace: 'default',
  pod: 'demo',
  podUid: 'uid-1',
  container: 'shell',
  node: 'node1',
  command: ['id'],
  clientProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  kubeletProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  remoteAddress: '192.0.2.1',
  auditId: 'audit-1',
};

describe('announceSession', () => {
  let told: SessionFacts[];
  let ends: SessionEndFacts[];

  beforeEach(() => {
    told = [];
    ends = [];
  });

  function auditThat(before: () => Promise<void>): CallAudit {
    return {
      ...noAudit,
      sessionStarting: async (session) => {
        told.push(session);
        await before();
        return { ended: (end) => ends.push(end) };
      },
    };
  }

  it('names the session and tells its record what it will be', async () => {
    const backend = new PassThrough();
    const { id } = await announceSession({ audit: auditThat(async () => {}) }, subject, backend, 101);
    const [session] = told;
    expect([session?.id, session?.code, session?.podUid, backend.destroyed]).to.deep.equal([id, 101, 'uid-1', false]);
    backend.destroy();
  });

  it('closes the backend of a session that may not begin', async () => {
    const backend = new PassThrough();
    const refusal = new StatusError(serviceUnavailable('no record'));
    const audit = auditThat(() => Promise.reject(refusal));
    const error = await announceSession({ audit }, subject, backend, 200).catch((reason: unknown) => reason);
    expect([error, backend.destroyed, ends]).to.deep.equal([refusal, true, []]);
  });

  it('does not begin a session whose backend was lost while its record was written, and records that', async () => {
    const backend = new PassThrough();
    const audit = auditThat(async () => void backend.destroy());
    const error = await announceSession({ audit }, subject, backend, 101).catch((reason: unknown) => reason);
    expect([codeOf(error), ends]).to.deep.equal([
      'badGateway',
      [
        {
          cause: 'kubeletGone',
          message: 'the connection to the kubelet of node node1 was lost before the session began',
          bytesIn: 0,
          bytesOut: 0,
          durationMs: 0,
        },
      ],
    ]);
  });
});
