import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';

import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { ask, refusal } from '../support/ask.ts';

interface Review {
  readonly request: Record<string, unknown> & { uid: string };
}

type Answer = Record<string, unknown>;

const group = 'admissionregistration.k8s.io';
const path = '/api/v1/namespaces/default/pods/unbound/exec?command=id&stdout=true';
/** The pod has no node: the answer of a request that admission let pass. */
const passed = '400 pod unbound does not have a host assigned';

describe('sandbox apiserver: admission of CONNECT', () => {
  let sandbox: Sandbox;
  let server: Server;
  let url = '';
  const reviews: Review[] = [];
  let answer: (review: Review) => Answer = () => ({ allowed: true });

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    sandbox.store.create(
      { group: '', resource: 'pods' },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'unbound', namespace: 'default' },
        spec: { containers: [{ name: 'c' }, { name: 'd' }] },
      },
    );
    server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const review = JSON.parse(Buffer.concat(chunks).toString()) as Review;
        reviews.push(review);
        response.setHeader('Content-Type', 'application/json');
        response.end(
          JSON.stringify({
            apiVersion: 'admission.k8s.io/v1',
            kind: 'AdmissionReview',
            response: { uid: review.request.uid, ...answer(review) },
          }),
        );
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/review`;
  });

  after(async () => {
    await sandbox.stop();
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });

  beforeEach(() => {
    reviews.length = 0;
    answer = () => ({ allowed: true });
  });

  afterEach(() => {
    for (const resource of ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations']) {
      for (const { metadata } of sandbox.store.list({ group, resource })) {
        sandbox.store.delete({ group, resource, namespace: '', name: metadata.name });
      }
    }
  });

  function configure(kind: 'Validating' | 'Mutating', webhook: Record<string, unknown>): void {
    const object: KubeObject = {
      apiVersion: `${group}/v1`,
      kind: `${kind}WebhookConfiguration`,
      metadata: { name: `${kind.toLowerCase()}-test` },
      webhooks: [
        {
          name: 'exec.example.com',
          clientConfig: { url },
          rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] }],
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          ...webhook,
        },
      ],
    };
    sandbox.store.create({ group, resource: `${kind.toLowerCase()}webhookconfigurations` }, object);
  }

  const preflight = async (target = `${path}&container=c`): Promise<string> =>
    refusal(
      await ask(sandbox, {
        method: 'POST',
        path: target,
        headers: { 'Impersonate-User': 'admin-2', 'Impersonate-Group': 'system:masters' },
      }),
    );

  it('asks about the options, by the effective user, before it looks for the pod', async () => {
    configure('Validating', {});
    expect(
      await preflight('/api/v1/namespaces/default/pods/nope/exec?command=sh&command=-c&stdin=1&tty=0&container=c'),
    ).to.equal('404 pods "nope" not found');
    const kind = { group: '', version: 'v1', kind: 'PodExecOptions' };
    const resource = { group: '', version: 'v1', resource: 'pods' };
    expect({ ...reviews[0]?.request, uid: '' }).to.deep.equal({
      uid: '',
      kind,
      resource,
      subResource: 'exec',
      requestKind: kind,
      requestResource: resource,
      requestSubResource: 'exec',
      name: 'nope',
      namespace: 'default',
      operation: 'CONNECT',
      userInfo: { username: 'admin-2', groups: ['system:masters', 'system:authenticated'] },
      object: { kind: 'PodExecOptions', apiVersion: 'v1', stdin: true, container: 'c', command: ['sh', '-c'] },
      oldObject: null,
      dryRun: false,
      options: null,
    });
  });

  const denials: readonly { status: Answer; text: string }[] = [
    {
      status: { message: 'not here', code: 403, reason: 'Forbidden' },
      text: '403 admission webhook "exec.example.com" denied the request: not here',
    },
    { status: { message: 'not here' }, text: '400 admission webhook "exec.example.com" denied the request: not here' },
    { status: { code: 200 }, text: '400 admission webhook "exec.example.com" denied the request without explanation' },
  ];
  for (const { status, text } of denials) {
    it(`denies with ${JSON.stringify(status)}`, async () => {
      configure('Validating', {});
      answer = () => ({ allowed: false, status });
      expect(await preflight()).to.equal(text);
    });
  }

  const selections: readonly { what: string; webhook: Record<string, unknown>; isAsked: boolean }[] = [
    {
      what: 'pods/*',
      webhook: { rules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['pods/*'] }] },
      isAsked: true,
    },
    {
      what: '*/*',
      webhook: { rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['*/*'] }] },
      isAsked: true,
    },
    {
      what: 'pods alone',
      webhook: { rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }] },
      isAsked: false,
    },
    {
      what: 'another operation',
      webhook: { rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] }] },
      isAsked: false,
    },
    {
      what: 'another subresource',
      webhook: {
        rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/attach'] }],
      },
      isAsked: false,
    },
    {
      what: 'this namespace',
      webhook: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } },
      isAsked: true,
    },
    {
      what: 'other namespaces',
      webhook: {
        namespaceSelector: {
          matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['default'] }],
        },
      },
      isAsked: false,
    },
    {
      what: 'an objectSelector, which options never match',
      webhook: { objectSelector: { matchLabels: { a: 'b' } } },
      isAsked: false,
    },
  ];
  for (const { what, webhook, isAsked } of selections) {
    it(`${isAsked ? 'asks' : 'does not ask'} a webhook for ${what}`, async () => {
      configure('Validating', webhook);
      expect([await preflight(), reviews.length]).to.deep.equal([passed, isAsked ? 1 : 0]);
    });
  }

  it('lets a patch change what runs', async () => {
    const patch = Buffer.from(JSON.stringify([{ op: 'replace', path: '/container', value: 'x' }])).toString('base64');
    configure('Mutating', {});
    answer = () => ({ allowed: true, patchType: 'JSONPatch', patch });
    expect(await preflight()).to.equal('400 container x is not valid for pod unbound');
  });

  it('shows validating webhooks what mutating ones made', async () => {
    const patch = Buffer.from(JSON.stringify([{ op: 'add', path: '/command/-', value: 'more' }])).toString('base64');
    configure('Mutating', {});
    configure('Validating', {});
    answer = () => (reviews.length === 1 ? { allowed: true, patchType: 'JSONPatch', patch } : { allowed: true });
    await preflight();
    expect(reviews.map(({ request }) => (request['object'] as { command: string[] }).command)).to.deep.equal([
      ['id'],
      ['id', 'more'],
    ]);
  });

  it('fails closed or open, by failurePolicy, when a webhook is away', async () => {
    const away = { url: 'http://127.0.0.1:1/review' };
    configure('Validating', { clientConfig: away });
    const failed = await preflight();
    sandbox.store.mutate(
      { group, resource: 'validatingwebhookconfigurations', namespace: '', name: 'validating-test' },
      (draft) => {
        for (const webhook of draft['webhooks'] as Record<string, unknown>[]) webhook['failurePolicy'] = 'Ignore';
      },
    );
    expect([failed, await preflight()]).to.deep.equal([
      '500 Internal error occurred: failed calling webhook "exec.example.com": failed to call webhook: Post "http://127.0.0.1:1/review?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused',
      passed,
    ]);
  });

  it('refuses an answer to another question', async () => {
    configure('Validating', {});
    answer = () => ({ allowed: true, uid: 'other' });
    expect(await preflight()).to.match(
      /^500 Internal error occurred: failed calling webhook "exec.example.com": expected response.uid=/,
    );
  });
});
