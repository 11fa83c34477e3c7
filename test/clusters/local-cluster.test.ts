// The local cluster: which client carries a call, and with which headers it leaves.

import { expect } from 'chai';

import type { OutgoingIdentity } from '../../src/auth/outgoing.ts';
import type { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { Call } from '../../src/clusters/call.ts';
import { ClusterDirectory } from '../../src/clusters/directory.ts';
import { createKubeletAccess } from '../../src/clusters/kubelet-access.ts';
import { noAudit } from '../../src/observe/audit/call-audit.ts';
import { noStages } from '../../src/observe/stages.ts';
import { LocalCluster } from '../../src/clusters/local-cluster.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { fixedToken } from '../../src/kube/sources.ts';
import { parseRequestInfo } from '../../src/kube/request-info.ts';
import { encodeStatus, StatusError, unauthorized } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { startUpstream, type RawClient } from '../rest/support.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeStreamRoute } from '../support/stream-route.ts';

describe('LocalCluster', () => {
  let scope: Scope;
  let clock: FakeClock;
  let peers: RawClient[];
  let answer: string;
  let cluster: LocalCluster;
  let resolved: unknown[];

  beforeEach(async () => {
    scope = new Scope();
    clock = new FakeClock();
    peers = [];
    resolved = [];
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';
    const port = await startUpstream(scope, (peer) => {
      peers.push(peer);
      void peer.untilReceived('\r\n\r\n').then(() => peer.write(answer));
    });
    const clientOf = (token?: string): KubeClient => {
      const client = new KubeClient(
        { clock },
        {
          endpoint: { url: `http://127.0.0.1:${port}/base`, ca: undefined, isVerified: true, servername: undefined },
          credential: token === undefined ? { kind: 'none' } : { kind: 'token', token: fixedToken(token) },
          userAgent: 'kexer/test',
        },
      );
      scope.add(() => client.close());
      return client;
    };
    cluster = new LocalCluster({
      clock,
      own: clientOf('own'),
      bare: clientOf(),
      impersonator: clientOf('impersonator'),
      identities: {
        resolve: (...args) => {
          resolved.push(args[2]);
          return Promise.reject(
            new StatusError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', code: 403 }),
          );
        },
      },
      nodes: { get: (name) => (name === 'node1' ? { metadata: { name } } : undefined) },
      streamRoute: new FakeStreamRoute(),
      kubelet: createKubeletAccess(
        { clock },
        {
          ca: { text: 'PEM' },
          caSource: 'a test',
          isVerified: true,
          preferredAddressTypes: ['Hostname'],
          certificate: undefined,
          token: undefined,
          accountName: 'none',
        },
      ),
      remoteHeaderNames: () => ({ names: ['X-Odd-User'], prefixes: ['X-Odd-Extra-'] }),
    });
  });

  afterEach(() => scope.close());

  function callOf(identity: Pick<OutgoingIdentity, 'headers' | 'credential'>, headers: RawHeaders = []): Call {
    const user = makeUser({ name: 'eve' });
    return {
      id: 'test',
      caller: { via: 'certificate', user },
      clusterNamespace: 'default',
      cluster,
      identity: { ...identity, effectiveUser: user, isEffectiveProven: true },
      method: 'GET',
      inner: {
        rawPath: '/api',
        rawQuery: '',
        target: '/api',
        segments: ['api'],
        info: parseRequestInfo('GET', ['api'], new URLSearchParams()),
      },
      headers,
      httpVersion: '1.1',
      isUpgrade: false,
      remoteAddress: '192.0.2.1',
      auditId: 'audit-1',
      audit: noAudit,
      stages: noStages,
      signal: scope.signal,
      receivedAtMs: 0,
      accepted: () => {},
    };
  }

  const request = { method: 'GET', target: '/api?x', timeoutMs: 10_000 };

  it("sends a token caller's call without any credential of kexer's", async () => {
    const identity = { headers: [['Authorization', 'Bearer eve']], credential: 'none' } as const;
    const headers: RawHeaders = [
      ['X-Odd-User', 'root'],
      ['x-odd-extra-a', 'b'],
      ['Accept', 'a'],
      ['Audit-ID', 'mine'],
    ];
    const result = await cluster.exchange(callOf(identity), { ...request, headers, signal: scope.signal });
    expect([result.status, result.body.toString()]).to.deep.equal([200, 'ok']);
    const [head = ''] = (peers[0]?.received ?? '').split('\r\n\r\n');
    expect(head.split('\r\n').filter((line) => !/^(host|connection):/i.test(line))).to.deep.equal([
      'GET /base/api?x HTTP/1.1',
      'Accept: a',
      'Authorization: Bearer eve',
      'X-Forwarded-For: 192.0.2.1',
      'Audit-ID: audit-1',
    ]);
  });

  it("sends an impersonated call with the impersonator's credential and never kexer's own", async () => {
    const identity = { headers: [['Impersonate-User', 'eve']], credential: 'impersonator' } as const;
    await cluster.exchange(callOf(identity), { ...request, headers: [], signal: scope.signal });
    expect(peers[0]?.received)
      .to.match(/\r\nImpersonate-User: eve\r\n/)
      .and.match(/\r\nAuthorization: Bearer impersonator\r\n/);
  });

  it("never passes on a 401 about the impersonator as the caller's", async () => {
    const body = encodeStatus(unauthorized()).toString();
    answer = `HTTP/1.1 401 Unauthorized\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
    const identity = { headers: [['Impersonate-User', 'eve']], credential: 'impersonator' } as const;
    const refusal: unknown = await cluster
      .exchange(callOf(identity), { ...request, headers: [], signal: scope.signal })
      .catch((error: unknown) => error);
    expect(refusal).to.be.instanceOf(StatusError).with.nested.property('status.code', 502);
    const bare = await cluster.exchange(callOf({ headers: [], credential: 'none' }), {
      ...request,
      headers: [],
      signal: scope.signal,
    });
    expect(bare.status).to.equal(401);
  });

  it('writes an upgrade with its own Connection and the identity of the call', async () => {
    const identity = { headers: [['Impersonate-User', 'eve']], credential: 'impersonator' } as const;
    const headers: RawHeaders = [
      ['Connection', 'Upgrade, Impersonate-User'],
      ['Upgrade', 'SPDY/3.1'],
      ['Impersonate-User', 'root'],
    ];
    const route = await cluster.dialUpgrade(callOf(identity), { method: 'POST', target: '/x', headers }, scope.signal);
    route.socket.destroy();
    const { method, target } = route;
    expect({ method, target, headers: route.headers.filter(([name]) => name !== 'Host') }).to.deep.equal({
      method: 'POST',
      target: '/base/x',
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['Impersonate-User', 'eve'],
        ['X-Forwarded-For', '192.0.2.1'],
        ['Audit-ID', 'audit-1'],
        ['Authorization', 'Bearer impersonator'],
      ],
    });
  });

  it('asks for the version only when an impersonation of its own may be refused, and keeps it for a minute', async () => {
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 28\r\nConnection: close\r\n\r\n{"major":"1","minor":"36+"} ';
    const info = parseRequestInfo('GET', ['api', 'v1', 'pods'], new URLSearchParams());
    const user = makeUser({ name: 'eve' });
    const ask = (via: 'certificate' | 'token', headers: RawHeaders): Promise<unknown> =>
      cluster
        .identify(via === 'token' ? { via, user, token: 't' } : { via, user }, headers, info)
        .catch((error: unknown) => error);
    await ask('certificate', []);
    await ask('token', [['Impersonate-User', 'x']]);
    expect(resolved).to.deep.equal([undefined, undefined]);
    expect(peers).to.have.length(0);
    await ask('certificate', [['impersonate-user', 'x']]);
    await ask('certificate', [['Impersonate-Group', 'x']]);
    expect(resolved.slice(2)).to.deep.equal([
      { inner: info, isConstrained: true },
      { inner: info, isConstrained: true },
    ]);
    expect(peers).to.have.length(1);
    clock.advance(60_000);
    await cluster.serverVersion(scope.signal);
    expect(peers).to.have.length(2);
  });

  it('reads a node that its informer does not have (yet) with its own credential', async () => {
    const said = (status: string, body: string): string =>
      `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
    const ask = (name: string): Promise<unknown> =>
      cluster.node(name, scope.signal).catch((error: unknown) => (error as KexerError).code);
    expect(await ask('node1')).to.deep.equal({ metadata: { name: 'node1' } });
    expect(peers).to.have.length(0);
    const address = { type: 'InternalIP', address: '10.0.0.1' };
    answer = said(
      '200 OK',
      JSON.stringify({ metadata: { name: 'a b' }, status: { addresses: [address], images: [1] } }),
    );
    expect(await ask('a b')).to.deep.equal({
      metadata: { name: 'a b', labels: {} },
      status: { addresses: [address], daemonEndpoints: { kubeletEndpoint: {} }, nodeInfo: {} },
    });
    expect(peers[0]?.received).to.match(/^GET \/base\/api\/v1\/nodes\/a%20b HTTP\/1\.1\r\n/);
    expect(peers[0]?.received).to.match(/\r\nAuthorization: Bearer own\r\n/);
    answer = said('404 Not Found', '{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}');
    expect(await ask('x')).to.equal(undefined);
    answer = said('200 OK', '{"a":"b"}');
    expect(await ask('x')).to.equal('badGateway');
  });

  it('is not kept waiting for a node by a client that has left', async () => {
    answer = '';
    const gone = new AbortController();
    const asked = cluster.node('x', gone.signal).catch((error: unknown) => (error as KexerError).code);
    gone.abort();
    expect(await asked).to.equal('clientGone');
  });

  it('finds pods with its own credential', async () => {
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{"a":"b"}';
    const error: unknown = await cluster.pod('default', 'a b', scope.signal).catch((reason: unknown) => reason);
    expect(error).to.have.property('code', 'badGateway');
    expect(peers[0]?.received).to.match(/^GET \/base\/api\/v1\/namespaces\/default\/pods\/a%20b HTTP\/1\.1\r\n/);
    expect(peers[0]?.received).to.match(/\r\nAuthorization: Bearer own\r\n/);
  });

  it('asks for no more of a pod than its metadata when only its UID is wanted, and takes the whole of it too', async () => {
    for (const body of ['{"metadata":{"uid":"u"}}', '{"metadata":{"uid":"u"},"spec":{"containers":[]}}']) {
      answer = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
      expect(await cluster.podUid('default', 'a b', scope.signal)).to.equal('u');
    }
    expect(peers[0]?.received).to.match(/^GET \/base\/api\/v1\/namespaces\/default\/pods\/a%20b HTTP\/1\.1\r\n/);
    expect(peers[0]?.received).to.contain(
      '\r\nAccept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json\r\n',
    );
    expect(peers[0]?.received).to.match(/\r\nAuthorization: Bearer own\r\n/);
    for (const body of ['{}', '{"metadata":{}}', '{"metadata":{"uid":1}}', 'null']) {
      answer = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
      const error: unknown = await cluster.podUid('default', 'a', scope.signal).catch((reason: unknown) => reason);
      expect(error, body).to.have.property('code', 'badGateway');
    }
  });

  it('is the only cluster there is', () => {
    const directory = new ClusterDirectory({ local: cluster });
    expect(directory.find('any', 'local')).to.equal(cluster);
    expect(() => directory.find('any', 'Local')).to.throw('clusters.backup.cv.io "Local" not found');
  });
});
