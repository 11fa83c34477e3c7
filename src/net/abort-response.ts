// How a response ends that cannot be completed: the client must see that it is broken. On HTTP/1.1 the connection is destroyed, so that the
// last chunk or the announced length is missing; on HTTP/2 the stream is reset. A clean end would make half a list look like a whole one.

import type { ServerResponse } from 'node:http';
import { constants, type Http2ServerResponse } from 'node:http2';

export function abortResponse(response: ServerResponse | Http2ServerResponse): void {
  if ('stream' in response) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else response.destroy();
}
