// The head of an answer leaves at once, and with it what of the body is there; all of it must arrive, however early the end comes.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { flushHead } from '../../src/net/http-answer.ts';

describe('flushHead', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** The bytes of one answer of HTTP/1.1. */
  async function answer(respond: (response: ServerResponse) => void): Promise<string> {
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
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const parts: Buffer[] = [];
    for await (const part of socket) parts.push(part as Buffer);
    return Buffer.concat(parts).toString();
  }

  const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';

  it('keeps the order of a body that ends in the same turn', async () => {
    const text = await answer((response) => {
      flushHead(response);
      response.write('one');
      response.write('two');
      response.end();
    });
    expect(text).to.equal(`${head}3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n`);
  });

  it('sends the head when nothing follows for now', async () => {
    const text = await answer((response) => {
      flushHead(response);
      setImmediate(() => setImmediate(() => response.destroy()));
    });
    expect(text).to.equal(head);
  });

  it('keeps the order of a body that comes and ends later', async () => {
    const text = await answer((response) => {
      flushHead(response);
      setImmediate(() => {
        response.write('one');
        setImmediate(() => response.end('two'));
      });
    });
    expect(text).to.equal(`${head}3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n`);
  });
});
