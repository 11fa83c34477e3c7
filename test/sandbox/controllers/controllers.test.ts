// The controllers over a store, with a kubelet in the test that makes every bound pod Ready (or ends it) at once.

import { expect } from 'chai';
import { systemClock } from '../../../src/base/clock.ts';
import { at, records } from '../../../src/sandbox/apiserver/objects/fields.ts';
import { type KubeObject, Store } from '../../../src/sandbox/apiserver/store.ts';
import { Deleter } from '../../../src/sandbox/apiserver/lifecycle/deletion.ts';
import { findGroupResource } from '../../../src/sandbox/apiserver/resources/catalog.ts';
import { ClusterClient } from '../../../src/sandbox/controllers/cluster-client.ts';
import { Controllers } from '../../../src/sandbox/controllers/controllers.ts';
import { templateHash } from '../../../src/sandbox/controllers/deployments.ts';

const resources = {
  pods: { group: '', resource: 'pods' },
  nodes: { group: '', resource: 'nodes' },
  events: { group: '', resource: 'events' },
  namespaces: { group: '', resource: 'namespaces' },
  services: { group: '', resource: 'services' },
  endpoints: { group: '', resource: 'endpoints' },
  serviceaccounts: { group: '', resource: 'serviceaccounts' },
  configmaps: { group: '', resource: 'configmaps' },
  deployments: { group: 'apps', resource: 'deployments' },
  replicasets: { group: 'apps', resource: 'replicasets' },
  jobs: { group: 'batch', resource: 'jobs' },
  endpointslices: { group: 'discovery.k8s.io', resource: 'endpointslices' },
} as const;

type Kind = keyof typeof resources;

const readyNode = { conditions: [{ type: 'Ready', status: 'True' }] };

class World {
  readonly store = new Store({ clock: systemClock });
  readonly cluster = new ClusterClient({ store: this.store, clock: systemClock }, 'test');
  readonly controllers = new Controllers({ store: this.store, clock: systemClock }, { rootCa: 'ROOT CA' });
  /** What happens to a pod once it has a node. */
  onBound: (pod: KubeObject) => Record<string, unknown> | undefined = () => ({
    phase: 'Running',
    podIP: '127.0.0.1',
    conditions: [{ type: 'Ready', status: 'True' }],
  });
  readonly #unwatch: () => void;

  constructor() {
    this.store.create(resources.namespaces, namespaceOf('default'));
    this.#unwatch = this.store.watch(resources.pods, undefined, ({ type, object }) => {
      if (type === 'DELETED') return;
      const key = { ...resources.pods, namespace: 'default', name: object.metadata.name };
      if (object.metadata.deletionTimestamp !== undefined) {
        this.store.delete(key);
        return;
      }
      if (at(object, 'spec', 'nodeName') === undefined || at(object, 'status', 'podIP') !== undefined) return;
      const status = this.onBound(object);
      if (status !== undefined)
        this.store.mutate(key, (draft) => (draft['status'] = { podIP: '127.0.0.1', ...status }));
    });
    this.controllers.start();
  }

  async close(): Promise<void> {
    this.#unwatch();
    await this.controllers.stop();
  }

  addNode(name: string, labels: Record<string, string> = {}): void {
    this.store.create(resources.nodes, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels },
      spec: {},
      status: readyNode,
    });
  }

  get(kind: Kind, name: string, namespace = 'default'): KubeObject | undefined {
    return this.store.get({ ...resources[kind], namespace, name });
  }

  list(kind: Kind, namespace = 'default'): KubeObject[] {
    return this.store.list(resources[kind], namespace);
  }

  delete(
    kind: Kind,
    name: string,
    policy: 'Background' | 'Foreground' | 'Orphan' = 'Background',
    namespace = 'default',
  ): void {
    new Deleter({ store: this.store, clock: systemClock }).delete(
      findGroupResource(resources[kind])!,
      { ...resources[kind], namespace, name },
      { policy },
    );
  }

  /** Settles when `isIt` holds, looking after every change of the kinds. */
  until(kinds: readonly Kind[], isIt: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const unwatch: (() => void)[] = [];
      const look = (): void => {
        if (!isIt()) return;
        for (const end of unwatch) end();
        resolve();
      };
      for (const kind of kinds) unwatch.push(this.store.watch(resources[kind], undefined, look));
      look();
    });
  }

  pod(name: string, spec: object = {}): Promise<KubeObject> {
    return this.cluster.create(resources.pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default' },
      spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
    });
  }

  deployment(name: string, replicas: number, image = 'nginx:1'): Promise<KubeObject> {
    return this.cluster.create(resources.deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace: 'default', labels: { app: name } },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image }] } },
      },
    });
  }

  isRolledOut(name: string, replicas: number): boolean {
    const deployment = this.get('deployments', name);
    return (
      at(deployment, 'status', 'observedGeneration') === deployment?.metadata.generation &&
      at(deployment, 'status', 'updatedReplicas') === replicas &&
      at(deployment, 'status', 'replicas') === replicas &&
      at(deployment, 'status', 'availableReplicas') === replicas
    );
  }

  eventTexts(reason: string): string[] {
    return this.list('events')
      .filter((event) => event['reason'] === reason)
      .map((event) => String(event['message']));
  }
}

