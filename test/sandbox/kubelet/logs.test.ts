// A container's log: the file's format, rotation, and reading it as the kubelet does, also across rotations while it is followed.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { systemClock } from '../../../src/base/clock.ts';
import { LogFile, maxLineBytes, nanoTime } from '../../../src/sandbox/kubelet/logs/log-file.ts';
import { type LogOptions, parseLogOptions } from '../../../src/sandbox/kubelet/logs/log-options.ts';
import { readLog } from '../../../src/sandbox/kubelet/logs/log-reader.ts';
import { Harness, readAnswer, requestHead } from './harness.ts';

const deps = { clock: systemClock };

function optionsOf(query: string): LogOptions {
  const parsed = parseLogOptions(new URLSearchParams(query));
  if ('status' in parsed) throw new Error(parsed.text);
  return parsed.options;
}

async function read(log: LogFile, query = '', signal = new AbortController().signal): Promise<string> {
  const blocks: Buffer[] = [];
  for await (const block of readLog(deps, log, optionsOf(query), signal)) blocks.push(block);
  return Buffer.concat(blocks).toString();
}

describe('LogFile and readLog', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'kexer-logs-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  function newLog(maxBytes = 1_000_000): LogFile {
    return new LogFile(deps, { path: path.join(dir, '0.log'), maxBytes });
  }

  it('writes the CRI format', () => {
    const log = newLog();
    log.write('stdout', Buffer.from('one\ntw'));
    log.write('stderr', Buffer.from('err\n'));
    log.write('stdout', Buffer.from('o\nrest'));
    log.end();
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z/;
    const lines = readFileSync(log.path, 'utf8').trim().split('\n');
    expect(lines.map((line) => line.replace(time, 'T'))).to.deep.equal([
      'T stdout F one',
      'T stderr F err',
      'T stdout F two',
      'T stdout P rest',
    ]);
  });

  it('splits a long line and joins it again for the reader', async () => {
    const log = newLog();
    const line = 'x'.repeat(maxLineBytes * 2 + 5);
    for (const part of [line.slice(0, 10_000), line.slice(10_000), '\nend\n']) log.write('stdout', Buffer.from(part));
    log.end();
    const tags = readFileSync(log.path, 'utf8')
      .trim()
      .split('\n')
      .map((entry) => entry.split(' ')[2]);
    expect(tags).to.deep.equal(['P', 'P', 'F', 'F']);
    expect(await read(log)).to.equal(`${line}\nend\n`);
    expect((await read(log, 'timestamps=true')).match(/Z x/g)).to.have.length(1);
  });

  it('reads from the last lines on', async () => {
    const log = newLog();
    for (let number = 0; number < 5000; number += 1)
      log.write('stdout', Buffer.from(`line ${number} ${'y'.repeat(40)}\n`));
    log.end();
    const tail = (await read(log, 'tailLines=2000')).trim().split('\n');
    expect([tail.length, tail[0]?.split(' ')[1]]).to.deep.equal([2000, '3000']);
    expect([await read(log, 'tailLines=0'), (await read(log, 'tailLines=9000')).split('\n').length]).to.deep.equal([
      '',
      5001,
    ]);
  });

  it('stops at limitBytes, within a line', async () => {
    const log = newLog();
    log.write('stdout', Buffer.from('12345\n67890\n'));
    expect(await read(log, 'limitBytes=8')).to.equal('12345\n67');
    log.end();
  });

  it('leaves out what is older than sinceTime', async () => {
    const log = newLog();
    log.write('stdout', Buffer.from('line\n'));
    log.end();
    const [now, past, future] = [Date.now(), '2020-01-01T00:00:00Z', '2100-01-01T00:00:00+01:00'];
    expect([
      await read(log, `sinceTime=${past}`),
      await read(log, `sinceTime=${encodeURIComponent(future)}`),
    ]).to.deep.equal(['line\n', '']);
    expect(nanoTime(now)).to.match(/^\d{4}-.*\.\d{9}Z$/);
  });

  it('rotates by size and keeps one older file', async () => {
    const log = newLog(1000);
    for (let number = 0; number < 100; number += 1) log.write('stdout', Buffer.from(`line ${number}\n`));
    log.end();
    expect(readdirSync(dir)).to.have.length(2);
    // As the kubelet does, a reader gets the newest file only.
    expect((await read(log)).trim().split('\n').at(-1)).to.equal('line 99');
  });

  it('follows across rotations without losing or repeating a line, however slow the reader', async () => {
    const log = newLog(2000);
    const lines: string[] = [];
    log.write('stdout', Buffer.from('line 0\n'));
    const reader = readLog(deps, log, optionsOf('follow=true'), new AbortController().signal);
    lines.push(String((await reader.next()).value));
    // Several rotations pass while the reader does not read.
    for (let number = 1; number < 1000; number += 1) log.write('stdout', Buffer.from(`line ${number}\n`));
    log.end();
    for await (const block of reader) lines.push(block.toString());
    const expected = Array.from({ length: 1000 }, (_, number) => `line ${number}\n`).join('');
    expect({ text: lines.join('') === expected, listeners: log.listenerCount }).to.deep.equal({
      text: true,
      listeners: 0,
    });
  });

  it('ends a follow when the client goes', async () => {
    const log = newLog();
    const gone = new AbortController();
    const reading = read(log, 'follow=true', gone.signal);
    gone.abort();
    expect([await reading, log.listenerCount]).to.deep.equal(['', 0]);
    log.end();
  });
});

