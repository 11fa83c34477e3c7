// pods/log straight from the kubelet: the preflight's 200 opens it. Bytes pass as they come, flushed at once; a body that the kubelet cut
// short breaks the client's response, since a clean end would make half a log look like a whole one.

import { type IncomingMessage, request as httpRequest } from 'node:http';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import { badRequest, failure, internalError, type Status, StatusError } from '../kube/status.ts';
import { abortResponse, type AnyResponse, flushHead, sendAnswer, setHead } from '../net/http-answer.ts';
import { parseQuery } from '../protocol/query.ts';
import { dialKubelet, kubeletCredential } from './kubelet-dial.ts';
import { ownProblem } from './kubelet-refusal.ts';
import { kubeletLogQuery, logPreflightQuery, type LogOptions, parseLogOptions } from './log-options.ts';
import { askLog } from './preflight.ts';
import type { SessionRegistry } from './registry.ts';
import type { SessionEnd, SessionSubject } from './session.ts';
import { findTarget, type Target } from './target.ts';

export interface LogDeps {
  readonly clock: Clock;
  readonly sessions: SessionRegistry;
  readonly version: string;
}

/** A kubelet commits its 200 before it reads; longer means that it hangs. kube-apiserver waits as long as its request lives. */
const headTimeoutMs = 60_000;
/** What kube-apiserver reads of a refusal. */
const maxRefusalBytes = 50_000;

/** @throws StatusError | KexerError only while nothing of the response was written. */
export async function serveLog(deps: LogDeps, call: Call, response: AnyResponse): Promise<void> {
  const options = parseLogOptions(parseQuery(call.inner.rawQuery));
  const { signal } = call;
  const targeting = findLogTarget(call, options, signal);
  targeting.catch(() => {}); // reported below, after the preflight's answer
  const preflight = await askLog(call, { query: logPreflightQuery(options), version: deps.version, signal });
  if (!preflight.isAllowed) {
    sendAnswer(response, preflight.answer);
    return;
  }
  const target = await targeting;
  const body = await openLog(deps, call, target, options, signal);
  const log = new LogRelay(body, response);
  const session = deps.sessions.open(subjectOf(call, target), (message) => log.end(message));
  response.setHeader('Audit-Id', call.auditId);
  deps.sessions.finish(session, await log.run((bytes) => (session.bytesOut += bytes)));
}

function findLogTarget(call: Call, options: LogOptions, signal: AbortSignal): Promise<Target> {
  const { namespace, name: pod } = call.inner.info;
  return findTarget(call.cluster, { namespace, pod, container: options.container }, signal);
}

/** The open body of the kubelet's answer. @throws for anything but success */
async function openLog(
  deps: LogDeps,
  call: Call,
  target: Target,
  options: LogOptions,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const access = call.cluster.kubelet;
  const socket = await dialKubelet(deps, access, target, signal);
  const path = `/containerLogs/${[target.namespace, target.pod, target.container].map(encodeURIComponent).join('/')}`;
  const query = kubeletLogQuery(options);
  const answer = await requestLog(deps, socket, {
    target: query === '' ? path : `${path}?${query}`,
    node: target.node,
    headers: {
      Host: `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`,
      'User-Agent': `kexer/${deps.version}`,
      ...Object.fromEntries(kubeletCredential(access)),
    },
    signal,
  });
  const status = answer.statusCode ?? 0;
  // The range that kube-apiserver takes as success (GenericHttpResponseChecker).
  if (status >= 200 && status <= 206) return answer;
  const text = await readText(answer).finally(() => socket.destroy());
  throw new StatusError(refusalStatus(status, text, target));
}

interface LogRequest {
  readonly target: string;
  readonly node: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
}

/** One GET on a socket of its own, which ends with it. */
function requestLog(deps: LogDeps, socket: TLSSocket, request: LogRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      createConnection: () => socket,
      method: 'GET',
      path: request.target,
      headers: request.headers,
      setDefaultHeaders: false,
      signal: request.signal,
    });
    const timer = deps.clock.after(headTimeoutMs, () => {
      outgoing.destroy(
        new KexerError('timeout', `Cannot read the log: no answer of the kubelet of node ${request.node}`),
      );
    });
    outgoing.on('response', (answer) => {
      timer.cancel();
      resolve(answer);
    });
    // Also after the answer began: the body's own listeners see the cut then.
    outgoing.on('error', (error) => {
      timer.cancel();
      reject(requestError(error, request));
    });
    outgoing.end();
  });
}

function requestError(error: Error, request: LogRequest): Error {
  if (error instanceof KexerError) return error;
  if (request.signal.aborted) return new KexerError('clientGone', 'Cannot read the log: the client has left');
  return new KexerError('badGateway', `Cannot read the log from the kubelet of node ${request.node}`, { cause: error });
}

