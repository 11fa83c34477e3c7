// The end of a command as its error stream or channel tells it: metav1.Status JSON since v4, plain text before. Success is only what
// says so: an empty, cut or foreign text is an error here, never success.

import { Buffer } from 'node:buffer';
import { KexerError } from '../base/errors.ts';
import { goJson } from '../base/go-json.ts';
import { quote } from '../base/quote.ts';

export type CommandEnd =
  | { readonly kind: 'success' }
  /** The command ran and exited with `exitCode` (1 to 255). */
  | { readonly kind: 'exit'; readonly exitCode: number; readonly message: string }
  | { readonly kind: 'failure'; readonly message: string; readonly reason: string; readonly code: number };

/** Reads a v4 status; white space around it is allowed. @throws KexerError protocol if it is none (empty included) */
export function parseCommandEnd(bytes: Buffer): CommandEnd {
  const status = parseObject(bytes);
  if (status['status'] === 'Success') return { kind: 'success' };
  const message = textOf(status['message']);
  const reason = textOf(status['reason']);
  if (status['status'] !== 'Failure') throw noStatus(bytes);
  if (reason !== 'NonZeroExitCode') {
    const { code } = status;
    return { kind: 'failure', message, reason, code: typeof code === 'number' ? code : 0 };
  }
  return { kind: 'exit', exitCode: exitCodeOf(status, bytes), message };
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch (error) {
    throw noStatus(bytes, error);
  }
  if (!isObject(value)) throw noStatus(bytes);
  return value;
}

/** The first cause of type ExitCode; client-go reads it as an unsigned 8-bit number. A failure whose code is 0 contradicts itself. */
function exitCodeOf(status: Record<string, unknown>, bytes: Buffer): number {
  const { details } = status;
  const causes: unknown = isObject(details) ? details['causes'] : undefined;
  const list: readonly unknown[] = Array.isArray(causes) ? causes : [];
  const cause = list.filter(isObject).find((item) => item['reason'] === 'ExitCode');
  const text = textOf(cause?.['message']);
  if (!/^[0-9]{1,3}$/.test(text) || Number(text) > 255 || Number(text) === 0) throw noStatus(bytes);
  return Number(text);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function noStatus(bytes: Buffer, cause?: unknown): KexerError {
  const seen = quote(bytes.toString('utf8', 0, 400), 200);
  const message = `Cannot read the status of a command: it is ${seen}`;
  return new KexerError('protocol', message, cause === undefined ? undefined : { cause });
}

/**
 * The two spellings of one status: a CRI server's, and that of kube-apiserver's translator. The translator's has an empty
 * `metadata`; containerd 2's has it as well (recorded), so `runtime` stands for older ones.
 */
export type StatusSpelling = 'runtime' | 'translator';

export function successStatus(spelling: StatusSpelling): Buffer {
  return encode(spelling, { status: 'Success' });
}

/** `detail` ends the message; default `command terminated with exit code N`, the translator's. */
export function exitCodeStatus(
  spelling: StatusSpelling,
  exitCode: number,
  detail = `command terminated with exit code ${exitCode}`,
): Buffer {
  return encode(spelling, {
    status: 'Failure',
    message: `command terminated with non-zero exit code: ${detail}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
  });
}

/** A failure that is not an exit code: `Internal error occurred: TEXT`. Only the translator repeats the text as a cause. */
export function failureStatus(spelling: StatusSpelling, text: string): Buffer {
  return encode(spelling, {
    status: 'Failure',
    message: `Internal error occurred: ${text}`,
    reason: 'InternalError',
    ...(spelling === 'translator' ? { details: { causes: [{ message: text }] } } : {}),
    code: 500,
  });
}

function encode(spelling: StatusSpelling, status: object): Buffer {
  return Buffer.from(goJson(spelling === 'translator' ? { metadata: {}, ...status } : status));
}

/** What v1 to v3 put on the error stream: nothing on success, else the message, which is therefore never empty. */
export function commandEndText(end: CommandEnd): string {
  if (end.kind === 'success') return '';
  if (end.message !== '') return end.message;
  if (end.kind === 'exit') return `command terminated with exit code ${end.exitCode}`;
  return end.reason === '' ? 'the command failed' : `the command failed: ${end.reason}`;
}
