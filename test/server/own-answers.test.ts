// What kexer says of itself: discovery in its forms, health, version and the clusters resource, in the bytes kube-apiserver and kubectl expect.

import { expect } from 'chai';

import { StatusError } from '../../src/kube/status.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import type { Answer } from '../../src/server/answer.ts';
import { discoveryAnswer } from '../../src/server/discovery.ts';
import { asksForReasons, Health } from '../../src/server/health.ts';
import { Shutdown } from '../../src/server/shutdown.ts';
import { VersionInfo } from '../../src/server/version-info.ts';

function bodyOf(answer: Answer | undefined): unknown {
  return JSON.parse(String(answer?.body));
}

function accept(value: string): RawHeaders {
  return [['Accept', value]];
}

const aggregatedAccept =
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';

describe('discoveryAnswer', () => {
  it('lists the group, its version and its resources', () => {
    const version = { groupVersion: 'backup.cv.io/v1', version: 'v1' };
    const group = { name: 'backup.cv.io', versions: [version], preferredVersion: version };
    expect(bodyOf(discoveryAnswer('/apis', 'GET', []))).to.deep.equal({
      kind: 'APIGroupList',
      apiVersion: 'v1',
      groups: [group],
    });
    expect(bodyOf(discoveryAnswer('/apis/backup.cv.io', 'GET', accept('*/*')))).to.deep.equal({
      kind: 'APIGroup',
      apiVersion: 'v1',
      ...group,
    });
    expect(discoveryAnswer('/apis/backup.cv.io/v1', 'GET', accept('application/json'))).to.deep.equal({
      status: 200,
      contentType: 'application/json',
      body:
        '{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"backup.cv.io/v1","resources":[' +
        '{"name":"clusters","singularName":"cluster","namespaced":true,"kind":"Cluster","verbs":["get","list","watch"],"categories":["kexer"]},' +
        '{"name":"clusters/exec","singularName":"","namespaced":true,"kind":"Cluster","verbs":["create","delete","get","patch","update"]},' +
        '{"name":"sessions","singularName":"session","namespaced":true,"kind":"Session","verbs":["get","list"],"categories":["kexer"]}]}\n',
    });
  });

  // kube-apiserver compares the parameters of the content type and falls back to the old form if they differ.
  for (const version of ['v2', 'v2beta1']) {
    it(`gives aggregated discovery ${version} with exactly its parameters, and 304 for what is known`, () => {
      const type = `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;
      const answer = discoveryAnswer('/apis', 'GET', accept(type));
      expect(answer).to.deep.include({ status: 200, contentType: type });
      expect(bodyOf(answer)).to.have.nested.property('apiVersion', `apidiscovery.k8s.io/${version}`);
      expect(bodyOf(answer)).to.have.nested.property('items[0].versions[0].freshness', 'Current');
      expect(bodyOf(answer)).to.have.nested.property(
        'items[0].versions[0].resources[0].subresources[0].subresource',
        'exec',
      );
      // Neither watch nor delete: with both the garbage collector would watch sessions.
      expect(bodyOf(answer))
        .to.have.nested.property('items[0].versions[0].resources[1]')
        .that.deep.equals({
          resource: 'sessions',
          responseKind: { group: 'backup.cv.io', version: 'v1', kind: 'Session' },
          scope: 'Namespaced',
          singularResource: 'session',
          verbs: ['get', 'list'],
          categories: ['kexer'],
        });
      const etag = answer?.headers?.find(([name]) => name === 'ETag')?.[1] ?? '';
      expect(discoveryAnswer('/apis', 'GET', [...accept(type), ['If-None-Match', etag]])).to.deep.include({
        status: 304,
        body: '',
      });
    });
  }

  it('takes the first form a client prefers', () => {
    expect(discoveryAnswer('/apis', 'GET', accept(aggregatedAccept))?.contentType).to.contain('v=v2;');
    expect(discoveryAnswer('/apis', 'GET', accept(`application/json,${aggregatedAccept}`))?.contentType).to.equal(
      'application/json',
    );
    expect(
      discoveryAnswer('/apis', 'GET', accept('application/vnd.kubernetes.protobuf,application/json'))?.contentType,
    ).to.equal('application/json');
    expect(
      discoveryAnswer(
        '/apis',
        'GET',
        accept('application/json;q=0.1,application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io'),
      )?.contentType,
    ).to.contain('v=v2;');
    expect(discoveryAnswer('/apis/backup.cv.io/v1', 'GET', accept(aggregatedAccept))?.contentType).to.equal(
      'application/json',
    );
  });

  for (const value of [
    'text/csv',
    'application/vnd.kubernetes.protobuf',
    'application/json;as=Table;v=v1;g=meta.k8s.io',
    'application/json;q=0',
  ]) {
    it(`refuses ${value} with 406`, () => {
      expect(() => discoveryAnswer('/apis', 'GET', accept(value)))
        .to.throw(StatusError)
        .with.nested.property('status.code', 406);
    });
  }

  it('refuses other methods, and knows no other path', () => {
    expect(discoveryAnswer('/apis', 'POST', [])).to.deep.include({ status: 405 });
    for (const path of ['/', '/api', '/apis/apps', '/apis/backup.cv.io/v2', '/openapi/v2', '/openapi/v3']) {
      expect(discoveryAnswer(path, 'GET', [])).to.equal(undefined);
    }
  });
});

describe('Health', () => {
  const noQuery = new URLSearchParams();
  const verbose = new URLSearchParams('verbose');

  it('says ok, or each check when asked', () => {
    const health = new Health({ shutdown: new Shutdown() }, [{ name: 'node-informer', isHealthy: () => true }]);
    expect(health.answer('/livez', noQuery)).to.deep.equal({
      status: 200,
      contentType: 'text/plain; charset=utf-8',
      body: 'ok',
      headers: [['X-Content-Type-Options', 'nosniff']],
    });
    expect(health.answer('/healthz', verbose)?.body).to.equal('[+]ping ok\nhealthz check passed\n');
    expect(health.answer('/readyz', verbose)?.body).to.equal(
      '[+]ping ok\n[+]node-informer ok\n[+]shutdown ok\nreadyz check passed\n',
    );
    expect(health.answer('/readyz/ping', noQuery)).to.equal(undefined);
  });

  it('is not ready while a check fails, and lives all the same; the reason is withheld', () => {
    const health = new Health({ shutdown: new Shutdown() }, [{ name: 'node-informer', isHealthy: () => false }]);
    expect(health.answer('/readyz', noQuery)).to.deep.include({
      status: 500,
      body: '[+]ping ok\n[-]node-informer failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n',
    });
    expect(health.answer('/livez', noQuery)?.status).to.equal(200);
  });

  it('tells reasons to callers that are known and ask for them, and to nobody else', () => {
    const shutdown = new Shutdown();
    shutdown.startStopping();
    const health = new Health({ shutdown }, [
      { name: 'nodes', isHealthy: () => false, reason: () => 'no right', note: () => 'never told' },
      { name: 'bundle', isHealthy: () => true, reason: () => 'never told', note: () => 'foreign' },
      { name: 'well', isHealthy: () => true, note: () => '' },
      { name: 'silent', isHealthy: () => false },
    ]);
    const told =
      '[+]ping ok\n[-]nodes failed: no right\n[+]bundle ok: foreign\n[+]well ok\n[-]silent failed: reason withheld\n' +
      '[-]shutdown failed: kexer is stopping\nreadyz check failed\n';
    expect(health.answer('/readyz', verbose, true)).to.deep.include({ status: 500, body: told });
    for (const answer of [health.answer('/readyz', verbose, false), health.answer('/readyz', noQuery, true)]) {
      expect(answer?.body).to.contain('[-]nodes failed: reason withheld\n[+]bundle ok\n');
    }
    expect(['/readyz', '/livez', '/healthz'].map((path) => asksForReasons(path, verbose))).to.deep.equal([
      true,
      true,
      true,
    ]);
    expect([asksForReasons('/readyz', noQuery), asksForReasons('/version', verbose)]).to.deep.equal([false, false]);
  });

  it('is not ready as soon as it stops', () => {
    const shutdown = new Shutdown();
    const health = new Health({ shutdown }, []);
    shutdown.startStopping();
    expect(health.answer('/readyz', noQuery)?.body).to.equal(
      '[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n',
    );
    expect(health.answer('/livez', noQuery)?.status).to.equal(200);
  });
});

describe('VersionInfo', () => {
  it('has the fields every client reads', () => {
    const answer = new VersionInfo('1.2.3').answer('/version');
    expect(bodyOf(answer)).to.deep.include({ major: '1', minor: '2', gitVersion: 'v1.2.3', compiler: '' });
    expect(String(answer?.body)).to.match(/^\{\n {2}"major": "1",\n/);
    expect(new VersionInfo('1.2.3').answer('/version/')).to.equal(undefined);
  });
});
