import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { expect } from 'chai';

import { LineFile } from '../../src/observe/line-file.ts';

describe('LineFile', () => {
  /** What `write` does in turn: takes so many bytes, or fails by this code; at the end of the list all. */
  function fileOf(...steps: (number | string)[]): { file: LineFile; written: string[]; waits: number[] } {
    const written: string[] = [];
    const waits: number[] = [];
    const write = (fd: number, bytes: Buffer): number => {
      expect(fd).to.equal(7);
      const step = steps.shift() ?? bytes.length;
      if (typeof step === 'string') throw Object.assign(new Error(step), { code: step });
      written.push(bytes.toString('utf8', 0, step));
      return step;
    };
    return { file: new LineFile({ fd: 7 }, { write, wait: (ms) => void waits.push(ms) }), written, waits };
  }

  it('writes all that it holds when it is told to, and nothing when it holds nothing', () => {
    const { file, written } = fileOf();
    file.write('a\n');
    file.write('b\n');
    expect(written).to.deep.equal([]);
    file.flushSync();
    file.flushSync();
    expect(written).to.deep.equal(['a\nb\n']);
  });

  it('writes a flood at once', () => {
    const { file, written } = fileOf();
    const line = `${'x'.repeat(1023)}\n`;
    for (let count = 0; count < 25; count += 1) file.write(line);
    expect(written.map((text) => text.length)).to.deep.equal([12 * 1024, 12 * 1024]);
  });

  it('goes on where a short write ended, in the middle of a character too', () => {
    const { file, written } = fileOf(1, 2);
    file.write('aé€z\n');
    file.flushSync();
    expect(written.map((text) => Buffer.byteLength(text))).to.deep.equal([1, 2, 5]);
    expect(written.join('')).to.equal('aé€z\n');
  });

  it('waits for a reader that is slow', () => {
    const { file, written, waits } = fileOf('EAGAIN', 1, 'EAGAIN', 'EBUSY');
    file.write('abc');
    file.flushSync();
    expect([written, waits.length]).to.deep.equal([['a', 'bc'], 3]);
  });

  for (const code of ['EPIPE', 'ENOSPC', 'EIO', 'EBADF']) {
    it(`loses what cannot be written by ${code}, and no more`, () => {
      const { file, written, waits } = fileOf(1, code);
      file.write('lost');
      file.flushSync();
      file.write('kept');
      file.flushSync();
      expect([written, waits]).to.deep.equal([['l', 'kept'], []]);
    });
  }

  it('leaves a process alive whose log is read no more', async () => {
    const source = `
      import { createLogger } from ${JSON.stringify(new URL('../../src/observe/logger.ts', import.meta.url).href)};
      const log = createLogger({ level: 'info' });
      process.stdin.on('data', () => {
        log.error('nobody reads this');
        process.stdout.write('alive');
        process.exit(0);
      });
      log.error('the first line');`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: 'pipe' });
    child.stdin.on('error', () => {});
    const closed = once(child, 'close');
    await once(child.stderr, 'data');
    child.stderr.destroy();
    await once(child.stderr, 'close');
    child.stdin.write('go on');
    let text = '';
    for await (const piece of child.stdout) text += String(piece);
    expect([text, ...(await closed)]).to.deep.equal(['alive', 0, null]);
  });
});
