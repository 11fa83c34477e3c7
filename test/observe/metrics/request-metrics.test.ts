import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { forbidden, StatusError, unauthorized } from '../../../src/kube/status.ts';
import { exposition } from '../../../src/observe/metrics/exposition.ts';
import { Registry } from '../../../src/observe/metrics/registry.ts';
import { type RequestFacts, RequestMetrics, scopeOf, verbOf } from '../../../src/observe/metrics/request-metrics.ts';

function facts(method: string, target: string, more: Partial<RequestFacts> = {}): RequestFacts {
  const [path = '', rawQuery = ''] = target.split('?');
  const info = parseRequestInfo(method, path.slice(1).split('/'), new URLSearchParams(rawQuery));
  return { method, info, rawQuery, contentType: '', isStream: false, ...more };
}

class Stand {
  readonly registry = new Registry({ onError: () => {} });
  readonly metrics = new RequestMetrics(this.registry);

  /** Lines of the scrape that begin so, without buckets. */
  lines(name: string): string[] {
    return exposition(this.registry.collect(), 'text')
      .split('\n')
      .filter((line) => line.startsWith(name) && !line.includes('_bucket'));
  }
}

describe('verbOf and scopeOf', () => {
  const cases: readonly (readonly [facts: RequestFacts, verb: string, scope: string])[] = [
    [facts('GET', '/api/v1/namespaces/a/pods/b'), 'GET', 'resource'],
    [facts('HEAD', '/api/v1/namespaces/a/pods/b'), 'GET', 'resource'],
    [facts('GET', '/api/v1/namespaces/a/pods'), 'LIST', 'namespace'],
    [facts('GET', '/api/v1/pods'), 'LIST', 'cluster'],
    [facts('GET', '/api/v1/pods?watch=1'), 'WATCH', 'cluster'],
    [facts('GET', '/api/v1/pods?watch=false'), 'LIST', 'cluster'],
    [facts('GET', '/api/v1/watch/namespaces/a/pods'), 'WATCH', 'namespace'],
    [facts('POST', '/api/v1/namespaces/a/pods'), 'POST', 'resource'],
    [facts('PUT', '/api/v1/nodes/n'), 'PUT', 'resource'],
    [facts('PATCH', '/api/v1/nodes/n', { contentType: 'application/merge-patch+json' }), 'PATCH', 'resource'],
    [facts('PATCH', '/api/v1/nodes/n', { contentType: 'application/apply-patch+yaml' }), 'APPLY', 'resource'],
    [facts('DELETE', '/api/v1/nodes/n'), 'DELETE', 'resource'],
    [facts('DELETE', '/api/v1/nodes'), 'DELETECOLLECTION', 'cluster'],
    [facts('POST', '/api/v1/namespaces/a/pods/b/exec', { isStream: true }), 'CONNECT', 'resource'],
    [facts('GET', '/api/v1/namespaces/a/pods/b/log', { isStream: true }), 'GET', 'resource'],
    [facts('POST', '/api/v1/namespaces/a/services/b/proxy'), 'CONNECT', 'resource'],
    [facts('BREW', '/api/v1/nodes/n'), 'other', 'resource'],
    [facts('GET', '/version'), 'GET', ''],
    [facts('BREW', '/version'), 'other', ''],
    [facts('GET', '/x', { info: undefined }), 'GET', ''],
  ];
  for (const [request, verb, scope] of cases) {
    it(`has ${verb} ${scope} for ${request.method} ${request.info?.path}?${request.rawQuery}`, () => {
      expect([verbOf(request), scopeOf(request.info)]).to.deep.equal([verb, scope]);
    });
  }
});

