// A ResourceServer behind plain HTTP on loopback, for tests of the resource part alone: no TLS, no RBAC; everybody is admin.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Clock } from '../../../src/base/clock.ts';
import { encodeStatus } from '../../../src/kube/status.ts';
import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { makeUser } from '../../../src/kube/user.ts';
import type { Exchange, HeaderPairs } from '../../../src/sandbox/apiserver/exchange.ts';
import { ResourceServer, type ResourceServerOptions } from '../../../src/sandbox/apiserver/resource-server.ts';
import type { Store } from '../../../src/sandbox/apiserver/store.ts';

function makeExchange(req: IncomingMessage, res: ServerResponse): Exchange {
  const url = new URL(req.url ?? '/', 'http://plain');
  const path = decodeURIComponent(url.pathname);
  const method = req.method ?? 'GET';
  const controller = new AbortController();
  res.on('close', () => controller.abort());
  const writeHead = (status: number, contentType: string, extra: HeaderPairs): void => {
    res.statusCode = status;
    res.setHeader('Content-Type', contentType);
    for (const [name, value] of extra) res.appendHeader(name, value);
    if (!res.hasHeader('Cache-Control')) res.setHeader('Cache-Control', 'no-cache, private');
  };
  return {
    method,
    path,
    query: url.searchParams,
    rawUrl: req.url ?? '/',
    headers: Object.entries(req.headers).map(([name, value]) => [name, String(value)] as const),
    info: parseRequestInfo(
      method,
      path.split('/').filter((segment) => segment !== ''),
      url.searchParams,
    ),
    user: makeUser({ name: 'admin' }),
    signal: controller.signal,
    header(name) {
      const value = req.headers[name.toLowerCase()];
      return Array.isArray(value) ? value[0] : value;
    },
    body: () => buffer(req),
    send(status, contentType, body, extra = []) {
      writeHead(status, contentType, extra);
      res.end(body);
    },
    sendStatus(status) {
      writeHead(status.code, 'application/json', []);
      res.end(encodeStatus(status));
    },
    stream(status, contentType, extra = []) {
      writeHead(status, contentType, extra);
      res.flushHeaders();
      return {
        write: (chunk) => controller.signal.aborted || res.write(chunk),
        drained: () =>
          new Promise((resolve) => {
            if (!res.writableNeedDrain || controller.signal.aborted) resolve();
            else {
              res.once('drain', resolve);
              res.once('close', resolve);
            }
          }),
        end: () => void res.end(),
        abort: () => void res.destroy(),
      };
    },
  };
}

export interface PlainServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1. */
export async function startPlainServer(
  deps: { store: Store; clock: Clock },
  options: ResourceServerOptions = {},
): Promise<PlainServer> {
  const resources = new ResourceServer(deps, options);
  const server = createServer((req, res) => void resources.handle(makeExchange(req, res)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
