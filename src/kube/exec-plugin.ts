// Exec credential plugins (client.authentication.k8s.io): a command that prints an ExecCredential. Run on first use, again when the
// credential expires or was refused; never two at a time, never interactively, output and time bounded. Written here and not taken from
// @kubernetes/client-node, which costs some 90 MB of memory for it.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { isAbsolute, join } from 'node:path';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { Credential } from './credential.ts';
import { isRecord } from './objects.ts';

export interface ExecPluginOptions {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly installHint: string;
  /** `spec.cluster` of KUBERNETES_EXEC_INFO, if provideClusterInfo is set. */
  readonly cluster: Readonly<Record<string, unknown>> | undefined;
  /** A command with a slash is relative to this folder. */
  readonly folder: string;
  /** The environment of the process, to which `env` is added. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What a plugin gave; '' for what it did not. */
interface PluginCredential {
  readonly token: string;
  readonly cert: string;
  readonly key: string;
  /** Wall time; undefined: as long as the process lives, or until it is refused. */
  readonly expiresAtMs: number | undefined;
}

const timeoutMs = 60_000;
const maxOutputBytes = 1024 * 1024;
/** client-go asks for a new credential when the old one has expired; a moment earlier saves a 401. */
const skewMs = 10_000;

export function execCredential(deps: { clock: Clock }, options: ExecPluginOptions): Credential {
  let current: PluginCredential | undefined;
  let running: Promise<PluginCredential> | undefined;
  const get = (): Promise<PluginCredential> => {
    if (current !== undefined && (current.expiresAtMs ?? Infinity) - skewMs > deps.clock.now()) {
      return Promise.resolve(current);
    }
    running ??= runPlugin(deps.clock, options)
      .then((credential) => {
        current = credential;
        return credential;
      })
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  return {
    kind: 'both',
    token: {
      read: async () => (await get()).token,
      invalidate: () => {
        current = undefined;
      },
    },
    certificate: {
      read: async () => {
        const { cert, key } = await get();
        return { cert, key, version: createHash('sha256').update(cert).update(key).digest('base64') };
      },
    },
  };
}

async function runPlugin(clock: Clock, options: ExecPluginOptions): Promise<PluginCredential> {
  const { command, folder } = options;
  const path = command.includes('/') && !isAbsolute(command) ? join(folder, command) : command;
  const info = {
    apiVersion: options.apiVersion,
    kind: 'ExecCredential',
    spec: { ...(options.cluster === undefined ? {} : { cluster: options.cluster }), interactive: false },
  };
  const output = await run(clock, path, options, {
    ...options.environment,
    ...Object.fromEntries(options.env.map(({ name, value }) => [name, value])),
    KUBERNETES_EXEC_INFO: JSON.stringify(info),
  });
  return readCredential(output, options);
}

function run(clock: Clock, path: string, options: ExecPluginOptions, environment: NodeJS.ProcessEnv): Promise<string> {
  const fail = (reason: string, cause?: unknown): KexerError => {
    const hint = options.installHint === '' ? '' : ` (${options.installHint.trim()})`;
    return new KexerError(
      'config',
      `Cannot get a credential from the plugin ${quote(options.command)}: ${reason}${hint}`,
      {
        cause,
      },
    );
  };
  return new Promise((resolve, reject) => {
    const child = spawn(path, options.args, {
      env: environment,
      // Its messages are for people; they stand beside kexer's own log.
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let problem: string | undefined;
    const end = (why: string): void => {
      problem ??= why;
      child.kill('SIGKILL');
      // What it has started may hold the other end for as long as it likes; 'close' is not to wait for that.
      child.stdout.destroy();
    };
    // Not spawn's own: that runs on, and holds the process, where there is no such command.
    const limit = clock.after(timeoutMs, () => end(`it was not done within ${timeoutMs / 1000} s`));
    const chunks: Buffer[] = [];
    let size = 0;
    child.on('error', (error) => {
      limit.cancel();
      reject(fail('it could not be run', error));
    });
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxOutputBytes) end(`it printed more than ${maxOutputBytes} bytes`);
      else chunks.push(chunk);
    });
    child.on('close', (code, signal) => {
      limit.cancel();
      if (problem !== undefined) reject(fail(problem));
      else if (code !== 0) reject(fail(code === null ? `it was ended by ${signal}` : `it exited with code ${code}`));
      else resolve(Buffer.concat(chunks).toString('utf8'));
    });
  });
}

function readCredential(output: string, options: ExecPluginOptions): PluginCredential {
  const fail = (reason: string, cause?: unknown): KexerError =>
    new KexerError('config', `Cannot use what the plugin ${quote(options.command)} printed: ${reason}`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    // The cause would quote the output, and with it a token.
    throw fail('want JSON');
  }
  if (!isRecord(value) || value['kind'] !== 'ExecCredential') throw fail('want an ExecCredential');
  if (value['apiVersion'] !== options.apiVersion) throw fail(`want the apiVersion ${options.apiVersion}`);
  const status = value['status'];
  if (!isRecord(status)) throw fail('it has no status');
  const text = (key: string): string => {
    const field = status[key];
    return typeof field === 'string' ? field : '';
  };
  const [token, cert, key] = [text('token'), text('clientCertificateData'), text('clientKeyData')];
  if ((cert === '') !== (key === '')) throw fail('want both or neither of clientCertificateData and clientKeyData');
  if (token === '' && cert === '') throw fail('it has neither a token nor a certificate');
  const expires = Date.parse(text('expirationTimestamp'));
  return { token, cert, key, expiresAtMs: Number.isNaN(expires) ? undefined : expires };
}
