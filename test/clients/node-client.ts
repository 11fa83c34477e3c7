// A small kubectl made of @kubernetes/client-node: see support/script-client.ts for how it is called. It uses the library as its
// examples do; only what a library leaves to its user is written here.

import { PassThrough } from 'node:stream';

import { Attach, Exec, KubeConfig, PortForward, type V1Status } from '@kubernetes/client-node';

import { firstSize, secondSize } from './support/client.ts';

const namespace = 'default';
const config = new KubeConfig();
config.loadFromDefault();
config.setCurrentContext('kexer');

/** A stream that the library takes for a terminal. */
class Terminal extends PassThrough {
  columns: number = firstSize.columns;
  rows: number = firstSize.rows;

  resize(): void {
    this.columns = secondSize.columns;
    this.rows = secondSize.rows;
    this.emit('resize');
  }
}

function exitCode({ status, details, message }: V1Status): number {
  if (status === 'Success') return 0;
  const cause = details?.causes?.find(({ reason }) => reason === 'ExitCode');
  if (cause === undefined) process.stderr.write(`${message}\n`);
  return Number(cause?.message ?? 1);
}

async function exec(args: readonly string[]): Promise<void> {
  const hasStdin = args[0] === '-i';
  const [pod = '', , ...command] = hasStdin ? args.slice(1) : args;
  await runCommand(pod, command, {
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    stdin: hasStdin ? process.stdin : null,
  });
}

async function runCommand(
  pod: string,
  command: string[],
  streams: { stdout: PassThrough; stderr: PassThrough | null; stdin: NodeJS.ReadStream | null; isTty?: boolean },
): Promise<void> {
  const { stdout, stderr, stdin, isTty = false } = streams;
  stdout.pipe(process.stdout);
  stderr?.pipe(process.stderr);
  process.exitCode = 99; // unless a status comes
  await new Exec(config).exec(namespace, pod, '', command, stdout, stderr, stdin, isTty, (status) => {
    process.exitCode = exitCode(status);
    stdin?.destroy();
  });
}

async function terminal([pod = '', , ...command]: readonly string[]): Promise<void> {
  const stdout = new Terminal();
  let text = '';
  let isResized = false;
  stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (isResized || !text.includes('first')) return;
    isResized = true;
    stdout.resize();
  });
  await runCommand(pod, command, { stdout, stderr: null, stdin: process.stdin, isTty: true });
}

async function attach([pod = '']: readonly string[]): Promise<void> {
  await new Attach(config).attach(namespace, pod, '', process.stdout, process.stderr, process.stdin, false);
}

async function portForward([pod = '', port = '']: readonly string[]): Promise<void> {
  const parts: Buffer[] = [];
  for await (const chunk of process.stdin) parts.push(chunk as Buffer);
  const bytes = Buffer.concat(parts);
  const input = new PassThrough();
  const output = new PassThrough();
  const errors = new PassThrough();
  errors.on('data', (chunk: Buffer) => {
    if (chunk.length > 0) process.stderr.write(chunk);
  });
  let received = 0;
  output.on('data', (chunk: Buffer) => {
    received += chunk.length;
    process.stdout.write(chunk);
    if (received >= bytes.length) input.end(); // the library closes its WebSocket then
  });
  await new PortForward(config).portForward(namespace, pod, [Number(port)], output, errors, input);
  input.write(bytes);
}

const commands: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  exec,
  terminal,
  attach,
  'port-forward': portForward,
};

const [name = '', ...args] = process.argv.slice(2);
await commands[name]?.(args);