function namespaceOf(name: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
}

describe('Controllers', () => {
  let world: World;
  beforeEach(async () => {
    world = new World();
    await world.until(['serviceaccounts'], () => world.get('serviceaccounts', 'default') !== undefined);
  });
  afterEach(() => world.close());

  it('binds pods to the node with the fewest, by their selector', async () => {
    world.addNode('node1');
    world.addNode('node2', { disk: 'fast' });
    await world.pod('a');
    await world.pod('b', { nodeSelector: { disk: 'fast' } });
    await world.pod('c');
    await world.until(['pods'], () => world.list('pods').every((pod) => at(pod, 'spec', 'nodeName') !== undefined));
    const nodes = world.list('pods').map((pod) => [pod.metadata.name, at(pod, 'spec', 'nodeName')]);
    expect(nodes).to.deep.equal([
      ['a', 'node1'],
      ['b', 'node2'],
      ['c', 'node1'],
    ]);
    expect(world.eventTexts('Scheduled')).to.include('Successfully assigned default/b to node2');
  });

  it('says why a pod has no node, and binds it when one comes', async () => {
    world.addNode('node1');
    await world.pod('a', { nodeSelector: { disk: 'fast' } });
    await world.until(['events'], () => world.eventTexts('FailedScheduling').length === 1);
    const condition = records(at(world.get('pods', 'a'), 'status', 'conditions'))[0];
    expect(condition).to.deep.include({ type: 'PodScheduled', status: 'False', reason: 'Unschedulable' });
    world.addNode('node2', { disk: 'fast' });
    await world.until(['pods'], () => at(world.get('pods', 'a'), 'spec', 'nodeName') === 'node2');
  });

  it('rolls a deployment out, scales it, and deletes it with everything it made', async () => {
    world.addNode('node1');
    await world.deployment('web', 3);
    await world.until(['deployments'], () => world.isRolledOut('web', 3));
    const [set] = world.list('replicasets');
    expect(set?.metadata.name).to.match(/^web-[a-z0-9]{10}$/);
    expect(world.get('deployments', 'web')?.metadata.annotations).to.deep.equal({
      'deployment.kubernetes.io/revision': '1',
    });
    expect(world.eventTexts('ScalingReplicaSet')).to.deep.equal([
      `Scaled up replica set ${set?.metadata.name} from 0 to 3`,
    ]);
    const key = { ...resources.deployments, namespace: 'default', name: 'web' };
    await world.cluster.update(key, (draft) => Object.assign(draft['spec'] as object, { replicas: 1 }));
    await world.until(['deployments'], () => world.isRolledOut('web', 1));
    world.delete('deployments', 'web');
    await world.until(
      ['pods', 'replicasets'],
      () => world.list('pods').length + world.list('replicasets').length === 0,
    );
  });

  it('keeps enough pods available while a new template is rolled out', async () => {
    world.addNode('node1');
    await world.deployment('web', 4);
    await world.until(['deployments'], () => world.isRolledOut('web', 4));
    let fewest = Infinity;
    let most = 0;
    const unwatch = world.store.watch(resources.pods, undefined, () => {
      const pods = world.list('pods');
      const ready = pods.filter((pod) => records(at(pod, 'status', 'conditions')).some(({ type }) => type === 'Ready'));
      fewest = Math.min(fewest, ready.length);
      most = Math.max(most, pods.length);
    });
    const key = { ...resources.deployments, namespace: 'default', name: 'web' };
    await world.cluster.update(key, (draft) => {
      const [container] = records(at(draft, 'spec', 'template', 'spec', 'containers'));
      container!['image'] = 'nginx:2';
    });
    await world.until(['deployments'], () => world.isRolledOut('web', 4));
    unwatch();
    const images = world.list('pods').map((pod) => records(at(pod, 'spec', 'containers'))[0]?.['image']);
    const sets = world.list('replicasets').length;
    expect({ images, sets, isEnough: fewest >= 3, isTooMuch: most > 5 }).to.deep.equal({
      images: ['nginx:2', 'nginx:2', 'nginx:2', 'nginx:2'],
      sets: 2,
      isEnough: true,
      isTooMuch: false,
    });
    expect(world.get('deployments', 'web')?.metadata.annotations?.['deployment.kubernetes.io/revision']).to.equal('2');
  });

  it('replaces a pod that is deleted', async () => {
    world.addNode('node1');
    await world.deployment('web', 1);
    await world.until(['deployments'], () => world.isRolledOut('web', 1));
    const [first] = world.list('pods');
    world.delete('pods', first!.metadata.name);
    await world.until(['pods'], () => {
      const [pod] = world.list('pods');
      return (
        pod !== undefined && pod.metadata.name !== first!.metadata.name && at(pod, 'status', 'phase') === 'Running'
      );
    });
  });

  it('completes a job when its pods have succeeded', async () => {
    world.onBound = () => ({ phase: 'Succeeded' });
    world.addNode('node1');
    await world.cluster.create(resources.jobs, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'once', namespace: 'default' },
      spec: {
        completions: 2,
        template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox' }] } },
      },
    });
    await world.until(['jobs'], () => at(world.get('jobs', 'once'), 'status', 'succeeded') === 2);
    await world.until(['jobs'], () => records(at(world.get('jobs', 'once'), 'status', 'conditions')).length === 2);
    expect(world.list('pods')).to.have.length(2);
  });

  it('fails a job whose pods fail more often than it allows', async () => {
    world.onBound = () => ({ phase: 'Failed' });
    world.addNode('node1');
    await world.cluster.create(resources.jobs, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'never', namespace: 'default' },
      spec: {
        backoffLimit: 1,
        template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox' }] } },
      },
    });
    const types = (): unknown[] =>
      records(at(world.get('jobs', 'never'), 'status', 'conditions')).map(({ type }) => type);
    await world.until(['jobs'], () => types().includes('Failed'));
    expect({ types: types(), pods: world.list('pods').length }).to.deep.equal({
      types: ['FailureTarget', 'Failed'],
      pods: 2,
    });
  });

  it('gives every namespace its account and CA, and empties it at its end', async () => {
    world.store.create(resources.namespaces, namespaceOf('extra'));
    await world.until(['serviceaccounts', 'configmaps'], () => {
      return (
        world.get('serviceaccounts', 'default', 'extra') !== undefined &&
        world.get('configmaps', 'kube-root-ca.crt', 'extra') !== undefined
      );
    });
    expect(world.get('configmaps', 'kube-root-ca.crt', 'extra')?.['data']).to.deep.equal({ 'ca.crt': 'ROOT CA' });
    world.delete('namespaces', 'extra', 'Background', '');
    expect(at(world.get('namespaces', 'extra', ''), 'status', 'phase')).to.equal('Terminating');
    await world.until(['namespaces'], () => world.get('namespaces', 'extra', '') === undefined);
    expect(world.list('configmaps', 'extra')).to.deep.equal([]);
  });

  it('keeps the endpoints of a service in step with its ready pods', async () => {
    world.addNode('node1');
    await world.cluster.create(resources.services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    await world.deployment('web', 1);
    const addresses = (): unknown[] =>
      records(at(world.get('endpoints', 'web'), 'subsets')).flatMap((it) => records(it['addresses']));
    await world.until(['endpoints'], () => addresses().length === 1);
    expect(records(at(world.get('endpoints', 'web'), 'subsets'))[0]?.['ports']).to.deep.equal([
      { port: 8080, protocol: 'TCP' },
    ]);
    await world.until(['endpointslices'], () => records(at(world.list('endpointslices')[0], 'endpoints')).length === 1);
    world.delete('services', 'web');
    await world.until(
      ['endpoints', 'endpointslices'],
      () => world.list('endpoints').length + world.list('endpointslices').length === 0,
    );
  });

  it('leaves dependents alone on an orphaning delete, and takes them first on a foreground one', async () => {
    world.addNode('node1');
    await world.deployment('kept', 1);
    await world.deployment('gone', 1);
    await world.until(['deployments'], () => world.isRolledOut('kept', 1) && world.isRolledOut('gone', 1));
    world.delete('deployments', 'kept', 'Orphan');
    await world.until(['deployments'], () => world.get('deployments', 'kept') === undefined);
    const [set] = world.list('replicasets').filter(({ metadata }) => metadata.name.startsWith('kept-'));
    expect(set?.metadata.ownerReferences).to.equal(undefined);
    world.delete('deployments', 'gone', 'Foreground');
    let wasThereAtEnd: boolean | undefined;
    await world.until(['deployments', 'replicasets'], () => {
      const isSetThere = world.list('replicasets').some(({ metadata }) => metadata.name.startsWith('gone-'));
      if (world.get('deployments', 'gone') !== undefined) return false;
      wasThereAtEnd = isSetThere;
      return true;
    });
    expect(wasThereAtEnd).to.equal(false);
  });

  it('hashes a template by its content, not by its order', () => {
    expect(templateHash({ a: 1, b: [{ c: 2, d: 3 }] })).to.equal(templateHash({ b: [{ d: 3, c: 2 }], a: 1 }));
    expect(templateHash({ a: 1 })).to.not.equal(templateHash({ a: 2 }));
  });
});
