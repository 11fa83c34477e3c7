// `kexer sandbox`: a small cluster with kexer in front of it, in one process, for a first look and for tests. The kexer in it is composed as
// `kexer serve` composes it, from the config file the sandbox wrote. With a command after `--` it lives as long as that command.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';

import { systemClock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { Scope } from '../base/scope.ts';
import { loadConfig } from '../config/load.ts';
import { nearestName } from '../config/nearest.ts';
import { createLogger } from '../observe/logger.ts';
import { startSandbox, type Sandbox } from '../sandbox/sandbox.ts';

import type { CommandIo } from './command.ts';
import { composeServer } from './compose.ts';
import { runHelp } from './help.ts';
import { kexerVersion } from './version.ts';

interface SandboxWords {
  readonly dir: string | undefined;
  readonly securePort: string;
  /** What follows `--`; empty: none. */
  readonly command: readonly string[];
}

export async function runSandbox(argv: readonly string[], io: CommandIo): Promise<number> {
  const words = parseWords(argv);
  if (words === 'help') return runHelp([], io);
  const scope = new Scope();
  let order: (signal: string) => void = () => {};
  const stopOrder = new Promise<string>((resolve) => {
    order = resolve;
  });
  // From the start: a Ctrl-C while it starts must leave nothing either.
  const forget = io.onStopSignal((signal) => order(signal));
  try {
    const starting = start(words, scope, io);
    const started = await Promise.race([starting, stopOrder]);
    if (typeof started === 'string') {
      await scope.close();
      await starting.catch(() => {
        // What was still to be opened found its owner gone.
      });
      return 130;
    }
    if (words.command.length > 0) return await runCommand(words.command, started.sandbox, io);
    io.print(greeting(started.sandbox, started.port));
    await stopOrder;
    io.print('\nStopping the sandbox.');
    return 0;
  } finally {
    await scope.close();
    forget();
  }
}

/** Nobody has to move on before a sandbox may end, and only what goes wrong is worth a line. */
const fixedFlags = ['--shutdown-delay-duration', '0s', '--shutdown-grace-period', '0s', '--log-level', 'warn'];

async function start(words: SandboxWords, scope: Scope, io: CommandIo): Promise<{ sandbox: Sandbox; port: number }> {
  const sandbox = await startSandbox(words.dir === undefined ? {} : { dir: words.dir });
  scope.add(() => sandbox.stop());
  const auditFlags = ['--audit-log-path', join(sandbox.dir, 'kexer-audit.log')];
  const config = await loadConfig({
    argv: [...fixedFlags, '--config', sandbox.files.kexerConfig, '--secure-port', words.securePort, ...auditFlags],
    environment: {},
  });
  const log = createLogger({ level: config.log.level });
  const deps = { clock: systemClock, log, scope, environment: io.environment, version: kexerVersion() };
  const { port, whenReady } = await composeServer(deps, config);
  await whenReady(scope.signal);
  await sandbox.registerKexer({ port });
  await sandbox.ready();
  return { sandbox, port };
}

function parseWords(argv: readonly string[]): SandboxWords | 'help' {
  const dashes = argv.indexOf('--');
  const own = dashes === -1 ? argv : argv.slice(0, dashes);
  const command = dashes === -1 ? [] : argv.slice(dashes + 1);
  const values = new Map<string, string>();
  for (let index = 0; index < own.length; index += 1) {
    const word = own[index] ?? '';
    if (word === '--help' || word === '-h') return 'help';
    const [flag = '', ...rest] = word.split('=');
    if (flag !== '--dir' && flag !== '--secure-port') {
      const nearest = nearestName(flag, ['--dir', '--secure-port']);
      const hint = nearest === undefined ? 'want --dir DIR, --secure-port N or -- COMMAND' : `did you mean ${nearest}?`;
      throw new KexerError('config', `Cannot use ${quote(word)}: ${hint}`);
    }
    if (rest.length === 0) index += 1;
    const value = rest.length === 0 ? own[index] : rest.join('=');
    if (value === undefined || value === '') {
      throw new KexerError('config', `Cannot use the flag ${flag}: it has no value, want ${flag} VALUE`);
    }
    values.set(flag, value);
  }
  if (dashes !== -1 && command.length === 0) {
    throw new KexerError('config', 'Cannot run a command: nothing follows --, want -- COMMAND ARGUMENTS');
  }
  return { dir: values.get('--dir'), securePort: values.get('--secure-port') ?? '0', command };
}

/** The command's exit code as a shell gives it: 128 and more for a signal, 126 and 127 if it cannot be run. */
function runCommand(command: readonly string[], sandbox: Sandbox, io: CommandIo): Promise<number> {
  const [file = '', ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: 'inherit',
      env: { ...io.environment, KUBECONFIG: sandbox.files.kubeconfig },
    });
    // Ctrl-C reaches the command by itself, being of the same process group; a SIGTERM is for this process alone and passed on.
    const forget = io.onStopSignal((signal) => {
      if (signal === 'SIGTERM') child.kill(signal);
    });
    const end = (code: number): void => {
      forget();
      resolve(code);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'ENOENT' ? 'there is no such command' : error.message;
      io.complain(`kexer: Cannot run ${quote(file)}: ${why}`);
      end(error.code === 'ENOENT' ? 127 : 126);
    });
    child.once('exit', (code, signal) => end(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function greeting(sandbox: Sandbox, port: number): string {
  const tries: readonly (readonly [command: string, what: string])[] = [
    ['kubectl get pods -o wide', 'an ordinary call, passed on as you'],
    ['kubectl exec -it demo -- sh', 'a shell, straight to the kubelet'],
    ['kubectl logs -f ticker', 'a log line a second'],
    ['kubectl exec db -- dump | tail -n 1', 'a 64 MiB "database dump", its checksum last'],
    ['kubectl --context kexer-viewer exec demo -- id', 'refused, in the words of kube-apiserver'],
  ];
  const width = Math.max(...tries.map(([command]) => command.length));
  return [
    `The sandbox runs: a small cluster on this machine, with kexer on https://127.0.0.1:${port} in front of it.`,
    'It is no real cluster: its pods are processes of yours, and it can be reached from this machine alone.',
    '',
    `  export KUBECONFIG=${sandbox.files.kubeconfig}`,
    '',
    'Five things to try:',
    '',
    ...tries.map(([command, what]) => `  ${command.padEnd(width)}   # ${what}`),
    '',
    'Contexts: kexer (you are admin), kexer-aggregated (through the cluster itself), cluster (without kexer),',
    'and kexer-alice, kexer-viewer with fewer rights. Ctrl-C ends everything.',
  ].join('\n');
}
