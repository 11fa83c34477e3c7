// pods/log: a GET that is checked as ValidatePodLogOptions checks it, sent to the kubelet, and streamed back as plain text. What the
// kubelet refuses is told in kube-apiserver's words, which lose the kubelet's own text for a 404.

import type { IncomingMessage } from 'node:http';

import type { Clock } from '../../../base/clock.ts';
import { isTrue } from '../../../kube/request-info.ts';
import { badRequest, failure, internalError, invalid, type StatusCause, StatusError } from '../../../kube/status.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { encodeGoQuery } from '../chain/go-url.ts';
import type { Store } from '../store.ts';
import { carried } from './connect.ts';
import type { ConnectionLog } from './connection-log.ts';
import { goNetworkError, type KubeletClient } from './kubelet-client.ts';
import { copyToWebSocket, wantsWebSocket } from './log-websocket.ts';
import { chooseContainer, kubeletAddress, nodeNameOf } from './pod-target.ts';

interface LogOptions {
  readonly container: string;
  readonly isBackendUnverified: boolean;
  /** For the kubelet: only what was set and true. */
  readonly query: URLSearchParams;
}

const maxRefusalBytes = 50_000;

export class PodLog {
  readonly #deps: { clock: Clock; store: Store; kubelets: KubeletClient; log: ConnectionLog };

  constructor(deps: { clock: Clock; store: Store; kubelets: KubeletClient; log: ConnectionLog }) {
    this.#deps = deps;
  }

  async handle(request: ApiRequest): Promise<boolean> {
    const { info } = request;
    const isLog = info.apiGroup === '' && info.resource === 'pods' && info.subresource === 'log';
    if (!isLog || info.apiVersion !== 'v1' || request.method !== 'GET' || info.parts.length !== 3) return false;
    const { namespace, name } = info;
    const options = decodeLogOptions(name, request.query);
    const pod = this.#deps.store.mustGet({ group: '', resource: 'pods', namespace, name });
    const container = chooseContainer(pod, options.container);
    if (nodeNameOf(pod) === '') {
      request.send(204, '', '');
      return true;
    }
    const address = kubeletAddress(this.#deps.store, pod);
    const query = encodeGoQuery(options.query);
    const target = `/containerLogs/${namespace}/${name}/${container}${query === '' ? '' : `?${query}`}`;
    let response: IncomingMessage;
    try {
      response = await this.#deps.kubelets.get(address, target, {
        isVerified: !options.isBackendUnverified,
        signal: request.signal,
      });
    } catch (error) {
      const url = `https://${address.host}:${address.port}${target}`;
      const text = `Get ${JSON.stringify(url)}: ${goNetworkError(error, address)}`;
      throw new StatusError(failure(500, '', text), { cause: error });
    }
    await checkResponse(response, name);
    const end = this.#deps.log.begin(carried(request, address, 'log'));
    try {
      const copy = wantsWebSocket(request)
        ? copyToWebSocket(this.#deps, request, response)
        : copyBody(request, response);
      end({ toClient: await copy });
    } finally {
      end({});
    }
    return true;
  }
}

/** Ends the answer cleanly even if the kubelet's body broke off: io.Copy's error is only logged in the real one. */
async function copyBody(request: ApiRequest, response: IncomingMessage): Promise<number> {
  const stream = request.stream(200, 'text/plain');
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (!stream.write(chunk)) await stream.drained();
      if (request.signal.aborted) break;
    }
  } catch {
    // Cut: the client sees an end like any other.
  }
  response.destroy();
  stream.end();
  return bytes;
}

/** GenericHttpResponseChecker. @throws StatusError */
async function checkResponse(response: IncomingMessage, name: string): Promise<void> {
  const code = response.statusCode ?? 500;
  if (code >= 200 && code <= 206) return;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > maxRefusalBytes) break;
  }
  response.destroy();
  const text = Buffer.concat(chunks).subarray(0, maxRefusalBytes).toString('utf8');
  if (code === 500) throw new StatusError(internalError(text));
  if (code === 400) throw new StatusError(badRequest(text));
  throw new StatusError(genericResponse(code, name, text));
}

