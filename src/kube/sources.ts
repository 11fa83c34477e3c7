// Tokens and client certificates that are given once, or that live in files which somebody rotates. A file is looked at again at most once
// a minute; one that has become unreadable or half-written keeps the last good content, for the next look may find it whole.

import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { CertificateSource, TokenSource, VersionedPair } from './credential.ts';

/** Kubelets rotate projected tokens at 80 % of an hour at the soonest; client-go re-reads each minute too. */
const rereadMs = 60_000;

export function fixedToken(token: string): TokenSource {
  return { read: () => Promise.resolve(token), invalidate: () => {} };
}

export function fixedCertificate(pair: { cert: string; key: string }): CertificateSource {
  const versioned = { ...pair, version: versionOf(pair) };
  return { read: () => Promise.resolve(versioned) };
}

/** The token in a file, without white space at its ends. */
export function fileToken(deps: { clock: Clock }, file: string): TokenSource {
  const reread = new Reread(deps, async () => {
    const token = (await readText(file)).trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new KexerError('config', `Cannot use the token in ${quote(file)}: want one word of printable characters`);
    }
    return token;
  });
  return { read: () => reread.read(), invalidate: () => reread.invalidate() };
}

/** A certificate and its key in two files, which may be one. */
export function fileCertificate(
  deps: { clock: Clock },
  files: { certFile: string; keyFile: string },
): CertificateSource {
  const reread = new Reread(deps, async () => {
    const [cert, key] = await Promise.all([readText(files.certFile), readText(files.keyFile)]);
    return checkedPair({ cert, key }, files);
  });
  return { read: () => reread.read() };
}

/** @throws KexerError config: one sentence that names the file which is wrong. */
export function checkedPair(
  pair: { cert: string; key: string },
  names: { certFile: string; keyFile: string },
): VersionedPair {
  const certificate = attempt(names.certFile, 'a PEM certificate', () => new X509Certificate(pair.cert));
  const key = attempt(names.keyFile, 'a PEM private key', () => createPrivateKey(pair.key));
  if (!certificate.checkPrivateKey(key)) {
    throw new KexerError(
      'config',
      `Cannot use the key in ${quote(names.keyFile)}: it is not the one of ${quote(names.certFile)}`,
    );
  }
  return { ...pair, version: versionOf(pair) };
}

function attempt<T>(file: string, want: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new KexerError('config', `Cannot use ${quote(file)}: want ${want}`, { cause });
  }
}

function versionOf(pair: { cert: string; key: string }): string {
  return createHash('sha256').update(pair.cert).update('\0').update(pair.key).digest('base64');
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read ${quote(file)}`, { cause });
  }
}

/** A value read again after a while; a failed look keeps the last good value. */
class Reread<T> {
  readonly #clock: Clock;
  readonly #load: () => Promise<T>;
  #value: T | undefined;
  #nextLookMs: number;
  #looking: Promise<T> | undefined;

  constructor(deps: { clock: Clock }, load: () => Promise<T>) {
    this.#clock = deps.clock;
    this.#load = load;
    this.#value = undefined;
    this.#nextLookMs = 0;
    this.#looking = undefined;
  }

  invalidate(): void {
    this.#nextLookMs = 0;
  }

  async read(): Promise<T> {
    if (this.#value !== undefined && this.#clock.monotonic() < this.#nextLookMs) return this.#value;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<T> {
    try {
      this.#value = await this.#load();
    } catch (error) {
      if (this.#value === undefined) throw error;
    }
    this.#nextLookMs = this.#clock.monotonic() + rereadMs;
    return this.#value;
  }
}
