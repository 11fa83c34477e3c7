import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { Cluster, NodeObject, PodObject } from '../../src/clusters/cluster.ts';
import { failure, StatusError } from '../../src/kube/status.ts';
import { TlsMemory } from '../../src/net/tls-memory.ts';
import { kubeletPath } from '../../src/streams/kubelet-leg.ts';
import { checkNames } from '../../src/streams/names.ts';
import { findPlace, kubeletAddress, targetOf, type TargetQuestion } from '../../src/streams/target.ts';

const node: NodeObject = {
  metadata: { name: 'node1' },
  status: {
    addresses: [
      { type: 'Hostname', address: 'node1.example' },
      { type: 'InternalIP', address: '10.0.0.1' },
      { type: 'InternalIP', address: '10.0.0.2' },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: 10_251 } },
  },
};

function podWith(spec: Partial<PodObject['spec']>, metadata: Partial<PodObject['metadata']> = {}): PodObject {
  return {
    metadata: { name: 'demo', namespace: 'default', uid: '4b2a', ...metadata },
    spec: { nodeName: 'node1', containers: [{ name: 'one' }], ...spec },
  };
}

function clusterWith(pod: PodObject): Cluster {
  const parts: Partial<Cluster> = {
    pod: async () => pod,
    node: async (name) => (name === 'node1' ? node : undefined),
    kubelet: {
      ca: ['PEM'],
      caSource: 'ca.crt',
      isVerified: true,
      tls: new TlsMemory(),
      certificate: () => undefined,
      token: () => undefined,
      preferredAddressTypes: ['InternalIP', 'Hostname'],
      accountName: 'kexer',
    },
  };
  return parts as Cluster;
}

async function find(pod: PodObject, question: Partial<TargetQuestion> = {}): Promise<unknown> {
  const whole = { namespace: 'default', pod: 'demo', container: '', ...question };
  const cluster = clusterWith(pod);
  return findPlace(cluster, whole, new AbortController().signal)
    .then((place) => targetOf(cluster, place, new AbortController().signal))
    .catch((error: unknown) =>
      error instanceof StatusError ? `${error.status.code} ${error.status.message}` : (error as Error).message,
    );
}

describe('findPlace and targetOf', () => {
  it('finds the only container, the node and the address of the first preferred type', async () => {
    expect(await find(podWith({}))).to.deep.equal({
      namespace: 'default',
      pod: 'demo',
      podUid: '4b2a',
      isMirror: false,
      container: 'one',
      node: 'node1',
      host: '10.0.0.1',
      port: 10_251,
    });
  });

  it('needs no container for a port-forward', async () => {
    const pod = podWith({ containers: [{ name: 'one' }, { name: 'two' }] });
    expect(await find(pod, { container: undefined })).to.include({ container: '', node: 'node1' });
  });

  it('takes init and ephemeral containers when they are named', async () => {
    const pod = podWith({ initContainers: [{ name: 'setup' }], ephemeralContainers: [{ name: 'debugger-x' }] });
    expect(await find(pod, { container: 'setup' })).to.include({ container: 'setup' });
    expect(await find(pod, { container: 'debugger-x' })).to.include({ container: 'debugger-x' });
  });

  const two = { initContainers: [{ name: 'setup' }], containers: [{ name: 'one' }, { name: 'two' }] };
  for (const { what, pod, question, text } of [
    {
      what: 'none of two containers is named',
      pod: podWith(two),
      question: {},
      text: '400 a container name must be specified for pod demo, choose one of: [setup one two]',
    },
    {
      what: 'the container is unknown',
      pod: podWith(two),
      question: { container: 'nope' },
      text: '400 container nope is not valid for pod demo',
    },
    {
      what: 'the pod has no node',
      pod: podWith({ nodeName: '' }),
      question: {},
      text: '400 pod demo does not have a host assigned',
    },
    {
      what: 'the node is unknown',
      pod: podWith({ nodeName: 'node9' }),
      question: {},
      text: 'Cannot find node "node9" of pod "demo": the cluster has no such node',
    },
    {
      what: 'a name would be a path',
      pod: podWith({}),
      question: { pod: '../x' },
      text: 'Cannot use pod name "../x": want a DNS subdomain',
    },
  ]) {
    it(`says so when ${what}`, async () => {
      expect(await find(pod, question)).to.equal(text);
    });
  }

  it("keeps kexer's own account out of what a caller is told", async () => {
    const cluster = clusterWith(podWith({}));
    const place = await findPlace(cluster, { namespace: 'default', pod: 'demo', container: '' }, AbortSignal.any([]));
    const text = 'nodes "node1" is forbidden: User "system:serviceaccount:kexer:kexer" cannot get resource "nodes"';
    cluster.node = async () => {
      throw new StatusError(failure(403, 'Forbidden', text));
    };
    const error: unknown = await targetOf(cluster, place, AbortSignal.any([])).catch((reason: unknown) => reason);
    expect((error as StatusError).status).to.include({
      code: 502,
      message: 'kube-apiserver does not let kexer find nodes: its account needs the verb "get" on "nodes"',
    });
  });

  it('knows a mirror pod by its annotation', async () => {
    const pod = podWith({}, { annotations: { 'kubernetes.io/config.mirror': 'abc' } });
    expect(await find(pod)).to.include({ isMirror: true });
  });
});

