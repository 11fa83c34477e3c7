// Ordinary calls: small GETs on kept connections, a long list read to its end, and watches that are only held.

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { Agent, request } from 'node:https';

import { type Route, kexerPath } from './route.ts';

/** kexer's paths are in front of the cluster's own. */
function pathOf(route: Route, path: string): string {
  return route.isKexer ? kexerPath + path : path;
}

function headersOf(route: Route): Record<string, string> {
  return { accept: 'application/json', authorization: `Bearer ${route.token ?? ''}`, 'user-agent': 'kubectl/bench' };
}

export interface Gets {
  readonly route: Route;
  readonly path: string;
  readonly method?: 'GET' | 'POST';
  readonly count: number;
  readonly connections: number;
  readonly wantedStatus?: number;
}

/** Milliseconds of each; `connections` are opened before and their first call is not counted. */
export async function callMany({
  route,
  path,
  method = 'GET',
  count,
  connections,
  wantedStatus = 200,
}: Gets): Promise<number[]> {
  const agent = new Agent({
    keepAlive: true,
    maxSockets: connections,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
  });
  const options = {
    agent,
    host: '127.0.0.1',
    port: route.port,
    path: pathOf(route, path),
    method,
    headers: headersOf(route),
  };
  const call = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const startedMs = performance.now();
      const outgoing = request(options, (response) => {
        response.resume();
        response.once('end', () => {
          if (response.statusCode === wantedStatus) resolve(performance.now() - startedMs);
          else reject(new Error(`${path} on port ${route.port}: ${response.statusCode}`));
        });
      });
      outgoing.once('error', reject);
      outgoing.end();
    });
  try {
    await Promise.all(Array.from({ length: connections }, call));
    const times: number[] = [];
    let left = count;
    const caller = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        times.push(await call());
      }
    };
    await Promise.all(Array.from({ length: connections }, caller));
    return times;
  } finally {
    agent.destroy();
  }
}

/** Bytes of the body, and seconds until its last. */
export async function readLong({
  route,
  path,
}: {
  route: Route;
  path: string;
}): Promise<{ bytes: number; seconds: number }> {
  const startedMs = performance.now();
  const outgoing = request({
    host: '127.0.0.1',
    port: route.port,
    path: pathOf(route, path),
    headers: headersOf(route),
    rejectUnauthorized: false,
    agent: false,
  });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await once(response, 'end');
  outgoing.destroy();
  if (!response.complete || response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode}, cut`);
  return { bytes, seconds: (performance.now() - startedMs) / 1000 };
}

/** As kubectl and informers hold them: many on one HTTP/2 connection. */
const watchesPerConnection = 200;

export class Watches {
  readonly #sessions: ClientHttp2Session[] = [];

  /** Resolves when each has its answer's head. */
  async open(route: Route, path: string, count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      const now = Math.min(left, watchesPerConnection);
      left -= now;
      const session = connectHttp2(`https://127.0.0.1:${route.port}`, { rejectUnauthorized: false });
      session.on('error', () => {});
      this.#sessions.push(session);
      await once(session, 'connect');
      const answers = Array.from({ length: now }, async () => {
        const stream = session.request({ ':path': pathOf(route, path), ...headersOf(route) });
        stream.on('error', () => {});
        stream.resume();
        const [headers] = (await once(stream, 'response')) as [{ ':status'?: number }];
        if (headers[':status'] !== 200) throw new Error(`a watch was answered ${headers[':status']}`);
      });
      await Promise.all(answers);
    }
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
    this.#sessions.length = 0;
  }
}
