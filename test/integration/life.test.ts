// How long a session lives, and what ends it before its command does: limits, a deleted pod, an ordered end of kexer. What does not end it:
// kube-apiserver's absence. Each with real kubectl, which must be told the reason and must not take it for success.

import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, connect, createServer } from 'node:net';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { collect, type KubectlResult, Stage } from './support/stage.ts';

/** By kexer's own watch, in a moment on a machine that is not busy; nothing else would end them before the command's 60 s. */
const soonMs = 30_000;
const transports = [
  { name: 'WebSocket', isWebSocket: true },
  { name: 'SPDY', isWebSocket: false },
] as const;

/** A look at what is going on elsewhere takes at least this. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The first piece of standard output. */
function firstOutput(child: ChildProcessWithoutNullStreams): Promise<string> {
  return new Promise((resolve) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
  });
}

/** A port-forward to a server that says nothing, and one connection through it. */
async function openForward(
  stage: Stage,
  pod: string,
  isWebSocket: boolean,
): Promise<{ child: ChildProcessWithoutNullStreams; close: () => void }> {
  // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write('hello');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const child = stage.spawnKubectl(['port-forward', pod, `:${(server.address() as AddressInfo).port}`], {
    isWebSocket,
  });
  const local = /127\.0\.0\.1:(\d+)/.exec(await firstOutput(child))?.[1];
  const socket = connect({ port: Number(local), host: '127.0.0.1' });
  socket.on('error', () => {});
  await once(socket, 'data');
  const close = (): void => {
    socket.destroy();
    server.close();
  };
  return { child, close };
}

describe('the limits of a session', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start({}, ['--streaming-idle-timeout', '1s', '--session-max-duration', '4s']);
  });

  after(() => stage?.stop());

  for (const { name, isWebSocket } of transports) {
    it(`end an idle exec with the reason: ${name}`, async () => {
      const { code, stdout, stderr } = await stage.kubectl(['exec', 'demo', '--', 'sh', '-c', 'echo ready; sleep 60'], {
        isWebSocket,
      });
      expect([code, stdout.toString()]).to.deep.equal([1, 'ready\n']);
      expect(stderr).to.contain('session was idle for 1s, the limit');
    });

    it(`end an idle attach with the reason: ${name}`, async () => {
      const { code, stderr } = await stage.kubectl(['attach', 'demo'], { isWebSocket });
      expect(code).to.equal(1);
      expect(stderr).to.contain('session was idle for 1s, the limit');
    });

    it(`end an idle port-forward: ${name}`, async () => {
      const { child, close } = await openForward(stage, 'demo', isWebSocket);
      const { code, stderr } = await collect(child);
      expect(code).to.equal(1);
      expect(stderr).to.contain('lost connection to pod');
      close();
    });

    it(`end a busy exec at its greatest age: ${name}`, async () => {
      const { code, stdout, stderr } = await stage.kubectl(
        ['exec', 'demo', '--', 'sh', '-c', 'while :; do echo busy; sleep 0.1; done'],
        { isWebSocket },
      );
      expect(code).to.equal(1);
      expect(stdout.toString()).to.match(/^(busy\n){20,}$/);
      expect(stderr).to.contain('session lasted 4s, the limit');
    });
  }

  it('break an idle log off, which is no clean end', async () => {
    const { code, stdout } = await stage.kubectl(['logs', '-f', 'multi', '-c', 'one']);
    expect([code, stdout.toString()]).to.deep.equal([1, 'one runs\n']);
  });
});

