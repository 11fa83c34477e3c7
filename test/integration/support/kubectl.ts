// Real kubectl as a child process. Where there is none a suite is skipped with one line, unless KEXER_REQUIRE_KUBECTL=1 or CI=true says that
// there has to be one.

import { spawn, spawnSync } from 'node:child_process';

export interface KubectlRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Skips the suite, or fails it, if the machine has no kubectl. Call it in `before`. */
export function requireKubectl(context: Mocha.Context): void {
  const version = spawnSync('kubectl', ['version', '--client']);
  if (version.status === 0) return;
  const isRequired = process.env['KEXER_REQUIRE_KUBECTL'] === '1' || process.env['CI'] === 'true';
  if (isRequired) throw new Error('Cannot run this suite: there is no kubectl on PATH');
  console.log(`  skipped: no kubectl on PATH (${context.currentTest?.parent?.title ?? 'suite'})`);
  context.skip();
}

export interface KubectlOptions {
  readonly kubeconfig: string;
  readonly context: string;
  /** Where kubectl keeps its discovery cache. */
  readonly home: string;
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each piece of standard output; kills kubectl when it returns true. */
  readonly isEnough?: (stdout: string) => boolean;
}

export async function kubectl(args: readonly string[], options: KubectlOptions): Promise<KubectlRun> {
  const child = spawn('kubectl', ['--context', options.context, ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: options.home,
      KUBECONFIG: options.kubeconfig,
      ...options.env,
    },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (options.isEnough?.(stdout) === true) child.kill('SIGKILL');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => {}); // a command that does not read its stdin is no failure
  child.stdin.end(options.stdin ?? '');
  const code = await new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  return { code, stdout, stderr };
}
