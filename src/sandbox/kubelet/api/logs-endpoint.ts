// GET /containerLogs/NS/POD/CONTAINER: the log as plain bytes, or the kubelet's texts. As in the kubelet the answer is chunked and
// has no content type, and what fails after the 200 is told in the body.

import type { ServerResponse } from 'node:http';
import type { Clock } from '../../../base/clock.ts';
import { describeError } from '../../../base/errors.ts';
import type { LogFile } from '../logs/log-file.ts';
import { parseLogOptions } from '../logs/log-options.ts';
import { readLog } from '../logs/log-reader.ts';
import type { ContainerSlot } from '../pods/container-slot.ts';
import { type Answer, sendResponse, textAnswer } from './answers.ts';
import type { PodDirectory } from './pod-directory.ts';

export interface LogsRequest {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  readonly query: URLSearchParams;
}

/** The container's log that `previous` asks for, or why there is none: validateContainerLogStatus. */
function chooseLog(slot: ContainerSlot, podName: string, previous: boolean): LogFile | string {
  const { name } = slot.spec;
  const { state, lastState, containerID } = slot.status();
  const find = (id: string | undefined): LogFile | undefined => slot.log((id ?? '').replace('containerd://', ''));
  if (previous) {
    return (
      find(lastState.terminated?.containerID) ?? `previous terminated container "${name}" in pod "${podName}" not found`
    );
  }
  const current = state.running === undefined ? (state.terminated ?? lastState.terminated)?.containerID : containerID;
  const log = find(current);
  if (log !== undefined) return log;
  if (state.terminated !== undefined) return `container "${name}" in pod "${podName}" is terminated`;
  const start = `container "${name}" in pod "${podName}" is waiting to start`;
  return state.waiting === undefined ? `${start} - no logs yet` : `${start}: ${state.waiting.reason}`;
}

/** Answers the request; settles when the answer has ended. Returns the status for the request log. */
export async function serveLogs(
  deps: { clock: Clock; pods: PodDirectory },
  request: LogsRequest,
  response: ServerResponse,
  signal: AbortSignal,
  onStatus: (status: number) => void,
): Promise<void> {
  const refuse = (answer: Answer): void => {
    onStatus(answer.status);
    sendResponse(response, answer);
  };
  const parsed = parseLogOptions(request.query);
  if ('status' in parsed) return refuse(textAnswer(parsed.status, parsed.text));
  const worker = deps.pods.find(request.namespace, request.pod);
  if (worker === undefined) return refuse(textAnswer(404, `pod "${request.pod}" does not exist`));
  const slot = worker.slot(request.container);
  if (slot === undefined) {
    return refuse(textAnswer(404, `container "${request.container}" not found in pod "${request.pod}"`));
  }
  const log = chooseLog(slot, request.pod, parsed.options.previous);
  const status = typeof log === 'string' ? 400 : 200;
  onStatus(status);
  response.removeHeader('connection');
  response.writeHead(status, ['Transfer-Encoding', 'chunked']);
  if (typeof log === 'string') {
    response.end(log);
    return;
  }
  response.flushHeaders(); // the 200 is out before the first line is there
  try {
    for await (const block of readLog(deps, log, parsed.options, signal)) {
      if (!response.write(block)) await drained(response, signal);
    }
  } catch (error) {
    response.write(describeError(error));
  }
  if (!signal.aborted) response.end();
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      response.off('drain', finish);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    if (signal.aborted) return resolve();
    response.once('drain', finish);
    signal.addEventListener('abort', finish);
  });
}
