// The pair that kexer makes for itself when it is given none: an authority and a certificate under it, kept in a folder, so that clients
// that were told the authority keep trusting kexer over restarts. The authority's key is not kept: nothing else can be signed with it.

import { X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { generateAuthority, generateServing, type KeyPairPem } from './generate.ts';
import { loadPair, type PairFiles } from './pair.ts';
import { replaceFile } from './replace-file.ts';
import { splitPem } from './verify-chain.ts';

/** Made anew when less than this is left of it. */
const renewBeforeMs = 30 * 24 * 60 * 60 * 1000;

export interface SelfSignedPair extends KeyPairPem {
  /** What a client's certificate-authority must hold. */
  readonly ca: string;
  readonly files: PairFiles;
}

/**
 * The pair `kexer.crt` (chain, authority last), `kexer.key` in `dir`: what is there if it is good for all of `names` for another month,
 * else a new one. `names` are DNS names and addresses.
 * @throws KexerError config if the folder cannot be written.
 */
export async function selfSignedPair(
  deps: { clock: Clock },
  options: { dir: string; names: readonly string[] },
): Promise<SelfSignedPair> {
  const { dir, names } = options;
  const nowMs = deps.clock.now();
  const files = { certFile: join(dir, 'kexer.crt'), keyFile: join(dir, 'kexer.key') };
  const kept = await loadKept(files, names, nowMs);
  if (kept !== undefined) return kept;
  const authority = await generateAuthority({ commonName: `kexer-ca@${Math.floor(nowMs / 1000)}` });
  const leaf = await generateServing(authority, {
    commonName: `kexer@${Math.floor(nowMs / 1000)}`,
    dnsNames: names.filter((name) => isIP(name) === 0),
    ipAddresses: names.filter((name) => isIP(name) !== 0),
  });
  const pair = { cert: leaf.cert + authority.cert, key: leaf.key };
  try {
    await mkdir(dir, { recursive: true });
    await replaceFile(files.keyFile, pair.key, 0o600);
    await replaceFile(files.certFile, pair.cert, 0o644);
  } catch (cause) {
    throw new KexerError('config', `Cannot keep the serving certificate in ${quote(dir)}`, { cause });
  }
  return { ...pair, ca: authority.cert, files };
}

async function loadKept(
  files: PairFiles,
  names: readonly string[],
  nowMs: number,
): Promise<SelfSignedPair | undefined> {
  let pair: KeyPairPem;
  try {
    pair = await loadPair(files, nowMs);
  } catch {
    return undefined; // nothing there, or nothing good: it is ours to replace
  }
  const chain = splitPem(pair.cert);
  const ca = chain.at(-1);
  if (ca === undefined || chain.length < 2) return undefined;
  const leaf = new X509Certificate(pair.cert);
  const coversNames = names.every((name) =>
    isIP(name) === 0 ? leaf.checkHost(name) !== undefined : leaf.checkIP(name) !== undefined,
  );
  const isLasting = leaf.validToDate.getTime() > nowMs + renewBeforeMs;
  return coversNames && isLasting ? { ...pair, ca: `${ca}\n`, files } : undefined;
}
