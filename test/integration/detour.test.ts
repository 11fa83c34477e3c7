import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

import { expect } from 'chai';

import type { Kubelet } from '../../src/sandbox/kubelet/kubelet.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { Rewriter } from './support/rewriter.ts';
import { collect, Stage } from './support/stage.ts';

const mebibyte = 1024 * 1024;

/** The exec of shared/reference/baselines.md, faster: lines until somebody dies. */
const lines = ['sh', '-c', 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo whole'];

const ways = [
  { what: 'WebSocket to node1', pod: 'demo', node: 'node1', isWebSocket: true },
  { what: 'WebSocket to node2', pod: 'db', node: 'node2', isWebSocket: true },
  { what: 'SPDY to node1', pod: 'demo', node: 'node1', isWebSocket: false },
  { what: 'SPDY to node2', pod: 'db', node: 'node2', isWebSocket: false },
] as const;

/** How a kubelet may go; each gives what undoes it. */
const ends: readonly { end: string; kill: (kubelet: Kubelet) => () => Promise<void> }[] = [
  { end: 'the kubelet is killed', kill: (kubelet) => killed(kubelet, 'rst') },
  { end: 'the kubelet closes its connections', kill: (kubelet) => killed(kubelet, 'fin') },
  {
    end: 'the container runtime dies',
    kill: (kubelet) => {
      kubelet.cutRuntime();
      return async () => {};
    },
  },
];

function killed(kubelet: Kubelet, how: 'rst' | 'fin'): () => Promise<void> {
  const done = kubelet.kill(how);
  return async () => {
    await done;
    await kubelet.revive();
  };
}

/** Applies an object past kexer, as an administrator of the cluster would. */
async function apply(stage: Stage, object: object): Promise<void> {
  const stdin = Buffer.from(JSON.stringify(object));
  const { code, stderr } = await stage.kubectl(['apply', '-f', '-'], { context: 'cluster', stdin });
  expect([code, stderr]).to.deep.equal([0, '']);
}

async function remove(stage: Stage, ...names: string[]): Promise<void> {
  const { code, stderr } = await stage.kubectl(['delete', ...names], { context: 'cluster' });
  expect([code, stderr]).to.deep.equal([0, '']);
}

/** Until kexer's informer has heard of a change: no event says so but what it does. */
async function untilDetoured(stage: Stage, isDetoured: boolean): Promise<void> {
  for (;;) {
    const before = total(stage);
    await stage.kubectl(['exec', 'demo', '--', 'true']);
    if (total(stage) > before === isDetoured) return;
  }
}

function total(stage: Stage): number {
  return stage.kexer.detours.counts().reduce((sum, { count }) => sum + count, 0);
}

/** How the apiserver carried the streams since line `from` of its connection log. */
async function carried(stage: Stage, from: number): Promise<string[]> {
  const all = await stage.connections();
  // Each stream has a line when it starts, which says how, and one when it ends. A log's preflight reads no line.
  const starts = all
    .slice(from)
    .filter((line) => line['event'] === 'open' && !String(line['requestUri']).includes('tailLines=0'));
  return [...new Set(starts.map((line) => `${String(line['method'])} ${String(line['mode'])}`))];
}

describe('the detour: a mutating webhook', function () {
  this.timeout(120_000);
  let stage: Stage;
  let rewriter: Rewriter;
  let from: number;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
    rewriter = await Rewriter.start();
    // What came before went straight to the kubelet.
    const { code } = await stage.kubectl(['exec', 'demo', '--', 'true']);
    expect([code, await stage.connections(), total(stage)]).to.deep.equal([0, [], 0]);
    await apply(stage, rewriter.configuration('rewriter', ['pods/*']));
    await untilDetoured(stage, true);
  });
  after(async () => {
    await stage?.stop();
    await rewriter?.stop();
  });

  beforeEach(async () => {
    from = (await stage.connections()).length;
    rewriter.seen.length = 0;
    rewriter.judge = () => undefined;
  });
  afterEach(async () => {
    // By SPDY POST alone, whatever the client spoke: kube-apiserver's WebSocket ways make a status up.
    for (const way of await carried(stage, from)) expect(way).to.equal('POST raw');
  });

  for (const { what, pod, node, isWebSocket } of ways) {
    describe(what, () => {
      it('runs what the webhook made of the command, once reviewed', async () => {
        rewriter.judge = ({ command }) =>
          command?.[0] === 'harmless' ? { command: ['sh', '-c', 'echo rewritten; exit 6'] } : undefined;
        const { code, stdout } = await stage.kubectl(['exec', pod, '--', 'harmless', '--and=more'], { isWebSocket });
        expect([code, stdout.toString()]).to.deep.equal([6, 'rewritten\n']);
        expect(rewriter.seen.map(({ kind, command }) => [kind, command])).to.deep.equal([
          ['PodExecOptions', ['harmless', '--and=more']],
        ]);
      });

      it('gives output, error output and the exit code', async () => {
        const result = await stage.kubectl(['exec', pod, '--', 'sh', '-c', 'echo out; echo err >&2; exit 3'], {
          isWebSocket,
        });
        expect({ ...result, stdout: result.stdout.toString() }).to.deep.equal({
          code: 3,
          stdout: 'out\n',
          stderr: 'err\ncommand terminated with exit code 3\n',
        });
      });

      it('carries stdin to its end, and output after it', async () => {
        const stdin = randomBytes(4 * mebibyte);
        const { code, stdout } = await stage.kubectl(['exec', '-i', pod, '--', 'sh', '-c', 'sha256sum; echo after'], {
          isWebSocket,
          stdin,
        });
        const sum = createHash('sha256').update(stdin).digest('hex');
        expect([code, stdout.toString()]).to.deep.equal([0, `${sum}  -\nafter\n`]);
      });

      it('copies a file there and back', async () => {
        const [file, back] = [stage.path(`file-${pod}`), stage.path(`back-${pod}`)];
        const bytes = randomBytes(mebibyte);
        await writeFile(file, bytes);
        const up = await stage.kubectl(['cp', file, `${pod}:/tmp/file`], { isWebSocket });
        const down = await stage.kubectl(['cp', `${pod}:/tmp/file`, back], { isWebSocket });
        expect([up.code, down.code, (await readFile(back)).equals(bytes)]).to.deep.equal([0, 0, true]);
      });

      it("relays the webhook's denial in its words", async () => {
        rewriter.judge = () => ({ denial: 'not on a Saturday' });
        const denied = await stage.kubectl(['exec', pod, '--', 'true'], { isWebSocket });
        const twin = await stage.kubectl(['exec', pod, '--', 'true'], { isWebSocket, context: 'cluster' });
        expect(denied.stderr).to.contain(
          'admission webhook "rewrite.example.com" denied the request: not on a Saturday',
        );
        expect([denied.code, denied.stderr]).to.deep.equal([twin.code, twin.stderr]);
      });

      for (const { end, kill } of ends) {
        it(`is never exit 0 when ${end}`, async () => {
          const kubelet = stage.sandbox.kubelets.get(node);
          if (kubelet === undefined) throw new Error('no kubelet');
          const child = stage.spawnKubectl(['exec', pod, '--', ...lines], { isWebSocket });
          const result = collect(child);
          await new Promise((resolve) => {
            child.stdout.once('data', resolve);
          });
          const revive = kill(kubelet);
          const { code, stdout, stderr } = await result;
          expect(code).to.equal(1);
          expect(stderr).to.match(/Internal error occurred: .*kube-apiserver/);
          expect(stdout.toString()).to.match(/^(line \d+\n)+$/);
          await revive();
        });
      }
    });
  }

  it('is never exit 0 when kube-apiserver dies', async () => {
    const child = stage.spawnKubectl(['exec', 'demo', '--', ...lines]);
    const result = collect(child);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    await stage.sandbox.apiserver.kill();
    const { code, stderr } = await result;
    expect(code).to.equal(1);
    expect(stderr).to.match(/Internal error occurred: .*kube-apiserver/);
    await stage.sandbox.apiserver.restart();
  });

  for (const context of ['kexer-alice', 'kexer-aggregated'] as const) {
    it(`works through ${context}`, async () => {
      const { code, stdout } = await stage.kubectl(['exec', 'demo', '--', 'sh', '-c', 'echo hi; exit 9'], { context });
      expect([code, stdout.toString()]).to.deep.equal([9, 'hi\n']);
    });
  }

  it('refuses whom kube-apiserver refuses, in the same words', async () => {
    const refused = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-viewer' });
    const twin = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'cluster-viewer' });
    expect([refused.code, refused.stderr]).to.deep.equal([twin.code, twin.stderr]);
    expect(refused.stderr).to.contain('cannot create resource "pods/exec"');
  });

  it("stands in kube-apiserver's audit log once, as the caller and with kexer's mark", async () => {
    const already = (await stage.audit()).length;
    await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-alice', isWebSocket: false });
    const events = (await stage.audit())
      .slice(already)
      .filter(
        ({ objectRef, stage: at }) =>
          objectRef?.subresource === 'exec' && objectRef.resource === 'pods' && at === 'ResponseStarted',
      );
    expect(events.map(({ user, responseStatus }) => [user.username, responseStatus?.code])).to.deep.equal([
      ['alice', 101],
    ]);
    expect(events[0]?.userAgent).to.match(/^kubectl.* kexer\/0\.0\.0-test \(detour [^)]+\)$/);
  });

  describe('port-forward', () => {
    let echo: Server;

    before(async () => {
      // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
      echo = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => {});
        socket.pipe(socket);
      });
      await new Promise<void>((resolve) => {
        echo.listen(0, '127.0.0.1', resolve);
      });
    });
    after(
      () =>
        new Promise<void>((resolve) => {
          echo.close(() => resolve());
        }),
    );

    async function forward(isWebSocket: boolean): Promise<{ child: ChildProcessWithoutNullStreams; local: number }> {
      const { port } = echo.address() as AddressInfo;
      const child = stage.spawnKubectl(['port-forward', 'demo', `:${port}`], { isWebSocket });
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

    for (const isWebSocket of [true, false]) {
      it(`carries connections and ends with the kubelet, by ${isWebSocket ? 'tunnel' : 'SPDY'}`, async () => {
        const { child, local } = await forward(isWebSocket);
        const result = collect(child);
        const sent = randomBytes(200_000);
        const socket = connect({ port: local, host: '127.0.0.1', allowHalfOpen: true });
        socket.end(sent);
        const parts: Buffer[] = [];
        for await (const chunk of socket) parts.push(chunk as Buffer);
        expect(Buffer.concat(parts).equals(sent)).to.equal(true);
        expect(rewriter.seen.map(({ kind }) => kind)).to.deep.equal(['PodPortForwardOptions']);

        const second = connect({ port: local, host: '127.0.0.1' });
        second.on('error', () => {});
        second.write('hi');
        await new Promise((resolve) => {
          second.once('data', resolve);
        });
        const kubelet = stage.sandbox.kubelets.get('node1');
        await kubelet?.kill();
        const { code, stderr } = await result;
        expect(code).to.equal(1);
        expect(stderr).to.contain('lost connection to pod');
        second.destroy();
        await kubelet?.revive();
      });
    }
  });

  // Last, hence a suite of its own.
  describe('its end', () => {
    it('leaves logs, which have no admission', async () => {
      const before = total(stage);
      const { code, stdout } = await stage.kubectl(['logs', 'ticker', '--tail=1']);
      expect([code, total(stage)]).to.deep.equal([0, before]);
      expect(stdout.toString()).to.match(/^tick \d+\n$/);
    });

    it('is the end of the webhook', async () => {
      expect(stage.kexer.detours.counts().map(({ kind, reason }) => `${kind} ${reason}`)).to.deep.equal([
        'exec mutatingWebhook',
        'portforward mutatingWebhook',
      ]);
      await remove(stage, 'mutatingwebhookconfiguration', 'rewriter');
      await untilDetoured(stage, false);
      from = (await stage.connections()).length;
      expect((await stage.kubectl(['exec', 'demo', '--', 'true'])).code).to.equal(0);
      expect(await carried(stage, from)).to.deep.equal([]);
    });
  });
});

