// The body of a request that kexer answers itself: whole, or a refusal that its client can read.

import { createServer } from 'node:http';
import { connect } from 'node:net';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { readBody } from '../../src/server/own-body.ts';
import { listening } from '../support/listening.ts';

const maxBytes = 64 * 1024;

describe('readBody of a request to kexer itself', () => {
  let scope: Scope;
  let port: number;
  let outcomes: string[];

  beforeEach(async () => {
    scope = new Scope();
    outcomes = [];
    const server = createServer((request, response) => {
      void readBody(request, maxBytes).then(
        (body) => response.end(`${body.length}`),
        (error: unknown) => {
          outcomes.push(codeOf(error));
          response.writeHead(413).end('too long');
        },
      );
    });
    port = await listening(scope, server);
  });
  afterEach(() => scope.close());

  async function ask(head: string, ...pieces: readonly Buffer[]): Promise<string> {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    scope.add(() => void socket.destroy());
    socket.write(`POST / HTTP/1.1\r\nHost: kexer\r\nConnection: close\r\n${head}\r\n\r\n`);
    for (const piece of pieces) socket.write(piece);
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    const [, status = '', body = ''] = /^HTTP\/1\.1 (\d+) [\s\S]*?\r\n\r\n([\s\S]*)$/.exec(answer) ?? [];
    return `${status} ${body}`;
  }

  it('is read whole up to its bound', async () => {
    expect(await ask(`Content-Length: ${maxBytes}`, Buffer.alloc(maxBytes)))
      .to.contain('200 ')
      .and.contain('65536');
    expect(outcomes).to.deep.equal([]);
  });

  for (const [what, head, pieces] of [
    ['sends too much', `Content-Length: ${2 * maxBytes}`, [Buffer.alloc(maxBytes), Buffer.alloc(maxBytes)]],
    ['sends too much in chunks', 'Transfer-Encoding: chunked', [Buffer.from('20000\r\n'), Buffer.alloc(0x20000)]],
  ] as const) {
    it(`is refused in words when its client ${what}`, async () => {
      expect(await ask(head, ...pieces))
        .to.contain('413 ')
        .and.contain('too long');
      expect(outcomes).to.deep.equal(['tooLarge']);
    });
  }

  it('says that its client has left', async () => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.write('POST / HTTP/1.1\r\nHost: kexer\r\nContent-Length: 10\r\n\r\nhalf');
    socket.end();
    await new Promise((resolve) => socket.resume().once('close', resolve));
    expect(outcomes).to.deep.equal(['clientGone']);
  });
});