describe('kubelet: logs', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start({ logMaxBytes: 4000 });
  });
  after(() => harness.close());

  it('follows a container to its end', async () => {
    const script = 'read go; i=0; while [ $i -lt 500 ]; do echo "line $i"; i=$((i+1)); done; printf tail; exit 0';
    harness.createSimplePod(
      'counter',
      { stdin: true, stdinOnce: true, command: ['sh', '-c', script] },
      { restartPolicy: 'Never' },
    );
    await harness.waitUntilReady('counter');
    const socket = await harness.dial();
    socket.write(requestHead({ method: 'GET', path: '/containerLogs/default/counter/counter?follow=true' }));
    const answer = readAnswer(socket);
    const { ExecClient } = await import('./exec-client.ts');
    const client = await ExecClient.start(harness, { kind: 'attach', pod: 'counter', stdin: true });
    client.stdin?.write(Buffer.from('go\n'));
    await client.done;
    const { status, body } = await answer;
    const expected = `${Array.from({ length: 500 }, (_, number) => `line ${number}\n`).join('')}tail`;
    expect({ status, body: body === expected }).to.deep.equal({ status: 200, body: true });
    socket.destroy();
  });

  it('waits for a client that reads slowly', async () => {
    const own = await Harness.start();
    const script = 'i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero | tr "\\0" x; echo; i=$((i+1)); done';
    own.createSimplePod('wide', { command: ['sh', '-c', script] }, { restartPolicy: 'Never' });
    await own.waitForPod('wide', (pod) => pod?.status?.phase === 'Succeeded');
    const socket = await own.dial();
    socket.write(requestHead({ method: 'GET', path: '/containerLogs/default/wide/wide' }));
    // Another request passes while the first is not read.
    socket.pause();
    await own.ask({ method: 'GET', path: '/healthz' });
    const { body } = await readAnswer(socket);
    expect(body.length).to.equal(40 * 100_001);
    await own.close();
  });

  it('says why there is no log', async () => {
    harness.createPod('two', {
      initContainers: [{ name: 'first', image: 'busybox', command: ['sleep', '1000'] }],
      containers: [{ name: 'second', image: 'busybox', command: ['sleep', '1000'] }],
    });
    await harness.waitForPod('two', (pod) => pod?.status?.initContainerStatuses?.[0]?.state.running !== undefined);
    const ask = async (target: string): Promise<string> => {
      const { status, body } = await harness.ask({ method: 'GET', path: `/containerLogs/default/${target}` });
      return `${status} ${body}`;
    };
    expect([
      await ask('two/first'),
      await ask('two/second'),
      await ask('two/first?previous=true'),
      await ask('two/nope'),
      await ask('nope/nope'),
    ]).to.deep.equal([
      '200 ',
      '400 container "second" in pod "two" is waiting to start: PodInitializing',
      '400 previous terminated container "first" in pod "two" not found',
      '404 container "nope" not found in pod "two"',
      '404 pod "nope" does not exist',
    ]);
  });

  it('keeps the log of the instance before', async () => {
    const script = 'if [ -e /once/x ]; then echo second; exec sleep 1000; fi; touch /once/x; echo first; exit 1';
    harness.createPod('twice', {
      volumes: [{ name: 'once', emptyDir: {} }],
      containers: [
        {
          name: 'c',
          image: 'busybox',
          command: ['sh', '-c', script],
          volumeMounts: [{ name: 'once', mountPath: '/once' }],
        },
      ],
    });
    await harness.waitForPod('twice', (pod) => {
      const status = pod?.status?.containerStatuses?.[0];
      return status?.restartCount === 1 && status.state.running !== undefined;
    });
    const previous = await harness.ask({ method: 'GET', path: '/containerLogs/default/twice/c?previous=true' });
    expect(previous.body).to.equal('first\n');
  });
});
