// The audit log on disk: every line once and whole, through rotations, full disks and a slow start; and what is dropped is counted.

import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { LogSink } from '../../../src/observe/audit/log-sink.ts';
import { type ByteTarget, RotatingFile } from '../../../src/observe/audit/rotating-file.ts';
import type { SinkObserver } from '../../../src/observe/audit/sink.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { useTempDir } from '../../support/temp-dir.ts';

class Told implements SinkObserver {
  readonly lines: string[] = [];

  dropped(sink: string, count: number, reason: string): void {
    this.lines.push(`${sink} dropped ${count}: ${reason}`);
  }

  failing(sink: string, error: unknown): void {
    this.lines.push(`${sink} failing: ${(error as Error).message}`);
  }
}

/** What is written, a few bytes at a time; fails when told to. */
class FakeTarget implements ByteTarget {
  room = Number.POSITIVE_INFINITY;
  text = '';
  error: Error | undefined;
  isClosed = false;
  maxBytes = 1000;
  hold: Promise<void> | undefined;

  async write(bytes: Buffer): Promise<number> {
    await this.hold;
    if (this.error !== undefined) throw this.error;
    const taken = bytes.subarray(0, this.maxBytes);
    this.text += taken.toString();
    return taken.length;
  }

  async rotate(): Promise<void> {}

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

/** Lets everything run that waits for nothing but its turn. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe('RotatingFile', () => {
  const dir = useTempDir();

  async function open(
    clock: FakeClock,
    options: { maxBytes?: number; maxBackups?: number; maxAgeMs?: number } = {},
  ): Promise<{ sink: LogSink; told: Told; errors: unknown[] }> {
    const errors: unknown[] = [];
    const told = new Told();
    const target = await RotatingFile.open(
      { clock, onError: (error) => errors.push(error) },
      { path: join(dir(), 'logs', 'audit.log'), maxBytes: 100, maxBackups: 0, maxAgeMs: 0, ...options },
    );
    return { sink: new LogSink({ clock, target, observer: told }), told, errors };
  }

  async function files(): Promise<Record<string, string[]>> {
    const folder = join(dir(), 'logs');
    const names = (await readdir(folder)).toSorted();
    const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
    return Object.fromEntries(names.map((name, index) => [name, (texts[index] ?? '').split('\n').slice(0, -1)]));
  }

  it('makes the folder and a file that only its owner reads', async () => {
    const { sink } = await open(new FakeClock());
    await sink.writeSafely('one');
    await sink.close();
    const { mode } = await stat(join(dir(), 'logs', 'audit.log'));
    expect([mode & 0o777, await files()]).to.deep.equal([0o600, { 'audit.log': ['one'] }]);
  });

  it('keeps every line, once and in order, over many rotations within one millisecond', async () => {
    const clock = new FakeClock();
    const { sink, errors } = await open(clock);
    const lines = Array.from({ length: 200 }, (_, index) => `${index} ${'x'.repeat(index % 40)}`);
    for (const [index, line] of lines.entries()) {
      if (index % 7 === 0) await sink.writeSafely(line);
      else sink.write(line);
    }
    await sink.close();
    const found = await files();
    // The file in use has the shortest name and the newest lines.
    const names = Object.keys(found).toSorted((a, b) =>
      a === 'audit.log' ? 1 : b === 'audit.log' ? -1 : a < b ? -1 : 1,
    );
    expect(names.flatMap((name) => found[name] ?? [])).to.deep.equal(lines);
    expect(names.length).to.be.greaterThan(40);
    expect(errors).to.deep.equal([]);
    expect(names.every((name) => /^audit(-2026-11-20T00-00-00\.\d{3})?\.log$/.test(name))).to.equal(true);
    const sizes = names.map((name) => (found[name] ?? []).join('\n').length + 1);
    expect(Math.max(...sizes)).to.be.at.most(100);
  });

  it('goes on with the file it finds, and gives a line that is longer than a file one of its own', async () => {
    const first = await open(new FakeClock());
    await first.sink.writeSafely('a'.repeat(60));
    await first.sink.close();
    const { sink } = await open(new FakeClock());
    await sink.writeSafely('b'.repeat(50));
    await sink.writeSafely('c'.repeat(500));
    await sink.writeSafely('d');
    await sink.close();
    expect(Object.values(await files()).map((lines) => lines.map((line) => `${line[0]}${line.length}`))).to.deep.equal([
      ['a60'],
      ['b50'],
      ['c500'],
      ['d1'],
    ]);
  });

  it('removes what is too old or too many, and nothing that is not its own', async () => {
    const clock = new FakeClock();
    const { sink } = await open(clock, { maxBackups: 2, maxAgeMs: 3 * 86_400_000 });
    const other = join(dir(), 'logs', 'audit-notes.log');
    await writeFile(other, 'mine\n');
    for (let day = 0; day < 5; day += 1) {
      await sink.writeSafely(`${day}${'x'.repeat(90)}`);
      clock.advance(day < 3 ? 1000 : 2 * 86_400_000);
    }
    const soon = Object.keys(await files());
    clock.advance(10 * 86_400_000);
    await sink.writeSafely('y'.repeat(90));
    await sink.close();
    expect([soon.length, Object.keys(await files())]).to.deep.equal([
      4,
      ['audit-2026-12-04T00-00-03.000.log', 'audit-notes.log', 'audit.log'],
    ]);
  });

  it('goes on in the old file when it cannot be renamed, and says so', async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    // A name that, with the time added, is longer than a file's may be.
    const path = join(dir(), `${'n'.repeat(240)}.log`);
    const target = await RotatingFile.open(
      { clock, onError: (error) => errors.push(error) },
      { path, maxBytes: 10, maxBackups: 0, maxAgeMs: 0 },
    );
    const sink = new LogSink({ clock, target, observer: new Told() });
    await sink.writeSafely('12345678');
    await sink.writeSafely('abcdefgh');
    await sink.close();
    expect([await readFile(path, 'utf8'), errors.length]).to.deep.equal(['12345678\nabcdefgh\n', 1]);
  });
});

describe('LogSink', () => {
  let clock: FakeClock;
  let target: FakeTarget;
  let told: Told;
  let sink: LogSink;

  beforeEach(() => {
    clock = new FakeClock();
    target = new FakeTarget();
    told = new Told();
    sink = new LogSink({ clock, target, observer: told });
  });

  it('waits for a full disk, and tears no line when it goes on', async () => {
    target.maxBytes = 3;
    sink.write('first');
    await turns();
    target.error = new Error('ENOSPC');
    sink.write('second');
    await turns();
    clock.advance(3000);
    await turns();
    target.error = undefined;
    clock.advance(1000);
    await turns();
    await sink.close();
    expect({ text: target.text, told: told.lines, counts: sink.counts }).to.deep.equal({
      text: 'first\nsecond\n',
      told: ['log failing: ENOSPC'],
      counts: { written: 2, dropped: 0 },
    });
  });

  it('tries a busy pipe again soon, without a word', async () => {
    target.error = Object.assign(new Error('again'), { code: 'EAGAIN' });
    sink.write('x');
    await turns();
    target.error = undefined;
    clock.advance(50);
    await turns();
    expect({ text: target.text, told: told.lines }).to.deep.equal({ text: 'x\n', told: [] });
    await sink.close();
  });

  it('drops what its queue cannot hold, and tells the count at once and then every ten seconds', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    target.hold = promise;
    const line = 'x'.repeat(1024 * 1024);
    for (let index = 0; index < 20; index += 1) sink.write(line);
    const full = await sink.writeSafely(line).catch((error: unknown) => error);
    expect(full).to.have.property('code', 'overLimit');
    clock.advance(10_000);
    resolve();
    target.maxBytes = Number.POSITIVE_INFINITY;
    await sink.close();
    expect({ told: told.lines, counts: sink.counts }).to.deep.equal({
      told: ['log dropped 1: the queue of the audit log is full', 'log dropped 5: the queue of the audit log is full'],
      counts: { written: 15, dropped: 6 },
    });
  });

  it('says in time that an event is not safe when nothing moves at all', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    target.hold = promise;
    const outcome = sink.writeSafely('x').catch((error: unknown) => error);
    await turns();
    clock.advance(5000);
    expect(await outcome).to.have.property('code', 'timeout');
    resolve();
    await sink.close();
    expect([target.text, sink.counts.written]).to.deep.equal(['x\n', 1]);
  });

  it('says at once that an event is not safe when writing fails, and gives up an end that takes too long', async () => {
    target.error = new Error('EIO');
    const failed = await sink.writeSafely('x').catch((error: unknown) => error);
    expect(failed).to.have.property('code', 'internal');
    const closing = sink.close();
    await turns();
    clock.advance(5000);
    await closing;
    expect({ told: told.lines, counts: sink.counts, isClosed: target.isClosed }).to.deep.equal({
      told: ['log failing: EIO', 'log dropped 1: kexer ended before they were written'],
      counts: { written: 0, dropped: 1 },
      isClosed: false,
    });
    sink.write('late');
    expect(sink.counts.dropped).to.equal(2);
    expect(clock.pendingCount).to.equal(1); // the report of the drop
  });
});
