// What dials to peers of one kind have in common: the parsed CA and certificate, which cost a handshake's time to parse again, and the
// peers' TLS sessions, whose resumption saves both sides the signatures. A resumed session skips the check of the peer's certificate, so
// sessions are dropped with the CA or certificate they were made under, and after ten minutes in any case.

import type { Buffer } from 'node:buffer';
import { createSecureContext, type SecureContext } from 'node:tls';

import { type Clock, systemClock } from '../base/clock.ts';
import { withoutPeerCertificate } from './tls-session.ts';

/** A bounded store of the latest TLS session by peer; the oldest written leaves first. */
export class TlsSessionCache {
  readonly #sessions = new Map<string, Buffer>();
  readonly #maxEntries: number;

  constructor(options: { maxEntries: number }) {
    this.#maxEntries = options.maxEntries;
  }

  get(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, withoutPeerCertificate(session));
    if (this.#sessions.size <= this.#maxEntries) return;
    const oldest = this.#sessions.keys().next();
    if (oldest.done !== true) this.#sessions.delete(oldest.value);
  }

  delete(key: string): void {
    this.#sessions.delete(key);
  }
}

export interface TlsMaterial {
  readonly ca: readonly string[] | undefined;
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
}

export interface KnownTls {
  readonly context: SecureContext;
  readonly sessions: TlsSessionCache;
}

/** A session is some 300 bytes to a kilobyte, most of it the server's ticket: 1 MB at most. */
const maxSessions = 1000;
const lifetimeMs = 10 * 60 * 1000;

export class TlsMemory {
  readonly #clock: Clock;
  #of: TlsMaterial | undefined;
  #known: KnownTls | undefined;
  #madeAtMs: number;

  constructor(deps: { clock?: Clock | undefined } = {}) {
    this.#clock = deps.clock ?? systemClock;
    this.#of = undefined;
    this.#known = undefined;
    this.#madeAtMs = 0;
  }

  /** What is known under exactly this material. @throws Error from OpenSSL, for material that cannot be read. */
  for(material: TlsMaterial): KnownTls {
    const nowMs = this.#clock.monotonic();
    const isOld = nowMs - this.#madeAtMs >= lifetimeMs;
    if (this.#known !== undefined && !isOld && this.#of !== undefined && isSameMaterial(this.#of, material))
      return this.#known;
    const { ca, certificate } = material;
    const context = createSecureContext({
      ...(ca === undefined ? {} : { ca: [...ca] }),
      ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
    });
    this.#known = { context, sessions: new TlsSessionCache({ maxEntries: maxSessions }) };
    this.#of = material;
    this.#madeAtMs = nowMs;
    return this.#known;
  }
}

/** Whether a connection made under one would be made alike under the other. */
export function isSameMaterial(a: TlsMaterial, b: TlsMaterial): boolean {
  const isSameCa = a.ca?.length === b.ca?.length && (a.ca ?? []).every((pem, index) => pem === b.ca?.[index]);
  return isSameCa && a.certificate?.cert === b.certificate?.cert && a.certificate?.key === b.certificate?.key;
}
