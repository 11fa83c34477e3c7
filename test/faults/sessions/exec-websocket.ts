// exec and attach over WebSocket channels, read as client-go and the older clients do: a status counts only before Close 1000, Close 1000
// without a status is success, any other end is an error whatever came before it.

import { describeError } from '../../../src/base/errors.ts';
import { once } from 'node:events';

import { Scope } from '../../../src/base/scope.ts';
import { channels } from '../../../src/protocol/channel.ts';
import { exitAs } from '../../support/spdy-client.ts';
import { openWebSocket, UpgradeRefused, type WebSocketClient } from '../../support/websocket-client.ts';
import {
  execQuery,
  exitResult,
  failure,
  pieceBytes,
  podUrl,
  type Result,
  type RunningSession,
  type SessionReport,
  type SessionTarget,
  type Work,
} from './session.ts';

const none = Buffer.alloc(0);

export class WebSocketExecSession implements RunningSession {
  readonly done: Promise<SessionReport>;
  readonly #work: Work;
  #client: WebSocketClient | undefined;

  /** @param protocol '' offers none. */
  constructor(target: SessionTarget, kind: 'exec' | 'attach', protocol: string, work: Work) {
    this.#work = work;
    this.done = this.#run(target, kind, protocol);
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  pause(): void {
    this.#client?.socket.pause();
  }

  resume(): void {
    this.#client?.socket.resume();
  }

  leave(): void {
    this.#client?.destroy();
  }

  async #run(target: SessionTarget, kind: 'exec' | 'attach', protocol: string): Promise<SessionReport> {
    const scope = new Scope();
    const { ca, certificate } = target;
    try {
      const url = podUrl(target, this.#work.pod, kind, execQuery(this.#work));
      const protocols = protocol === '' ? [] : [protocol];
      const client = await openWebSocket(scope, { url, ca, certificate, protocols });
      this.#client = client;
      if (this.#work.stdin !== undefined) void this.#send(client, this.#work.stdin, protocol);
      const end = await client.ended;
      return {
        phase: 'open',
        result: resultOf(protocol, end, client.channel(channels.error).toString()),
        received: client.channel(channels.stdout),
      };
    } catch (error) {
      if (error instanceof UpgradeRefused) {
        return { phase: 'refused', result: failure(`${error.status} ${error.body}`, true), received: none };
      }
      return { phase: 'unreached', result: failure(describeError(error), false), received: none };
    } finally {
      await scope.close();
    }
  }

  async #send(client: WebSocketClient, bytes: Buffer, protocol: string): Promise<void> {
    const { socket } = client;
    for (let from = 0; from < bytes.length; from += pieceBytes) {
      client.send(channels.stdin, bytes.subarray(from, from + pieceBytes));
      if (socket.writableNeedDrain) await Promise.race([once(socket, 'drain').catch(() => {}), client.ended]);
      if (socket.destroyed) return;
    }
    if (protocol === 'v5.channel.k8s.io') client.halfClose();
  }
}

/** Below v4 the error channel is text; the SPDY reading of the two forms is the same. */
function resultOf(protocol: string, end: { how: string; code: number; reason: string }, error: string): Result {
  if (end.code !== 1000) {
    return failure(
      `the connection ended by ${end.how}, ${end.code} ${end.reason}, after ${JSON.stringify(error)}`,
      false,
    );
  }
  const isJson = protocol.startsWith('v4.') || protocol.startsWith('v5.');
  return exitResult(exitAs(isJson ? 'v4.channel.k8s.io' : 'channel.k8s.io', error), true);
}
