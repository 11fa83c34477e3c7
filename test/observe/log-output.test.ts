import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { expect } from 'chai';
import { pino } from 'pino';

import { LogOutput } from '../../src/observe/log-output.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('LogOutput', () => {
  let clock: FakeClock;
  let held: string[];
  let written: string[];
  let log: pino.Logger;
  let output: LogOutput;

  beforeEach(() => {
    clock = new FakeClock();
    held = [];
    written = [];
    const sink = {
      write: (text: string) => void held.push((JSON.parse(text) as { msg: string }).msg),
      flushSync: () => void written.push(held.splice(0).join(' ')),
    };
    output = new LogOutput({ clock, sink });
    log = pino({}, output);
  });

  it('writes lines of the same moment at once, a moment later', () => {
    log.info('a');
    log.debug('below its level');
    log.info('b');
    expect(written).to.deep.equal([]);
    clock.advance(10);
    log.info('c');
    clock.advance(10);
    expect(written).to.deep.equal(['a b', 'c']);
    expect(clock.pendingCount).to.equal(0);
  });

  it('lets a warning or an error wait for nothing, nor what stands before it', () => {
    log.info('a');
    log.warn('b');
    log.error('c');
    log.fatal('d');
    expect(written).to.deep.equal(['a b', 'c', 'd']);
    log.info('e');
    expect(written.length).to.equal(3);
    expect(clock.pendingCount).to.equal(1);
    output.flush();
    expect([written.at(-1), clock.pendingCount]).to.deep.equal(['e', 0]);
  });

  for (const end of ['process.exit(3)', 'process.exitCode = 3', 'process.exitCode = 3; throw new Error()']) {
    it(`loses no line of a process that ends by ${end}`, async () => {
      const source = `
        import { createLogger } from ${JSON.stringify(new URL('../../src/observe/logger.ts', import.meta.url).href)};
        createLogger({ level: 'info' }).info('the last words');
        ${end};`;
      const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let text = '';
      child.stderr.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      await once(child, 'close');
      expect(text).to.contain('"msg":"the last words"');
    });
  }
});
