// One watch, from its request to its end: events in order, bounded lines, and a deadline of its own behind the apiserver's. Restarting and
// resuming are the informer's.

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { AnswerController, KubeClient } from './client.ts';
import { JsonLines } from './json-lines.ts';
import { isKubeObject, isRecord, type KubeObject } from './objects.ts';
import { failure, StatusError } from './status.ts';
import { asStatus, parseStatus } from './status-parse.ts';

export type WatchEvent =
  | { readonly type: 'set' | 'delete'; readonly object: KubeObject; readonly resourceVersion: string }
  | { readonly type: 'bookmark'; readonly resourceVersion: string };

/** etcd holds objects of 1.5 MiB; JSON may be some times as long. */
const maxLineBytes = 16 * 1024 * 1024;
const maxRefusalBytes = 64 * 1024;
/** How long after the apiserver's own end of a watch the connection counts as dead. */
const graceMs = 30_000;

/**
 * Resolves when the apiserver ends the watch in good order.
 * @throws StatusError if it refuses it or sends an ERROR event (410: the version is too old); KexerError unreachable, cut, timeout …;
 * whatever `onEvent` throws; the reason of `signal`.
 */
export function runWatch(
  deps: { client: Pick<KubeClient, 'stream' | 'userAgent'>; clock: Clock },
  request: {
    target: string;
    timeoutSeconds: number;
    signal: AbortSignal;
    /** Default application/json. */
    accept?: string;
    /** The apiserver has accepted the watch. */
    onOpen?: () => void;
  },
  onEvent: (event: WatchEvent) => void,
): Promise<void> {
  const { signal } = request;
  const lines = new JsonLines({ maxLineBytes });
  return new Promise((resolve, reject) => {
    const refusal: Buffer[] = [];
    let refusalBytes = 0;
    let status = 0;
    let controller: AnswerController | undefined;
    const onAbort = (): void => controller?.abort(toError(signal.reason));
    const timer = deps.clock.after(request.timeoutSeconds * 1000 + graceMs, () =>
      controller?.abort(new KexerError('timeout', 'Cannot go on with the watch: the apiserver did not end it in time')),
    );
    const settle = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    controller = deps.client.stream(
      {
        method: 'GET',
        target: request.target,
        headers: [
          ['Accept', request.accept ?? 'application/json'],
          ['User-Agent', deps.client.userAgent],
        ],
      },
      {
        onHead: (answer) => {
          status = answer.status;
          if (status === 200) request.onOpen?.();
        },
        onData: (chunk) => {
          if (status !== 200) {
            refusalBytes += chunk.length;
            if (refusalBytes <= maxRefusalBytes) refusal.push(chunk);
            return;
          }
          try {
            for (const value of lines.acceptChunk(chunk)) onEvent(readEvent(value));
          } catch (error) {
            controller?.abort(toError(error));
          }
        },
        onEnd: () => {
          settle();
          if (status !== 200) reject(new StatusError(refusalStatus(status, Buffer.concat(refusal).toString('utf8'))));
          else if (lines.isMidLine) reject(new KexerError('cut', 'Cannot read the whole watch: its last line is cut'));
          else resolve();
        },
        onError: (error) => {
          settle();
          reject(error);
        },
      },
    );
    if (signal.aborted) onAbort();
  });
}

/** @throws StatusError for an ERROR event, KexerError badGateway for what is no event. */
function readEvent(value: unknown): WatchEvent {
  if (!isRecord(value)) throw unreadable();
  const { type, object } = value;
  if (type === 'ERROR') throw new StatusError(asStatus(object) ?? failure(500, '', 'the watch reported an error'));
  if (type === 'BOOKMARK') {
    // A bookmark's object has a resourceVersion and no name.
    const version =
      isRecord(object) && isRecord(object['metadata']) ? object['metadata']['resourceVersion'] : undefined;
    if (typeof version !== 'string') throw unreadable();
    return { type: 'bookmark', resourceVersion: version };
  }
  if (!isKubeObject(object)) throw unreadable();
  const resourceVersion = object.metadata.resourceVersion ?? '';
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
      return { type: 'set', object, resourceVersion };
    case 'DELETED':
      return { type: 'delete', object, resourceVersion };
    default:
      throw unreadable();
  }
}

function refusalStatus(code: number, text: string): ReturnType<typeof failure> {
  return parseStatus(text) ?? failure(code, '', `the apiserver answered the watch with ${code}`);
}

function unreadable(): KexerError {
  return new KexerError('badGateway', 'Cannot read an event of the watch');
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new KexerError('internal', String(reason));
}
