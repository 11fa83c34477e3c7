// What the sandbox tells the process it runs in: each secret that comes into being in it, and that its folder is about to go. Nobody listens
// but the tests, which look whether one of these secrets ever stands in what kexer and its clients write. Nothing of it is logged or kept here.

import { channel } from 'node:diagnostics_channel';

/** Name of the channel of {@link MadeSecret}. */
export const secretsChannel = 'kexer.sandbox.secret';
/** Name of the channel of {@link GoingFolder}. */
export const foldersChannel = 'kexer.sandbox.folder';

export interface MadeSecret {
  /** What it is, in words that may be printed. */
  readonly kind: string;
  readonly value: string;
}

export interface GoingFolder {
  readonly dir: string;
  /** The folder stays until this has settled. */
  readonly waitFor: (reading: Promise<void>) => void;
}

const secrets = channel(secretsChannel);
const folders = channel(foldersChannel);

/** @param value a token, a password or a private key in PEM */
export function tellSecret(kind: string, value: string): void {
  if (secrets.hasSubscribers) secrets.publish({ kind, value } satisfies MadeSecret);
}

/** Keys of Secrets whose values are secrets; the others have certificates, addresses and names. */
const secretKeys = /token|key|pass|secret|credential/i;

/** @param data of a Secret: base64 by key */
export function tellSecretData(name: string, data: unknown): void {
  if (!secrets.hasSubscribers || typeof data !== 'object' || data === null) return;
  for (const [key, encoded] of Object.entries(data)) {
    if (!secretKeys.test(key) || typeof encoded !== 'string') continue;
    tellSecret(`"${key}" of the Secret ${name}`, Buffer.from(encoded, 'base64').toString('latin1'));
  }
}

/** The sandbox stops: what it wrote into this folder is whole, and goes. */
export async function tellFolderGoes(dir: string): Promise<void> {
  const readings: Promise<void>[] = [];
  const waitFor = (reading: Promise<void>): void => void readings.push(reading);
  if (folders.hasSubscribers) folders.publish({ dir, waitFor } satisfies GoingFolder);
  await Promise.all(readings);
}
