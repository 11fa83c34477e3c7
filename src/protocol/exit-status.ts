// The end of a command as its error stream or channel tells it: metav1.Status JSON since v4, plain text before.

import type { Buffer } from 'node:buffer';

export type CommandEnd =
  | { readonly kind: 'success' }
  /** The command ran and exited with `exitCode` (1 to 255). */
  | { readonly kind: 'exit'; readonly exitCode: number; readonly message: string }
  | { readonly kind: 'failure'; readonly message: string; readonly reason: string; readonly code: number };

/** Reads a v4 status; leading and trailing white space is allowed. @throws KexerError protocol if it is none (empty included) */
export function parseCommandEnd(_bytes: Buffer): CommandEnd {
  throw new Error('not written yet');
}

/** The two spellings of one status: a CRI server's, and that of kube-apiserver's translator (which has `metadata`). */
export type StatusSpelling = 'runtime' | 'translator';

export function successStatus(_spelling: StatusSpelling): Buffer {
  throw new Error('not written yet');
}

/** `detail` ends the message; default `command terminated with exit code N`. */
export function exitCodeStatus(_spelling: StatusSpelling, _exitCode: number, _detail?: string): Buffer {
  throw new Error('not written yet');
}

/** A failure that is not an exit code: `Internal error occurred: TEXT`. */
export function failureStatus(_spelling: StatusSpelling, _text: string): Buffer {
  throw new Error('not written yet');
}

/** What v1 to v3 put on the error stream: nothing on success, else the message. */
export function commandEndText(_end: CommandEnd): string {
  throw new Error('not written yet');
}
