// An answer that is broken off. Over HTTP/2 kube-apiserver resets the stream with INTERNAL_ERROR (net/http2 does so for http.ErrAbortHandler); a
// reset with NO_ERROR looks like a body's ordinary end to clients: a log cut in the middle was taken as whole.

import { once } from 'node:events';
import { connect, constants, createServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../../../src/base/scope.ts';
import { ApiRequest } from '../../../../src/sandbox/apiserver/chain/api-request.ts';

describe('ApiRequest', () => {
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  it('breaks an HTTP/2 answer off by an error, not by an end', async () => {
    const server = createServer((request: Http2ServerRequest, response: Http2ServerResponse) => {
      const exchange = new ApiRequest({ request, response }, { receivedAtMs: 0 });
      exchange.stream(200, 'text/plain').write('half');
      setImmediate(() => exchange.abort());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
        }),
    );
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    scope.add(async () => {
      session.destroy();
      if (!session.closed) await once(session, 'close');
    });
    const stream = session.request({ ':path': '/api/v1/namespaces/default/pods/demo/log' });
    stream.on('error', () => {}); // the reset, which 'close' tells of as well
    stream.resume();
    await new Promise<void>((resolve) => {
      stream.once('close', resolve);
    });
    expect(stream.rstCode).to.equal(constants.NGHTTP2_INTERNAL_ERROR);
  });
});
