// The kubelet settings as streams read them at each dial: files of credentials and authorities may be rotated under a running process, so
// their current content is given each time. What cannot be read now leaves the last good content in use.

import { readFileSync, statSync } from 'node:fs';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KeyPairPem } from '../certs/generate.ts';
import type { TokenSource } from '../kube/credential.ts';
import { TlsMemory } from '../net/tls-memory.ts';

import type { KubeletAccess } from './cluster.ts';

/** How old the look at a file may be. Kubernetes rotates projected tokens hours before they end. */
const lookIntervalMs = 10_000;

/** A file's text, read again when it has changed; synchronous, since it is small, local and read in the middle of a dial. */
export class RotatedFile {
  readonly #file: string;
  readonly #clock: Clock;
  #text: string;
  #stamp: string;
  #lookedAtMs: number;

  /** @throws KexerError config that names the setting, if the file cannot be read now. */
  constructor(deps: { clock: Clock }, options: { file: string; setting: string }) {
    this.#file = options.file;
    this.#clock = deps.clock;
    try {
      this.#stamp = stampOf(options.file);
      this.#text = readFileSync(options.file, 'utf8');
    } catch (cause) {
      throw new KexerError('config', `Cannot read ${options.setting} ${JSON.stringify(options.file)}`, { cause });
    }
    this.#lookedAtMs = deps.clock.monotonic();
  }

  get text(): string {
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#lookedAtMs < lookIntervalMs) return this.#text;
    this.#lookedAtMs = nowMs;
    try {
      const stamp = stampOf(this.#file);
      if (stamp !== this.#stamp) {
        this.#text = readFileSync(this.#file, 'utf8');
        this.#stamp = stamp;
      }
    } catch {
      // Replaced at this moment, or gone: the old content is the best there is, and the dial will show whether it still counts.
    }
    return this.#text;
  }
}

/** Changes with the content: a rotated mount is another inode. */
function stampOf(file: string): string {
  const { ino, mtimeMs, size } = statSync(file);
  return `${ino}:${mtimeMs}:${size}`;
}

export interface KubeletAccessOptions {
  /** undefined: none is known. */
  readonly ca: RotatedFile | { readonly text: string } | undefined;
  readonly caSource: string;
  readonly isVerified: boolean;
  readonly preferredAddressTypes: readonly string[];
  readonly certificate: { readonly current: KeyPairPem } | undefined;
  /** A file, or a source that kexer asks. */
  readonly token: RotatedFile | TokenSource | undefined;
  readonly accountName: string;
}

export function createKubeletAccess(deps: { clock: Clock }, options: KubeletAccessOptions): KubeletAccess {
  const { token } = options;
  return {
    get ca() {
      return options.ca === undefined ? undefined : [options.ca.text];
    },
    caSource: options.caSource,
    isVerified: options.isVerified,
    tls: new TlsMemory(deps),
    preferredAddressTypes: options.preferredAddressTypes,
    accountName: options.accountName,
    certificate: () => options.certificate?.current,
    token: () => (token === undefined || token instanceof RotatedFile ? token?.text.trim() : token.read()),
    tokenRefused: () => {
      if (token !== undefined && !(token instanceof RotatedFile)) token.invalidate();
    },
  };
}
