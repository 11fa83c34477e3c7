// Bytes of real components (test/recordings: a kubelet 1.36, kube-apiserver's and the kubelet's answers), as values. The files are
// read-only copies of the project's shared recordings; a test holds the two equal where both exist. See README.md there for each name.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const here = import.meta.dirname;

/** The committed copy, or the folder that KEXER_RECORDINGS names. */
export const recordingsDir: string = process.env['KEXER_RECORDINGS'] ?? path.resolve(here, '../recordings');

/** The original beside the repository; absent in a fresh clone. */
export const sharedRecordingsDir: string = path.resolve(here, '../../../shared/recordings');

/** One read of the recorder, or the half-close of a side. */
export interface RecordedEvent {
  readonly conn: number;
  /** Since the connection opened. */
  readonly ms: number;
  readonly from: 'client' | 'kubelet';
  readonly data?: Buffer;
  readonly end?: boolean;
}

/** One direction of one connection: its HTTP head and what follows it. */
export interface RecordedDirection {
  /** Up to and including the empty line. */
  readonly head: string;
  /** Everything after the head. */
  readonly body: Buffer;
  /** `body` in the pieces the recorder read. */
  readonly chunks: readonly Buffer[];
  readonly hasEnd: boolean;
}

export interface RecordedConnection {
  readonly conn: number;
  readonly client: RecordedDirection;
  readonly kubelet: RecordedDirection;
}

/** A question and its answer in `*-answers*.jsonl`. */
export interface RecordedAnswer {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string;
    /** Which client certificate: `admin`, `kubelet-client`, `sched`, `nobody`. */
    readonly as: string;
  };
  readonly response: {
    readonly status: number;
    readonly headers: readonly (readonly [name: string, value: string])[];
    readonly body: string;
    /** The body was longer in truth. */
    readonly cut?: boolean;
  };
}

function readLines(file: string): unknown[] {
  return readFileSync(path.join(recordingsDir, file), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}

/** Names of the recorded streams, such as `exec-spdy-exit3`. */
export function streamNames(): string[] {
  return readdirSync(recordingsDir)
    .filter((file) => file.endsWith('.jsonl') && !file.includes('-answers'))
    .map((file) => file.slice(0, -'.jsonl'.length))
    .sort();
}

/** Every event of a recorded stream, in order. */
export function readEvents(name: string): RecordedEvent[] {
  const lines = readLines(`${name}.jsonl`) as (Omit<RecordedEvent, 'data'> & { data?: string })[];
  return lines.map(({ data, ...event }) =>
    data === undefined ? event : { ...event, data: Buffer.from(data, 'base64') },
  );
}

/** The connections of a recorded stream, each direction put together and its HTTP head cut off. */
export function readConnections(name: string): RecordedConnection[] {
  const events = readEvents(name);
  const numbers = [...new Set(events.map(({ conn }) => conn))];
  return numbers.map((conn) => {
    const own = events.filter((event) => event.conn === conn);
    return { conn, client: directionOf(own, 'client'), kubelet: directionOf(own, 'kubelet') };
  });
}

function directionOf(events: readonly RecordedEvent[], from: 'client' | 'kubelet'): RecordedDirection {
  const own = events.filter((event) => event.from === from);
  const chunks = own.flatMap(({ data }) => (data === undefined ? [] : [data]));
  const bytes = Buffer.concat(chunks);
  const end = bytes.indexOf('\r\n\r\n');
  const headBytes = end === -1 ? 0 : end + 4;
  return {
    head: bytes.toString('latin1', 0, headBytes),
    body: bytes.subarray(headBytes),
    chunks: cutFront(chunks, headBytes),
    hasEnd: own.some(({ end }) => end === true),
  };
}

function cutFront(chunks: readonly Buffer[], count: number): Buffer[] {
  const rest: Buffer[] = [];
  let left = count;
  for (const chunk of chunks) {
    const cut = Math.min(left, chunk.length);
    left -= cut;
    if (cut < chunk.length) rest.push(chunk.subarray(cut));
  }
  return rest;
}

/** What kubectl's user saw; empty if nothing. */
export function readOutput(name: string, stream: 'stdout' | 'stderr'): Buffer {
  const file = path.join(recordingsDir, `${name}.${stream}`);
  return existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
}

/** Questions and answers: `apiserver-answers`, `kubelet-answers` or `kubelet-answers-before-1.36`. */
export function readAnswers(name: string): RecordedAnswer[] {
  return readLines(`${name}.jsonl`) as RecordedAnswer[];
}
