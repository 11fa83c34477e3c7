// A cluster that a Secret names, against a server of the test's: what is sent there, and what its refusals become.

import { expect } from 'chai';

import type { Caller } from '../../src/auth/caller.ts';
import { describeError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { Call } from '../../src/clusters/call.ts';
import type { ClusterSpec } from '../../src/clusters/cluster-secret.ts';
import { RemoteCluster } from '../../src/clusters/remote-cluster.ts';
import { encodeStatus, forbidden, notFound, StatusError, unauthorized } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { noAudit } from '../../src/observe/audit/call-audit.ts';
import { noStages } from '../../src/observe/stages.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { dialKubelet } from '../../src/streams/kubelet-dial.ts';
import { FarServer } from '../integration/support/far-server.ts';
import { FakeClock } from '../support/fake-clock.ts';

const json = ['Content-Type: application/json'];
const exec = '/api/v1/namespaces/default/pods/demo/exec';
const never = new AbortController().signal;
const execInfo = parsedInfo('GET', exec);

describe('RemoteCluster', () => {
  let scope: Scope;
  let clock: FakeClock;
  let far: FarServer;

  before(async () => {
    scope = new Scope();
    far = await FarServer.start(scope);
  });
  beforeEach(() => {
    clock = new FakeClock();
  });
  after(() => scope.close());

  function clusterOf(parts: Partial<ClusterSpec> = {}, current?: () => RemoteCluster | undefined): RemoteCluster {
    const cluster = new RemoteCluster(
      {
        clock,
        authorizer: { authorize: () => Promise.resolve() },
        guard: { problem: () => undefined },
        mark: { header: ['Via', '1.1 kexer-test'], checkPeer: () => undefined },
        remoteHeaderNames: () => ({ names: ['X-Odd-User'], prefixes: [] }),
        onError: () => {},
        ...(current === undefined ? {} : { current }),
      },
      {
        namespace: 'clusters',
        name: 'far',
        userAgent: 'kexer/test',
        preferredAddressTypes: ['InternalIP'],
        spec: {
          endpointUrl: far.url,
          ca: far.ca,
          tlsServerName: undefined,
          credential: { kind: 'token', token: 'own' },
          identity: 'impersonate',
          identityPrefix: 'hub:',
          streams: 'kubelet',
          ...parts,
        },
      },
    );
    scope.add(() => cluster.close());
    return cluster;
  }

  async function callOf(cluster: RemoteCluster, method = 'GET', path = exec): Promise<Call> {
    const parsed = parseRequestPath(method, `/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec${path}`);
    if (parsed.kind !== 'cluster') throw new Error('no cluster');
    const caller: Caller = { via: 'token', user: makeUser({ name: 'alice' }), token: 'alices' };
    return {
      id: 'c1',
      caller,
      clusterNamespace: 'clusters',
      cluster,
      identity: await cluster.identify(caller, []),
      method,
      inner: parsed.inner,
      headers: [],
      httpVersion: '1.1',
      isUpgrade: false,
      remoteAddress: '192.0.2.1',
      auditId: 'audit-1',
      audit: noAudit,
      stages: noStages,
      signal: never,
      receivedAtMs: 0,
      accepted: () => {},
    };
  }

  async function refusal(result: Promise<unknown>): Promise<[number, string | undefined]> {
    const error: unknown = await result.catch((reason: unknown) => reason);
    if (!(error instanceof StatusError)) throw new Error(`no refusal: ${String(error)}`);
    return [error.status.code, error.status.message];
  }

  describe('requireVerb', () => {
    const review = (status: object): string => JSON.stringify({ kind: 'SelfSubjectAccessReview', status });

    it('asks the cluster about the identity that the call has there', async () => {
      const cluster = clusterOf();
      far.will('201 Created', json, review({ allowed: true }));
      await cluster.requireVerb(await callOf(cluster), 'create', never);
      expect(far.received).to.match(/^POST \/apis\/authorization\.k8s\.io\/v1\/selfsubjectaccessreviews HTTP/);
      expect(far.received).to.contain('Impersonate-User: hub:alice').and.contain('Authorization: Bearer own');
      expect(JSON.parse(far.received.slice(far.received.indexOf('\r\n\r\n')))).to.have.deep.property('spec', {
        resourceAttributes: {
          namespace: 'default',
          verb: 'create',
          version: 'v1',
          resource: 'pods',
          subresource: 'exec',
          name: 'demo',
        },
      });
    });

    it('refuses what the cluster refuses', async () => {
      const cluster = clusterOf();
      far.will('201 Created', json, review({ allowed: false, reason: 'no binding' }));
      expect(await refusal(cluster.requireVerb(await callOf(cluster), 'create', never))).to.deep.equal([
        403,
        'pods "demo" is forbidden: User "alice" cannot create resource "pods/exec" in API group "" in the namespace "default": no binding',
      ]);
    });

    for (const [what, status, body] of [
      ['no review', '200 OK', '{}'],
      ['no JSON', '200 OK', 'yes'],
      ['an error', '500 Internal Server Error', '{"status":{"allowed":true}}'],
    ] as const) {
      it(`takes ${what} for no answer`, async () => {
        const cluster = clusterOf();
        far.will(status, json, body);
        const [code, message] = await refusal(cluster.requireVerb(await callOf(cluster), 'create', never));
        expect([code, message]).to.deep.equal([
          502,
          `cluster "clusters/far" did not answer a SelfSubjectAccessReview (${status.slice(0, 3)})`,
        ]);
      });
    }
  });

  describe('rightThere', () => {
    const review = (status: object): string => JSON.stringify({ kind: 'SelfSubjectAccessReview', status });
    const create = { ...execInfo, verb: 'create' };

    async function ask(cluster: RemoteCluster): Promise<unknown> {
      const there = cluster.rightThere(await callOf(cluster));
      return there.ask(create).catch((error: unknown) => (error instanceof Error ? error.message : error));
    }

    it('asks as whom the call is there, with the credential of the Secret', async () => {
      const cluster = clusterOf();
      const { user, cluster: name } = cluster.rightThere(await callOf(cluster));
      expect([user.name, name]).to.deep.equal(['hub:alice', 'clusters/far']);
      far.will('201 Created', json, review({ allowed: false, reason: 'no binding' }));
      expect(await ask(cluster)).to.deep.equal({
        isAllowed: false,
        isDenied: false,
        reason: 'no binding',
        evaluationError: '',
      });
      expect(far.received).to.contain('Impersonate-User: hub:alice').and.contain('Authorization: Bearer own');
      expect(far.received).to.contain('"verb":"create"').and.contain('"subresource":"exec"');
      far.will('201 Created', json, review({ allowed: false, evaluationError: 'webhook' }));
      expect(await ask(cluster)).to.deep.include({ isAllowed: false, evaluationError: 'webhook' });
    });

    it('asks as the account where that is shared, once for everybody', async () => {
      const cluster = clusterOf({ identity: 'shared' });
      const { user } = cluster.rightThere(await callOf(cluster));
      expect(user.name).to.equal('the account of the Secret clusters/far');
      far.will('201 Created', json, review({ allowed: true }));
      expect(await ask(cluster)).to.deep.include({ isAllowed: true });
      expect(far.received).to.not.contain('Impersonate');
    });

    it('tells places and ways apart', async () => {
      const keys = [
        {},
        { streams: 'apiserver' },
        { identity: 'shared' },
        { identityPrefix: '' },
        { endpointUrl: 'https://127.0.0.1:1' },
      ] as const;
      const made = keys.map(async (parts) => {
        const cluster = clusterOf(parts);
        return cluster.rightThere(await callOf(cluster)).key;
      });
      expect(new Set(await Promise.all(made)).size).to.equal(keys.length - 1);
    });

    it('takes it for a refusal that the account is refused, or may not act as this user', async () => {
      far.will('401 Unauthorized', json, encodeStatus(unauthorized()).toString());
      expect(await ask(clusterOf())).to.deep.include({
        isAllowed: false,
        evaluationError: '',
        why: 'cluster "clusters/far" does not accept the credential of its Secret (401): it may have expired',
      });
      const users = { group: '', resource: 'users' };
      const account = makeUser({ name: 'system:serviceaccount:kexer-remote:kexer' });
      const question = { ...create, verb: 'impersonate', subresource: '', namespace: '', name: 'hub:alice', ...users };
      const status = forbidden(users, 'hub:alice', `User "${account.name}" cannot ${question.verb} resource "users"`);
      far.will('403 Forbidden', json, encodeStatus(status).toString());
      expect(await ask(clusterOf()))
        .to.have.property('why')
        .that.contains('does not let the account of its Secret act');
    });

    it('takes nothing else for one', async () => {
      for (const [status, body] of [
        ['401 Unauthorized', 'who are you'],
        ['403 Forbidden', encodeStatus(forbidden({ group: '', resource: 'x' }, 'x', 'no reviews here')).toString()],
        ['500 Internal Server Error', '{}'],
        ['201 Created', 'yes'],
      ] as const) {
        far.will(status, json, body);
        expect(await ask(clusterOf()), status).to.be.a('string');
      }
      const dark = clusterOf({ endpointUrl: 'https://127.0.0.1:1' });
      expect(await ask(dark)).to.contain('cluster "clusters/far"');
    });

    it('asks with the credential that has taken the place of its own, if that leads to the same place', async () => {
      const credential = { kind: 'token', token: 'new' } as const;
      far.will('201 Created', json, review({ allowed: true }));
      const successor = clusterOf({ credential });
      expect(await ask(clusterOf({}, () => successor))).to.deep.include({ isAllowed: true });
      expect(far.received).to.contain('Authorization: Bearer new');
      const elsewhere = [clusterOf({ credential, identityPrefix: '' }), clusterOf({ credential, identity: 'shared' })];
      for (const other of [...elsewhere, undefined]) {
        far.will('201 Created', json, review({ allowed: true }));
        await ask(clusterOf({}, () => other));
        expect(far.received).to.contain('Authorization: Bearer own');
      }
    });
  });

  describe("kexer's own reads", () => {
    const node = {
      metadata: { name: 'n1', uid: 'u' },
      status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }] },
    };

    it('are with the own credential, as nobody else', async () => {
      const cluster = clusterOf();
      far.will('200 OK', json, JSON.stringify({ metadata: { uid: 'u' }, spec: { containers: [] } }));
      await cluster.pod('default', 'demo', never);
      expect(far.received).to.contain('Authorization: Bearer own').and.not.contain('Impersonate');
    });

    it('keep a node for some seconds', async () => {
      const cluster = clusterOf();
      far.will('200 OK', json, JSON.stringify(node));
      const address = async (): Promise<unknown> => (await cluster.node('n1', never))?.status?.addresses?.[0]?.address;
      expect(await address()).to.equal('10.0.0.1');
      far.will('404 Not Found', json, encodeStatus(notFound({ group: '', resource: 'nodes' }, 'n1')).toString());
      expect(await address()).to.equal('10.0.0.1');
      clock.advance(10_000);
      expect(await address()).to.equal(undefined);
    });

    it('say what the account of the Secret lacks', async () => {
      const cluster = clusterOf();
      const account = 'system:serviceaccount:kexer-remote:kexer';
      const text = `User "${account}" cannot get resource "nodes" in API group "" at the cluster scope`;
      far.will('403 Forbidden', json, encodeStatus(forbidden({ group: '', resource: 'nodes' }, 'n1', text)).toString());
      expect(await refusal(cluster.node('n1', never))).to.deep.equal([
        502,
        'cluster "clusters/far" does not let the account of its Secret get nodes there',
      ]);
      far.will('401 Unauthorized', json, encodeStatus(unauthorized()).toString());
      expect(await refusal(cluster.pod('default', 'demo', never))).to.deep.equal([
        502,
        'cluster "clusters/far" does not accept the credential of its Secret (401): it may have expired',
      ]);
      const missing = encodeStatus(notFound({ group: '', resource: 'pods' }, 'demo')).toString();
      far.will('404 Not Found', json, missing);
      expect(await refusal(cluster.pod('default', 'demo', never))).to.deep.equal([404, 'pods "demo" not found']);
      expect(await refusal(cluster.podUid('default', 'demo', never))).to.deep.equal([404, 'pods "demo" not found']);
    });
  });

  it('carries no call that has an identity of another cluster', async () => {
    const cluster = clusterOf();
    const call = await callOf(cluster);
    far.will('200 OK', json, '{}');
    for (const credential of ['none', 'impersonator'] as const) {
      const other: Call = {
        ...call,
        identity: { ...call.identity, credential, headers: [['Authorization', 'Bearer alices']] },
      };
      const request = { method: 'GET', target: '/api', headers: [], timeoutMs: 10_000, signal: never };
      const error: unknown = await cluster.exchange(other, request).catch((reason: unknown) => reason);
      expect(String(error)).to.contain('it has an identity of another cluster');
    }
    expect(far.received).to.equal('');
  });

  it('goes to kubelets with the credential and the authorities of the Secret alone', () => {
    const { kubelet } = clusterOf();
    expect([kubelet.isVerified, kubelet.ca, kubelet.certificate(), kubelet.token()]).to.deep.equal([
      true,
      [far.ca],
      undefined,
      'own',
    ]);
    const certificate = clusterOf({ credential: { kind: 'certificate', cert: 'C', key: 'K' }, ca: undefined }).kubelet;
    expect([certificate.ca, certificate.certificate(), certificate.token()]).to.deep.equal([
      undefined,
      { cert: 'C', key: 'K' },
      undefined,
    ]);
  });

  it('goes to kubelets only where clusters may be', async () => {
    const { kubelet } = clusterOf();
    const guard = { problem: () => 'it is not in clusters.allowedEndpoints' };
    const target = {
      namespace: 'default',
      pod: 'demo',
      podUid: 'u',
      isMirror: false,
      container: 'c',
      node: 'n1',
      host: '127.0.0.1',
      port: far.port,
    };
    far.will('200 OK', json, '{}');
    const error: unknown = await dialKubelet({ clock }, { ...kubelet, guard }, target, never).catch(
      (why: unknown) => why,
    );
    expect(describeError(error)).to.equal(
      'Cannot reach the kubelet of node n1: Cannot connect to "127.0.0.1": it is not in clusters.allowedEndpoints',
    );
    const untrusted: unknown = await dialKubelet({ clock }, { ...kubelet, ca: undefined }, target, never).catch(
      (why: unknown) => why,
    );
    expect(describeError(untrusted)).to.equal(
      'Cannot verify the kubelet of node n1: no CA is configured ("caData" of the Secret clusters/far); set that key',
    );
  });

  it('needs the verb use where it is shared', () => {
    expect(clusterOf().useRight).to.equal(undefined);
    expect(clusterOf({ identity: 'shared' }).useRight).to.deep.include({
      verb: 'use',
      namespace: 'clusters',
      name: 'far',
    });
  });

  it('goes on for those who have it when it is replaced, and for nobody when it is closed', async () => {
    const cluster = clusterOf();
    far.will('200 OK', json, JSON.stringify({ metadata: { uid: 'u' }, spec: { containers: [] } }));
    await cluster.retire();
    expect((await cluster.pod('default', 'demo', never)).metadata.uid).to.equal('u');
    expect(await cluster.podUid('default', 'demo', never)).to.equal('u');
    await cluster.close();
    const error: unknown = await cluster.pod('default', 'demo', never).catch((reason: unknown) => reason);
    expect(String(error)).to.contain('the client is closed');
  });
});

function parsedInfo(method: string, path: string): Call['inner']['info'] {
  const parsed = parseRequestPath(method, `/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec${path}`);
  if (parsed.kind !== 'cluster') throw new Error('no cluster');
  return parsed.inner.info;
}