describe('the detour: policies, labels and the setting', function () {
  this.timeout(120_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });
  after(() => stage?.stop());

  const policy = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingAdmissionPolicy',
    metadata: { name: 'rewriter' },
    spec: {
      failurePolicy: 'Fail',
      reinvocationPolicy: 'Never',
      matchConstraints: {
        resourceRules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] }],
      },
      mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression: '[]' } }],
    },
  };
  const binding = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingAdmissionPolicyBinding',
    metadata: { name: 'rewriter' },
    spec: { policyName: 'rewriter' },
  };

  it('follows a policy and its binding', async () => {
    await apply(stage, policy);
    await untilDetoured(stage, false);
    await apply(stage, binding);
    await untilDetoured(stage, true);
    expect(stage.kexer.detours.counts().map(({ reason }) => reason)).to.deep.equal(['mutatingPolicy']);
    await remove(stage, 'mutatingadmissionpolicybinding', 'rewriter');
    await untilDetoured(stage, false);
    await remove(stage, 'mutatingadmissionpolicy', 'rewriter');
  });

  it('follows the label of a node, for its logs too, and leaves other nodes', async () => {
    const label = (...words: string[]): Promise<unknown> =>
      stage.kubectl(['label', 'node', 'node2', ...words], { context: 'cluster' });
    await label('backup.cv.io/streams=apiserver');
    let before = total(stage);
    while (total(stage) === before) await stage.kubectl(['exec', 'db', '--', 'true']);
    const from = (await stage.connections()).length;
    before = total(stage);
    const direct = await stage.kubectl(['exec', 'demo', '--', 'sh', '-c', 'exit 5']);
    expect([direct.code, total(stage)]).to.deep.equal([5, before]);
    const exec = await stage.kubectl(['exec', 'db', '--', 'sh', '-c', 'exit 8']);
    const logs = await stage.kubectl(['logs', 'db']);
    const twin = await stage.kubectl(['logs', 'db'], { context: 'cluster' });
    expect([exec.code, logs.code, logs.stdout.toString()]).to.deep.equal([8, 0, twin.stdout.toString()]);
    expect(stage.kexer.detours.counts().map(({ kind, reason }) => `${kind} ${reason}`)).to.include.members([
      'exec nodeLabel',
      'log nodeLabel',
    ]);
    expect(await carried(stage, from)).to.deep.equal(['POST raw', 'GET log']);
    await label('backup.cv.io/streams-');
    for (;;) {
      before = total(stage);
      await stage.kubectl(['exec', 'db', '--', 'true']);
      if (total(stage) === before) break;
    }
  });
});

