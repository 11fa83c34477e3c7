import { expect } from 'chai';

import { isTrue, parseRequestInfo } from '../../src/kube/request-info.ts';

const infoOf = (method: string, target: string): Record<string, unknown> => {
  const [path = '', query = ''] = target.split('?');
  const segments = path.split('/').filter((segment) => segment !== '');
  const { isResourceRequest, verb, apiGroup, apiVersion, namespace, resource, subresource, name } = parseRequestInfo(
    method,
    segments,
    new URLSearchParams(query),
  );
  return isResourceRequest
    ? { verb, g: apiGroup, v: apiVersion, ns: namespace, r: resource, sub: subresource, name }
    : { verb, nonResource: true };
};

describe('parseRequestInfo', () => {
  const cases: [method: string, target: string, want: Record<string, unknown>][] = [
    ['GET', '/api/v1/namespaces', { verb: 'list', g: '', v: 'v1', ns: '', r: 'namespaces', sub: '', name: '' }],
    ['GET', '/api/v1/namespaces/x', { verb: 'get', g: '', v: 'v1', ns: 'x', r: 'namespaces', sub: '', name: 'x' }],
    [
      'PUT',
      '/api/v1/namespaces/x/finalize',
      { verb: 'update', g: '', v: 'v1', ns: 'x', r: 'namespaces', sub: 'finalize', name: 'x' },
    ],
    ['GET', '/api/v1/namespaces/x/pods', { verb: 'list', g: '', v: 'v1', ns: 'x', r: 'pods', sub: '', name: '' }],
    [
      'GET',
      '/api/v1/namespaces/x/pods?watch=1',
      { verb: 'watch', g: '', v: 'v1', ns: 'x', r: 'pods', sub: '', name: '' },
    ],
    [
      'GET',
      '/api/v1/namespaces/x/pods?fieldSelector=metadata.name%3Dp',
      { verb: 'list', g: '', v: 'v1', ns: 'x', r: 'pods', sub: '', name: 'p' },
    ],
    [
      'DELETE',
      '/api/v1/namespaces/x/pods',
      { verb: 'deletecollection', g: '', v: 'v1', ns: 'x', r: 'pods', sub: '', name: '' },
    ],
    [
      'DELETE',
      '/api/v1/namespaces/x/pods/p',
      { verb: 'delete', g: '', v: 'v1', ns: 'x', r: 'pods', sub: '', name: 'p' },
    ],
    ['PATCH', '/api/v1/nodes/n', { verb: 'patch', g: '', v: 'v1', ns: '', r: 'nodes', sub: '', name: 'n' }],
    ['HEAD', '/api/v1/nodes/n', { verb: 'get', g: '', v: 'v1', ns: '', r: 'nodes', sub: '', name: 'n' }],
    [
      'POST',
      '/api/v1/namespaces/x/pods/p/exec',
      { verb: 'create', g: '', v: 'v1', ns: 'x', r: 'pods', sub: 'exec', name: 'p' },
    ],
    [
      'GET',
      '/apis/apps/v1/namespaces/x/deployments/d/scale',
      { verb: 'get', g: 'apps', v: 'v1', ns: 'x', r: 'deployments', sub: 'scale', name: 'd' },
    ],
    // Reference, section 8.3: the nested path has no effect, `watch` does not make it a watch.
    [
      'GET',
      '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/x/pods/y/exec?watch=true',
      { verb: 'get', g: 'backup.cv.io', v: 'v1', ns: 'default', r: 'clusters', sub: 'exec', name: 'local' },
    ],
    ['GET', '/api/v1/watch/pods', { verb: 'watch', g: '', v: 'v1', ns: '', r: 'pods', sub: '', name: '' }],
    ['GET', '/api/v1', { verb: 'get', nonResource: true }],
    ['GET', '/apis/apps/v1', { verb: 'get', nonResource: true }],
    ['POST', '/livez', { verb: 'post', nonResource: true }],
    ['OPTIONS', '/api/v1/pods', { verb: '', g: '', v: 'v1', ns: '', r: 'pods', sub: '', name: '' }],
  ];
  for (const [method, target, want] of cases) {
    it(`reads ${method} ${target}`, () => {
      expect(infoOf(method, target)).to.deep.equal(want);
    });
  }
});

describe('isTrue', () => {
  it('is false only for an absent value, 0 and false in any case', () => {
    const values = [null, '0', 'false', 'FALSE', '', '1', 'true', 'no'];
    expect(values.map(isTrue)).to.deep.equal([false, false, false, false, true, true, true, true]);
  });
});
