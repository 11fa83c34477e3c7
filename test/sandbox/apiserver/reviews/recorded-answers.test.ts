// Who may: the questions a real kube-apiserver was asked about identity, reviews, preflights and log options, put to the sandbox.

import { expect } from 'chai';

import { type RecordedAnswer, readAnswers } from '../../../support/recordings.ts';
import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { ask, type Question } from '../support/ask.ts';

const asked = readAnswers('apiserver-answers').filter(({ name }) =>
  /^(nobody$|bad token|as bob|group without|SubjectAccess|TokenReview|SelfSubjectReview|SelfSubjectAccess|preflight|exec (with|by)|log )/.test(
    name,
  ),
);

/** Need a kubelet; the kubelets' own tests and the integration tests ask them. */
const needsKubelet = /^log (\?(tailLines=2|previous|limitBytes=7|follow|insecure)|of an ended pod)/;
/** Has the groups of that cluster. */
const ofItsCluster = /^as bob, discovery/;

function pod(name: string, spec: object): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { nodeName: 'node1', ...spec },
  };
}

/** The pods of the recording, without kubelets behind them. */
const pods: readonly KubeObject[] = [
  pod('tools', { containers: [{ name: 'tools' }] }),
  pod('done', { containers: [{ name: 'done' }] }),
  pod('two', { initContainers: [{ name: 'setup' }], containers: [{ name: 'one' }, { name: 'two' }] }),
  pod('pending', { nodeName: '', containers: [{ name: 'c' }] }),
];

/** What is of the moment: ids, times, hashes, and the addresses of uids. */
function timeless(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, 'TIME')
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
    .replaceAll(/X509SHA256=[0-9a-f]{64}/g, 'HASH')
    .replaceAll(/"eyJ[\w.-]+"/g, '"TOKEN"');
}

describe('sandbox apiserver: recorded answers about who may', () => {
  let sandbox: Sandbox;
  let scheduler: { cert: string; key: string };

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    scheduler = await sandbox.clientCertificate({ name: 'system:kube-scheduler' });
    for (const object of pods) sandbox.store.create({ group: '', resource: 'pods' }, object);
    sandbox.store.create(
      { group: '', resource: 'nodes' },
      {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: 'node1' },
        status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }] },
      },
    );
  });

  after(() => sandbox.stop());

  function question({ request }: RecordedAnswer): Question {
    const as = request.as === 'admin' ? 'admin' : request.as === 'sched' ? scheduler : 'nobody';
    const token = sandbox.serviceAccountToken('default', 'default');
    const body = request.body?.replace('"TOKEN"', JSON.stringify(token));
    return {
      method: request.method,
      path: request.path,
      headers: request.headers,
      as,
      ...(body === undefined ? {} : { body: JSON.parse(body) as unknown }),
    };
  }

  it('has questions to ask', () => {
    expect(asked.length).to.be.greaterThan(45);
  });

  for (const recorded of asked) {
    if (needsKubelet.test(recorded.name) || ofItsCluster.test(recorded.name)) continue;
    it(`answers as recorded: ${recorded.name}`, async () => {
      const answer = await ask(sandbox, question(recorded));
      const wanted = new Map(recorded.response.headers.map(([name, value]) => [name.toLowerCase(), value]));
      expect({
        status: answer.status,
        type: answer.headers['content-type'],
        caching: answer.headers['cache-control'],
        sniffing: answer.headers['x-content-type-options'],
        body: timeless(answer.text),
      }).to.deep.equal({
        status: recorded.response.status,
        type: wanted.get('content-type'),
        caching: wanted.get('cache-control'),
        sniffing: wanted.get('x-content-type-options'),
        body: timeless(recorded.response.body),
      });
    });
  }
});
