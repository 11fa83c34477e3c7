// An answer all of which is there: one write, a length where it needs one, and headers as they came.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { sendWholeAnswer } from '../../src/net/http-answer.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';

describe('sendWholeAnswer', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** What a client reads, write by write, but for Date. */
  async function answer(method: string, respond: (response: ServerResponse) => void): Promise<string[]> {
    const writes: string[] = [];
    const server = createServer((_request, response) => {
      response.sendDate = false;
      respond(response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(async () => {
      server.close();
      await once(server, 'close');
    });
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write(`${method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    for await (const part of socket) writes.push((part as Buffer).toString());
    return writes;
  }

  const body = Buffer.from('{"a":1}');
  const cases: [
    what: string,
    method: string,
    status: number,
    headers: RawHeaders,
    body: Buffer | undefined,
    sent: string,
  ][] = [
    [
      'a body without a length',
      'GET',
      200,
      [],
      body,
      'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{"a":1}',
    ],
    [
      'a body with its length',
      'GET',
      404,
      [['content-length', '7']],
      body,
      'HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nConnection: close\r\n\r\n{"a":1}',
    ],
    ['no body', 'GET', 200, [], undefined, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'],
    [
      'repeated headers',
      'GET',
      200,
      [
        ['A', '1'],
        ['B', 'x'],
        ['a', '2'],
      ],
      body,
      'HTTP/1.1 200 OK\r\nA: 1\r\nB: x\r\na: 2\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{"a":1}',
    ],
    ['204', 'DELETE', 204, [], undefined, 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'],
    [
      '304, whose length is of what it stands for',
      'GET',
      304,
      [['Content-Length', '99']],
      undefined,
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nConnection: close\r\n\r\n',
    ],
    [
      'HEAD, whose length is of what GET would give',
      'HEAD',
      200,
      [['Content-Length', '99']],
      undefined,
      'HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n',
    ],
    ['HEAD without a length', 'HEAD', 200, [], undefined, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'],
  ];
  for (const [what, method, status, headers, bytes, sent] of cases) {
    it(`sends ${what}`, async () => {
      const writes = await answer(method, (response) => sendWholeAnswer(response, { status, headers }, bytes));
      expect(writes).to.deep.equal([sent]);
    });
  }

  it('keeps what the listener has set', async () => {
    const writes = await answer('GET', (response) => {
      response.setHeader('Connection', 'close');
      sendWholeAnswer(response, { status: 200, headers: [['A', '1']] }, body);
    });
    expect(writes.join('').split('\r\n').toSorted()).to.deep.equal(
      ['HTTP/1.1 200 OK', 'Connection: close', 'A: 1', 'Content-Length: 7', '', '{"a":1}'].toSorted(),
    );
  });

  for (const bad of [
    ['A', '1\r\nB: 2'],
    ['A B', '1'],
  ] as const) {
    it(`writes nothing when ${JSON.stringify(bad)} is among the headers`, async () => {
      const writes = await answer('GET', (response) => {
        expect(() => sendWholeAnswer(response, { status: 200, headers: [['C', '3'], bad] }, body)).to.throw();
        expect(response.headersSent).to.equal(false);
        sendWholeAnswer(response, { status: 502, headers: [] }, undefined);
      });
      expect(writes).to.deep.equal(['HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n']);
    });
  }
});
