import { expect } from 'chai';

import { generateAuthority, generateClient } from '../../../../src/certs/generate.ts';
import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import { ask, auditEvents, lines, refusal } from '../support/ask.ts';

const pods = '/api/v1/namespaces/default/pods';

function userInfo(json: Record<string, unknown> | undefined): Record<string, unknown> {
  const status = json?.['status'] as { userInfo?: Record<string, unknown> } | undefined;
  return status?.userInfo ?? {};
}

describe('sandbox apiserver: the chain', () => {
  let sandbox: Sandbox;

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
  });

  after(() => sandbox.stop());

  const whoami = (as: Parameters<typeof ask>[1]['as'], headers: Record<string, string> = {}) =>
    ask(sandbox, {
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
      headers,
      ...(as === undefined ? {} : { as }),
    });

  it('knows a user by client certificate, token and service account', async () => {
    const bob = await sandbox.clientCertificate({ name: 'bob', groups: ['devs', 'a,b'] });
    const names = await Promise.all([
      whoami(undefined),
      whoami({ token: sandbox.tokens.alice }),
      whoami({ token: sandbox.serviceAccountToken('kexec-system', 'kexer') }),
      whoami(bob),
    ]);
    expect(names.map(({ json }) => userInfo(json)).map(({ username, groups }) => [username, groups])).to.deep.equal([
      ['admin', ['system:masters', 'system:authenticated']],
      ['alice', ['system:authenticated']],
      [
        'system:serviceaccount:kexec-system:kexer',
        ['system:serviceaccounts', 'system:serviceaccounts:kexec-system', 'system:authenticated'],
      ],
      ['bob', ['devs', 'a,b', 'system:authenticated']],
    ]);
    const extra = userInfo(names[3].json)['extra'] as Record<string, string[]>;
    expect(extra['authentication.kubernetes.io/credential-id']?.[0]).to.match(/^X509SHA256=[0-9a-f]{64}$/);
  });

  it('refuses bad credentials with 401 and takes nobody for system:anonymous', async () => {
    const foreign = await generateClient(await generateAuthority({ commonName: 'other' }), { commonName: 'eve' });
    const expired = await sandbox.clientCertificate({ name: 'eve', notAfter: new Date(Date.now() - 1000) });
    expect([
      refusal(await ask(sandbox, { path: pods, as: { token: 'nope' } })),
      refusal(await ask(sandbox, { path: pods, as: foreign })),
      refusal(await ask(sandbox, { path: pods, as: expired })),
      refusal(await ask(sandbox, { path: pods, as: { token: `${sandbox.tokens.alice}x` } })),
      refusal(await ask(sandbox, { path: pods, as: 'nobody' })),
      refusal(await ask(sandbox, { path: pods, as: 'nobody', headers: { 'X-Remote-User': 'admin' } })),
      refusal(await ask(sandbox, { path: pods, as: 'nobody', headers: { Authorization: 'Basic YTpi' } })),
      (await ask(sandbox, { path: '/version', as: 'nobody' })).status,
      (await ask(sandbox, { path: '/livez', as: 'nobody' })).text,
    ]).to.deep.equal([
      '401 Unauthorized',
      '401 Unauthorized',
      '401 Unauthorized',
      '401 Unauthorized',
      ...Array.from(
        { length: 3 },
        () =>
          '403 pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"',
      ),
      200,
      'ok',
    ]);
  });

  it('takes a valid token beside a bad certificate', async () => {
    const foreign = await generateClient(await generateAuthority({ commonName: 'other' }), { commonName: 'eve' });
    const answer = await whoami(foreign, { Authorization: `Bearer ${sandbox.tokens.viewer}` });
    expect(userInfo(answer.json)['username']).to.equal('viewer');
  });

  it('gives alice and viewer the rights of the sandbox', async () => {
    const { alice, viewer } = sandbox.tokens;
    const statuses = await Promise.all([
      ask(sandbox, { path: pods, as: { token: alice } }),
      ask(sandbox, { path: '/api/v1/namespaces/default/secrets', as: { token: alice } }),
      ask(sandbox, { path: '/api/v1/namespaces/kube-system/pods', as: { token: alice } }),
      ask(sandbox, { path: pods, as: { token: viewer } }),
      ask(sandbox, { path: '/api/v1/namespaces/default/secrets', as: { token: viewer } }),
      ask(sandbox, { path: `${pods}/x/exec?command=id`, method: 'POST', as: { token: viewer } }),
      ask(sandbox, { path: `${pods}/x/log`, as: { token: viewer } }),
    ]);
    expect(statuses.map(({ status }) => status)).to.deep.equal([200, 200, 403, 200, 403, 403, 404]);
  });

  it('impersonates, and shows both users in the audit log', async () => {
    const answer = await ask(sandbox, {
      path: pods,
      headers: { 'Impersonate-User': 'bob', 'Impersonate-Group': 'devs', 'Audit-ID': 'impersonation-1' },
    });
    expect(refusal(answer)).to.equal(
      '403 pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"',
    );
    const event = auditEvents(sandbox).find(
      ({ auditID, stage }) => auditID === 'impersonation-1' && stage === 'ResponseComplete',
    );
    expect(event).to.deep.include({
      level: 'Metadata',
      verb: 'list',
      requestURI: pods,
      impersonatedUser: { username: 'bob', groups: ['devs', 'system:authenticated'] },
      objectRef: { resource: 'pods', namespace: 'default', apiVersion: 'v1' },
      annotations: { 'authorization.k8s.io/decision': 'forbid', 'authorization.k8s.io/reason': '' },
      responseStatus: {
        metadata: {},
        status: 'Failure',
        message: 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"',
        reason: 'Forbidden',
        details: { kind: 'pods' },
        code: 403,
      },
    });
    expect(event?.['user']).to.have.property('username', 'admin');
  });

  it('writes the stages of a preflight, with its subresource and its 400', async () => {
    const store = sandbox.store;
    store.create(
      { group: '', resource: 'pods' },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'unbound', namespace: 'default' },
        spec: { containers: [{ name: 'c' }] },
      },
    );
    const path = `${pods}/unbound/exec?command=id&stdout=true`;
    const answer = await ask(sandbox, { method: 'POST', path, headers: { 'Audit-Id': 'preflight-1' } });
    expect(refusal(answer)).to.equal('400 pod unbound does not have a host assigned');
    const events = auditEvents(sandbox).filter(({ auditID }) => auditID === 'preflight-1');
    expect(events.map(({ stage }) => stage)).to.deep.equal(['RequestReceived', 'ResponseStarted', 'ResponseComplete']);
    expect(events[2]).to.deep.include({
      verb: 'create',
      requestURI: path,
      objectRef: {
        resource: 'pods',
        namespace: 'default',
        name: 'unbound',
        apiVersion: 'v1',
        subresource: 'exec',
      },
    });
    expect(answer.headers['audit-id']).to.equal('preflight-1');
  });

  it('names a node that is gone as a pod, as the node registry does within a request for one', async () => {
    const { store } = sandbox;
    store.create(
      { group: '', resource: 'pods' },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'stray', namespace: 'default' },
        spec: { nodeName: 'nowhere', containers: [{ name: 'c' }] },
      },
    );
    const answer = await ask(sandbox, { method: 'POST', path: `${pods}/stray/exec?command=id&stdout=true` });
    expect(refusal(answer)).to.equal('404 pods "nowhere" not found');
    const log = await ask(sandbox, { method: 'GET', path: `${pods}/stray/log` });
    expect(refusal(log)).to.equal('404 pods "nowhere" not found');
  });

  it('marks refusals of the filters nosniff, as kube-apiserver does', async () => {
    const forbidden = await ask(sandbox, { path: pods, as: 'nobody' });
    const missing = await ask(sandbox, { path: `${pods}/nope` });
    expect([forbidden.headers['x-content-type-options'], missing.headers['x-content-type-options']]).to.deep.equal([
      'nosniff',
      undefined,
    ]);
  });

  it('answers a path with bad escapes by 400 and lives on', async () => {
    expect((await ask(sandbox, { path: '/api/v1/%zz' })).status).to.equal(400);
    expect((await ask(sandbox, { path: '/version' })).status).to.equal(200);
  });

  it('comes back on its port after it was killed, with its objects', async () => {
    const { port } = sandbox.apiserver;
    await sandbox.apiserver.kill();
    const failed = await ask(sandbox, { path: '/version' }).catch((error: NodeJS.ErrnoException) => error.code);
    await sandbox.apiserver.restart();
    expect([
      failed,
      sandbox.apiserver.port,
      (await ask(sandbox, { path: '/api/v1/namespaces/default' })).status,
    ]).to.deep.equal(['ECONNREFUSED', port, 200]);
    await sandbox.apiserver.stop();
    await sandbox.apiserver.restart();
    expect(lines(sandbox.files.auditLog).length).to.be.greaterThan(10);
  });
});
