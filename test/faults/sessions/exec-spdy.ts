// exec and attach over SPDY, v1 to v4, read as client-go reads it: an end of the connection is an end of every stream, and an empty error
// stream is success.

import { describeError } from '../../../src/base/errors.ts';
import { connectSpdy, exitAs, type SpdyClient, UpgradeRefused } from '../../support/spdy-client.ts';
import {
  execQuery,
  exitResult,
  failure,
  podUrl,
  type Result,
  type RunningSession,
  type SessionReport,
  type SessionTarget,
  type Work,
} from './session.ts';

const none = Buffer.alloc(0);

export class SpdyExecSession implements RunningSession {
  readonly done: Promise<SessionReport>;
  readonly #work: Work;
  #client: SpdyClient | undefined;
  #isOpen = false;

  constructor(target: SessionTarget, kind: 'exec' | 'attach', protocol: string, work: Work) {
    this.#work = work;
    this.done = this.#run(target, kind, protocol);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  pause(): void {
    this.#client?.connection.pause();
  }

  resume(): void {
    this.#client?.connection.resume();
  }

  leave(): void {
    this.#client?.connection.destroy(new Error('the client has left'));
  }

  async #run(target: SessionTarget, kind: 'exec' | 'attach', protocol: string): Promise<SessionReport> {
    const url = podUrl(target, this.#work.pod, kind, execQuery(this.#work));
    try {
      this.#client = await connectSpdy({ url, ca: target.ca, ...target.certificate, protocols: [protocol] });
    } catch (error) {
      if (error instanceof UpgradeRefused) {
        return { phase: 'refused', result: failure(`${error.status} ${error.body}`, true), received: none };
      }
      return { phase: 'unreached', result: failure(describeError(error), false), received: none };
    }
    try {
      return { phase: 'open', ...(await this.#talk(this.#client, protocol)) };
    } finally {
      await this.#client.close();
    }
  }

  async #talk(client: SpdyClient, protocol: string): Promise<{ result: Result; received: Buffer }> {
    const received = (): Buffer => client.streams.get('stdout')?.bytes ?? none;
    let error;
    try {
      error = await client.open('error');
      const stdin = this.#work.stdin === undefined ? undefined : await client.open('stdin');
      const stdout = await client.open('stdout');
      const stderr = await client.open('stderr');
      this.#isOpen = true;
      if (stdin !== undefined) {
        void client.write(stdin, this.#work.stdin ?? none).then(() => stdin.stream.end());
      }
      await Promise.all([stdout.ended, stderr.ended]);
      await error.ended;
    } catch (cause) {
      return { result: failure(`cannot open a stream: ${String(cause)}`, false), received: received() };
    }
    client.connection.goaway();
    // The space alone is no message: it only keeps the stream from being empty.
    return { result: exitResult(exitAs(protocol, error.text), error.text.trim() !== ''), received: received() };
  }
}
