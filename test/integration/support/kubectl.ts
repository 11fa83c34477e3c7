// Real kubectl as a child process, with a home of its own.

import { spawn } from 'node:child_process';

export interface KubectlRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
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
  return { code, stdout, stderr: withoutOwnRace(stderr) };
}

/**
 * Messages without a line of kubectl's that is about itself: up to 1.32 it reads a WebSocket before it has made its streams, and may then say that it
 * does not know the stream of a server's first message. That one is empty; output that was dropped would be missed where output is compared.
 */
export function withoutOwnRace(stderr: string): string {
  return stderr.replaceAll(/^E\d{4} .* websocket\.go:\d+\] Unknown stream id \d, discarding message\n/gm, '');
}
