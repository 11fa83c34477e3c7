// The life of pods as their status and events tell it.

import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { BackOff, durationText } from '../../../src/sandbox/kubelet/pods/back-off.ts';
import { expandVariables } from '../../../src/sandbox/kubelet/pods/environment.ts';
import { commandOf, imageBaseName } from '../../../src/sandbox/kubelet/pods/images.ts';
import type { ContainerStatus, Pod } from '../../../src/sandbox/kubelet/pods/pod.ts';
import { runExec } from './exec-client.ts';
import { Harness } from './harness.ts';

const sh = (script: string): string[] => ['sh', '-c', script];

function first(pod: Pod | undefined): ContainerStatus | undefined {
  return pod?.status?.containerStatuses?.[0];
}

describe('kubelet: pods', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start();
  });
  after(() => harness.close());

  function events(pod: string): string[] {
    return harness.store
      .list({ group: '', resource: 'events' }, 'default')
      .filter((event) => (event['involvedObject'] as { name?: string }).name === pod)
      .map((event) => `${String(event['reason'])}: ${String(event['message'])}`);
  }

  it('registers a node that is Ready, with the features of its generation', () => {
    const node = harness.store.get({ group: '', resource: 'nodes', namespace: '', name: 'node1' });
    const status = node?.['status'] as Record<string, unknown>;
    expect(status).to.deep.include({
      addresses: [
        { type: 'InternalIP', address: '127.0.0.1' },
        { type: 'Hostname', address: 'node1' },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: harness.kubelet.port } },
    });
    expect(status['declaredFeatures']).to.include('ExtendWebSocketsToKubelet');
  });

  it('tells a running pod in full', async () => {
    harness.createSimplePod('plain', { command: ['sleep', '1000'] });
    const pod = await harness.waitUntilReady('plain');
    const { conditions = [], containerStatuses, ...rest } = pod?.status ?? {};
    expect(conditions.map(({ type, status }) => `${type}=${status}`)).to.deep.equal([
      'PodReadyToStartContainers=True',
      'Initialized=True',
      'Ready=True',
      'ContainersReady=True',
      'PodScheduled=True',
    ]);
    expect(rest).to.deep.include({ phase: 'Running', podIP: '127.0.0.1', hostIP: '127.0.0.1', qosClass: 'BestEffort' });
    expect(containerStatuses?.[0]).to.deep.include({
      name: 'plain',
      ready: true,
      started: true,
      restartCount: 0,
      image: 'busybox',
    });
    expect(events('plain')).to.deep.equal([
      'Pulled: Container image "busybox" already present on machine and can be accessed by the pod',
      'Created: Container created',
      'Started: Container started',
    ]);
  });

  for (const [policy, command, phase, reason] of [
    ['Never', 'exit 0', 'Succeeded', 'Completed'],
    ['Never', 'exit 2', 'Failed', 'Error'],
    ['OnFailure', 'exit 0', 'Succeeded', 'Completed'],
  ] as const) {
    it(`ends as ${phase} after ${command} with restartPolicy ${policy}`, async () => {
      const name = `end-${policy.toLowerCase()}-${phase.toLowerCase()}`;
      harness.createSimplePod(name, { command: sh(command) }, { restartPolicy: policy });
      const pod = await harness.waitForPod(name, (it) => it?.status?.phase === phase);
      expect(first(pod)?.state.terminated).to.include({ reason, exitCode: Number(command.at(-1)) });
    });
  }

  it('starts a container again at once, then backs off', async () => {
    harness.createSimplePod('crash', { command: sh('exit 5') });
    const pod = await harness.waitForPod('crash', (it) => first(it)?.state.waiting?.reason === 'CrashLoopBackOff');
    const status = first(pod);
    expect({
      message: status?.state.waiting?.message?.replace(pod?.metadata.uid ?? '', 'UID'),
      last: status?.lastState.terminated?.exitCode,
      restarts: status?.restartCount,
    }).to.deep.equal({
      message: 'back-off 10s restarting failed container=crash pod=crash_default(UID)',
      last: 5,
      restarts: 1,
    });
    harness.deletePod('crash', 30);
    await harness.waitForPod('crash', (it) => it === undefined);
  });

  it('tells a command that does not exist as a StartError', async () => {
    harness.createSimplePod('missing', { command: ['nosuch'] }, { restartPolicy: 'Never' });
    const pod = await harness.waitForPod('missing', (it) => it?.status?.phase === 'Failed');
    const { reason, exitCode, message } = first(pod)?.state.terminated ?? {};
    expect({ reason, exitCode }).to.deep.equal({ reason: 'StartError', exitCode: 128 });
    expect(message).to.contain('exec: "nosuch": executable file not found in $PATH');
  });

  it('runs init containers in order before the others', async () => {
    harness.createPod('ordered', {
      volumes: [{ name: 'shared', emptyDir: {} }],
      initContainers: ['a', 'b'].map((name) => ({
        name,
        image: 'busybox',
        command: sh(`echo ${name} >> /shared/order`),
        volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
      })),
      containers: [
        {
          name: 'main',
          image: 'busybox',
          command: ['sleep', '1000'],
          volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
        },
      ],
    });
    const pod = await harness.waitUntilReady('ordered');
    expect(pod?.status?.initContainerStatuses?.map(({ state }) => state.terminated?.reason)).to.deep.equal([
      'Completed',
      'Completed',
    ]);
    const { stdout } = await runExec(harness, { pod: 'ordered', container: 'main', command: ['cat', '/shared/order'] });
    expect(stdout).to.equal('a\nb\n');
  });

  it('does not start the others when an init container fails for good', async () => {
    harness.createPod('stuck', {
      restartPolicy: 'Never',
      initContainers: [{ name: 'init', image: 'busybox', command: sh('exit 9') }],
      containers: [{ name: 'main', image: 'busybox', command: ['sleep', '1000'] }],
    });
    const pod = await harness.waitForPod('stuck', (it) => it?.status?.phase === 'Failed');
    expect(first(pod)?.state).to.deep.equal({ waiting: { reason: 'PodInitializing' } });
  });

  it('waits for a ConfigMap that is missing, and goes on when it comes', async () => {
    const valueFrom = { configMapKeyRef: { name: 'later', key: 'word' } };
    harness.createSimplePod('waiter', { command: ['sleep', '1000'], env: [{ name: 'WORD', valueFrom }] });
    const waiting = await harness.waitForPod('waiter', (it) => first(it)?.state.waiting?.message !== undefined);
    expect(first(waiting)?.state.waiting).to.deep.equal({
      reason: 'CreateContainerConfigError',
      message: 'configmap "later" not found',
    });
    harness.store.create(
      { group: '', resource: 'configmaps' },
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'later', namespace: 'default' },
        data: { word: 'found' },
      },
    );
    await harness.waitUntilReady('waiter');
    const { stdout } = await runExec(harness, { pod: 'waiter', command: sh('echo $WORD') });
    expect(stdout).to.equal('found\n');
  });

  it('makes the environment from every kind of source, in order', async () => {
    const metadata = (name: string): { name: string; namespace: string } => ({ name, namespace: 'default' });
    harness.store.create(
      { group: '', resource: 'configmaps' },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('env'), data: { ONE: '1' } },
    );
    const data = { TWO: Buffer.from('2').toString('base64') };
    harness.store.create(
      { group: '', resource: 'secrets' },
      { apiVersion: 'v1', kind: 'Secret', metadata: metadata('env'), data },
    );
    harness.createSimplePod('env', {
      command: ['sleep', '1000'],
      envFrom: [
        { prefix: 'C_', configMapRef: { name: 'env' } },
        { secretRef: { name: 'env' } },
        { configMapRef: { name: 'none', optional: true } },
      ],
      env: [
        { name: 'SUM', value: '$(C_ONE)+$(TWO)=$(UNKNOWN)' },
        { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
        { name: 'KEY', valueFrom: { secretKeyRef: { name: 'env', key: 'TWO' } } },
        { name: 'GONE', valueFrom: { configMapKeyRef: { name: 'env', key: 'none', optional: true } } },
        { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
      ],
    });
    await harness.waitUntilReady('env');
    const { stdout } = await runExec(harness, {
      pod: 'env',
      command: sh('echo $C_ONE $SUM $NODE $KEY ${GONE-unset} $CPU'),
    });
    expect(stdout).to.equal('1 1+2=$(UNKNOWN) node1 2 unset 0\n');
  });

  it('waits for a volume that refers to something missing, and says so in an event', async () => {
    harness.createPod('volume-waiter', {
      volumes: [{ name: 'v', secret: { secretName: 'late', items: [{ key: 'k', path: 'p' }] } }],
      containers: [
        {
          name: 'c',
          image: 'busybox',
          command: ['sleep', '1000'],
          volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'p' }],
        },
      ],
    });
    while (!events('volume-waiter').some((text) => text.startsWith('FailedMount'))) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(events('volume-waiter')[0]).to.equal(
      'FailedMount: MountVolume.SetUp failed for volume "v" : secret "late" not found',
    );
    const data = { k: Buffer.from('content').toString('base64') };
    const metadata = { name: 'late', namespace: 'default' };
    harness.store.create({ group: '', resource: 'secrets' }, { apiVersion: 'v1', kind: 'Secret', metadata, data });
    await harness.waitUntilReady('volume-waiter');
    const { stdout } = await runExec(harness, { pod: 'volume-waiter', container: 'c', command: ['cat', '/v'] });
    if (harness.kubelet.isolation === 'chroot') expect(stdout).to.equal('content');
  });

  it('mounts ConfigMaps, Secrets, tokens and the downward API as files', async () => {
    const metadata = (name: string): { name: string; namespace: string } => ({ name, namespace: 'default' });
    harness.store.create(
      { group: '', resource: 'configmaps' },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('conf'), data: { 'a.txt': 'A', b: 'B' } },
    );
    harness.store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: metadata('sec'),
        data: { key: Buffer.from('S').toString('base64') },
      },
    );
    harness.createPod('files', {
      volumes: [
        { name: 'conf', configMap: { name: 'conf', items: [{ key: 'a.txt', path: 'sub/a' }] } },
        { name: 'sec', secret: { secretName: 'sec' } },
        {
          name: 'info',
          projected: {
            sources: [{ downwardAPI: { items: [{ path: 'ns', fieldRef: { fieldPath: 'metadata.namespace' } }] } }],
          },
        },
      ],
      containers: [
        {
          name: 'c',
          image: 'busybox',
          command: ['sleep', '1000'],
          volumeMounts: [
            { name: 'conf', mountPath: '/etc/conf' },
            { name: 'sec', mountPath: '/secret', readOnly: true },
            { name: 'info', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
          ],
        },
      ],
    });
    await harness.waitUntilReady('files');
    const script = 'cat /etc/conf/sub/a /secret/key /var/run/secrets/kubernetes.io/serviceaccount/ns; touch /secret/x';
    const { stdout, stderr } = await runExec(harness, { pod: 'files', container: 'c', command: sh(script) });
    expect(stdout).to.equal('ASdefault');
    if (harness.kubelet.isolation === 'chroot') expect(stderr).to.contain('Read-only file system');
  });

  it('gives every container a root of its own', async function () {
    if (harness.kubelet.isolation !== 'chroot') this.skip();
    for (const name of ['own-a', 'own-b']) harness.createSimplePod(name, { command: ['sleep', '1000'] });
    await Promise.all([harness.waitUntilReady('own-a'), harness.waitUntilReady('own-b')]);
    await runExec(harness, { pod: 'own-a', command: sh('echo secret > /tmp/kexer-mark; echo x > /root/y') });
    const other = await runExec(harness, { pod: 'own-b', command: sh('ls /tmp /root; hostname; pwd') });
    const system = await runExec(harness, { pod: 'own-a', command: sh('touch /usr/kexer-mark') });
    expect({
      other: other.stdout,
      host: existsSync('/tmp/kexer-mark'),
      refused: /Read-only/.test(system.stderr),
    }).to.deep.equal({
      other: '/root:\n\n/tmp:\nown-b\n/\n',
      host: false,
      refused: true,
    });
  });

  it('runs an ephemeral container that is added later', async () => {
    harness.createSimplePod('debugged', { command: ['sleep', '1000'] });
    await harness.waitUntilReady('debugged');
    harness.store.mutate({ group: '', resource: 'pods', namespace: 'default', name: 'debugged' }, (draft) => {
      Object.assign(draft['spec'] as object, {
        ephemeralContainers: [{ name: 'dbg', image: 'busybox', command: sh('exit 6') }],
      });
    });
    const pod = await harness.waitForPod(
      'debugged',
      (it) => it?.status?.ephemeralContainerStatuses?.[0]?.state.terminated !== undefined,
    );
    expect({
      code: pod?.status?.ephemeralContainerStatuses?.[0]?.state.terminated?.exitCode,
      phase: pod?.status?.phase,
    }).to.deep.equal({ code: 6, phase: 'Running' });
  });

  it('gives a deleted pod its grace, then kills it', async () => {
    for (const [name, script] of [
      ['polite', 'trap "exit 0" TERM; touch /tmp/set; while :; do sleep 0.02; done'],
      ['stubborn', 'trap "" TERM; touch /tmp/set; while :; do sleep 0.02; done'],
    ] as const) {
      harness.createSimplePod(name, { command: sh(script) });
      await harness.waitUntilReady(name);
      await runExec(harness, { pod: name, command: sh('while [ ! -e /tmp/set ]; do sleep 0.01; done') });
      let last: Pod | undefined;
      const unwatch = harness.store.watch({ group: '', resource: 'pods' }, undefined, ({ type, object }) => {
        if (type === 'MODIFIED' && object.metadata.name === name) last = object as Pod;
      });
      harness.deletePod(name, 0.3); // less than the API allows: the test need not wait
      await harness.waitForPod(name, (it) => it === undefined);
      unwatch();
      expect(first(last)?.state.terminated?.exitCode).to.equal(name === 'polite' ? 0 : 137);
    }
    expect(events('polite')).to.include('Killing: Stopping container polite');
  });

  it('asks a container to end once, and again only for a shorter grace', async () => {
    const script = 'trap "echo asked" TERM; touch /tmp/set; while :; do sleep 0.02; done';
    harness.createSimplePod('asked', { command: sh(script) });
    await harness.waitUntilReady('asked');
    await runExec(harness, { pod: 'asked', command: sh('while [ ! -e /tmp/set ]; do sleep 0.01; done') });
    const log = harness.ask({ method: 'GET', path: '/containerLogs/default/asked/asked?follow=true' });
    harness.deletePod('asked', 30);
    harness.store.mutate({ group: '', resource: 'pods', namespace: 'default', name: 'asked' }, (draft) => {
      draft.metadata.labels = { changed: 'yes' };
    });
    harness.store.mutate({ group: '', resource: 'pods', namespace: 'default', name: 'asked' }, (draft) => {
      draft.metadata.deletionGracePeriodSeconds = 0.3;
    });
    await harness.waitForPod('asked', (it) => it === undefined);
    // Two signals in one turn may arrive as one.
    expect((await log).body.split('\n').filter((line) => line === 'asked').length).to.be.within(1, 2);
  });

  it('kills a pod whose object vanishes', async () => {
    harness.createSimplePod('vanished', { command: sh('echo $$ > /data/pid; exec sleep 1000') });
    await harness.waitUntilReady('vanished');
    const { stdout } = await runExec(harness, { pod: 'vanished', command: sh('cat /data/pid') });
    harness.store.delete({ group: '', resource: 'pods', namespace: 'default', name: 'vanished' });
    const answer = await harness.ask({ method: 'GET', path: '/pods' });
    expect(answer.status).to.equal(200);
    const isAlive = (): boolean => {
      try {
        return !/^State:\s+Z/m.test(readFileSync(`/proc/${stdout.trim()}/status`, 'utf8'));
      } catch {
        return false;
      }
    };
    while (isAlive()) await new Promise((resolve) => setImmediate(resolve));
  });

  it('takes the message a container leaves at its end', async () => {
    harness.createSimplePod(
      'messenger',
      { command: sh('echo why > /dev/termination-log; exit 1') },
      { restartPolicy: 'Never' },
    );
    const pod = await harness.waitForPod('messenger', (it) => it?.status?.phase === 'Failed');
    if (harness.kubelet.isolation === 'chroot') expect(first(pod)?.state.terminated?.message).to.equal('why\n');
  });
});

