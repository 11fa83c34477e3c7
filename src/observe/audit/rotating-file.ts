// A file that is appended to and, when it is full, renamed and begun anew, as kube-apiserver's audit log does it: `audit.log` becomes
// `audit-2026-11-20T10-00-00.000.log`. One writer at a time. Nothing that was written is ever renamed over or cut; a rotation that
// fails leaves the old file in use, since a file that is too long is better than lines that are nowhere.

import { close, fstat, open, write } from 'node:fs';
import { access, mkdir, readdir, rename, unlink } from 'node:fs/promises';
import { dirname, join, parse } from 'node:path';
import { promisify } from 'node:util';

import type { Clock } from '../../base/clock.ts';

/** A place for bytes, in order. */
export interface ByteTarget {
  /** Bytes that go in before {@link ByteTarget.rotate} is due; Infinity without a limit. */
  readonly room: number;
  /** Writes some of the bytes. @returns how many */
  write(bytes: Buffer): Promise<number>;
  /** Makes room; never throws. */
  rotate(): Promise<void>;
  close(): Promise<void>;
}

export interface RotatingFileOptions {
  readonly path: string;
  /** 0: never rotated. */
  readonly maxBytes: number;
  /** Rotated files that are kept; 0: all. */
  readonly maxBackups: number;
  /** How old they may become; 0: any age. */
  readonly maxAgeMs: number;
}

export interface RotatingFileDeps {
  readonly clock: Clock;
  /** A rotation, or the removal of an old file, failed. Must not throw. */
  readonly onError: (error: unknown) => void;
}

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);
const writeFile = promisify(write);

/** Commands and names of users are in it. */
const fileMode = 0o600;

export class RotatingFile implements ByteTarget {
  readonly #deps: RotatingFileDeps;
  readonly #options: RotatingFileOptions;
  #file: number;
  #size: number;
  /** Of the newest backup: names have milliseconds, and two rotations may fall into one. */
  #newestMs: number;

  private constructor(deps: RotatingFileDeps, options: RotatingFileOptions, file: number, size: number) {
    this.#deps = deps;
    this.#options = options;
    this.#file = file;
    this.#size = size;
    this.#newestMs = 0;
  }

  /** Makes the folder if there is none. @throws what the file system says */
  static async open(deps: RotatingFileDeps, options: RotatingFileOptions): Promise<RotatingFile> {
    await mkdir(dirname(options.path), { recursive: true });
    const file = await openFile(options.path, 'a', fileMode);
    const { size } = await statFile(file);
    return new RotatingFile(deps, options, file, size);
  }

  get room(): number {
    return this.#options.maxBytes === 0 ? Number.POSITIVE_INFINITY : Math.max(0, this.#options.maxBytes - this.#size);
  }

  async write(bytes: Buffer): Promise<number> {
    const { bytesWritten } = await writeFile(this.#file, bytes, 0, bytes.length, null);
    this.#size += bytesWritten;
    return bytesWritten;
  }

  async rotate(): Promise<void> {
    try {
      // Somebody else may have truncated it (logrotate's copytruncate).
      const { size } = await statFile(this.#file);
      this.#size = size;
      if (size === 0) return;
      const { path } = this.#options;
      await rename(path, await this.#backupName()).catch((error: unknown) => {
        // Gone from its place already: somebody moved it, or a rotation broke off here.
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
      });
      // The old file is closed last: until the new one is open, its lines still have a place.
      const file = await openFile(path, 'a', fileMode);
      const old = this.#file;
      this.#file = file;
      this.#size = 0;
      await closeFile(old);
    } catch (error) {
      this.#size = 0; // tried again after as many bytes, not with each line
      this.#deps.onError(error);
    }
    await this.#removeOld();
  }

  async close(): Promise<void> {
    await closeFile(this.#file);
  }

  /** A name that no file has. */
  async #backupName(): Promise<string> {
    const { dir, name, ext } = parse(this.#options.path);
    for (;;) {
      this.#newestMs = Math.max(this.#deps.clock.now(), this.#newestMs + 1);
      const candidate = join(dir, `${name}-${timeText(this.#newestMs)}${ext}`);
      if (!(await exists(candidate))) return candidate;
    }
  }

  async #removeOld(): Promise<void> {
    const { path, maxBackups, maxAgeMs } = this.#options;
    if (maxBackups === 0 && maxAgeMs === 0) return;
    try {
      const { dir, name, ext } = parse(path);
      const folder = dir === '' ? '.' : dir;
      const backups = (await readdir(folder))
        .flatMap((file) => {
          const atMs = backupTime(file, `${name}-`, ext);
          return atMs === undefined ? [] : [{ file, atMs }];
        })
        .toSorted((a, b) => b.atMs - a.atMs);
      const oldestMs = this.#deps.clock.now() - maxAgeMs;
      const surplus = backups.filter(
        ({ atMs }, index) => (maxBackups > 0 && index >= maxBackups) || (maxAgeMs > 0 && atMs < oldestMs),
      );
      for (const { file } of surplus) await unlink(join(folder, file));
    } catch (error) {
      this.#deps.onError(error);
    }
  }
}

/** Standard output: whoever started kexer keeps its lines. */
export class StandardOutput implements ByteTarget {
  readonly room = Number.POSITIVE_INFINITY;

  async write(bytes: Buffer): Promise<number> {
    // Not process.stdout: on a pipe that nobody empties it stops the whole process.
    const { bytesWritten } = await writeFile(1, bytes, 0, bytes.length, null);
    return bytesWritten;
  }

  async rotate(): Promise<void> {}

  async close(): Promise<void> {}
}

/** `2026-11-20T10-00-00.000`, as lumberjack writes it, in UTC. */
function timeText(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '').replaceAll(':', '-');
}

/** Undefined for a file that is none of ours. */
function backupTime(file: string, prefix: string, ext: string): number | undefined {
  if (!file.startsWith(prefix) || !file.endsWith(ext)) return undefined;
  const text = file.slice(prefix.length, file.length - ext.length);
  const parts = /^(\d{4}-\d\d-\d\dT)(\d\d)-(\d\d)-(\d\d\.\d{3})$/.exec(text);
  if (parts === null) return undefined;
  const [, day = '', hours = '', minutes = '', seconds = ''] = parts;
  const ms = Date.parse(`${day}${hours}:${minutes}:${seconds}Z`);
  return Number.isNaN(ms) ? undefined : ms;
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false; // it will be seen by the rename if it is there and cannot be looked at
  }
}
