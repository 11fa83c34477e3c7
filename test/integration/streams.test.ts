import { expect } from 'chai';

import type { Kubelet } from '../../src/sandbox/kubelet/kubelet.ts';
import { collect, Stage } from './support/stage.ts';

/** The exec of shared/reference/baselines.md, faster: lines until somebody dies. */
const lines = ['sh', '-c', 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo whole'];

describe('a stream that breaks', function () {
  this.timeout(60_000);
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.start();
  });

  afterEach(() => stage.stop());

  const kills: { what: string; kill: (kubelet: Kubelet) => void }[] = [
    { what: 'the kubelet is killed', kill: (kubelet) => void kubelet.kill('rst') },
    { what: 'the kubelet closes its connections', kill: (kubelet) => void kubelet.kill('fin') },
    { what: 'the container runtime dies', kill: (kubelet) => kubelet.cutRuntime() },
  ];
  for (const { what, kill } of kills) {
    for (const isWebSocket of [true, false]) {
      for (const [pod, node] of [
        ['demo', 'node1'],
        ['db', 'node2'],
      ] as const) {
        it(`is never exit 0: ${what}, ${isWebSocket ? 'WebSocket' : 'SPDY'}, ${node}`, async () => {
          const child = stage.spawnKubectl(['exec', pod, '--', ...lines], { isWebSocket });
          const result = collect(child);
          await new Promise((resolve) => {
            child.stdout.once('data', resolve);
          });
          const kubelet = stage.sandbox.kubelets.get(node);
          if (kubelet === undefined) throw new Error('no kubelet');
          kill(kubelet);
          const { code, stdout, stderr } = await result;
          expect(code).to.equal(1);
          expect(stderr).to.match(new RegExp(`Internal error occurred: .*the kubelet of node ${node}`));
          expect(stdout.toString()).to.match(/^(line \d+\n)+$/);
        });
      }
    }
  }

  it('outlives the apiserver: what runs goes on, to the right exit code', async () => {
    const child = stage.spawnKubectl(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo ready; cat; exit 7']);
    const result = collect(child);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    await stage.sandbox.apiserver.kill();
    child.stdin.end('still here\n');
    const { code, stdout } = await result;
    expect([code, stdout.toString()]).to.deep.equal([7, 'ready\nstill here\n']);
    const refused = await stage.kubectl(['exec', 'demo', '--', 'true']);
    expect(refused.code).to.equal(1);
    await stage.sandbox.apiserver.restart();
  });

  it('names node and address when the kubelet is down', async () => {
    await stage.sandbox.kubelets.get('node2')?.kill();
    const { code, stderr } = await stage.kubectl(['exec', 'db', '--', 'true']);
    expect(code).to.equal(1);
    expect(stderr).to.match(/Cannot reach the kubelet of node node2 at 127\.0\.0\.1:\d+: ECONNREFUSED/);
    expect(stderr.split('\n')).to.have.length(2);
  });
});

describe('kubectl port-forward and attach', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.start();
  });

  after(async () => {
    expect(await stage.connections()).to.deep.equal([]);
    await stage.stop();
  });

  for (const isWebSocket of [true, false]) {
    it(`attaches to a container and follows its output by ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
      const child = stage.spawnKubectl(['attach', 'ticker'], { isWebSocket });
      const line = await new Promise<string>((resolve) => {
        child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
      });
      expect(line).to.match(/^tick \d+\n/);
      child.kill('SIGKILL');
      await collect(child);
    });

    it(`runs a pod with stdin and gives its exit code by ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
      const name = `once-${isWebSocket ? 'ws' : 'spdy'}`;
      const { code, stdout } = await stage.kubectl(
        ['run', name, '-i', '--rm', '--quiet', '--restart=Never', '--image=busybox', '--', 'sh', '-c', 'cat; exit 4'],
        { isWebSocket, stdin: Buffer.from('to the pod\n') },
      );
      expect([code, stdout.toString()]).to.deep.equal([4, 'to the pod\n']);
    });
  }
});