describe('RequestMetrics', () => {
  it('counts a request with the labels of kube-apiserver', () => {
    const stand = new Stand();
    stand.metrics.ended({
      ...facts('POST', '/api/v1/namespaces/a/pods?dryRun=All'),
      status: 201,
      durationMs: 30,
    });
    expect(stand.lines('apiserver_request_')).to.deep.equal([
      'apiserver_request_duration_seconds_sum{verb="POST",dry_run="All",group="",version="v1",resource="pods",subresource="",scope="resource",component="apiserver"} 0.03',
      'apiserver_request_duration_seconds_count{verb="POST",dry_run="All",group="",version="v1",resource="pods",subresource="",scope="resource",component="apiserver"} 1',
      'apiserver_request_total{verb="POST",dry_run="All",group="",version="v1",resource="pods",subresource="",scope="resource",component="apiserver",code="201"} 1',
    ]);
  });

  it('keeps what a caller makes up out of the labels', () => {
    const stand = new Stand();
    for (let index = 0; index < 50; index += 1) {
      const path = `/apis/g${index}/v${index}/r${index}/n/s${index}?dryRun=${index}`;
      stand.metrics.ended({ ...facts(`M${index}`, path), status: 404, durationMs: 1 });
      stand.metrics.ended({ ...facts('GET', path), status: 1000 + index, durationMs: 1 });
    }
    expect(stand.lines('apiserver_request_total')).to.deep.equal([
      'apiserver_request_total{verb="other",dry_run="invalid",group="other",version="other",resource="other",subresource="other",scope="resource",component="apiserver",code="404"} 50',
      'apiserver_request_total{verb="GET",dry_run="invalid",group="other",version="other",resource="other",subresource="other",scope="resource",component="apiserver",code="other"} 50',
    ]);
  });

  it('names a custom resource once somebody was given it', () => {
    const stand = new Stand();
    const list = facts('GET', '/apis/example.org/v1/widgets');
    stand.metrics.ended({ ...list, status: 403, durationMs: 1 });
    stand.metrics.ended({ ...list, status: 200, durationMs: 1 });
    const resources = stand.lines('apiserver_request_total').map((line) => /resource="(\w+)"/.exec(line)?.[1]);
    expect(resources).to.deep.equal(['other', 'widgets']);
  });

  it('tells success, failure and error of authentication apart, and counts nobody who left', () => {
    const stand = new Stand();
    stand.metrics.authenticated(1, undefined);
    stand.metrics.authenticated(1, new StatusError(unauthorized()));
    stand.metrics.authenticated(1, new KexerError('unreachable', 'away'));
    stand.metrics.authenticated(1, new KexerError('clientGone', 'left'));
    expect(stand.lines('authentication_attempts')).to.deep.equal([
      'authentication_attempts{result="success"} 1',
      'authentication_attempts{result="failure"} 1',
      'authentication_attempts{result="error"} 1',
    ]);
  });

  it('tells allowed, denied and error of authorization apart', () => {
    const stand = new Stand();
    stand.metrics.authorized(1, undefined);
    stand.metrics.authorized(1, new StatusError(forbidden({ group: '', resource: 'pods' }, 'x', 'no')));
    stand.metrics.authorized(1, new KexerError('timeout', 'slow'));
    expect(stand.lines('authorization_attempts_total')).to.deep.equal([
      'authorization_attempts_total{result="allowed"} 1',
      'authorization_attempts_total{result="denied"} 1',
      'authorization_attempts_total{result="error"} 1',
    ]);
  });

  it('never has a user name of its own choosing', () => {
    const stand = new Stand();
    for (const name of ['admin', 'alice', 'bob@example.org', 'kubelet', 'eve\n']) stand.metrics.user(name, undefined);
    stand.metrics.user('carol', -5);
    expect(stand.lines('authenticated_user_requests')).to.deep.equal([
      'authenticated_user_requests{username="admin"} 1',
      'authenticated_user_requests{username="other"} 3',
      'authenticated_user_requests{username="email_id"} 1',
      'authenticated_user_requests{username="kubelet"} 1',
    ]);
    expect(stand.lines('apiserver_client_certificate_expiration_seconds_count')).to.deep.equal([
      'apiserver_client_certificate_expiration_seconds_count 1',
    ]);
  });

  it('looks at what runs when it is scraped', () => {
    const stand = new Stand();
    let isLongRunning = false;
    const get = facts('GET', '/api/v1/pods');
    const post = facts('POST', '/api/v1/namespaces/a/pods');
    const watch = facts('GET', '/api/v1/pods?watch=1');
    stand.metrics.readRunning(() => [
      { ...get, isLongRunning: false },
      { ...post, isLongRunning: false },
      { ...watch, isLongRunning: true },
      { ...watch, isLongRunning },
    ]);
    isLongRunning = true;
    expect([...stand.lines('apiserver_current'), ...stand.lines('apiserver_longrunning')]).to.deep.equal([
      'apiserver_current_inflight_requests{request_kind="mutating"} 1',
      'apiserver_current_inflight_requests{request_kind="readOnly"} 1',
      'apiserver_longrunning_requests{verb="WATCH",group="",version="v1",resource="pods",subresource="",scope="cluster",component="apiserver"} 2',
    ]);
  });
});
