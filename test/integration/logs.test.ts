import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { collect, Stage, until } from './support/stage.ts';

describe('kubectl logs', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
    // A pod with a log that stands still, and one container that has a life before.
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'talker', namespace: 'default', labels: { app: 'talker' } },
      spec: {
        nodeName: 'node2',
        restartPolicy: 'Always',
        containers: [
          {
            name: 'one',
            image: 'busybox',
            command: ['sh', '-c', 'for i in 1 2 3 4 5 6 7 8 9; do echo "one $i"; done; exec sleep 3600'],
          },
          {
            name: 'two',
            image: 'busybox',
            // Ends once: what it says before is the previous log.
            command: ['sh', '-c', 'echo two; if [ -e /tmp/again ]; then exec sleep 3600; fi; touch /tmp/again; exit 1'],
          },
        ],
      },
    };
    const created = await stage.kubectl(['create', '-f', '-'], { stdin: Buffer.from(JSON.stringify(manifest)) });
    expect(created.stderr).to.equal('');
    const ready = await stage.kubectl(['wait', '--for=condition=Ready', 'pod/talker', '--timeout=30s']);
    expect(ready.code).to.equal(0);
  });

  after(async () => {
    // The preflight reads no line; everything else came from the kubelet.
    const events = (await stage.audit()).filter((event) => event.objectRef?.subresource === 'log');
    const ours = events.filter((event) => event.userAgent.includes('kexer/'));
    for (const event of ours) expect(event.requestURI).to.match(/tailLines=(0|-1|x)/);
    await stage.stop();
  });

  for (const args of [
    ['talker', '-c', 'one'],
    ['talker', '-c', 'one', '--tail', '3'],
    ['talker', '-c', 'one', '--tail', '0'],
    ['talker', '-c', 'one', '--limit-bytes', '10'],
    ['talker', '-c', 'one', '--since', '1h'],
    ['talker', '-c', 'one', '--since-time', '2020-01-01T00:00:00Z'],
    ['talker', '-c', 'one', '--since-time', '2120-01-01T00:00:00Z'],
    ['talker', '-c', 'one', '--timestamps'],
    ['talker', '-c', 'two', '--previous'],
    ['talker', '-c', 'one', '--previous'],
    ['talker', '--all-containers', '--prefix'],
    ['-l', 'app=talker', '--all-containers', '--prefix', '--tail', '2'],
    ['multi', '-c', 'setup'],
    ['multi', '-c', 'one'],
    ['multi'],
    ['multi', '-c', 'nope'],
    ['nope'],
    ['db', '--insecure-skip-tls-verify-backend'],
    ['talker', '-c', 'one', '--since', '0s'],
  ]) {
    it(`prints what the cluster prints: ${args.join(' ')}`, async () => {
      const [ours, theirs] = await Promise.all([
        stage.kubectl(['logs', ...args], { context: 'kexer' }),
        stage.kubectl(['logs', ...args], { context: 'cluster' }),
      ]);
      // kubectl reads several containers in the order of a Go map.
      const isOrdered = !args.includes('--all-containers');
      expect([ours.code, shown(ours.stdout, isOrdered), ours.stderr]).to.deep.equal([
        theirs.code,
        shown(theirs.stdout, isOrdered),
        theirs.stderr,
      ]);
    });
  }

  it('follows a log line by line, and ends the request to the kubelet when kubectl is ended', async () => {
    const child = stage.spawnKubectl(['logs', '-f', 'ticker', '--tail', '1']);
    let lines = 0;
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        lines += chunk.toString().split('\n').length - 1;
        if (lines >= 3) resolve();
      });
    });
    const kubelet = stage.sandbox.kubelets.get('node1');
    const connections = (): number => kubelet?.connectionCount ?? 0;
    const during = connections();
    child.kill('SIGKILL');
    await collect(child);
    await until(() => connections() < during);
  });

  it('refuses a reader of nothing in the words of the cluster', async () => {
    const bad = { context: 'kexer-viewer' } as const;
    const theirs = await stage.kubectl(['logs', 'demo', '-n', 'kube-system'], { context: 'cluster-viewer' });
    const ours = await stage.kubectl(['logs', 'demo', '-n', 'kube-system'], bad);
    expect([ours.code, ours.stderr]).to.deep.equal([theirs.code, theirs.stderr]);
  });

  it('ends with an error when the kubelet is killed while it is followed', async () => {
    const child = stage.spawnKubectl(['logs', '-f', 'ticker', '--tail', '1']);
    const result = collect(child);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    await stage.sandbox.kubelets.get('node1')?.kill();
    const { code, stderr } = await result;
    expect(code).to.equal(1);
    // Over HTTP/2 the broken response is a reset stream, over HTTP/1.1 a body that ends too early.
    expect(stderr).to.match(/INTERNAL_ERROR; received from peer|unexpected EOF/);
    await stage.sandbox.kubelets.get('node1')?.revive();
  });
});

function shown(stdout: Buffer, isOrdered: boolean): string {
  return isOrdered ? stdout.toString() : stdout.toString().split('\n').toSorted().join('\n');
}