describe('the detour: streams.local: apiserver', function () {
  this.timeout(120_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start({}, ['--streams-local', 'apiserver']);
  });
  after(() => stage?.stop());

  for (const isWebSocket of [true, false]) {
    it(`sends every stream by kube-apiserver, ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
      const from = (await stage.connections()).length;
      const exec = await stage.kubectl(['exec', 'db', '--', 'sh', '-c', 'echo hi; exit 3'], { isWebSocket });
      expect([exec.code, exec.stdout.toString()]).to.deep.equal([3, 'hi\n']);
      const attached = stage.spawnKubectl(['attach', 'ticker'], { isWebSocket });
      await new Promise((resolve) => {
        attached.stdout.once('data', resolve);
      });
      attached.kill('SIGKILL');
      await collect(attached);
      expect(await carried(stage, from)).to.deep.equal(['POST raw']);
    });
  }

  it('follows a log until the client leaves', async () => {
    const from = (await stage.connections()).length;
    const child = stage.spawnKubectl(['logs', '-f', 'ticker', '--tail=1']);
    let text = '';
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.split('\n').length > 2) resolve();
      });
    });
    child.kill('SIGKILL');
    await collect(child);
    expect(text).to.match(/^(tick \d+\n){2}/);
    while ((await carried(stage, from)).length === 0) await new Promise(setImmediate);
    expect(await carried(stage, from)).to.deep.equal(['GET log']);
  });

  it('ends a log whose kubelet is killed as kube-apiserver ends it: it does not say so', async () => {
    const children = (['kexer', 'cluster'] as const).map((context) =>
      stage.spawnKubectl(['logs', '-f', 'ticker', '--tail=1'], { context }),
    );
    const results = children.map(collect);
    await Promise.all(
      children.map(
        (child) =>
          new Promise((resolve) => {
            child.stdout.once('data', resolve);
          }),
      ),
    );
    const kubelet = stage.sandbox.kubelets.get('node1');
    await kubelet?.kill();
    const [ours, theirs] = await Promise.all(results);
    expect([ours?.code, ours?.stderr]).to.deep.equal([theirs?.code, theirs?.stderr]);
    await kubelet?.revive();
  });

  it('prints the same messages as the cluster itself', async () => {
    for (const args of [
      ['exec', 'multi', '-c', 'nosuch', '--', 'true'],
      ['exec', 'nosuch', '--', 'true'],
      ['logs', 'multi', '-c', 'nosuch'],
      ['logs', 'nosuch'],
      ['logs', 'demo', '--previous'],
    ]) {
      const ours = await stage.kubectl(args);
      const theirs = await stage.kubectl(args, { context: 'cluster' });
      expect([ours.code, ours.stderr], args.join(' ')).to.deep.equal([theirs.code, theirs.stderr]);
    }
  });
});
