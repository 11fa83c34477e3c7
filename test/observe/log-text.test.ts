import { Writable } from 'node:stream';

import { expect } from 'chai';

import { textLine } from '../../src/observe/log-text.ts';
import { createLogger } from '../../src/observe/logger.ts';

describe('textLine', () => {
  it('is one readable line for one line of JSON', () => {
    const line = { level: 'info', time: '2026-11-21T03:10:47.123Z', session: 'ab12', kind: 'exec', container: '' };
    expect(
      textLine(`${JSON.stringify({ ...line, durationMs: 12, user: 'system:admin', msg: 'session ended' })}\n`),
    ).to.equal('2026-11-21T03:10:47.123Z INFO  session ended session=ab12 kind=exec durationMs=12 user=system:admin\n');
  });

  it('quotes what has spaces, and objects', () => {
    const fields = { level: 'warn', time: 't', msg: 'm', err: 'Cannot reach "x": no', empty: [], deep: { a: 1 } };
    expect(textLine(JSON.stringify(fields))).to.equal(
      `t WARN  m err=${JSON.stringify('Cannot reach "x": no')} empty=[] deep={"a":1}\n`,
    );
  });

  it('lets no value end the line, pass for another field, or move a cursor', () => {
    const nasty = 'a\nINFO b=c \u001b[2J \u009b31m \u202e \u2028 \u007f';
    const text = textLine(JSON.stringify({ level: 'info', time: 't', msg: 'm', user: nasty }));
    expect(text).to.equal('t INFO  m user="a\\nINFO b=c \\u001b[2J \\u009b31m \\u202e \\u2028 \\u007f"\n');
  });

  it('passes on what is no JSON', () => {
    expect(textLine('half a li')).to.equal('half a li');
  });
});

describe('createLogger with format text', () => {
  it('writes lines for people, redacted as the others are', () => {
    let written = '';
    const destination = new Writable({
      write(chunk: Buffer, _encoding, done) {
        written += chunk.toString();
        done();
      },
    });
    const log = createLogger({ level: 'info', format: 'text', destination });
    log.error({ err: new Error('Bearer abc.def refused') }, 'call failed');
    log.debug('not shown');
    expect(written).to.match(/^\d{4}-\d\d-\d\dT[\d:.]+Z ERROR call failed err="Bearer \[redacted\] refused"\n$/);
  });
});
