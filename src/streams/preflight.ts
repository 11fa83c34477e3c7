// The question that keeps kexer from being weaker than kube-apiserver: the same request, by the client's method, without its upgrade
// headers, as the caller. kube-apiserver authenticates, authorises, runs CONNECT admission, resolves the container and writes its audit
// event; that it then wants an upgrade is the sign that everything else was fine. Any other answer is the client's answer.

import type { Call } from '../clusters/call.ts';
import type { RawHeader } from '../protocol/raw-headers.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import type { TraceHeaders } from '../observe/stages.ts';
import { relayedAnswer } from './answer.ts';
import { markedUserAgent } from './user-agent.ts';

/** kube-apiserver's own limit of ordinary requests; slow admission webhooks take up to 30 s. */
const preflightTimeoutMs = 60_000;

export interface PreflightResult {
  readonly isAllowed: boolean;
  /** kube-apiserver's own, as it goes to a client that is refused, or that never asked for an upgrade. */
  readonly answer: HttpAnswer;
}

export interface PreflightRequest {
  /** Generated from the options that the kubelet's URL is generated from too. */
  readonly query: string;
  /** Kexer's version; audit readers find preflights by the User-Agent it is in. */
  readonly version: string;
  readonly signal: AbortSignal;
}

/** @throws KexerError unreachable, timeout, clientGone and others of {@link Cluster.exchange}; never resolves to allowed by a failure. */
export async function askStream(call: Call, request: PreflightRequest): Promise<PreflightResult> {
  return ask(call, request, isUpgradeRequired);
}

/** For logs there is an answer to a plain GET: 200 opens the kubelet; 204 (no node yet) and refusals are the client's answer. */
export async function askLog(call: Call, request: PreflightRequest): Promise<PreflightResult> {
  return ask(call, request, (answer) => answer.status === 200);
}

function ask(
  call: Call,
  request: PreflightRequest,
  isAllowed: (answer: HttpAnswer) => boolean,
): Promise<PreflightResult> {
  const { rawPath } = call.inner;
  const exchange = async (trace: TraceHeaders): Promise<PreflightResult> => {
    const answer = await call.cluster.exchange(call, {
      method: call.method,
      target: request.query === '' ? rawPath : `${rawPath}?${request.query}`,
      headers: [...preflightHeaders(call, request.version), ...trace()],
      timeoutMs: preflightTimeoutMs,
      signal: request.signal,
      // Nothing has happened when no byte of an answer came: kube-apiserver closes idle connections whenever it likes.
      isRetriedOnce: true,
    });
    return { isAllowed: isAllowed(answer), answer: relayedAnswer(answer) };
  };
  // For metrics the `400 Upgrade request required` that allows is what it would have been with an upgrade.
  return call.stages.run('preflight', exchange, (result) => (result.isAllowed ? 101 : result.answer.status));
}

/** Made anew, so that no header of the client reaches kube-apiserver with the preflight but its name. */
function preflightHeaders(call: Call, version: string): RawHeader[] {
  return [
    ['Accept', 'application/json'],
    ['User-Agent', markedUserAgent(call, version, 'direct')],
  ];
}

/** Exactly code, reason and message: another 400 with other words is a refusal. */
function isUpgradeRequired(answer: HttpAnswer): boolean {
  if (answer.status !== 400) return false;
  const status = parseObject(answer.body);
  return (
    status !== undefined &&
    status['kind'] === 'Status' &&
    status['code'] === 400 &&
    status['reason'] === 'BadRequest' &&
    status['message'] === 'Upgrade request required'
  );
}

function parseObject(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // what is no JSON is no Status, hence a refusal like any other
  }
}
