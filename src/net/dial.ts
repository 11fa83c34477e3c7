// Outgoing connections: TCP and TLS with a deadline, a CA of their own, and errors that say what failed.

import type { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type ErrorCode, KexerError } from '../base/errors.ts';

export interface DialTcpOptions {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface DialTlsOptions extends DialTcpOptions {
  /** The name the peer's certificate must carry (and SNI, unless it is an address); default `host`. */
  readonly servername?: string;
  /** PEM certificates that alone are trusted; default: the system's. */
  readonly ca?: readonly string[];
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** false: any certificate is taken. No bearer token may ever go over such a connection. */
  readonly isVerified: boolean;
  readonly alpn?: readonly string[];
  /** TLS sessions to resume; one cache for each (CA, certificate, verification), since a resumed session skips their check. */
  readonly sessions?: TlsSessionCache;
}

/** A bounded store of the latest TLS session by peer. */
export class TlsSessionCache {
  constructor(_options: { maxEntries: number }) {}

  get(_key: string): Buffer | undefined {
    return undefined;
  }

  set(_key: string, _session: Buffer): void {}

  delete(_key: string): void {}
}

/** Why a dial failed. For code `tls`, the names a certificate had. */
export class DialError extends KexerError {
  /** `host:port` as dialled. */
  readonly address: string;
  /** The name the certificate should have carried. */
  readonly servername: string;
  /** The peer certificate's subjectAltName as Node prints it (`DNS:a, IP Address:1.2.3.4`), if it showed one. */
  readonly subjectAltName: string | undefined;
  /** Node's or OpenSSL's code: ECONNREFUSED, ERR_TLS_CERT_ALTNAME_INVALID, UNABLE_TO_VERIFY_LEAF_SIGNATURE … */
  readonly systemCode: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    details: {
      address: string;
      servername: string;
      subjectAltName?: string | undefined;
      systemCode?: string | undefined;
      cause?: unknown;
    },
  ) {
    super(code, message, { cause: details.cause });
    this.address = details.address;
    this.servername = details.servername;
    this.subjectAltName = details.subjectAltName;
    this.systemCode = details.systemCode;
  }
}

/** @throws DialError unreachable, timeout; clientGone when `signal` aborts. The socket has an error listener already. */
export function dialTcp(_options: DialTcpOptions): Promise<Socket> {
  throw new Error('not written yet');
}

/** @throws DialError unreachable, tls, timeout; clientGone when `signal` aborts. The socket has an error listener already. */
export function dialTls(_options: DialTlsOptions): Promise<TLSSocket> {
  throw new Error('not written yet');
}
