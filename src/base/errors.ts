// One error class with stable codes. Code matches on `code`, never on text or class; people read `message`. The code decides
// policy: who is to blame and whether another try may help. It becomes a Kubernetes Status in one place, kube/status.ts.

/** Every code, with who is to blame. A code is never reused for another meaning. */
const errorCodes = {
  /** The caller sent something that has no one reading (400). */
  badRequest: { blame: 'client' },
  /** The caller proved no identity, or a wrong one (401). */
  unauthenticated: { blame: 'client' },
  /** The caller may not do this (403). */
  forbidden: { blame: 'client' },
  /** What the caller named is not there (404). */
  notFound: { blame: 'client' },
  /** The caller left before the answer; nobody's failure, never counted against an upstream (499 in logs, never sent). */
  clientGone: { blame: 'client' },
  /** A limit of kexer's was reached (429). */
  overLimit: { blame: 'client' },
  /** A head, frame or block is longer than its limit. */
  tooLarge: { blame: 'peer' },
  /** A peer broke its protocol: framing, handshake, header block. Fails closed. */
  protocol: { blame: 'peer' },
  /** No connection to an upstream: refused, reset before any byte, unknown host (503). */
  unreachable: { blame: 'upstream' },
  /** An upstream's certificate or TLS handshake was not acceptable (502). */
  tls: { blame: 'upstream' },
  /** An upstream gave an answer that has no meaning here (502). */
  badGateway: { blame: 'upstream' },
  /** A deadline passed (504). */
  timeout: { blame: 'upstream' },
  /** A connection ended after bytes had flowed; never tried again. */
  cut: { blame: 'upstream' },
  /** Kexer is shutting down (503). */
  draining: { blame: 'kexer' },
  /** A setting, file or flag is wrong; the process must not start with it. */
  config: { blame: 'operator' },
  /** A defect or an exhausted resource of kexer itself (500). */
  internal: { blame: 'kexer' },
} as const satisfies Record<string, { blame: 'client' | 'peer' | 'upstream' | 'kexer' | 'operator' }>;

export type ErrorCode = keyof typeof errorCodes;

/** An error whose `code` is in {@link errorCodes}. `cause` is kept; no secret is ever part of the message. */
export class KexerError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KexerError';
    this.code = code;
  }
}

/** The code of any thrown value; what kexer did not throw itself is `internal`. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof KexerError ? error.code : 'internal';
}

/** One line of text for any thrown value, its causes included, for logs and for messages shown to people. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // AggregateError of a failed dial to several addresses has an empty message of its own.
  const own =
    error.message === '' && error instanceof AggregateError
      ? error.errors.map(describeError).join('; ')
      : error.message;
  return error.cause === undefined ? own : `${own}: ${describeError(error.cause)}`;
}
