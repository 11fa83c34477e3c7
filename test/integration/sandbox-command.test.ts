// `kexer sandbox` as a user types it: what it prints, what it passes on, and that it leaves nothing behind.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';

const mainFile = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Run {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly exit: Promise<number | null>;
  untilPrinted(text: string): Promise<void>;
}

function start(args: readonly string[]): Run {
  const child = spawn(process.execPath, [mainFile, 'sandbox', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  let wake: () => void = () => {};
  let isOver = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    wake();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const exit = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      isOver = true;
      wake();
      resolve(code);
    });
  });
  return {
    child,
    out: () => out,
    err: () => err,
    exit,
    async untilPrinted(text) {
      while (!out.includes(text)) {
        if (isOver) throw new Error(`the sandbox ended: ${err}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

/** Processes that work in the folder or were started with it in their environment. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => {
      try {
        return (
          readlinkSync(`/proc/${pid}/cwd`).startsWith(folder) ||
          readFileSync(`/proc/${pid}/environ`, 'latin1').includes(folder)
        );
      } catch {
        return false; // ended meanwhile, or not ours to look at
      }
    });
}

describe('kexer sandbox', function () {
  this.timeout(60_000);
  before(needsKubectl);

  it('says where its kubeconfig is and what to try, and ends on Ctrl-C without a trace', async () => {
    const run = start([]);
    await run.untilPrinted('Ctrl-C ends everything.');
    const kubeconfig = /export KUBECONFIG=(\S+)/.exec(run.out())?.[1] ?? '';
    const folder = dirname(kubeconfig);
    expect(existsSync(kubeconfig)).to.equal(true);
    expect(run.out().match(/^ {2}kubectl .+ {3}# /gm)).to.have.length(5);
    expect(processesOf(folder)).to.not.deep.equal([]);
    run.child.kill('SIGINT');
    expect(await run.exit).to.equal(0);
    expect(existsSync(folder)).to.equal(false);
    expect(processesOf(folder)).to.deep.equal([]);
    expect(run.err()).to.equal('');
  });

  it('runs each of the five things it says', async () => {
    const run = start([
      '--',
      'sh',
      '-c',
      [
        'kubectl get pods -o wide',
        'kubectl exec -i demo -- sh -c "echo shell"',
        'kubectl logs ticker --tail=1',
        'kubectl exec db -- dump | tail -n 1',
        'kubectl --context kexer-viewer exec demo -- id 2>&1',
      ].join(' && '),
    ]);
    expect(await run.exit).to.equal(1);
    expect(run.out()).to.match(/^NAME +READY/);
    expect(run.out())
      .to.match(/^shell$/m)
      .and.match(/^tick \d+$/m);
    expect(run.out()).to.match(/\b[0-9a-f]{32,}\b/);
    expect(run.out()).to.contain('Error from server (Forbidden): pods "demo" is forbidden: User "viewer" cannot');
    expect(run.err()).to.equal('');
  });

  const codes: readonly (readonly [command: string[], code: number, err: RegExp])[] = [
    [['sh', '-c', 'exit 7'], 7, /^$/],
    [['sh', '-c', 'kill -KILL $$'], 137, /^$/],
    [['/nonexistent'], 127, /^kexer: Cannot run "\/nonexistent": there is no such command\n$/],
  ];
  for (const [command, code, err] of codes) {
    it(`passes on how ${command.join(' ')} ended: ${code}`, async () => {
      const run = start(['--', ...command]);
      expect(await run.exit).to.equal(code);
      expect(run.err()).to.match(err);
      expect(run.out()).to.equal('');
    });
  }

  it('ends while it starts', async () => {
    const run = start([]);
    // Half a second into the start: late enough to have opened something, too early to have printed anything.
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (processStarted(run.child.pid ?? 0)) {
          clearInterval(timer);
          resolve();
        }
      }, 20);
    });
    run.child.kill('SIGINT');
    expect([0, 130, null]).to.include(await run.exit);
    expect(run.err()).to.equal('');
  });
});

/** The process listens on something: its apiserver is up. */
function processStarted(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
      } catch {
        return false; // closed meanwhile
      }
    });
  } catch {
    return false; // not there yet
  }
}
