// Reads a container's log as the kubelet does: only the current file, from its last `tailLines` lines, without the CRI prefix, up to
// `limitBytes`; following, it goes on across rotations without losing a line and ends when the container has ended. Yields one
// block for what is there at once; the consumer's pace is the reader's.

import { Buffer } from 'node:buffer';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Clock } from '../../../base/clock.ts';
import { type LogFile, nanoTime } from './log-file.ts';
import type { LogOptions } from './log-options.ts';

const blockBytes = 65_536;
const newline = 0x0a;
const timeLength = 30; // 2026-11-20T20:57:02.802023099Z

/** Where the last `lines` lines begin. A part of a split line counts as a line, as in the kubelet. */
function tailOffset(fd: number, lines: number): number {
  const { size } = fstatSync(fd);
  if (lines === 0) return size;
  const block = Buffer.alloc(blockBytes);
  let missing = lines;
  let end = size;
  while (end > 0) {
    const start = Math.max(0, end - blockBytes);
    const count = readSync(fd, block, 0, end - start, start);
    // The last byte of the file ends the last line; it begins nothing.
    for (let at = end === size ? count - 2 : count - 1; at >= 0; at -= 1) {
      if (block[at] !== newline) continue;
      missing -= 1;
      if (missing === 0) return start + at + 1;
    }
    end = start;
  }
  return 0;
}

/** Turns the lines of the file into what a client reads. */
class LineFilter {
  readonly #withTimes: boolean;
  /** Lines older than this text are left out. */
  readonly #since: string;
  #bytesLeft: number;
  #isInsideLine = false;

  constructor(options: LogOptions, nowMs: number) {
    this.#withTimes = options.timestamps;
    this.#bytesLeft = options.limitBytes ?? Infinity;
    const sinceMs = options.sinceSeconds === undefined ? options.sinceTimeMs : nowMs - options.sinceSeconds * 1000;
    this.#since = sinceMs === undefined ? '' : nanoTime(Math.max(0, sinceMs));
  }

  get isFull(): boolean {
    return this.#bytesLeft <= 0;
  }

  /** `line` without its line break. */
  accept(line: Buffer, out: Buffer[]): void {
    if (this.isFull) return;
    if (this.#since !== '' && line.toString('latin1', 0, timeLength) < this.#since) return;
    const tagAt = line.indexOf(0x20, timeLength + 1) + 1;
    const isWhole = line[tagAt] === 0x46; // F
    if (this.#withTimes && !this.#isInsideLine) this.#put(line.subarray(0, timeLength + 1), out);
    this.#put(line.subarray(tagAt + 2), out);
    if (isWhole) this.#put(Buffer.from('\n'), out);
    this.#isInsideLine = !isWhole;
  }

  #put(bytes: Buffer, out: Buffer[]): void {
    const part = bytes.length > this.#bytesLeft ? bytes.subarray(0, this.#bytesLeft) : bytes;
    this.#bytesLeft -= part.length;
    if (part.length > 0) out.push(part);
  }
}

/** Reads `log`; ends by itself, or when `signal` is aborted. */
export async function* readLog(
  deps: { clock: Clock },
  log: LogFile,
  options: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  // Files still to be read, in order: a rotation appends the new one at once, so however slow the reader, none is missed.
  const files = [openSync(log.path, 'r')];
  let wake = (): void => {};
  const forget = log.listen({
    onChange: () => wake(),
    onRotate: () => files.push(openSync(log.path, 'r')),
  });
  const onAbort = (): void => wake();
  signal.addEventListener('abort', onAbort);
  try {
    const filter = new LineFilter(options, deps.clock.now());
    let offset = options.tailLines === undefined ? 0 : tailOffset(files[0] ?? 0, options.tailLines);
    let rest: Buffer = Buffer.alloc(0);
    while (!signal.aborted && !filter.isFull) {
      const [fd] = files;
      if (fd === undefined) return;
      const isLast = files.length === 1;
      const isEnded = log.isEnded; // looked at before the read, so that the last write is not missed
      const block = Buffer.allocUnsafe(blockBytes);
      const count = readSync(fd, block, 0, blockBytes, offset);
      offset += count;
      if (count > 0) {
        const out: Buffer[] = [];
        rest = takeLines(rest, block.subarray(0, count), filter, out);
        if (out.length > 0) yield Buffer.concat(out);
      } else if (!isLast) {
        closeSync(fd);
        files.shift();
        offset = 0;
      } else if (!options.follow || isEnded) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
          // A change between the read and here would otherwise be slept through; the loop reads again and finds nothing new.
          if (signal.aborted || log.isEnded || files.length > 1 || fstatSync(fd).size > offset) resolve();
        });
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    forget();
    for (const fd of files) closeSync(fd);
  }
}

/** Feeds whole lines to the filter; returns what follows the last line break. */
function takeLines(rest: Buffer, block: Buffer, filter: LineFilter, out: Buffer[]): Buffer {
  const bytes = rest.length === 0 ? block : Buffer.concat([rest, block]);
  let start = 0;
  for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
    filter.accept(bytes.subarray(start, end), out);
    start = end + 1;
  }
  return bytes.subarray(start);
}
