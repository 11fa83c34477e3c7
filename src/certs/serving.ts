// The serving certificate: loaded from two files and again when they change, or made and kept in a folder. A pair that does not fit, is
// half-written or unreadable never replaces a good one; it is reported and tried again at the next change.

import type { Clock } from '../base/clock.ts';
import type { KeyPairPem } from './generate.ts';

/** A pair that follows its files. */
export class WatchedPair {
  /** The last good pair. */
  get current(): KeyPairPem {
    throw new Error('not written yet');
  }

  /** Called with each new good pair. Returns a function that ends it. */
  onChange(_listener: (pair: KeyPairPem) => void): () => void {
    return () => {};
  }

  close(): void {}
}

/** @throws KexerError config: one sentence that names the file and what is wrong with it. */
export function watchPair(
  _deps: { clock: Clock; onError?: (error: unknown) => void },
  _options: { certFile: string; keyFile: string },
): Promise<WatchedPair> {
  throw new Error('not written yet');
}

/**
 * The pair `kexer.crt`, `kexer.key` in `dir`: what is there if it is good for `names`, else a new authority and certificate, written there.
 * `names` are DNS names and addresses.
 */
export function selfSignedPair(_options: { dir: string; names: readonly string[] }): Promise<KeyPairPem> {
  throw new Error('not written yet');
}
