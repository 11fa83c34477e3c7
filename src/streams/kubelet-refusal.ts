// What a client is told when its stream's kubelet said no before the 101. SPDY clients get the kubelet's code and raw text, which is
// what kube-apiserver gives them; WebSocket clients get a Status, since their libraries read one. The kubelet's 401 and 403 concern
// kexer's own credential and not the caller, so they become a 502 that says which right is missing.

import { badGateway, failure, type Status } from '../kube/status.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { relayedAnswer, statusAnswer } from './answer.ts';
import type { KubeletRefusal } from './kubelet-leg.ts';

const reasons: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

export interface RefusalContext {
  readonly node: string;
  /** The right that the kubelet checks for the method kexer used. */
  readonly verb: 'create' | 'get';
  readonly isSpdyClient: boolean;
  readonly auditId: string;
}

export function refusalAnswer(refusal: KubeletRefusal, context: RefusalContext): HttpAnswer {
  const own = ownProblem(refusal, context);
  if (own !== undefined) return statusAnswer(own, context.auditId);
  if (context.isSpdyClient) {
    const answer = relayedAnswer(refusal);
    return answer.headers.some(([name]) => name.toLowerCase() === 'content-type')
      ? answer
      : { ...answer, headers: [...answer.headers, ['Content-Type', 'text/plain; charset=utf-8']] };
  }
  const text = refusal.body.toString('utf8').trim();
  const message = text === '' ? `the kubelet of node ${context.node} answered ${refusal.status}` : text;
  return statusAnswer(failure(refusal.status, reasons[refusal.status] ?? '', message), context.auditId);
}

/** Refusals that say nothing about what the client asked for. */
export function ownProblem(refusal: KubeletRefusal, context: { node: string; verb: string }): Status | undefined {
  const { status } = refusal;
  if (status === 401) {
    return badGateway(
      `the kubelet of node ${context.node} does not accept kexer's credential (401): its client CA or token review must know it`,
    );
  }
  if (status === 403) {
    return badGateway(
      `the kubelet of node ${context.node} refuses kexer's credential (403): it needs verb "${context.verb}" on resource "nodes/proxy"`,
    );
  }
  if (status === 101) {
    const detail = refusal.body.toString('utf8');
    return failure(500, 'InternalError', `invalid upgrade response of the kubelet of node ${context.node}: ${detail}`);
  }
  if (status < 400) {
    return failure(500, 'InternalError', `invalid upgrade response: status code ${status}`);
  }
  return undefined;
}
