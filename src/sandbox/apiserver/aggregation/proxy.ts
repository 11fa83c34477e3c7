// handler_proxy.go: requests under /apis/GROUP/VERSION of a remote APIService go to it with the front proxy's certificate and the
// user in X-Remote headers. The path is decoded and encoded again and the query sorted, as Go does on the way, so `%2F` becomes `/`.

import type { Clock } from '../../../base/clock.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { encodeGoQuery, escapeGoPath } from '../chain/go-url.ts';
import { headerOfText } from '../chain/header-text.ts';
import { goNetworkError } from '../connect/kubelet-client.ts';
import { askUpgrade, relayBytes, relayRefusal } from '../connect/raw-relay.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { RemoteApiService } from './api-service.ts';
import type { BackendClient } from './backend-client.ts';
import type { PooledResponse } from './backend-pool.ts';
import type { Endpoint } from './service-endpoint.ts';

/** httputil.ReverseProxy's hop-by-hop headers; those named in Connection go besides. */
const hopByHop = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const nosniff = [['X-Content-Type-Options', 'nosniff']] as const;

export class AggregatorProxy {
  readonly #backends: BackendClient;
  readonly #clock: Clock;

  constructor(deps: { backends: BackendClient; clock: Clock }) {
    this.#backends = deps.backends;
    this.#clock = deps.clock;
  }

  async handle(request: ApiRequest, service: RemoteApiService): Promise<void> {
    const endpoint = service.isAvailable ? this.#backends.endpoint(service) : undefined;
    if (endpoint === undefined) {
      refuse(request, 'service unavailable');
      return;
    }
    if (request.isUpgrade && request.canUpgrade) await this.#upgrade(request, service, endpoint);
    else await this.#forward(request, service, endpoint);
  }

  async #forward(request: ApiRequest, service: RemoteApiService, endpoint: Endpoint): Promise<void> {
    let response: PooledResponse;
    try {
      response = await this.#backends.send(service, endpoint, {
        method: request.method,
        target: targetOf(request),
        headers: [...endToEnd(request.headers), ...frontHeaders(request), ...forwardedFor(request)],
        signal: request.signal,
        ...(hasBody(request) ? { body: request.bodyStream } : {}),
      });
    } catch (error) {
      refuse(request, `error trying to reach service: ${goNetworkError(error, endpoint)}`);
      dropRest(request);
      return;
    }
    await relayAnswer(request, response);
    dropRest(request);
  }

  async #upgrade(request: ApiRequest, service: RemoteApiService, endpoint: Endpoint): Promise<void> {
    let backend;
    try {
      backend = await this.#backends.dial(service, endpoint, request.signal);
    } catch (error) {
      refuse(request, `error dialing backend: ${goNetworkError(error, endpoint)}`);
      return;
    }
    // All headers of the client go along, Connection included: only what proves an identity was taken away before.
    const headers = [
      ...request.headers.filter(([name]) => !/^(host|x-forwarded-for|audit-id)$/i.test(name)),
      ['Host', `${endpoint.host}:${endpoint.port}`] as const,
      ...frontHeaders(request),
      ...forwardedFor(request),
    ];
    const upgrade = { method: request.method, target: targetOf(request), headers };
    let answer;
    try {
      answer = await askUpgrade(backend, upgrade, { clock: this.#clock, signal: request.signal });
    } catch (error) {
      refuse(request, error instanceof Error ? error.message : 'unexpected EOF');
      return;
    }
    const { status } = answer.head;
    if (status === 101) await relayBytes(request, backend, answer);
    else if (status >= 400) await relayRefusal(request, backend, answer, this.#clock);
    else {
      backend.destroy();
      refuse(request, `invalid upgrade response: status code ${status}`);
    }
  }
}

/** The text answers of http.Error. */
function refuse(request: ApiRequest, text: string): void {
  if (!request.signal.aborted) request.send(503, 'text/plain; charset=utf-8', `${text}\n`, nosniff);
}

function targetOf(request: ApiRequest): string {
  const query = encodeGoQuery(request.query);
  const path = escapeGoPath(request.path);
  return query === '' ? path : `${path}?${query}`;
}

function endToEnd(headers: HeaderPairs): HeaderPairs {
  const named = new Set(
    headers
      .filter(([name]) => name.toLowerCase() === 'connection')
      .flatMap(([, value]) => value.split(',').map((item) => item.trim().toLowerCase())),
  );
  const dropped = /^(host|x-forwarded-(for|uri|host|proto)|audit-id)$/;
  return headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return !hopByHop.has(lower) && !named.has(lower) && !dropped.test(lower);
  });
}

/** Who calls, for the backend: transport.SetAuthProxyHeaders and the audit identity. */
function frontHeaders(request: ApiRequest): HeaderPairs {
  const { user } = request;
  return [
    ['X-Remote-User', headerOfText(user.name)],
    ...(user.uid === '' ? [] : [['X-Remote-Uid', headerOfText(user.uid)] as const]),
    ...user.groups.map((group) => ['X-Remote-Group', headerOfText(group)] as const),
    ...[...user.extra].flatMap(([key, values]) =>
      values.map((value) => [`X-Remote-Extra-${escapeHeaderKey(key)}`, headerOfText(value)] as const),
    ),
    ['Audit-Id', request.auditId],
  ];
}

function forwardedFor(request: ApiRequest): HeaderPairs {
  const earlier = request.headerValues('x-forwarded-for');
  return [
    ['X-Forwarded-For', [...earlier, request.remoteAddress].join(', ')],
    ['X-Forwarded-Host', request.header('host') ?? ''],
    ['X-Forwarded-Proto', 'https'],
    ['X-Forwarded-Uri', request.path],
  ];
}

/** headerKeyEscape: bytes that no header name may hold, and `%`, percent-encoded. */
function escapeHeaderKey(key: string): string {
  return [...Buffer.from(key)]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[!#$&'*+.^_`|~0-9A-Za-z-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

/** What the backend did not want of a body would stand in front of the connection's next request. */
function dropRest({ bodyStream }: ApiRequest): void {
  bodyStream.unpipe();
  bodyStream.resume();
}

function hasBody(request: ApiRequest): boolean {
  const length = request.header('content-length');
  if (length !== undefined) return length !== '0';
  return request.header('transfer-encoding') !== undefined || !['GET', 'HEAD', 'OPTIONS'].includes(request.method);
}

async function relayAnswer(request: ApiRequest, response: PooledResponse): Promise<void> {
  const { status } = response;
  const hasLocation = response.headers.some(([name]) => name.toLowerCase() === 'location');
  if (status >= 300 && status <= 399 && hasLocation) {
    response.discard();
    request.send(502, '', 'the backend attempted to redirect this request, which is not permitted');
    return;
  }
  const headers = response.headers.filter(
    ([name]) => !hopByHop.has(name.toLowerCase()) && name.toLowerCase() !== 'audit-id',
  );
  const stream = request.stream(status, '', headers);
  try {
    for await (const chunk of response.body) {
      if (!stream.write(chunk)) await stream.drained();
      if (request.signal.aborted) break;
    }
    stream.end();
  } catch {
    // ReverseProxy panics with ErrAbortHandler here: the client sees its body broken off.
    stream.abort();
  }
  response.discard();
}
