// A serving pair that follows its files. Folders are watched, not files: Kubernetes swaps a `..data` link, editors and certbot rename; and a
// slow look at the files' signatures stands behind the watch, which misses changes on some file systems. A pair that does not fit, is
// half-written or unreadable never replaces a good one; it is reported once and tried again at the next change.

import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import type { Clock, Timer } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { KeyPairPem } from './generate.ts';
import { loadPair, type PairFiles } from './pair.ts';

/** Certificate and key are two writes: looking at once would find a pair that does not fit. */
const settleMs = 200;
const lookMs = 60_000;

/** Watches a folder; the seam for tests. `onChange` may be called too often. */
export type WatchFolder = (folder: string, onChange: () => void) => { close(): void };

export interface WatchedPairDeps {
  readonly clock: Clock;
  /** A changed pair that cannot be used; the last good one stays. */
  readonly onError?: (error: unknown) => void;
  /** After an error: what is there is good again, and the same as before. */
  readonly onRecovered?: () => void;
  readonly watchFolder?: WatchFolder;
}

/** @throws KexerError config: one sentence that names the file and what is wrong with it. */
export async function watchPair(deps: WatchedPairDeps, files: PairFiles): Promise<WatchedPair> {
  // Before the content, so that a change in between is seen as one.
  const signature = await signatureOf(files);
  return new WatchedPair(deps, files, await loadPair(files, deps.clock.now()), signature);
}

export class WatchedPair {
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #onRecovered: () => void;
  readonly #files: PairFiles;
  readonly #watchers: { close(): void }[];
  readonly #listeners: Set<(pair: KeyPairPem) => void>;
  #current: KeyPairPem;
  /** Of the files as they were looked at last, good or not. */
  #signature: string;
  #lastProblem: string;
  #timer: Timer;
  #isClosed: boolean;
  #looking: Promise<void> | undefined;

  constructor(deps: WatchedPairDeps, files: PairFiles, current: KeyPairPem, signature: string) {
    this.#clock = deps.clock;
    this.#onError = deps.onError ?? (() => {});
    this.#onRecovered = deps.onRecovered ?? (() => {});
    this.#files = files;
    this.#listeners = new Set();
    this.#current = current;
    this.#signature = signature;
    this.#lastProblem = '';
    this.#isClosed = false;
    this.#looking = undefined;
    const watchFolder = deps.watchFolder ?? watchFolderByNode;
    const folders = new Set([dirname(files.certFile), dirname(files.keyFile)]);
    this.#watchers = [...folders].map((folder) => watchFolder(folder, () => this.#lookIn(settleMs)));
    this.#timer = this.#clock.after(lookMs, () => this.#look());
  }

  /** The last good pair. */
  get current(): KeyPairPem {
    return this.#current;
  }

  /** Called with each new good pair. Returns a function that ends it. */
  onChange(listener: (pair: KeyPairPem) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the watching; a look under way is waited for. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer.cancel();
    for (const watcher of this.#watchers) watcher.close();
    await this.#looking;
  }

  #lookIn(ms: number): void {
    if (this.#isClosed) return;
    this.#timer.cancel();
    this.#timer = this.#clock.after(ms, () => this.#look());
  }

  #look(): void {
    // One look at a time; a change during it schedules the next by the watcher or, at the latest, by the slow timer.
    this.#looking ??= this.#reload().finally(() => {
      this.#looking = undefined;
      this.#lookIn(lookMs);
    });
  }

  async #reload(): Promise<void> {
    try {
      const signature = await signatureOf(this.#files);
      if (signature === this.#signature) return;
      const pair = await loadPair(this.#files, this.#clock.now());
      // Only now: a half-written pair is tried again even if its signature stays, for stat may have come before the last write.
      this.#signature = signature;
      const wasFailing = this.#lastProblem !== '';
      this.#lastProblem = '';
      if (this.#isClosed) return;
      if (pair.cert === this.#current.cert && pair.key === this.#current.key) {
        if (wasFailing) this.#onRecovered();
        return;
      }
      this.#current = pair;
      for (const listener of this.#listeners) listener(pair);
    } catch (error) {
      const problem = describeError(error);
      if (problem !== this.#lastProblem) this.#onError(error);
      this.#lastProblem = problem;
    }
  }
}

/** Changes when either file, or what a link leads to, changes. @throws nothing: a missing file is a signature too. */
async function signatureOf(files: PairFiles): Promise<string> {
  const parts = await Promise.all(
    [files.certFile, files.keyFile].map((file) =>
      stat(file, { bigint: true }).then(
        ({ dev, ino, size, mtimeNs }) => `${dev}:${ino}:${size}:${mtimeNs}`,
        () => 'missing',
      ),
    ),
  );
  return parts.join(' ');
}

function watchFolderByNode(folder: string, onChange: () => void): { close(): void } {
  let watcher: FSWatcher;
  try {
    watcher = watch(folder, { persistent: false }, onChange);
  } catch {
    return { close: () => {} }; // no inotify left: the slow look finds changes a minute later
  }
  // The folder itself may go; the slow look goes on.
  watcher.on('error', () => watcher.close());
  return watcher;
}