async function readText(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer) {
      parts.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length >= maxRefusalBytes) break;
    }
  } catch {
    // A cut refusal is a refusal all the same; what came of its text is shown.
  }
  return Buffer.concat(parts, length).toString('utf8', 0, Math.min(length, maxRefusalBytes));
}

const genericMessages: Readonly<Record<number, readonly [reason: string, message: string]>> = {
  404: ['NotFound', 'the server could not find the requested resource'],
  405: ['MethodNotAllowed', 'the server does not allow this method on the requested resource'],
  422: ['Invalid', 'the server rejected our request due to an error in our request'],
  429: ['TooManyRequests', 'the server has received too many requests and has asked us to try again later'],
  503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
  504: [
    'Timeout',
    'the server was unable to return a response in the time allotted, but may still be processing the request',
  ],
};

/** A kubelet's refusal in kube-apiserver's words (NewGenericServerResponse); the preflight has mostly given them before. */
function refusalStatus(code: number, text: string, target: Target): Status {
  const own = ownProblem({ status: code, headers: [], body: Buffer.from(text) }, { node: target.node, verb: 'get' });
  if (own !== undefined) return own;
  if (code === 500) return internalError(text);
  if (code === 400) return badRequest(text);
  const [reason, message] = genericMessages[code] ?? [
    code > 500 ? 'InternalError' : '',
    `an error on the server (${JSON.stringify(text)}) has prevented the request from succeeding`,
  ];
  const details = { name: target.pod, kind: 'pods/log' };
  return failure(code, reason, `${message} ( pods/log ${target.pod})`, details);
}

/** From the kubelet's body to the client's response, with the client's pace. */
class LogRelay {
  readonly #body: IncomingMessage;
  readonly #response: AnyResponse;
  #end: SessionEnd | undefined;
  #resolve: ((end: SessionEnd) => void) | undefined;

  constructor(body: IncomingMessage, response: AnyResponse) {
    this.#body = body;
    this.#response = response;
    this.#end = undefined;
    this.#resolve = undefined;
  }

  /** Breaks the log off from outside; a log has no place for a reason. */
  end(message: string): void {
    this.#abort({ cause: 'ended', message });
  }

  run(count: (bytes: number) => void): Promise<SessionEnd> {
    const body = this.#body;
    const response = this.#response;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      body.on('error', (error) => {
        this.#abort({ cause: 'kubeletGone', message: `the kubelet broke the log off (${describeError(error)})` });
      });
      response.on('error', () => {}); // 'close' follows and says it
      response.on('close', () => this.#abort({ cause: 'clientGone', message: 'the client closed the connection' }));
      response.on('drain', () => body.resume());
      body.on('data', (chunk: Buffer) => {
        count(chunk.length);
        if (!writeChunk(response, chunk)) body.pause();
      });
      body.on('end', () => this.#finish());
      if (response.destroyed) {
        this.#abort({ cause: 'clientGone', message: 'the client closed the connection' });
        return;
      }
      setHead(response, 200, [
        ['Cache-Control', 'no-cache, private'],
        ['Content-Type', 'text/plain'],
      ]);
      flushHead(response);
    });
  }

  #finish(): void {
    if (this.#end !== undefined) return;
    if (!this.#body.complete) {
      this.#abort({ cause: 'kubeletGone', message: 'the kubelet broke the log off' });
      return;
    }
    this.#end = { cause: 'normal', message: 'the log ended' };
    this.#response.end();
    this.#settle();
  }

  #abort(end: SessionEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#body.destroy();
    if (!this.#response.destroyed) abortResponse(this.#response);
    this.#settle();
  }

  #settle(): void {
    const end = this.#end;
    if (end !== undefined) this.#resolve?.(end);
  }
}

/** The two response classes have `write` overloads that TypeScript cannot join. */
function writeChunk(response: AnyResponse, chunk: Buffer): boolean {
  return 'stream' in response ? response.write(chunk) : response.write(chunk);
}

function subjectOf(call: Call, target: Target): SessionSubject {
  const { effectiveUser } = call.identity;
  return {
    kind: 'log',
    user: effectiveUser,
    ...(effectiveUser.name === call.caller.user.name ? {} : { originalUser: call.caller.user }),
    clusterNamespace: call.clusterNamespace,
    cluster: call.cluster.name,
    namespace: target.namespace,
    pod: target.pod,
    podUid: target.podUid,
    container: target.container,
    node: target.node,
    command: [],
    clientProtocol: `HTTP/${call.httpVersion}`,
    kubeletProtocol: 'HTTP/1.1',
    remoteAddress: call.remoteAddress,
    auditId: call.auditId,
  };
}
