import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

import { expect } from 'chai';

import type { Kubelet } from '../../src/sandbox/kubelet/kubelet.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { collect, Stage } from './support/stage.ts';

/** The exec of shared/reference/baselines.md, faster: lines until somebody dies. */
const lines = ['sh', '-c', 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo whole'];

describe('a stream that breaks', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(() => stage.stop());

  const kills: { what: string; kill: (kubelet: Kubelet) => () => Promise<void> }[] = [
    { what: 'the kubelet is killed', kill: (kubelet) => killed(kubelet, 'rst') },
    { what: 'the kubelet closes its connections', kill: (kubelet) => killed(kubelet, 'fin') },
    {
      what: 'the container runtime dies',
      kill: (kubelet) => {
        kubelet.cutRuntime();
        return async () => {};
      },
    },
  ];

  /** @returns what undoes it */
  function killed(kubelet: Kubelet, how: 'rst' | 'fin'): () => Promise<void> {
    const done = kubelet.kill(how);
    return async () => {
      await done;
      await kubelet.revive();
    };
  }

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
          const revive = kill(kubelet);
          const { code, stdout, stderr } = await result;
          expect(code).to.equal(1);
          expect(stderr).to.match(new RegExp(`Internal error occurred: .*the kubelet of node ${node}`));
          expect(stdout.toString()).to.match(/^(line \d+\n)+$/);
          await revive();
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
    await stage.sandbox.apiserver.restart();
  });

  it('names node and address when the kubelet is down', async () => {
    await stage.sandbox.kubelets.get('node2')?.kill();
    const { code, stderr } = await stage.kubectl(['exec', 'db', '--', 'true']);
    expect(code).to.equal(1);
    expect(stderr).to.match(/Cannot reach the kubelet of node node2 at 127\.0\.0\.1:\d+: ECONNREFUSED/);
    expect(stderr.split('\n')).to.have.length(2);
    await stage.sandbox.kubelets.get('node2')?.revive();
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

  describe('port-forward', () => {
    let echo: Server;
    let port: number;

    before(async () => {
      // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
      echo = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => {});
        socket.pipe(socket);
      });
      await new Promise<void>((resolve) => {
        echo.listen(0, '127.0.0.1', resolve);
      });
      port = (echo.address() as AddressInfo).port;
    });

    after(
      () =>
        new Promise<void>((resolve) => {
          echo.close(() => resolve());
        }),
    );

    /** Starts kubectl and gives the local port it chose. */
    async function forward(
      remotePort: number,
      isWebSocket: boolean,
    ): Promise<{ child: ChildProcessWithoutNullStreams; local: number }> {
      const child = stage.spawnKubectl(['port-forward', 'demo', `:${remotePort}`], { isWebSocket });
      let text = '';
      const local = await new Promise<number>((resolve, reject) => {
        child.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          const match = /127\.0\.0\.1:(\d+)/.exec(text);
          if (match !== null) resolve(Number(match[1]));
        });
        child.on('exit', () => reject(new Error(`kubectl ended: ${text}`)));
      });
      return { child, local };
    }

    /** Sends `bytes`, half-closes, and gives what came back until the end. */
    async function exchange(local: number, bytes: Buffer): Promise<Buffer> {
      const socket = connect({ port: local, host: '127.0.0.1', allowHalfOpen: true });
      socket.end(bytes);
      const parts: Buffer[] = [];
      for await (const chunk of socket) parts.push(chunk as Buffer);
      return Buffer.concat(parts);
    }

    for (const isWebSocket of [true, false]) {
      const how = isWebSocket ? 'tunnel' : 'SPDY';
      it(`carries many connections at once, half-closes included, by ${how}`, async () => {
        const { child, local } = await forward(port, isWebSocket);
        const sent = Array.from({ length: 20 }, (_, index) => randomBytes(1000 * (index * index + 1)));
        const received = await Promise.all(sent.map((bytes) => exchange(local, bytes)));
        expect(received.map((bytes, index) => bytes.equals(sent[index] ?? Buffer.alloc(0)))).to.deep.equal(
          sent.map(() => true),
        );
        child.kill('SIGKILL');
        await collect(child);
      });

      it(`tells the reason when nothing listens, by ${how}`, async () => {
        const { child, local } = await forward(1, isWebSocket);
        const result = collect(child);
        await exchange(local, Buffer.from('hi')).catch(() => {});
        const { code, stderr } = await result;
        expect(code).to.equal(1);
        expect(stderr).to.contain('error forwarding port 1').and.to.contain('lost connection to pod');
      });

      it(`ends kubectl when the kubelet dies, by ${how}`, async () => {
        const { child, local } = await forward(port, isWebSocket);
        const result = collect(child);
        const socket = connect({ port: local, host: '127.0.0.1' });
        socket.on('error', () => {});
        socket.write('hi');
        await new Promise((resolve) => {
          socket.once('data', resolve);
        });
        const kubelet = stage.sandbox.kubelets.get('node1');
        await kubelet?.kill();
        const { code, stderr } = await result;
        expect(code).to.equal(1);
        // Whether kubectl still prints the text of the error stream is a race of its own.
        expect(stderr).to.contain('lost connection to pod');
        socket.destroy();
        await kubelet?.revive();
      });
    }
  });
});