describe('kubeletAddress', () => {
  it('falls back to the next type, and to port 10250', () => {
    const bare: NodeObject = {
      metadata: { name: 'n' },
      status: { addresses: [{ type: 'Hostname', address: 'n.example' }] },
    };
    expect(kubeletAddress(bare, ['InternalIP', 'Hostname'])).to.deep.equal({ host: 'n.example', port: 10_250 });
  });

  it('names what the node has when nothing fits', () => {
    expect(() => kubeletAddress(node, ['ExternalIP'])).to.throw(
      KexerError,
      'it has no address of the types ExternalIP; known: Hostname node1.example, InternalIP 10.0.0.1, InternalIP 10.0.0.2',
    );
  });
});

describe('kubeletPath', () => {
  const target = {
    namespace: 'default',
    pod: 'demo',
    podUid: '4b2a',
    isMirror: false,
    container: 'one',
    node: 'node1',
    host: 'h',
    port: 1,
  };
  it('has the form of each endpoint, with and without the UID', () => {
    expect([
      kubeletPath('exec', target, true),
      kubeletPath('exec', target, false),
      kubeletPath('attach', target, true),
      kubeletPath('portforward', target, true),
      kubeletPath('portforward', target, false),
    ]).to.deep.equal([
      '/exec/default/demo/4b2a/one',
      '/exec/default/demo/one',
      '/attach/default/demo/4b2a/one',
      '/portForward/default/demo/4b2a',
      '/portForward/default/demo',
    ]);
  });
});

describe('checkNames', () => {
  const good = { namespace: 'default', pod: 'web-0.a', container: 'c' };
  it('takes names that Kubernetes takes', () => {
    checkNames(good);
    checkNames({ ...good, pod: `${'a'.repeat(126)}.${'b'.repeat(126)}`, container: 'x'.repeat(63) });
  });

  for (const bad of [
    { namespace: 'a.b' },
    { namespace: '' },
    { namespace: 'x'.repeat(64) },
    { pod: '' },
    { pod: 'A' },
    { pod: 'a/b' },
    { pod: 'a..b' },
    { pod: '.' },
    { pod: 'a'.repeat(254) },
    { pod: 'a\n' },
    { container: '-a' },
    { container: 'a%2f' },
    { container: 'x'.repeat(64) },
  ]) {
    it(`refuses ${JSON.stringify(bad).slice(0, 60)}`, () => {
      expect(() => checkNames({ ...good, ...bad })).to.throw(KexerError, 'Cannot use');
    });
  }
});
