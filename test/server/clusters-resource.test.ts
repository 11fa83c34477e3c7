// SESSIONS of a cluster: those of all kexers, asked for once a request, beside the question whether the cluster answers; and who could not be asked is
// named.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import type { ClusterSecret } from '../../src/clusters/cluster-secret.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { parseRequestInfo } from '../../src/kube/request-info.ts';
import { notFound, StatusError } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { RefusalWithHeaders } from '../../src/server/answer.ts';
import { ClustersResource } from '../../src/server/clusters-resource.ts';
import { FakeClock } from '../support/fake-clock.ts';

const base = '/apis/backup.cv.io/v1';

describe('ClustersResource', () => {
  let asked: string[];
  let warnings: string[];
  let counts: Map<string, number>;
  let onProbe: () => Promise<void>;
  let resource: ClustersResource;

  const secret = {
    namespace: 'clusters',
    name: 'far',
    uid: 'u',
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels: {},
    shown: { endpoint: 'https://far', identity: 'shared', streams: 'kubelet' },
    spec: { identityPrefix: '' },
  } as unknown as ClusterSecret;

  beforeEach(() => {
    asked = [];
    warnings = [];
    onProbe = async () => {};
    counts = new Map([
      ['local', 3],
      ['far', 2],
    ]);
    const cluster = {
      readVersion: async () => {
        await onProbe();
        return { major: 1, minor: 36, gitVersion: 'v1.36.0' };
      },
    } as unknown as Cluster;
    resource = new ClustersResource(
      {
        clock: new FakeClock(),
        directory: { find: () => cluster, secrets: () => [secret], onSecretChange: () => () => {} },
        sessions: {
          countIn: (_namespace, name) => counts.get(name) ?? 0,
          refresh: async (namespace) => {
            asked.push(namespace === '' ? 'all' : namespace);
            counts.set('far', (counts.get('far') ?? 0) + 1);
            return warnings;
          },
        },
      },
      { endpoint: 'https://local', streams: 'kubelet' },
    );
  });
  afterEach(() => resource.stop());

  async function get(path: string): Promise<{ sessions: Record<string, number>; headers: unknown }> {
    const query = new URLSearchParams();
    const answer = await resource.answer({
      info: parseRequestInfo('GET', path.slice(1).split('/'), query),
      query,
      headers: [],
      user: makeUser({ name: 'alice' }),
      originalUser: undefined,
      remoteAddress: '',
      auditId: '',
      signal: new AbortController().signal,
      readBody: async () => Buffer.alloc(0),
    });
    if ('run' in answer) throw new Error('this is a watch');
    interface Shown {
      readonly metadata: { readonly name: string };
      readonly status: { readonly sessions: number };
    }
    const body = JSON.parse(String(answer.body)) as Shown & { readonly items?: readonly Shown[] };
    const sessions = Object.fromEntries(
      (body.items ?? [body]).map(({ metadata, status }) => [metadata.name, status.sessions]),
    );
    return { sessions, headers: answer.headers ?? [] };
  }

  it('counts what the others tell at this very request, and asks them once', async () => {
    expect(await get(`${base}/clusters`)).to.deep.equal({ sessions: { local: 3, far: 3 }, headers: [] });
    expect(asked).to.deep.equal(['all']);
  });

  it('asks about no more than is shown: all namespaces for the local cluster, the Secret’s for another', async () => {
    await get(`${base}/namespaces/clusters/clusters/far`);
    await get(`${base}/namespaces/clusters/clusters/local`);
    await get(`${base}/namespaces/clusters/clusters`);
    expect(asked).to.deep.equal(['clusters', 'all', 'all']);
  });

  it('asks the others while it asks the clusters', async () => {
    const order: string[] = [];
    onProbe = async () => {
      order.push(`${asked.length} asked`);
    };
    await get(`${base}/namespaces/clusters/clusters/far`);
    expect(order).to.deep.equal(['1 asked']);
  });

  it('asks nobody about a cluster that is not there', async () => {
    const error = await get(`${base}/namespaces/clusters/clusters/nope`).catch((thrown: unknown) => thrown);
    expect(error)
      .to.be.instanceOf(StatusError)
      .and.have.property('status')
      .that.deep.equals(notFound({ group: 'backup.cv.io', resource: 'clusters' }, 'nope'));
    expect([asked, error instanceof RefusalWithHeaders ? error.headers : undefined]).to.deep.equal([[], []]);
  });

  it('names whom it could not ask', async () => {
    warnings = ['kexer replica kexer-1: it did not answer within 1 s; its sessions are missing'];
    const { headers } = await get(`${base}/namespaces/default/clusters`);
    expect(headers).to.deep.equal([
      ['Warning', '299 - "kexer replica kexer-1: it did not answer within 1 s; its sessions are missing"'],
    ]);
  });
});
