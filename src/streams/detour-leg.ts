// The backend leg of a stream on the detour: kube-apiserver's own endpoint, by SPDY POST, as the caller. kube-apiserver relays SPDY to the
// kubelet byte for byte, so a status that the kubelet never sent stays missing; its WebSocket endpoint would make one up. There is no
// preflight: this request is authenticated, authorised, admitted and audited itself, and whatever it is answered but 101 is the client's
// answer.

import type { Clock } from '../base/clock.ts';
import type { AnswerHead } from '../clusters/answer-judge.ts';
import type { Call } from '../clusters/call.ts';
import { failure } from '../kube/status.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { readBody, requestUpgrade } from '../net/upgrade.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';
import { relayedAnswer, statusAnswer } from './answer.ts';
import { streamProtocol, upgradeProblem } from './kubelet-leg.ts';
import type { Leg } from './leg.ts';
import type { UpgradeKind } from './options.ts';
import { markedUserAgent } from './user-agent.ts';

/** Admission webhooks take up to 30 s each, then the kubelet's runtime may take two minutes. */
const upgradeTimeoutMs = 180_000;
/** A refusal of kube-apiserver is a Status, and one of a kubelet a sentence; what is beyond this is cut off. */
const maxRefusalBytes = 1024 * 1024;
const refusalBodyTimeoutMs = 10_000;

export interface DetourRequest {
  readonly kind: UpgradeKind;
  /** For kube-apiserver; generated from the options by which the legs are joined. */
  readonly query: string;
  readonly version: string;
  readonly signal: AbortSignal;
  /** What tells kube-apiserver of the trace; none as a rule. */
  readonly trace: RawHeaders;
}

/**
 * @returns the open leg, or kube-apiserver's answer, unchanged.
 * @throws KexerError unreachable, tls, timeout, badGateway, clientGone.
 */
export async function openDetourLeg(
  deps: { clock: Clock },
  call: Call,
  request: DetourRequest,
): Promise<Leg | HttpAnswer> {
  const protocol = streamProtocol(request.kind);
  const { rawPath } = call.inner;
  const headers: RawHeader[] = [
    ['User-Agent', markedUserAgent(call, request.version, 'detour')],
    ['Upgrade', 'SPDY/3.1'],
    ['X-Stream-Protocol-Version', protocol],
    ...request.trace,
  ];
  const target = request.query === '' ? rawPath : `${rawPath}?${request.query}`;
  const route = await call.cluster.dialUpgrade(call, { method: 'POST', target, headers }, request.signal);
  const { socket } = route;
  const { head, rest } = await requestUpgrade(
    socket,
    { ...route, headers: [...route.headers, ['Content-Length', '0']] },
    { timeoutMs: upgradeTimeoutMs, signal: request.signal, clock: deps.clock },
  );
  if (head.status !== 101) {
    const limits = { maxBytes: maxRefusalBytes, timeoutMs: refusalBodyTimeoutMs, method: 'POST', clock: deps.clock };
    const body = await readBody(socket, head, rest, limits).finally(() => socket.destroy());
    refuseOwnProblem(call, head, body);
    if (head.status >= 400) {
      return relayedAnswer({ status: head.status, headers: head.headers, body });
    }
    return invalidUpgrade(call, `status code ${head.status}`);
  }
  const problem = upgradeProblem(head.headers, protocol);
  if (problem === undefined) return { socket, head: rest };
  socket.destroy();
  return invalidUpgrade(call, problem);
}

/** kube-apiserver's 401 and 403 about kexer's credential are kexer's matter; a kubelet's, which it passes on as they are, have no Status. */
function refuseOwnProblem(call: Call, head: AnswerHead, body: Buffer): void {
  const judge = call.cluster.judgeOf(call);
  const refusal = judge?.mayRefuse(head) === true ? judge.refusal(head, body) : undefined;
  if (refusal !== undefined) throw refusal;
}

/** In kube-apiserver's words for a backend of its own that does this. */
function invalidUpgrade(call: Call, problem: string): HttpAnswer {
  const message = `invalid upgrade response of kube-apiserver: ${problem}`;
  return statusAnswer(failure(500, 'InternalError', message), call.auditId);
}
