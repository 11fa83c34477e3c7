// What stands between a client of logs and the handler, as the pipeline does: the signal follows the client, errors are answered.

import { get, type IncomingMessage, createServer } from 'node:http';

import type { Scope } from '../../../src/base/scope.ts';
import { statusOf } from '../../../src/kube/status.ts';
import { sendAnswer } from '../../../src/net/http-answer.ts';
import { statusAnswer } from '../../../src/streams/answer.ts';
import type { StreamHandler } from '../../../src/streams/handler.ts';
import { listening } from '../../support/listening.ts';
import { type FakeCluster, makeCall } from './calls.ts';

export interface LogFront {
  /** Asks once, on a connection of its own. */
  open(): Promise<IncomingMessage>;
}

/** @param target of each request, as it is when it comes. */
export async function startLogFront(
  scope: Scope,
  parts: { readonly fake: FakeCluster; readonly handler: StreamHandler; readonly target: () => string },
): Promise<LogFront> {
  const server = createServer((request, response) => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const call = makeCall(parts.fake.cluster, request.method ?? '', parts.target(), { signal: gone.signal });
    void parts.handler.handleRequest(call, request, response).catch((error: unknown) => {
      sendAnswer(response, statusAnswer(statusOf(error), call.auditId));
    });
  });
  const port = await listening(scope, server);
  return {
    open: () =>
      new Promise((resolve, reject) => {
        get({ host: '127.0.0.1', port, path: '/', agent: false }, resolve).on('error', reject);
      }),
  };
}

/** All of an answer's body; of one that breaks off what came, and ` !CODE`. */
export async function readLog(answer: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of answer) text += String(chunk);
  } catch (error) {
    return `${text} !${(error as { code?: string }).code}`;
  }
  return text;
}
