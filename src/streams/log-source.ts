// Where a log comes from: one GET of the kubelet's /containerLogs on a connection of its own, opened only after kube-apiserver has answered
// the same question with a 200. Its refusals are told in kube-apiserver's words. On the detour the one GET is kube-apiserver's.

import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { request as httpRequest } from '../base/node-http.ts';
import type { Call } from '../clusters/call.ts';
import type { Detour } from '../clusters/detour.ts';
import { badRequest, failure, internalError, type Status, StatusError } from '../kube/status.ts';
import { parseQuery } from '../protocol/query.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { openApiserverLog } from './apiserver-log.ts';
import { detourOf, type Detours } from './detour.ts';
import { dialKubelet, kubeletCredential } from './kubelet-dial.ts';
import { ownProblem } from './kubelet-refusal.ts';
import { apiserverName } from './leg.ts';
import type { LogBody } from './log-body.ts';
import { kubeletLogQuery, logPreflightQuery, type LogOptions, parseLogOptions } from './log-options.ts';
import { askLog } from './preflight.ts';
import type { SessionSubject } from './session.ts';
import { findPlace, type Place, type Target, targetOf } from './target.ts';

export interface LogSourceDeps {
  readonly clock: Clock;
  readonly version: string;
  readonly detours: Pick<Detours, 'note'>;
}

/** A log that may be read: its body, and where it comes from. */
export interface OpenLog {
  readonly body: LogBody;
  readonly place: Place;
  /** Who sends it, for texts. */
  readonly source: string;
  readonly detour: Detour | undefined;
}

/** A kubelet commits its 200 before it reads; longer means that it hangs. kube-apiserver waits as long as its request lives. */
const headTimeoutMs = 60_000;
const refusalTimeoutMs = 10_000;
/** What kube-apiserver reads of a refusal. */
const maxRefusalBytes = 50_000;

/**
 * @returns the open log, or kube-apiserver's answer that the client gets instead (a refusal, or 204 for a pod without a node).
 * @throws StatusError | KexerError
 */
export async function openLog(deps: LogSourceDeps, call: Call, signal: AbortSignal): Promise<OpenLog | HttpAnswer> {
  const options = parseLogOptions(parseQuery(call.inner.rawQuery));
  const placing = findLogPlace(call, options, signal);
  placing.catch(() => {}); // reported below, after the preflight's answer
  const detour = await detourOf(call, 'log', placing, signal);
  if (detour !== undefined) return openDetour(deps, call, { options, placing, detour }, signal);
  const preflight = await askLog(call, { query: logPreflightQuery(options), version: deps.version, signal });
  if (!preflight.isAllowed) return preflight.answer;
  const target = await targetOf(call.cluster, await placing, signal);
  const body = await readKubelet(deps, call, target, options, signal);
  return { body, place: target, source: 'the kubelet', detour };
}

/** By kube-apiserver: its answer is the only judgement. */
async function openDetour(
  deps: LogSourceDeps,
  call: Call,
  { options, placing, detour }: { options: LogOptions; placing: Promise<Place>; detour: Detour },
  signal: AbortSignal,
): Promise<OpenLog | HttpAnswer> {
  deps.detours.note({ call, kind: 'log', detour });
  const body = await call.stages.run(
    'upgrade',
    (trace) => openApiserverLog(deps, call, signal, trace()),
    (opened) => ('status' in opened ? opened.status : 200),
  );
  if ('status' in body) return body;
  const { namespace, name: pod } = call.inner.info;
  const unknown = { namespace, pod, podUid: '', isMirror: false, container: options.container, node: '' };
  const place = await placing.catch(() => unknown); // only for the session's record
  if (body.destroyed) throw new KexerError('badGateway', 'Cannot read the log: kube-apiserver broke it off at once');
  return { body, place, source: apiserverName, detour };
}

/** @param protocol what the client speaks. */
export function logSubject(call: Call, { place, detour }: OpenLog, protocol: string): SessionSubject {
  const { effectiveUser } = call.identity;
  return {
    kind: 'log',
    user: effectiveUser,
    ...(effectiveUser.name === call.caller.user.name ? {} : { originalUser: call.caller.user }),
    clusterNamespace: call.clusterNamespace,
    cluster: call.cluster.name,
    namespace: place.namespace,
    pod: place.pod,
    podUid: place.podUid,
    ...(place.isMirror ? { isMirrorPod: true } : {}),
    container: place.container,
    node: place.node,
    command: [],
    clientProtocol: protocol,
    kubeletProtocol: 'HTTP/1.1',
    remoteAddress: call.remoteAddress,
    auditId: call.auditId,
    ...(detour === undefined ? {} : { detour: detour.reason }),
  };
}

function findLogPlace(call: Call, options: LogOptions, signal: AbortSignal): Promise<Place> {
  const { namespace, name: pod } = call.inner.info;
  return findPlace(call.cluster, { namespace, pod, container: options.container }, signal);
}

/** The open body of the kubelet's answer. @throws for anything but success */
async function readKubelet(
  deps: LogSourceDeps,
  call: Call,
  target: Target,
  options: LogOptions,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const access = call.cluster.kubelet;
  // Before the dial: without a token there is nothing to dial for.
  const credential = await kubeletCredential(access);
  const socket = await dialKubelet({ clock: deps.clock, stages: call.stages }, access, target, signal);
  const path = `/containerLogs/${[target.namespace, target.pod, target.container].map(encodeURIComponent).join('/')}`;
  const query = kubeletLogQuery(options);
  const outgoing = {
    target: query === '' ? path : `${path}?${query}`,
    node: target.node,
    headers: {
      Host: `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`,
      'User-Agent': `kexer/${deps.version}`,
      ...Object.fromEntries(credential),
    },
    signal,
  };
  const answer = await call.stages.run(
    'upgrade',
    () => requestLog(deps, socket, outgoing),
    ({ statusCode = 0 }) => statusCode,
  );
  const status = answer.statusCode ?? 0;
  // The range that kube-apiserver takes as success (GenericHttpResponseChecker).
  if (status >= 200 && status <= 206) return answer;
  if (status === 401) access.tokenRefused?.();
  const text = await readText(deps, answer).finally(() => socket.destroy());
  throw new StatusError(refusalStatus(status, text, target));
}

interface LogRequest {
  readonly target: string;
  readonly node: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
}

/** One GET on a socket of its own, which ends with it. */
function requestLog(deps: LogSourceDeps, socket: TLSSocket, request: LogRequest): Promise<IncomingMessage> {
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

async function readText(deps: LogSourceDeps, answer: IncomingMessage): Promise<string> {
  const timer = deps.clock.after(refusalTimeoutMs, () => answer.destroy());
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
  } finally {
    timer.cancel();
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
