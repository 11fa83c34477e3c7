// The log: JSON lines by pino. Lines themselves are named functions in log-lines.ts; nothing else decides what a line says. A last guard
// here: whatever looks like a credential is cut out of error texts, because errors of libraries may quote requests.

import { pino, type Logger as PinoLogger } from 'pino';
import type { Writable } from 'node:stream';

import { systemClock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';

import { LineFile } from './line-file.ts';
import { LogOutput } from './log-output.ts';
import { textLine } from './log-text.ts';

export type Logger = PinoLogger;

export interface LoggerOptions {
  readonly level: string;
  /** Default json; text is for people. */
  readonly format?: 'json' | 'text';
  /** Default: standard error, by a {@link LogOutput} that is flushed when the process exits. */
  readonly destination?: Writable;
}

export function createLogger(options: LoggerOptions): Logger {
  const settings = {
    level: options.level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: errorText },
  };
  const isText = options.format === 'text';
  if (options.destination !== undefined) {
    const { destination } = options;
    return isText
      ? pino(settings, { write: (line) => void destination.write(textLine(line)) })
      : pino(settings, destination);
  }
  const file = new LineFile({ fd: 2 });
  const output = new LogOutput({
    clock: systemClock,
    sink: isText ? { write: (line) => file.write(textLine(line)), flushSync: () => file.flushSync() } : file,
  });
  if (options.level !== 'silent') process.once('exit', () => output.flush());
  return pino(settings, output);
}

/** An error as one line: its text and its causes', never a stack with values, never a credential. */
export function errorText(error: unknown): string {
  return redact(describeError(error));
}

/** Bearer tokens, however they got into a text. A JWT is recognised by its first bytes: `{"` in base64url. */
export function redact(text: string): string {
  return text
    .replaceAll(/\b(bearer)\s+\S+/gi, '$1 [redacted]')
    .replaceAll(/\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?/g, '[redacted]')
    .replaceAll(
      /base64url\.bearer\.authorization\.k8s\.io\.[\w-]+/g,
      'base64url.bearer.authorization.k8s.io.[redacted]',
    );
}
