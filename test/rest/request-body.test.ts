// A body may be over before anybody asks for it: reviews are awaited between the head of a request and its forwarding. Node's HTTP/2 streams
// emit the end of an empty body at once, read or not, so that a listener attached later heard nothing and the call hung: a DELETE through the
// aggregation layer by a caller whose review was not cached.

import { once } from 'node:events';
import { connect, createServer, type Http2ServerRequest } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { requestBody } from '../../src/rest/request-body.ts';

describe('requestBody', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** A request over HTTP/2 whose body is `parts`, as a server has it when all of it has arrived. */
  async function arrived(parts: readonly string[]): Promise<Http2ServerRequest> {
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    scope.add(() => {
      client.destroy();
      server.close();
    });
    const sent = client.request({ ':method': 'DELETE', ':path': '/' }, { endStream: false });
    sent.on('error', () => {});
    const [request] = (await once(server, 'request')) as [Http2ServerRequest];
    for (const part of parts) sent.write(part);
    sent.end();
    // The answer to a ping comes behind everything that was sent before it, and a turn later that has been dispatched.
    await new Promise<void>((resolve, reject) => {
      client.ping((error) => (error === null ? resolve() : reject(error)));
    });
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    return request;
  }

  for (const maxBytes of [0, 1024]) {
    for (const parts of [[], ['{}'], ['{', '}']]) {
      it(`ends a body of ${JSON.stringify(parts.join(''))} that was over before, with ${maxBytes === 0 ? 'no' : 'a'} limit`, async () => {
        const request = await arrived(parts);
        expect((await buffer(requestBody(request, maxBytes))).toString()).to.equal(parts.join(''));
      });
    }
  }
});