describe('a session whose pod is deleted', function () {
  this.timeout(60_000);
  let stage: Stage;
  let count = 0;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(() => stage?.stop());

  afterEach(() => stage.sandbox.kubelets.get('node1')?.stall(false));

  async function createPod(name = `victim-${(count += 1)}`): Promise<string> {
    const spec = { nodeName: 'node1', terminationGracePeriodSeconds: 1 };
    const shell = 'trap "exit 0" TERM; echo started; while :; do sleep 3600 & wait $!; done';
    const create = ['run', name, '--image=busybox', '--restart=Never', `--overrides=${JSON.stringify({ spec })}`];
    const made = await stage.kubectl([...create, '--', 'sh', '-c', shell]);
    expect(made.stderr).to.equal('');
    const ready = await stage.kubectl(['wait', '--for=condition=Ready', `pod/${name}`, '--timeout=20s']);
    expect(ready.code, ready.stderr).to.equal(0);
    return name;
  }

  /** The object goes at once, and the kubelet can tell nobody. @returns when it is gone */
  async function loseWithNode(name: string): Promise<number> {
    stage.sandbox.kubelets.get('node1')?.stall(true);
    const { code, stderr } = await stage.kubectl([
      'delete',
      'pod',
      name,
      '--force',
      '--grace-period=0',
      '--wait=false',
    ]);
    expect(code, stderr).to.equal(0);
    return performance.now();
  }

  for (const { name: transport, isWebSocket } of transports) {
    it(`ends soon, told so, when its kubelet says nothing: exec, ${transport}`, async () => {
      const pod = await createPod();
      const child = stage.spawnKubectl(['exec', pod, '--', 'sh', '-c', 'echo ready; sleep 60'], { isWebSocket });
      const result = collect(child);
      await firstOutput(child);
      const goneMs = await loseWithNode(pod);
      const { code, stderr } = await result;
      expect(performance.now() - goneMs).to.be.below(soonMs);
      expect(code).to.equal(1);
      expect(stderr).to.match(new RegExp(`the pod default/${pod} was deleted \\(UID [-0-9a-f]{36}\\)`));
    });

    it(`ends soon when its kubelet says nothing: port-forward, ${transport}`, async () => {
      const pod = await createPod();
      const { child, close } = await openForward(stage, pod, isWebSocket);
      const result = collect(child);
      const goneMs = await loseWithNode(pod);
      const { code, stderr } = await result;
      expect(performance.now() - goneMs).to.be.below(soonMs);
      expect(code).to.equal(1);
      expect(stderr).to.contain('lost connection to pod');
      close();
    });
  }

  it('ends soon when its kubelet says nothing: logs -f', async () => {
    const pod = await createPod();
    const child = stage.spawnKubectl(['logs', '-f', pod]);
    const result = collect(child);
    await firstOutput(child);
    const goneMs = await loseWithNode(pod);
    const { code } = await result;
    expect(performance.now() - goneMs).to.be.below(soonMs);
    expect(code).to.equal(1);
  });

  it("ends with its kubelet's own word when that is well, and goes on while the pod terminates", async () => {
    const pod = await createPod();
    const child = stage.spawnKubectl(['exec', pod, '--', 'sh', '-c', 'trap "" TERM; echo ready; sleep 60']);
    const result = collect(child);
    await firstOutput(child);
    const { code: deleted } = await stage.kubectl(['delete', 'pod', pod]);
    expect(deleted).to.equal(0);
    const { code, stderr } = await result;
    expect([code, stderr]).to.deep.equal([137, 'command terminated with exit code 137\n']);
  });

  it('is left alone in a pod of the same name that came after', async () => {
    const pod = await createPod();
    const old = stage.spawnKubectl(['exec', pod, '--', 'sh', '-c', 'echo ready; sleep 60']);
    const oldResult = collect(old);
    await firstOutput(old);
    await loseWithNode(pod);
    stage.sandbox.kubelets.get('node1')?.stall(false);
    await createPod(pod);
    const child = stage.spawnKubectl(['exec', '-i', pod, '--', 'sh', '-c', 'echo ready; cat; exit 6']);
    const result = collect(child);
    await firstOutput(child);
    expect((await oldResult).code).to.not.equal(0);
    child.stdin.end('still here\n');
    const { code, stdout } = await result;
    expect([code, stdout.toString()]).to.deep.equal([6, 'ready\nstill here\n']);
  });

  it('goes on through an outage of kube-apiserver, and ends when its pod is found gone after it', async () => {
    const pod = await createPod();
    const child = stage.spawnKubectl(['exec', '-i', pod, '--', 'sh', '-c', 'echo ready; cat']);
    const result = collect(child);
    await firstOutput(child);
    const watches = (events: readonly { requestURI: string }[]): number =>
      events.filter(({ requestURI }) => requestURI.includes(`metadata.name%3D${pod}&timeoutSeconds`)).length;
    // The watch begins a second after the session, and again after the outage.
    while (watches(await stage.audit()) === 0) await turn();
    await stage.sandbox.apiserver.kill();
    child.stdin.write('alone\n');
    expect(await firstOutput(child)).to.equal('alone\n');
    await stage.sandbox.apiserver.restart();
    await loseWithNode(pod);
    const { code, stderr } = await result;
    expect(code).to.equal(1);
    expect(stderr).to.contain(`the pod default/${pod} was deleted`);
  });

  // The last here, since the right is not given back.
  it('runs as ever when kexer may not watch pods', async () => {
    const rules = [{ op: 'replace', path: '/rules/0/verbs', value: ['get'] }];
    const patch = ['patch', 'clusterrole', 'kexer', '--type=json', '-p', JSON.stringify(rules)];
    expect((await stage.kubectl(patch, { context: 'cluster' })).code).to.equal(0);
    const child = stage.spawnKubectl(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo ready; cat; exit 8']);
    const result = collect(child);
    await firstOutput(child);
    const refusals = async (): Promise<number> =>
      (await stage.audit()).filter(
        ({ stage: at, requestURI, responseStatus }) =>
          at === 'ResponseComplete' && requestURI.includes('metadata.name%3Ddemo') && responseStatus?.code === 403,
      ).length;
    while ((await refusals()) === 0) await turn();
    child.stdin.end('still here\n');
    const { code, stdout } = await result;
    expect([code, stdout.toString(), await refusals()]).to.deep.equal([8, 'ready\nstill here\n', 1]);
  });
});

describe('a dump while kube-apiserver is away', function () {
  this.timeout(120_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(() => stage?.stop());

  for (const { name, isWebSocket } of transports) {
    it(`comes whole: ${name}`, async () => {
      const child = stage.spawnKubectl(['exec', 'db', '--', 'dump'], { isWebSocket });
      const exit = once(child, 'close');
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const hash = createHash('sha256');
      // The checksum is the last line; everything before it is summed. A line is held back until something follows.
      let tail = Buffer.alloc(0);
      let isAway = false;
      for await (const chunk of child.stdout) {
        if (!isAway) {
          isAway = true;
          await stage.sandbox.apiserver.kill();
        }
        const bytes = Buffer.concat([tail, chunk as Buffer]);
        const keep = Math.min(bytes.length, 200);
        hash.update(bytes.subarray(0, bytes.length - keep));
        tail = bytes.subarray(bytes.length - keep);
      }
      const [code] = (await exit) as [number];
      const cut = tail.lastIndexOf('\n', tail.length - 2) + 1;
      hash.update(tail.subarray(0, cut));
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(tail.subarray(cut).toString()).to.contain(hash.digest('hex'));
      await stage.sandbox.apiserver.restart();
    });
  }
});

describe('an ordered end', function () {
  this.timeout(60_000);
  let stage: Stage;
  let kexer: KexerProcess;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(() => stage?.stop());

  afterEach(() => kexer?.child.kill('SIGKILL'));

  const inner = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

  function serve(...flags: string[]): Promise<KexerProcess> {
    return KexerProcess.start(stage.sandbox, flags);
  }

  interface Answer {
    readonly status: number;
    readonly retryAfter: string | undefined;
    readonly connection: string | undefined;
    readonly body: string;
  }

  function ask(path: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        {
          host: '127.0.0.1',
          port: kexer.port,
          path,
          rejectUnauthorized: false,
          agent: false,
          headers: { authorization: `Bearer ${stage.sandbox.tokens.alice}` },
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (text: string) => (body += text));
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              retryAfter: response.headers['retry-after'],
              connection: response.headers.connection,
              body,
            }),
          );
        },
      );
      request.on('error', reject);
      request.end();
    });
  }

  async function startSession(
    isWebSocket = true,
  ): Promise<{ child: ChildProcessWithoutNullStreams; result: Promise<KubectlResult> }> {
    const child = stage.spawnKubectl(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo ready; cat; exit 5'], {
      isWebSocket,
    });
    const result = collect(child);
    await firstOutput(child);
    return { child, result };
  }

  it('is not ready at once and serves on, then refuses with 503 and Retry-After, and waits for what runs', async () => {
    kexer = await serve('--shutdown-delay-duration', '3s', '--shutdown-grace-period', '1m');
    const early = await startSession();
    kexer.child.kill('SIGTERM');
    await kexer.untilLogged('stopping');
    const ready = await ask('/readyz');
    expect(ready.status).to.equal(500);
    expect(ready.body).to.contain('[-]shutdown failed: reason withheld');
    const live = await ask('/livez');
    expect([live.status, live.body]).to.deep.equal([200, 'ok']);
    const late = await startSession();
    const served = await ask(`${inner}/api/v1/namespaces/default/pods/demo`);
    expect(served.status).to.equal(200);

    await kexer.untilLogged('refusing new calls');
    const refused = await ask(`${inner}/api/v1/namespaces/default/pods/demo`);
    expect({ ...refused, body: JSON.parse(refused.body) as unknown }).to.deep.equal({
      status: 503,
      retryAfter: '1',
      connection: 'close',
      body: {
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'kexer is shutting down',
        reason: 'ServiceUnavailable',
        details: { retryAfterSeconds: 1 },
        code: 503,
      },
    });
    expect((await ask('/livez')).status).to.equal(200);
    const refusedExec = await stage.kubectl(['exec', 'demo', '--', 'true']);
    expect(refusedExec.code).to.equal(1);
    expect(refusedExec.stderr).to.contain('kexer is shutting down');

    for (const { child, result } of [early, late]) {
      child.stdin.end('to the end\n');
      const { code, stdout } = await result;
      expect([code, stdout.toString()]).to.deep.equal([5, 'ready\nto the end\n']);
    }
    expect(await kexer.exit()).to.equal(0);
  });

  it('says GOAWAY on HTTP/2, after the answer to what came', async () => {
    kexer = await serve('--shutdown-grace-period', '1m');
    const { child, result } = await startSession();
    kexer.child.kill('SIGTERM');
    await kexer.untilLogged('refusing new calls');
    const session = connectHttp2(`https://127.0.0.1:${kexer.port}`, { rejectUnauthorized: false });
    const goaway = once(session, 'goaway');
    const stream = session.request({ ':path': `${inner}/api/v1/pods` });
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    stream.resume();
    expect([headers[':status'], headers['retry-after']]).to.deep.equal([503, '1']);
    const [code] = (await goaway) as [number];
    expect(code).to.equal(0);
    await once(session, 'close');
    child.stdin.end();
    await result;
    expect(await kexer.exit()).to.equal(0);
  });

  for (const { name, isWebSocket } of transports) {
    it(`ends what runs when the grace period is over, with the reason: ${name}`, async () => {
      kexer = await serve('--shutdown-grace-period', '1500ms');
      const { result } = await startSession(isWebSocket);
      kexer.child.kill('SIGTERM');
      const { code, stdout, stderr } = await result;
      expect([code, stdout.toString()]).to.deep.equal([1, 'ready\n']);
      expect(stderr).to.contain('kexer is shutting down and its grace period of 1.5s is over');
      expect(await kexer.exit()).to.equal(0);
    });

    it(`ends at once on a second signal, with the reason: ${name}`, async () => {
      kexer = await serve('--shutdown-delay-duration', '1h');
      const { result } = await startSession(isWebSocket);
      kexer.child.kill('SIGTERM');
      await kexer.untilLogged('stopping');
      kexer.child.kill('SIGTERM');
      const { code, stderr } = await result;
      expect(code).to.equal(1);
      expect(stderr).to.contain('kexer is shutting down at once');
      expect(await kexer.exit()).to.equal(0);
    });
  }

  it('ends watches and logs so that nobody takes them for whole', async () => {
    kexer = await serve('--shutdown-grace-period', '1s');
    const log = stage.spawnKubectl(['logs', '-f', 'ticker']);
    const logResult = collect(log);
    await firstOutput(log);
    const watch = stage.spawnKubectl(['get', 'pods', '-w']);
    const watchResult = collect(watch);
    await firstOutput(watch);
    kexer.child.kill('SIGTERM');
    expect((await logResult).code).to.equal(1);
    await watchResult;
    expect(await kexer.exit()).to.equal(0);
  });

  it('with nothing under way is quick', async () => {
    kexer = await serve();
    expect(await kexer.stop()).to.equal(0);
    expect(kexer.log.map(({ msg }) => msg)).to.include.members(['stopping', 'refusing new calls', 'stopped']);
    expect(kexer.complaints).to.deep.equal([]);
  });
});
