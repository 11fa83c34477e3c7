// What a target names, and every way in which one has more than one reading.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

describe('parseRequestPath', () => {
  const inner: readonly (readonly [target: string, sent: string, segments: string[]])[] = [
    ['', '/', []],
    ['/', '/', []],
    ['?a=b', '/?a=b', []],
    ['/api', '/api', ['api']],
    ['/api/v1/', '/api/v1/', ['api', 'v1']],
    ['/api/v1/pods?', '/api/v1/pods?', ['api', 'v1', 'pods']],
    ['/api/v1/pods?labelSelector=%zz&;', '/api/v1/pods?labelSelector=%zz&;', ['api', 'v1', 'pods']],
    ['/api/v1/namespaces/a%2Db/pods', '/api/v1/namespaces/a%2Db/pods', ['api', 'v1', 'namespaces', 'a-b', 'pods']],
    ['/api/v1/nodes/n/proxy/', '/api/v1/nodes/n/proxy/', ['api', 'v1', 'nodes', 'n', 'proxy']],
    [
      '/api/v1/namespaces/x/services/https:y:z/proxy//a%2Fb/%zz/%ff/',
      '/api/v1/namespaces/x/services/https:y:z/proxy//a%2Fb/%zz/%ff/',
      ['api', 'v1', 'namespaces', 'x', 'services', 'https:y:z', 'proxy'],
    ],
  ];
  for (const [target, sent, segments] of inner) {
    it(`sends exactly what was checked: ${target}`, () => {
      const path = parseRequestPath('GET', `${outer}${target}`);
      expect(path.kind === 'cluster' && path.inner.target).to.equal(sent);
      expect(path.kind === 'cluster' && path.inner.segments).to.deep.equal(segments);
    });
  }

  it('reads the outer and the inner path each for itself', () => {
    const path = parseRequestPath('POST', `${outer}/api/v1/namespaces/x/pods/y/exec?command=id`);
    expect(path).to.deep.include({ kind: 'cluster', namespace: 'default', cluster: 'local' });
    expect(path.info).to.deep.include({
      isResourceRequest: true,
      verb: 'create',
      apiGroup: 'backup.cv.io',
      apiVersion: 'v1',
      namespace: 'default',
      resource: 'clusters',
      subresource: 'exec',
      name: 'local',
    });
    expect(path.kind === 'cluster' && path.inner.info).to.deep.include({
      verb: 'create',
      namespace: 'x',
      resource: 'pods',
      subresource: 'exec',
      name: 'y',
    });
  });

  it('does not let the inner query change the outer verb', () => {
    expect(parseRequestPath('GET', `${outer}/api/v1/pods?watch=1`).info.verb).to.equal('get');
  });

  it('takes an absolute target for its path, as RFC 9112 wants', () => {
    const path = parseRequestPath('GET', `https://elsewhere:1${outer}/api`);
    expect(path.kind === 'cluster' && path.inner.target).to.equal('/api');
    expect(parseRequestPath('GET', 'http://elsewhere').info.path).to.equal('/');
  });

  const own: readonly (readonly [target: string, path: string])[] = [
    ['/', '/'],
    ['/apis', '/apis'],
    ['/apis/', '/apis'],
    [
      '/apis/backup.cv.io/v1/namespaces/default/clusters/local',
      '/apis/backup.cv.io/v1/namespaces/default/clusters/local',
    ],
    [
      '/apis/backup.cv.io/v2/namespaces/default/clusters/local/exec',
      '/apis/backup.cv.io/v2/namespaces/default/clusters/local/exec',
    ],
    // An escaped letter in the prefix names nothing of kexer's: it must not reach a cluster under another reading.
    [
      '/apis/backup.cv.io/v1/namespaces/default/%63lusters/local/exec/api',
      '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api',
    ],
  ];
  for (const [target, path] of own) {
    it(`takes ${target} for kexer's own`, () => {
      expect(parseRequestPath('GET', target)).to.deep.include({ kind: 'own' });
      expect(parseRequestPath('GET', target).info.path).to.equal(path);
    });
  }

  const refused: readonly string[] = [
    '*',
    '',
    'host:443',
    'ftp://host/',
    '//',
    '/a//b',
    '/./a',
    '/../a',
    '/%2e%2E/a',
    '/a/..',
    '/a%2Fb',
    '/a%5Cb',
    '/a\\b',
    '/a%00b',
    '/a\0b',
    '/a%0Ab',
    '/a%zz',
    '/a%',
    '/a%ff',
    '/a%c0%af',
    '/é',
    '/a b',
    '/a#b',
    '/a?b c',
    `${outer}/../../x`,
    `${outer}//api/v1/pods`,
    `${outer}/api/v1/pods//`,
    `${outer}/api/v1/namespaces/x%2Fpods%2Fy/exec`,
    `${outer}/api/v1/nodes/n/proxy/..`,
    `${outer}/api/v1/nodes/n/proxy/a/%2e%2e/b`,
    `${outer}/api/v1/nodes/n/proxy/a%2f..%2fb`,
    `${outer}/api/v1/nodes/n/proxy/a%5c..%5cb`,
    `${outer}/api/v1/nodes/n/proxy/a%00`,
    `${outer}/api/v1/namespaces/x/../y/pods`,
    // Not a proxy subresource, so the strict rules hold behind it.
    `${outer}/api/v1/proxy//x`,
    `${outer}/a/proxy//x`,
    `${outer}/api/v1/namespaces/x/proxy/y//z`,
    // A cluster through a cluster.
    `${outer}/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec`,
    `${outer}/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/pods`,
    `${outer}/apis/backup.cv.io/v7/clusters/x/exec/api`,
    `${outer}/apis/%62ackup.cv.io/v1/namespaces/default/clusters/local/exec/api`,
  ];
  for (const target of refused) {
    it(`refuses ${JSON.stringify(target)}`, () => {
      expect(() => parseRequestPath('GET', target))
        .to.throw(KexerError)
        .with.property('code', 'badRequest');
    });
  }
});
