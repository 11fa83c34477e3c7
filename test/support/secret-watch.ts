// The suite-wide look for secrets: whatever this process's children write to their standard output and error, what is in log files when their
// writer ends, and what else is handed in, is searched for the secrets that sandboxes in this process make (and for others that tests name). A
// child's output is seen where Node hands it to the stream, so that whoever reads it notices nothing.

import type { ChildProcess } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createReadStream, openSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { type Readable, Writable } from 'node:stream';

import { foldersChannel, type GoingFolder, type MadeSecret, secretsChannel } from '../../src/sandbox/made-secrets.ts';
import { isPrintedOnPurpose } from './printed-on-purpose.ts';
import { filesIn, secretsInFolder } from './sandbox-folder.ts';
import { SecretSearch } from './secret-search.ts';

/** Of what a sandbox in a process of its own says before it says where its folder is. */
const maxPreambleBytes = 64 * 1024;

export class SecretWatch {
  readonly search = new SecretSearch();
  readonly #readings = new Set<Promise<void>>();
  readonly #onSecret = (message: unknown): void => {
    const { kind, value } = message as MadeSecret;
    this.search.add(kind, value);
  };
  readonly #onFolder = (message: unknown): void => {
    const { dir, waitFor } = message as GoingFolder;
    waitFor(this.folder(dir));
  };
  readonly #onChild = (message: unknown): void => {
    const { process: child } = message as { process: ChildProcess };
    // Not before has it streams.
    child.once('spawn', () => this.child(child));
  };

  start(): void {
    subscribe(secretsChannel, this.#onSecret);
    subscribe(foldersChannel, this.#onFolder);
    subscribe('child_process', this.#onChild);
  }

  stop(): void {
    unsubscribe(secretsChannel, this.#onSecret);
    unsubscribe(foldersChannel, this.#onFolder);
    unsubscribe('child_process', this.#onChild);
  }

  /** A sentence for each secret that was written where it should not be. Waits for files that are read. */
  async report(): Promise<string[]> {
    await Promise.all(this.#readings);
    return this.search.findings.map(
      ({ kind, form, source, during }) => `${kind} (${form}) stands in ${source}, during ${during}`,
    );
  }

  /** What it writes from now on. A log file that it is told to write is read when it ends. */
  child(child: ChildProcess): void {
    const command = commandName(child.spawnargs);
    for (const name of ['stdout', 'stderr'] as const) {
      const stream = child[name];
      if (stream === null || isPrintedOnPurpose(child.spawnargs, name)) continue;
      const accept = this.search.stream(`${name} of ${command}`);
      tap(stream, isSandbox(child.spawnargs) ? this.#learning(accept, child.spawnargs) : accept);
    }
    const file = auditFileOf(child.spawnargs);
    if (file !== undefined) child.once('exit', () => void this.file(file));
  }

  /** The log files in a folder, if it is still there. Never rejects. */
  async folder(dir: string): Promise<void> {
    for (const file of filesIn(dir)) if (basename(file).includes('.log')) await this.file(file);
  }

  /** All of a file, if it is there; in pieces, as what runs in this process must go on. Never rejects. */
  async file(path: string): Promise<void> {
    let fd: number;
    try {
      fd = openSync(path, 'r'); // at once, since whoever wrote it may take it away
    } catch {
      return; // it was not written, or is away
    }
    const accept = this.search.stream(`the file ${basename(path)}`);
    const reading = (async () => {
      for await (const chunk of createReadStream(path, { fd })) accept(chunk as Buffer);
    })().catch(() => {}); // no file that can be read, such as a folder
    this.#readings.add(reading);
    await reading;
    this.#readings.delete(reading);
  }

  /**
   * Learns a sandbox's secrets as soon as its output names its kubeconfig, or the folder it was told to use has them; what it said before is
   * looked through once more.
   */
  #learning(accept: (chunk: Uint8Array) => void, words: readonly string[]): (chunk: Uint8Array) => void {
    const given = words[words.indexOf('--dir') + 1];
    let preamble = Buffer.alloc(0);
    let isKnown = false;
    return (chunk) => {
      accept(chunk);
      if (isKnown || preamble.length > maxPreambleBytes) return;
      preamble = Buffer.concat([preamble, chunk]);
      const file = /(\/\S*)\/kubeconfig\b/.exec(preamble.toString('latin1'))?.[1];
      const dir = words.includes('--dir') ? given : file;
      const secrets = dir === undefined ? [] : secretsInFolder(dir);
      if (secrets.length === 0) return;
      isKnown = true;
      for (const { kind, value } of secrets) this.search.add(kind, value);
      accept(preamble);
    };
  }
}

function tap(stream: Readable, accept: (chunk: Uint8Array) => void): void {
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk instanceof Uint8Array) accept(chunk);
    else if (typeof chunk === 'string') accept(Buffer.from(chunk, encoding));
    return push(chunk, encoding);
  };
}

/** A sandbox started as a command, by whatever starts it. */
function isSandbox(words: readonly string[]): boolean {
  return words.some((word) => /(?:^|\/)sandbox(?:-cluster\.ts)?$/.test(word));
}

/** Program, plain words and names of flags: what else there is in a command may be the secret itself. */
function commandName([program = '', ...words]: readonly string[]): string {
  const names = words
    .map((word) => (word.startsWith('-') ? (word.split('=', 1)[0] ?? '') : word))
    .filter((word) => /^-{0,2}[a-z]+(?:-[a-z]+)*$/.test(word) && word.length <= 30);
  return [basename(program), ...names.slice(0, 8)].join(' ');
}

/** Of `--audit-log-path FILE` and `--audit-log-path=FILE`; undefined also for `-`. */
function auditFileOf(words: readonly string[]): string | undefined {
  const flag = '--audit-log-path';
  const at = words.indexOf(flag);
  const file = at >= 0 ? words[at + 1] : words.find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1);
  return file === undefined || file === '-' || file.startsWith('/dev/') ? undefined : file;
}

/** A test by its file and titles. */
export function testName(test: { file?: string | undefined; fullTitle(): string } | undefined): string {
  if (test === undefined) return 'no test';
  const file = test.file === undefined ? '' : `${relative(process.cwd(), test.file)}: `;
  return `${file}${test.fullTitle()}`;
}

/** Standard error, for the log of a kexer in this process: looked through on the way. */
export function watchedLog(watch: SecretWatch = secretWatch): Writable {
  const accept = watch.search.stream('the log of a kexer in the process of the tests');
  return new Writable({
    decodeStrings: true,
    write: (chunk: Buffer, _encoding, done) => {
      accept(chunk);
      process.stderr.write(chunk, done);
    },
  });
}

/** Of this process: the suite's root hook starts it and asks it. */
export const secretWatch = new SecretWatch();
