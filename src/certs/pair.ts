// A serving certificate and its key: what must hold before a listener may use them. Every refusal is one sentence that names the file.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { KeyPairPem } from './generate.ts';
import { splitPem } from './verify-chain.ts';

export interface PairFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Reads and checks a pair. @throws KexerError config */
export async function loadPair(files: PairFiles, nowMs: number): Promise<KeyPairPem> {
  const [cert, key] = await Promise.all([readText(files.certFile), readText(files.keyFile)]);
  checkPair({ cert, key }, files, nowMs);
  return { cert, key };
}

/** @throws KexerError config if the certificate or the key is unreadable, they do not belong together, or it is not its time. */
export function checkPair(pair: KeyPairPem, files: PairFiles, nowMs: number): void {
  const [leaf, ...issuers] = splitPem(pair.cert).map((pem) => readCertificatePem(pem, files.certFile));
  if (leaf === undefined)
    throw new KexerError('config', `Cannot use ${quote(files.certFile)}: it holds no PEM certificate`);
  const key = readKey(pair.key, files.keyFile);
  if (!leaf.checkPrivateKey(key)) {
    const isLater = issuers.some((issuer) => issuer.checkPrivateKey(key));
    const observed = isLater
      ? 'the certificate of that key is not the first in the file'
      : 'it is not the key of the certificate';
    throw new KexerError(
      'config',
      `Cannot use the key ${quote(files.keyFile)} with ${quote(files.certFile)}: ${observed}`,
    );
  }
  if (leaf.validToDate.getTime() < nowMs) {
    throw new KexerError(
      'config',
      `Cannot use ${quote(files.certFile)}: it expired at ${leaf.validToDate.toISOString()}, by a clock that shows ${clockText(nowMs)}`,
    );
  }
  if (leaf.validFromDate.getTime() > nowMs) {
    throw new KexerError(
      'config',
      `Cannot use ${quote(files.certFile)}: it is valid from ${leaf.validFromDate.toISOString()} on, and this machine's clock shows ${clockText(nowMs)}`,
    );
  }
}

/** Both times side by side tell a wrong clock from a wrong certificate. */
function clockText(nowMs: number): string {
  return new Date(nowMs).toISOString();
}

function readCertificatePem(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new KexerError('config', `Cannot use ${quote(file)}: a certificate in it cannot be read`, { cause });
  }
}

function readKey(pem: string, file: string): KeyObject {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem)) {
    throw new KexerError('config', `Cannot use the key ${quote(file)}: it is encrypted, want it without a passphrase`);
  }
  try {
    return createPrivateKey(pem);
  } catch {
    // OpenSSL's reason says nothing to people, and what it quotes is secret.
    throw new KexerError('config', `Cannot use the key ${quote(file)}: want a PEM private key`);
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read ${quote(file)}`, { cause });
  }
}
