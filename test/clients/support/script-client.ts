// Libraries, each driven by a script that is called as a small kubectl: `exec [-i] POD -- COMMAND…`, `terminal POD -- COMMAND…`,
// `attach POD`, `port-forward POD PORT`. They are child processes, so that a library's habits and its memory stay its own.

import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

import { collect, type Stage } from '../../integration/support/stage.ts';
import {
  type Client,
  clientEnvironment,
  type ExecInput,
  killAfter,
  type Outcome,
  startChild,
  type StdinEnd,
} from './client.ts';

const folder = join(import.meta.dirname, '..');

class ScriptClient implements Client {
  readonly name: string;
  readonly stdinEnd: StdinEnd;
  readonly #script: readonly string[];
  readonly #missing: () => string | undefined;

  constructor(options: {
    name: string;
    script: readonly string[];
    stdinEnd: StdinEnd;
    missing: () => string | undefined;
  }) {
    this.name = options.name;
    this.stdinEnd = options.stdinEnd;
    this.#script = options.script;
    this.#missing = options.missing;
  }

  missing(): string | undefined {
    return this.#missing();
  }

  exec(stage: Stage, { pod, command, stdin }: ExecInput): Promise<Outcome> {
    const flags = stdin === undefined ? [] : ['-i'];
    return this.#run(stage, ['exec', ...flags, pod, '--', ...command], stdin);
  }

  terminal(stage: Stage, { pod, command }: ExecInput): Promise<Outcome> {
    return this.#run(stage, ['terminal', pod, '--', ...command]);
  }

  async attach(stage: Stage, { pod, line }: { pod: string; line: string }): Promise<void> {
    const child = startChild([...this.#script, 'attach', pod], clientEnvironment(stage));
    child.stdin.write(`${line}\n`);
    await killAfter(child, line);
  }

  async forward(stage: Stage, { pod, port, bytes }: { pod: string; port: number; bytes: Buffer }): Promise<Buffer> {
    const { code, stdout, stderr } = await this.#run(stage, ['port-forward', pod, String(port)], bytes);
    if (code !== 0) throw new Error(`port-forward ended with ${code}: ${stderr}`);
    return stdout;
  }

  #run(stage: Stage, args: readonly string[], stdin?: Buffer): Promise<Outcome> {
    const child = startChild([...this.#script, ...args], clientEnvironment(stage));
    child.stdin.end(stdin);
    return collect(child);
  }
}

const python = process.env['KEXER_TEST_PYTHON'] ?? '/usr/bin/python3';

function missingPython(): string | undefined {
  try {
    accessSync(python, constants.X_OK);
    accessSync('/usr/lib/python3/dist-packages/kubernetes', constants.R_OK);
    return undefined;
  } catch {
    return 'apt-get install python3-kubernetes, KEXER_TEST_PYTHON=/usr/bin/python3';
  }
}

export const scriptClients: readonly Client[] = [
  new ScriptClient({
    name: '@kubernetes/client-node 2.0',
    script: [process.execPath, join(folder, 'node-client.ts')],
    stdinEnd: 'half-close',
    missing: () => undefined,
  }),
  new ScriptClient({
    name: 'Python kubernetes 22.6 of Debian',
    script: [python, join(folder, 'python-client.py')],
    stdinEnd: 'none',
    missing: missingPython,
  }),
];