describe('kubelet: pods without roots of their own', () => {
  it('runs in a folder and says so once', async () => {
    const harness = await Harness.start({ isolation: 'folder' });
    harness.createSimplePod('plain', { command: ['sleep', '1000'] });
    await harness.waitUntilReady('plain');
    const { stdout } = await runExec(harness, {
      pod: 'plain',
      command: sh('[ "$PWD" = "$HOME" ] && echo home; echo $TMPDIR'),
    });
    expect([stdout.split('\n')[0], stdout.includes(harness.dir), harness.lines.length]).to.deep.equal([
      'home',
      true,
      1,
    ]);
    await harness.close();
  });
});

describe('BackOff', () => {
  it('starts at once, then doubles from 10 s to 5 minutes, and starts anew after 10 minutes of running', () => {
    const backOff = new BackOff();
    const delays = Array.from({ length: 8 }, () => backOff.next(0));
    expect(delays).to.deep.equal([0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    expect(backOff.next(600_000)).to.equal(0);
    expect([10_000, 80_000, 300_000, 3_600_000].map(durationText)).to.deep.equal(['10s', '1m20s', '5m0s', '1h0m0s']);
  });
});

describe('commandOf', () => {
  it('follows command, args and what the image would run', () => {
    expect([
      commandOf({ name: 'c', image: 'busybox', command: ['a'], args: ['b'] }),
      commandOf({ name: 'c', image: 'busybox:1.36', args: ['echo'] }),
      commandOf({ name: 'c', image: 'docker.io/library/alpine@sha256:00' }),
    ]).to.deep.equal([['a', 'b'], ['echo'], ['sh']]);
    expect(imageBaseName('registry:5000/a/nginx:1.2@sha256:00')).to.equal('nginx');
  });
});

describe('expandVariables', () => {
  it('expands what is known and leaves the rest', () => {
    expect(expandVariables('$(A) $(B) $$(A) $A', { A: '1' })).to.equal('1 $(B) $(A) $A');
  });
});
