// The log's form, its policy of levels, and that no credential gets into it.

import { Writable } from 'node:stream';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { requestEnded, sessionLines, type RequestEnd } from '../../src/observe/log-lines.ts';
import { createLogger, redact, type Logger } from '../../src/observe/logger.ts';

function capture(level = 'debug'): { log: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  return { log: createLogger({ level, destination }), lines };
}

const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl';

describe('createLogger', () => {
  it('writes one JSON object a line, the level by name, an error as its text with its causes', () => {
    const { log, lines } = capture();
    log.info({ err: new KexerError('cut', 'outer', { cause: new Error('inner') }), a: 1 }, 'a line');
    expect(lines.map(({ time, ...line }) => [typeof time, line])).to.deep.equal([
      ['string', { level: 'info', err: 'outer: inner', a: 1, msg: 'a line' }],
    ]);
  });

  it('leaves out what is below its level', () => {
    const { log, lines } = capture('warn');
    log.info('not this');
    log.warn('this');
    expect(lines.map(({ msg }) => msg)).to.deep.equal(['this']);
  });

  const secrets: readonly (readonly [text: string, shown: string])[] = [
    ['Authorization: Bearer abc.def', 'Authorization: Bearer [redacted]'],
    [`token ${jwt} is bad`, 'token [redacted] is bad'],
    ['base64url.bearer.authorization.k8s.io.dG9r, v4', 'base64url.bearer.authorization.k8s.io.[redacted], v4'],
    ['nothing secret', 'nothing secret'],
  ];
  for (const [text, shown] of secrets) {
    it(`shows ${JSON.stringify(shown)}`, () => {
      expect(redact(text)).to.equal(shown);
      const { log, lines } = capture();
      log.error({ err: new Error('x', { cause: new Error(text) }) }, 'failed');
      expect(lines[0]).to.have.property('err', `x: ${shown}`);
    });
  }
});

describe('requestEnded', () => {
  const end: RequestEnd = {
    id: '1',
    method: 'GET',
    path: '/api',
    status: 200,
    durationMs: 1,
    user: 'alice',
    remoteAddress: '127.0.0.1',
    auditId: 'a',
  };
  const levels: readonly (readonly [status: number, err: unknown, level: string, msg: string])[] = [
    [200, undefined, 'debug', 'request served'],
    [304, undefined, 'debug', 'request served'],
    [403, undefined, 'info', 'request refused'],
    [499, undefined, 'info', 'request refused'],
    [500, new Error('x'), 'error', 'request failed'],
    [503, new KexerError('unreachable', 'x'), 'error', 'request failed'],
    [503, new KexerError('draining', 'x'), 'info', 'request refused'],
  ];
  for (const [status, err, level, msg] of levels) {
    it(`logs ${status}${err instanceof Error ? ` (${err.name})` : ''} as ${level}`, () => {
      const { log, lines } = capture();
      requestEnded(log, { ...end, status, ...(err === undefined ? {} : { err }) });
      expect(lines[0]).to.include({ level, msg, status, user: 'alice', path: '/api' });
      expect('err' in (lines[0] ?? {})).to.equal(err !== undefined);
    });
  }
});

describe('sessionLines', () => {
  it('tells who, where and how it ended, and never the command', () => {
    const { log, lines } = capture();
    const session = {
      id: 's1',
      bytesIn: 1,
      bytesOut: 2,
      durationMs: 3.7,
      subject: {
        kind: 'exec',
        user: { name: 'alice' },
        clusterNamespace: 'default',
        cluster: 'local',
        namespace: 'default',
        pod: 'demo',
        container: 'c',
        node: 'node1',
        clientProtocol: 'SPDY/3.1',
        remoteAddress: '127.0.0.1',
        auditId: 'a',
        command: ['secret'],
      },
    };
    const observer = sessionLines(log);
    observer.sessionStarted(session);
    observer.sessionEnded(session, { cause: 'normal', message: 'done', exitCode: 3 });
    observer.sessionEnded(session, { cause: 'internal', message: 'defect' });
    expect(lines.map(({ level, msg, session: id, exitCode }) => [level, msg, id, exitCode])).to.deep.equal([
      ['info', 'session started', 's1', undefined],
      ['info', 'session ended', 's1', 3],
      ['error', 'session ended', 's1', undefined],
    ]);
    expect(lines[1]).to.include({
      user: 'alice',
      pod: 'demo',
      bytesIn: 1,
      bytesOut: 2,
      durationMs: 4,
      cause: 'normal',
    });
    expect(JSON.stringify(lines)).to.not.contain('secret');
  });
});
