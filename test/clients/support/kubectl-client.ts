// kubectl in its three forms: by WebSocket, by SPDY, and Debian's old one, which knows SPDY only.

import { accessSync, constants } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';

import { spawn as spawnTerminal } from '@lydell/node-pty';

import { collect, type Stage } from '../../integration/support/stage.ts';
import { isOnPath } from '../../support/kubectl.ts';
import {
  type Client,
  clientEnvironment,
  type ExecInput,
  firstSize,
  killAfter,
  type Outcome,
  secondSize,
  startChild,
} from './client.ts';

/** The first kubectl that tries WebSockets unless told not to. */
const firstMinorWithWebSockets = 31;

class KubectlClient implements Client {
  readonly name: string;
  readonly stdinEnd = 'half-close';
  readonly #program: string;
  readonly #isWebSocket: boolean;
  readonly #missing: () => string | undefined;

  constructor(options: { name: string; program: string; isWebSocket: boolean; missing: () => string | undefined }) {
    this.name = options.name;
    this.#program = options.program;
    this.#isWebSocket = options.isWebSocket;
    this.#missing = options.missing;
  }

  missing(): string | undefined {
    return this.#missing();
  }

  exec(stage: Stage, { pod, command, stdin }: ExecInput): Promise<Outcome> {
    const flags = stdin === undefined ? [] : ['-i'];
    const child = startChild(this.#line('exec', ...flags, pod, '--', ...command), this.#environment(stage));
    child.stdin.end(stdin);
    return collect(child);
  }

  async terminal(stage: Stage, { pod, command }: ExecInput): Promise<Outcome> {
    const [program = '', ...args] = this.#line('exec', '-it', pod, '--', ...command);
    const { columns: cols, rows } = firstSize;
    const terminal = spawnTerminal(program, args, { cols, rows, env: this.#environment(stage) });
    let text = '';
    let isResized = false;
    terminal.onData((data) => {
      text += data;
      if (isResized || !text.includes('first')) return;
      isResized = true;
      terminal.resize(secondSize.columns, secondSize.rows);
    });
    const code = await new Promise<number>((resolve) => {
      terminal.onExit(({ exitCode }) => resolve(exitCode));
    });
    return { code, stdout: Buffer.from(text), stderr: '' };
  }

  async attach(stage: Stage, { pod, line }: { pod: string; line: string }): Promise<void> {
    const child = startChild(this.#line('attach', '-i', pod), this.#environment(stage));
    child.stdin.write(`${line}\n`);
    await killAfter(child, line);
  }

  async forward(stage: Stage, { pod, port, bytes }: { pod: string; port: number; bytes: Buffer }): Promise<Buffer> {
    const child = startChild(this.#line('port-forward', pod, `:${port}`), this.#environment(stage));
    const result = collect(child);
    try {
      let text = '';
      const local = await new Promise<number>((resolve, reject) => {
        child.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          const match = /127\.0\.0\.1:(\d+)/.exec(text);
          if (match !== null) resolve(Number(match[1]));
        });
        void result.then(({ stderr }) => reject(new Error(`kubectl ended: ${stderr}`)));
      });
      return await exchange(local, bytes);
    } finally {
      child.kill('SIGKILL');
      await result;
    }
  }

  #line(...args: string[]): string[] {
    return [this.#program, '--context', 'kexer', ...args];
  }

  #environment(stage: Stage): Record<string, string> {
    const isWebSocket = String(this.#isWebSocket);
    return {
      ...clientEnvironment(stage),
      KUBECTL_REMOTE_COMMAND_WEBSOCKETS: isWebSocket,
      KUBECTL_PORT_FORWARD_WEBSOCKETS: isWebSocket,
    };
  }
}

async function exchange(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: '127.0.0.1' });
  const parts: Buffer[] = [];
  socket.on('error', () => {}); // then too little has come, and the test says so
  const closed = once(socket, 'close');
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    parts.push(chunk);
    received += chunk.length;
    if (received >= bytes.length) socket.destroy();
  });
  socket.write(bytes);
  await closed;
  return Buffer.concat(parts);
}

function missingKubectl(): string | undefined {
  return isOnPath('kubectl') ? undefined : 'put kubectl 1.31 or later on the PATH (kubernetes.io/docs/tasks/tools)';
}

/** An older kubectl on the PATH would pass for one with WebSockets: it ignores the switch. */
function missingWebSocketKubectl(): string | undefined {
  const missing = missingKubectl();
  if (missing !== undefined) return missing;
  const version = execFileSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' });
  const minor = Number.parseInt((JSON.parse(version) as { clientVersion: { minor: string } }).clientVersion.minor, 10);
  if (minor >= firstMinorWithWebSockets) return undefined;
  return `the kubectl on the PATH is 1.${minor}; put 1.31 or later there (kubernetes.io/docs/tasks/tools)`;
}

const debianKubectl = process.env['KEXER_TEST_KUBECTL_DEBIAN'] ?? '';

function missingDebianKubectl(): string | undefined {
  try {
    accessSync(debianKubectl, constants.X_OK);
    return undefined;
  } catch {
    return 'apt-get download kubernetes-client, dpkg-deb -x FILE DIR, KEXER_TEST_KUBECTL_DEBIAN=DIR/usr/bin/kubectl';
  }
}

export const kubectlClients: readonly Client[] = [
  new KubectlClient({
    name: 'kubectl 1.32, WebSockets',
    program: 'kubectl',
    isWebSocket: true,
    missing: missingWebSocketKubectl,
  }),
  new KubectlClient({ name: 'kubectl 1.32, SPDY', program: 'kubectl', isWebSocket: false, missing: missingKubectl }),
  new KubectlClient({
    name: 'kubectl 1.20 of Debian, SPDY',
    program: debianKubectl,
    isWebSocket: false,
    missing: missingDebianKubectl,
  }),
];