const genericTexts: Readonly<Record<number, readonly [reason: string, text: string]>> = {
  401: ['Unauthorized', 'the server has asked for the client to provide credentials'],
  404: ['NotFound', 'the server could not find the requested resource'],
  405: ['MethodNotAllowed', 'the server does not allow this method on the requested resource'],
  406: ['NotAcceptable', 'the server was unable to respond with a content type that the client supports'],
  409: ['Conflict', 'the server reported a conflict'],
  410: ['Gone', 'the server has asked for the client to perform the request on a different resource'],
  415: ['UnsupportedMediaType', 'the body of the request was in an unknown format'],
  422: ['Invalid', 'the server rejected our request due to an error in our request'],
  429: ['TooManyRequests', 'the server has received too many requests and has asked us to try again later'],
  503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
  504: [
    'Timeout',
    'the server was unable to return a response in the time allotted, but may still be processing the request',
  ],
};

/** errors.NewGenericServerResponse with an empty verb, which is why there is a space behind the parenthesis. */
function genericResponse(code: number, name: string, text: string): ReturnType<typeof failure> {
  const [reason, message] =
    code === 403
      ? ['Forbidden', text]
      : (genericTexts[code] ??
        (code >= 500
          ? [
              'InternalError',
              `an error on the server (${JSON.stringify(text)}) has prevented the request from succeeding`,
            ]
          : ['', `the server responded with the status code ${code} but did not return more information`]));
  return failure(code, reason, `${message} ( pods/log ${name})`, { name, kind: 'pods/log' });
}

/** @throws StatusError 400 for what cannot be decoded, 422 for what makes no sense. */
function decodeLogOptions(pod: string, from: URLSearchParams): LogOptions {
  const sinceSeconds = integer(from, 'sinceSeconds');
  const sinceTime = from.get('sinceTime');
  const since = sinceTime === null ? undefined : parseTime(sinceTime);
  const tailLines = integer(from, 'tailLines');
  const limitBytes = integer(from, 'limitBytes');
  const causes: StatusCause[] = [];
  const must = (field: string, value: number, text: string): void => {
    causes.push({ reason: 'FieldValueInvalid', message: `Invalid value: ${value}: must be ${text}`, field });
  };
  const forbid = (field: string, text: string): void => {
    causes.push({ reason: 'FieldValueForbidden', message: `Forbidden: ${text}`, field });
  };
  if (tailLines !== undefined && tailLines < 0) must('tailLines', tailLines, 'greater than or equal to 0');
  if (limitBytes !== undefined && limitBytes < 1) must('limitBytes', limitBytes, 'greater than 0');
  if (sinceSeconds !== undefined && since !== undefined) {
    forbid('[]', 'at most one of `sinceTime` or `sinceSeconds` may be specified');
  } else if (sinceSeconds !== undefined && sinceSeconds < 1) {
    must('sinceSeconds', sinceSeconds, 'greater than 0');
  }
  // The gate PodLogsQuerySplitStreams is off.
  if (from.has('stream')) forbid('stream', 'may not be specified');
  if (causes.length > 0) throw new StatusError(invalid({ group: '', kind: 'PodLogOptions' }, pod, causes));
  const query = new URLSearchParams();
  for (const flag of ['follow', 'previous', 'timestamps']) if (isTrue(from.get(flag))) query.append(flag, 'true');
  if (sinceSeconds !== undefined) query.append('sinceSeconds', String(sinceSeconds));
  if (since !== undefined) query.append('sinceTime', since);
  if (tailLines !== undefined) query.append('tailLines', String(tailLines));
  if (limitBytes !== undefined) query.append('limitBytes', String(limitBytes));
  return {
    container: from.get('container') ?? '',
    isBackendUnverified: isTrue(from.get('insecureSkipTLSVerifyBackend')),
    query,
  };
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const fail = (problem: string): never => {
    throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: ${problem}`));
  };
  if (!/^[+-]?\d+$/.test(text)) return fail('invalid syntax');
  const value = BigInt(text.replace('+', ''));
  if (BigInt.asIntN(64, value) !== value) return fail('value out of range');
  return Number(value);
}

/** RFC 3339 in, RFC 3339 in seconds out, as metav1.Time prints it. */
function parseTime(text: string): string {
  const isRfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(text);
  const epochMs = isRfc3339 ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(epochMs)) {
    const layout = '2006-01-02T15:04:05Z07:00';
    const message = `parsing time ${JSON.stringify(text)} as ${JSON.stringify(layout)}: cannot parse ${JSON.stringify(text)} as "2006"`;
    throw new StatusError(badRequest(message));
  }
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}
