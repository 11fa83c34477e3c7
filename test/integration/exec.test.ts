import { createHash, randomBytes } from 'node:crypto';

import { spawn as spawnTerminal } from '@lydell/node-pty';
import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { collect, Stage, until } from './support/stage.ts';

const mebibyte = 1024 * 1024;

const paths = [
  { what: 'WebSocket to node1', pod: 'demo', isWebSocket: true },
  { what: 'WebSocket to node2', pod: 'db', isWebSocket: true },
  { what: 'SPDY to node1', pod: 'demo', isWebSocket: false },
  { what: 'SPDY to node2', pod: 'db', isWebSocket: false },
] as const;

describe('kubectl exec', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(async () => {
    // Nothing of this suite may have gone through the stream endpoints of the apiserver itself.
    expect(await stage.connections()).to.deep.equal([]);
    expect(stage.sandbox.apiserver.openStreams).to.equal(0);
    await stage.stop();
  });

  for (const { what, pod, isWebSocket } of paths) {
    describe(what, () => {
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

      it('gives exit code 0 to a command that succeeds', async () => {
        const { code, stdout, stderr } = await stage.kubectl(['exec', pod, '--', 'true'], { isWebSocket });
        expect([code, stdout.toString(), stderr]).to.deep.equal([0, '', '']);
      });

      it('says what the runtime says of a command that does not exist', async () => {
        const { code, stderr } = await stage.kubectl(['exec', pod, '--', 'nosuchcommand'], { isWebSocket });
        expect(code).to.equal(1);
        expect(stderr).to.contain('nosuchcommand').and.to.contain('Internal error occurred');
      });

      it('carries 10 MiB of stdin to its end, and output after it', async () => {
        const stdin = randomBytes(10 * mebibyte);
        const { code, stdout } = await stage.kubectl(['exec', '-i', pod, '--', 'sh', '-c', 'sha256sum; echo after'], {
          isWebSocket,
          stdin,
        });
        const sum = createHash('sha256').update(stdin).digest('hex');
        expect([code, stdout.toString()]).to.deep.equal([0, `${sum}  -\nafter\n`]);
      });

      it('carries a terminal, its size and its exit code', async () => {
        // The size travels on a stream of its own and may come after the command has started.
        const script = 'until [ "$(stty size)" = "30 100" ]; do :; done; tty > /dev/null && echo is a tty; exit 5';
        const output = await inTerminal(['exec', '-it', pod, '--', 'sh', '-c', script], isWebSocket);
        expect(output).to.deep.equal({ code: 5, text: 'is a tty\r\ncommand terminated with exit code 5\r\n' });
      });
    });
  }

  for (const isWebSocket of [true, false]) {
    it(`carries a dump of 64 MiB whole by ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
      const { code, stdout } = await stage.kubectl(['exec', 'db', '--', 'dump'], { isWebSocket });
      const at = stdout.lastIndexOf('-- sha256: ');
      const sum = createHash('sha256').update(stdout.subarray(0, at)).digest('hex');
      expect([code, at, stdout.subarray(at).toString()]).to.deep.equal([0, 64 * mebibyte, `-- sha256: ${sum}\n`]);
    });
  }

  for (const context of ['kexer-aggregated', 'kexer-alice', 'kexer-aggregated-alice'] as const) {
    for (const isWebSocket of [true, false]) {
      it(`works through ${context} by ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
        const stdin = randomBytes(mebibyte);
        const args = ['exec', '-i', 'demo', '--', 'sh', '-c', 'sha256sum; exit 9'];
        const { code, stdout, stderr } = await stage.kubectl(args, { context, isWebSocket, stdin });
        const sum = createHash('sha256').update(stdin).digest('hex');
        expect([code, stdout.toString(), stderr]).to.deep.equal([
          9,
          `${sum}  -\n`,
          'command terminated with exit code 9\n',
        ]);
      });
    }
  }

  it('follows a change of the size of the terminal', async () => {
    const terminal = startTerminal(['exec', '-it', 'demo', '--', 'sh'], true);
    let text = '';
    const ended = new Promise<void>((resolve) => {
      terminal.onExit(() => resolve());
    });
    let isResized = false;
    terminal.onData((data) => {
      text += data;
      if (!isResized) {
        isResized = true;
        terminal.resize(77, 22);
        // The size travels on a stream of its own: the shell asks until it has come.
        terminal.write('until [ "$(stty size)" = "22 77" ]; do :; done; echo size is $((70+7)); exit\r');
      }
    });
    await ended;
    expect(text).to.contain('size is 77');
  });

  it('ends the command and the leg of the kubelet when kubectl is killed', async () => {
    const child = stage.spawnKubectl(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo started; cat']);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    const connections = (): number => stage.sandbox.kubelets.get('node1')?.connectionCount ?? 0;
    const during = connections();
    expect(during).to.be.greaterThan(0);
    child.kill('SIGKILL');
    await collect(child);
    await until(() => connections() < during);
  });

  it('gives the same refusals as the cluster itself', async () => {
    for (const args of [
      ['exec', 'nope', '--', 'true'],
      ['exec', 'multi', '-c', 'nope', '--', 'true'],
      ['exec', 'demo', '-c', 'shell', '-n', 'elsewhere', '--', 'true'],
    ]) {
      for (const [ours, theirs] of [
        ['kexer', 'cluster'],
        ['kexer-alice', 'cluster-alice'],
        ['kexer-viewer', 'cluster-viewer'],
      ] as const) {
        const [mine, its] = await Promise.all([
          stage.kubectl(args, { context: ours }),
          stage.kubectl(args, { context: theirs }),
        ]);
        expect([mine.code, mine.stderr]).to.deep.equal([its.code, its.stderr]);
      }
    }
    const refused = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-viewer' });
    expect(refused.stderr).to.equal(
      'Error from server (Forbidden): pods "demo" is forbidden: User "viewer" cannot create resource "pods/exec" in API group "" in the namespace "default"\n',
    );
  });

  it('stands in the audit log of the cluster as a 400 that carries the mark of kexer', async () => {
    await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-alice' });
    const events = (await stage.audit()).filter(
      ({ objectRef, stage: at }) =>
        objectRef?.resource === 'pods' && objectRef.subresource === 'exec' && at === 'ResponseComplete',
    );
    const last = events.at(-1);
    expect([last?.user.username, last?.responseStatus?.code]).to.deep.equal(['alice', 400]);
    expect(last?.userAgent).to.match(/^kubectl\/.* kexer\/0\.0\.0-test \(direct \S+\)$/);
    expect(events.map((event) => event.responseStatus?.code)).not.to.include(101);
  });

  function startTerminal(args: string[], isWebSocket: boolean): ReturnType<typeof spawnTerminal> {
    return spawnTerminal('kubectl', ['--context', 'kexer', ...args], {
      cols: 100,
      rows: 30,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: stage.sandbox.dir,
        TERM: 'xterm',
        KUBECONFIG: stage.sandbox.files.kubeconfig,
        KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(isWebSocket),
      },
    });
  }

  function inTerminal(args: string[], isWebSocket: boolean): Promise<{ code: number; text: string }> {
    const terminal = startTerminal(args, isWebSocket);
    let text = '';
    terminal.onData((data) => (text += data));
    return new Promise((resolve) => {
      terminal.onExit(({ exitCode }) => resolve({ code: exitCode, text }));
    });
  }
});
