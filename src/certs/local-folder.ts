// Certificates on a workstation: an authority and a serving pair in a folder, made by hand with `kexer certs` and renewed by hand. The
// authority's key is kept, so that the next serving certificate is one that clients trust already; hence an authority is never overwritten.

import { X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { KeyPairPem } from './generate.ts';
import { issueAuthority, issueLeaf } from './issue.ts';
import { loadPair } from './pair.ts';
import { replaceFile } from './replace-file.ts';

/** Where everything is. */
export interface FolderFiles {
  readonly caFile: string;
  readonly caKeyFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface LocalCertificates {
  readonly files: FolderFiles;
  readonly authority: X509Certificate;
  readonly leaf: X509Certificate;
  readonly isNewAuthority: boolean;
}

export interface LocalOptions {
  readonly dir: string;
  /** DNS names and addresses. */
  readonly names: readonly string[];
  /** Of the serving certificate; the authority's end ends it too. */
  readonly days: number;
  /** Under the authority that is there, instead of under a new one. */
  readonly isRenewal: boolean;
}

export function filesIn(dir: string): FolderFiles {
  return {
    caFile: join(dir, 'ca.crt'),
    caKeyFile: join(dir, 'ca.key'),
    certFile: join(dir, 'kexer.crt'),
    keyFile: join(dir, 'kexer.key'),
  };
}

/** @throws KexerError config: there is an authority and it is no renewal, or none and it is one; the folder cannot be written. */
export async function makeLocalCertificates(deps: { clock: Clock }, options: LocalOptions): Promise<LocalCertificates> {
  const { dir, names, days, isRenewal } = options;
  const files = filesIn(dir);
  const nowMs = deps.clock.now();
  const authority = isRenewal ? await keptAuthority(dir, files, nowMs) : await newAuthority(dir, files, nowMs);
  const pair = await issueLeaf(authority, names, nowMs, days);
  try {
    await mkdir(dir, { recursive: true });
    if (!isRenewal) {
      await replaceFile(files.caKeyFile, authority.key, 0o600);
      await replaceFile(files.caFile, authority.cert, 0o644);
    }
    // The certificate last: a kexer that follows these files takes the pair when both fit.
    await replaceFile(files.keyFile, pair.key, 0o600);
    await replaceFile(files.certFile, pair.cert, 0o644);
  } catch (cause) {
    throw new KexerError('config', `Cannot write certificates into ${quote(dir)}`, { cause });
  }
  return {
    files,
    authority: new X509Certificate(authority.cert),
    leaf: new X509Certificate(pair.cert),
    isNewAuthority: !isRenewal,
  };
}

async function newAuthority(dir: string, files: FolderFiles, nowMs: number): Promise<KeyPairPem> {
  for (const file of [files.caFile, files.caKeyFile]) {
    if (!(await exists(file))) continue;
    throw new KexerError(
      'config',
      `Cannot make an authority in ${quote(dir)}: ${quote(file)} is there, and clients may trust it; ` +
        'want --renew for a new serving certificate under it, or another --dir',
    );
  }
  return issueAuthority(nowMs);
}

async function keptAuthority(dir: string, files: FolderFiles, nowMs: number): Promise<KeyPairPem> {
  const { caFile: certFile, caKeyFile: keyFile } = files;
  if (!(await exists(certFile)) && !(await exists(keyFile))) {
    throw new KexerError(
      'config',
      `Cannot renew in ${quote(dir)}: there is no authority, want ca.crt and ca.key, or no --renew for new ones`,
    );
  }
  return loadPair({ certFile, keyFile }, nowMs);
}

/** A file that cannot be read is there too. */
async function exists(file: string): Promise<boolean> {
  try {
    await readFile(file);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    return !(error instanceof Error && 'code' in error && error.code === 'ENOTDIR');
  }
}
