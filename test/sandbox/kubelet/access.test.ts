// Who may talk to the kubelet, and the answers that depend on how a pod is named.

import { expect } from 'chai';
import { makeUser } from '../../../src/kube/user.ts';
import { type AccessRequest, checkAccess, type NodeAction } from '../../../src/sandbox/kubelet/api/access.ts';
import { parseRoute } from '../../../src/sandbox/kubelet/api/routes.ts';
import { Harness } from './harness.ts';

/** A TLS socket as far as the check looks at it. */
function socketOf(subject: object | undefined): AccessRequest['socket'] {
  const socket = { authorized: subject !== undefined, getPeerCertificate: () => ({ subject }) };
  return socket as unknown as AccessRequest['socket'];
}

async function check(
  request: Partial<AccessRequest>,
  allow: (action: NodeAction) => boolean = () => true,
): Promise<{ outcome: string; actions: string[] }> {
  const actions: string[] = [];
  const result = await checkAccess(
    {
      reviewToken: (token) => Promise.resolve(token === 'good' ? makeUser({ name: 'bearer' }) : undefined),
      reviewAccess: (_user, action) => {
        actions.push(`${action.verb} ${action.nodeName}/${action.subresource}`);
        return Promise.resolve({ allowed: allow(action) });
      },
    },
    'node1',
    { socket: socketOf(undefined), authorization: undefined, method: 'GET', path: '/exec/a/b/c', ...request },
  );
  const outcome =
    'user' in result
      ? `${result.user.name} ${result.user.groups.join(',')}`
      : `${result.refusal.status} ${result.refusal.body}`;
  return { outcome, actions };
}

describe('checkAccess', () => {
  it('knows certificates first, then tokens', async () => {
    const socket = socketOf({ CN: 'cert', O: ['a', 'b'] });
    expect((await check({ socket, authorization: 'Bearer good' })).outcome).to.equal('cert a,b,system:authenticated');
    expect((await check({ authorization: 'Bearer good' })).outcome).to.equal('bearer system:authenticated');
    expect((await check({ authorization: 'Bearer bad' })).outcome).to.equal('401 Unauthorized');
    expect((await check({ socket: socketOf({ O: 'nameless' }) })).outcome).to.equal('401 Unauthorized');
  });

  it('asks for the verb of the method, on the subresources of the path', async () => {
    const socket = socketOf({ CN: 'cert' });
    const deny = (): boolean => false;
    const results = [];
    for (const [method, path] of [
      ['GET', '/exec/a/b/c'],
      ['POST', '/exec/a/b/c'],
      ['PUT', '/metrics/cadvisor'],
      ['GET', '/pods'],
      ['GET', '/healthz'],
      ['DELETE', '/containerLogs/a/b/c'],
    ] as const) {
      results.push((await check({ socket, method, path }, deny)).actions.join(', '));
    }
    expect(results).to.deep.equal([
      'get node1/proxy',
      'create node1/proxy',
      'update node1/metrics',
      'get node1/pods, get node1/proxy',
      'get node1/healthz, get node1/proxy',
      'delete node1/proxy',
    ]);
  });

  it('is satisfied by any of several subresources, and names all in a refusal', async () => {
    const socket = socketOf({ CN: 'cert' });
    const allowed = await check({ socket, path: '/pods' }, ({ subresource }) => subresource === 'proxy');
    expect(allowed.outcome).to.equal('cert system:authenticated');
    const refused = await check({ socket, path: '/pods' }, () => false);
    expect(refused.outcome).to.equal(
      '403 Forbidden (user=cert, verb=get, resource=nodes, subresource(s)=[pods proxy])\n',
    );
  });

  it('fails closed when the review fails', async () => {
    const failing = (): never => {
      throw new Error('down');
    };
    const { outcome } = await check({ socket: socketOf({ CN: 'cert' }) }, failing);
    expect(outcome).to.equal('500 Authorization error (user=cert, verb=get, resource=nodes, subresource(s)=[proxy])\n');
  });
});

describe('parseRoute', () => {
  for (const [path, route] of [
    ['/exec/ns/pod/c', { kind: 'exec', namespace: 'ns', pod: 'pod', uid: '', container: 'c' }],
    ['/exec/ns/pod/u-1/c', { kind: 'exec', namespace: 'ns', pod: 'pod', uid: 'u-1', container: 'c' }],
    ['/portForward/ns/pod', { kind: 'portForward', namespace: 'ns', pod: 'pod', uid: '', container: '' }],
    ['/portForward/ns/pod/u-1', { kind: 'portForward', namespace: 'ns', pod: 'pod', uid: 'u-1', container: '' }],
    ['/containerLogs/ns/pod/c', { kind: 'logs', namespace: 'ns', pod: 'pod', container: 'c' }],
    ['/containerLogs/ns/pod/u-1/c', { kind: 'unrouted' }],
    ['/exec/ns/pod', { kind: 'unrouted' }],
    ['/pods', { kind: 'pods' }],
    ['/run/ns/pod/c', { kind: 'unknown' }],
  ] as const) {
    it(`reads ${path}`, () => expect(parseRoute(path)).to.deep.equal(route));
  }
});

describe('kubelet: naming pods', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start();
    harness.createSimplePod('tools', { command: ['sleep', '1000'] });
    await harness.waitUntilReady('tools');
  });
  after(() => harness.close());

  it('takes the pod only by its own UID in attach and port-forward, and by its name alone in exec, as the real one does', async () => {
    const uid = harness.pod('tools')?.metadata.uid ?? '';
    const upgrade = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' };
    const forward = { ...upgrade, 'X-Stream-Protocol-Version': 'portforward.k8s.io' };
    const answers: string[] = [];
    for (const [path, headers] of [
      [`/exec/default/tools/${uid}/tools?command=true&output=1`, upgrade],
      ['/exec/default/tools/other/tools?command=true&output=1', upgrade],
      ['/attach/default/tools/other/tools?output=1', upgrade],
      [`/portForward/default/tools/${uid}`, forward],
      ['/portForward/default/tools/other', forward],
    ] as const) {
      const { status, body } = await harness.ask({ method: 'POST', path, headers });
      answers.push(`${status} ${body}`);
    }
    expect(answers).to.deep.equal([
      '101 ',
      '101 ',
      '500 container tools not found in pod tools_default',
      '101 ',
      '404 pod not found',
    ]);
  });

  it('notes every request with its caller and outcome', async () => {
    await harness.ask({ method: 'GET', path: '/healthz?x=1', headers: { 'User-Agent': 'tester' } });
    const { at: _at, ...last } = harness.kubelet.requests.at(-1)!;
    expect(last).to.deep.equal({
      method: 'GET',
      target: '/healthz?x=1',
      user: 'kubelet-client',
      protocol: '',
      userAgent: 'tester',
      status: 200,
    });
  });

  it('lets a token in where no certificate is', async () => {
    const headers = { Authorization: 'Bearer good' };
    expect((await harness.ask({ method: 'GET', path: '/healthz', headers, as: 'nobody' })).status).to.equal(200);
  });
});
