// A transport that has nothing but HTTP/2: what would go by HTTP/1.1 fails.

import { systemClock } from '../../../src/base/clock.ts';
import type { Scope } from '../../../src/base/scope.ts';
import type { Endpoint } from '../../../src/kube/credential.ts';
import { Http2Transport } from '../../../src/kube/http2-transport.ts';
import type { AnswerController, AnswerSink } from '../../../src/kube/transport.ts';

export function http2Only(scope: Scope, endpoint: Endpoint): Http2Transport {
  const http1 = {
    dispatch: (): AnswerController => {
      throw new Error('it went by HTTP/1.1');
    },
  };
  const options = { endpoint, certificate: undefined, connectTimeoutMs: 5000 };
  const transport = new Http2Transport({ clock: systemClock, http1 }, options);
  scope.add(() => transport.destroy());
  return transport;
}

/** One GET of /. */
export function getByHttp2(scope: Scope, endpoint: Endpoint, sink: AnswerSink): AnswerController {
  const request = { method: 'GET', target: '/', headers: [], body: undefined, contentLength: undefined };
  return http2Only(scope, endpoint).dispatch(request, sink);
}
