// The log of one container instance in the CRI format, as containerd writes it:
//
//     2026-11-20T20:57:02.802023099Z stdout F the line
//     <RFC 3339, nine digits>        <stream> F = whole line or its end, P = a part of a line longer than 16 KiB
//
// Written synchronously, so that what a process has printed can be read at once; rotated by size, one older file is kept. Readers are
// told of every write, rotation and the end in process: nothing polls.

import { Buffer } from 'node:buffer';
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../../base/clock.ts';

export type LogStream = 'stdout' | 'stderr';

/** A longer line is split; the runtime's limit. */
export const maxLineBytes = 16_384;

const newline = 0x0a;

/** RFC 3339 with exactly nine digits, which therefore sorts as text. */
export function nanoTime(epochMs: number): string {
  const ms = Math.floor(epochMs);
  const nanos = Math.min(999_999, Math.floor((epochMs - ms) * 1_000_000));
  return new Date(ms).toISOString().replace('Z', `${String(nanos).padStart(6, '0')}Z`);
}

export interface LogListener {
  /** Something was written, or the log has ended. */
  onChange(): void;
  /** The file has been moved away; what is written from now on is in a new one at the same path. */
  onRotate(): void;
}

export class LogFile {
  readonly path: string;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  /** Wall time at the clock's origin: gives times finer than a millisecond. */
  readonly #originMs: number;
  readonly #listeners = new Set<LogListener>();
  readonly #pending = new Map<LogStream, Buffer[]>();
  #fd: number | undefined;
  #bytes = 0;
  #rotatedPath: string | undefined;
  #isEnded = false;

  constructor(deps: { clock: Clock }, options: { path: string; maxBytes: number }) {
    this.#clock = deps.clock;
    this.#originMs = deps.clock.now() - deps.clock.monotonic();
    this.#maxBytes = options.maxBytes;
    this.path = options.path;
    mkdirSync(dirname(this.path), { recursive: true });
    this.#fd = openSync(this.path, 'w', 0o640);
  }

  /** No more will come: the container has ended. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Listeners now registered; tests assert that it returns to 0. */
  get listenerCount(): number {
    return this.#listeners.size;
  }

  listen(listener: LogListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Adds output. What follows the last line break waits for the rest of its line. */
  write(stream: LogStream, chunk: Buffer): void {
    if (this.#fd === undefined) return;
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      this.#pend(stream, chunk.subarray(start, end), lines);
      lines.push(...this.#line(stream, 'F'));
      start = end + 1;
    }
    if (start < chunk.length) this.#pend(stream, Buffer.from(chunk.subarray(start)), lines);
    this.#append(lines);
  }

  /** Writes what waits as a last, partial line and closes the file. */
  end(): void {
    if (this.#fd === undefined) return;
    const lines: Buffer[] = [];
    for (const stream of ['stdout', 'stderr'] as const) {
      if (this.#pendingBytes(stream) > 0) lines.push(...this.#line(stream, 'P'));
    }
    this.#append(lines);
    closeSync(this.#fd);
    this.#fd = undefined;
    this.#isEnded = true;
    for (const listener of this.#listeners) listener.onChange();
  }

  #pendingBytes(stream: LogStream): number {
    return (this.#pending.get(stream) ?? []).reduce((sum, part) => sum + part.length, 0);
  }

  #pend(stream: LogStream, part: Buffer, lines: Buffer[]): void {
    let rest = part;
    let room = maxLineBytes - this.#pendingBytes(stream);
    while (rest.length > room) {
      this.#push(stream, rest.subarray(0, room));
      lines.push(...this.#line(stream, 'P'));
      rest = rest.subarray(room);
      room = maxLineBytes;
    }
    this.#push(stream, rest);
  }

  #push(stream: LogStream, part: Buffer): void {
    const parts = this.#pending.get(stream);
    if (parts === undefined) this.#pending.set(stream, [part]);
    else parts.push(part);
  }

  #line(stream: LogStream, tag: 'F' | 'P'): Buffer[] {
    const parts = this.#pending.get(stream) ?? [];
    this.#pending.set(stream, []);
    const time = nanoTime(this.#originMs + this.#clock.monotonic());
    return [Buffer.from(`${time} ${stream} ${tag} `), ...parts, Buffer.from('\n')];
  }

  #append(lines: Buffer[]): void {
    if (lines.length === 0 || this.#fd === undefined) return;
    const bytes = Buffer.concat(lines);
    for (let written = 0; written < bytes.length;) written += writeSync(this.#fd, bytes, written);
    this.#bytes += bytes.length;
    if (this.#bytes >= this.#maxBytes) this.#rotate();
    for (const listener of this.#listeners) listener.onChange();
  }

  #rotate(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    if (this.#rotatedPath !== undefined) rmSync(this.#rotatedPath, { force: true });
    const time = new Date(this.#clock.now()).toISOString();
    const stamp = `${time.slice(0, 10).replaceAll('-', '')}-${time.slice(11, 19).replaceAll(':', '')}`;
    // Two rotations within a second must not share a name: the second would overwrite what a reader still needs.
    this.#rotatedPath = `${this.path}.${stamp}${this.#rotatedPath?.endsWith(stamp) === true ? '-1' : ''}`;
    renameSync(this.path, this.#rotatedPath);
    this.#fd = openSync(this.path, 'w', 0o640);
    this.#bytes = 0;
    for (const listener of this.#listeners) listener.onRotate();
  }
}
