// What went wrong with a connection to an apiserver, in kexer's words. One place for every kind of connection: whether a call may be tried
// again, and what its caller is told, must not depend on the version of HTTP.

import { KexerError } from '../base/errors.ts';

/** OpenSSL's and Node's codes for a peer that could not be verified or a handshake that failed. */
const tlsCode =
  /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|EPROTO)/;
const timeCode = /^CERT_(NOT_YET_VALID|HAS_EXPIRED)$/;
/** Node's codes for what may not stand in a request's head. */
const unwritableCode =
  /^(ERR_INVALID_CHAR|ERR_UNESCAPED_CHARACTERS|ERR_INVALID_HTTP_TOKEN|ERR_HTTP_INVALID_HEADER_VALUE|ERR_INVALID_ARG)/;

/**
 * What Node or OpenSSL threw, in a code that decides policy: unreachable, tls, badGateway or badRequest before an answer's head, cut after it. The
 * message names the endpoint; `cause` has the rest.
 */
export function transportError(cause: unknown, authority: string, hasHead: boolean): KexerError {
  if (cause instanceof KexerError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (hasHead) return new KexerError('cut', `Cannot read the whole answer of the apiserver at ${authority}`, { cause });
  if (timeCode.test(code)) {
    // Side by side with the certificate's own times it tells a wrong clock from a wrong certificate.
    const shown = new Date().toISOString();
    return new KexerError('tls', `Cannot trust the apiserver at ${authority} by a clock that shows ${shown}`, {
      cause,
    });
  }
  if (tlsCode.test(code)) {
    return new KexerError('tls', `Cannot trust the apiserver at ${authority}`, { cause });
  }
  if (unwritableCode.test(code)) {
    return new KexerError('badRequest', `Cannot write the request for the apiserver at ${authority}`, { cause });
  }
  if (code.startsWith('HPE_')) {
    return new KexerError('badGateway', `Cannot understand the answer of the apiserver at ${authority}`, { cause });
  }
  return new KexerError('unreachable', `Cannot reach the apiserver at ${authority}`, { cause });
}

/** Whether an `unreachable` came from a connection that had been made and died before any byte of an answer. */
export function diedBeforeAnswer(error: unknown): boolean {
  if (!(error instanceof KexerError) || error.code !== 'unreachable') return false;
  const { cause } = error;
  if (!(cause instanceof Error) || !('code' in cause)) return false;
  if (cause.code === 'EPIPE') return true;
  // A refused or reset connect has the system call `connect`; `socket hang up` has none.
  return cause.code === 'ECONNRESET' && !('syscall' in cause && cause.syscall === 'connect');
}
