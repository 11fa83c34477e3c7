// pods/log over HTTP: the kubelet's bytes pass as they come, flushed at once. A body that the kubelet cut short breaks the client's
// response, since a clean end would make half a log look like a whole one.

import { describeError } from '../base/errors.ts';
import { PauseCount } from '../base/pause-count.ts';
import { acceptCall, type Call } from '../clusters/call.ts';
import { abortResponse, type AnyResponse, flushHead, sendAnswer, setHead } from '../net/http-answer.ts';
import { announceSession } from './announce.ts';
import type { LogBody } from './log-body.ts';
import { logSubject, type LogSourceDeps, type OpenLog, openLog } from './log-source.ts';
import type { RunningStream } from './leg.ts';
import { type RunSessionDeps, runSession } from './run-session.ts';
import type { Session, SessionEnd } from './session.ts';

/** @throws StatusError | KexerError only while nothing of the response was written. */
export async function serveLog(deps: LogSourceDeps & RunSessionDeps, call: Call, response: AnyResponse): Promise<void> {
  const log = await openLog(deps, call, call.signal);
  if ('status' in log) {
    call.audit.answered(log);
    sendAnswer(response, log);
    return;
  }
  acceptCall(call, () => log.body.destroy());
  const subject = logSubject(call, log, `HTTP/${call.httpVersion}`);
  const announced = await announceSession(call, subject, log.body, 200);
  await runSession(deps, call, { subject, announced }, (session) => {
    response.setHeader('Audit-Id', call.auditId);
    return new LogRelay({ session }, log, response);
  });
}

/** From the log's body to the client's response, with the client's pace. */
class LogRelay implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #session: Session;
  readonly #body: LogBody;
  readonly #source: string;
  readonly #response: AnyResponse;
  #end: SessionEnd | undefined;
  #resolve: ((end: SessionEnd) => void) | undefined;

  constructor(deps: { session: Session }, log: Pick<OpenLog, 'body' | 'source'>, response: AnyResponse) {
    this.#session = deps.session;
    this.#body = log.body;
    this.#source = log.source;
    this.#response = response;
    this.#end = undefined;
    this.#resolve = undefined;
    this.done = this.#run();
  }

  /** Breaks the log off from outside; a log has no place for a reason. */
  end(message: string): void {
    this.#abort({ cause: 'ended', message });
  }

  #run(): Promise<SessionEnd> {
    const body = this.#body;
    const response = this.#response;
    const session = this.#session;
    return new Promise((resolve) => {
      this.#resolve = resolve;
      body.on('error', (error) => {
        this.#abort({ cause: 'kubeletGone', message: `${this.#source} broke the log off (${describeError(error)})` });
      });
      response.on('error', () => {}); // 'close' follows and says it
      response.on('close', () => this.#closed());
      const pauses = new PauseCount(body);
      session.shape({ out: pauses });
      response.on('drain', () => {
        if (!session.isBackedUp) return;
        session.isBackedUp = false;
        pauses.resume();
      });
      body.on('data', (chunk: Buffer) => {
        session.countOut(chunk.length);
        // What was read before a pause may still come; the pause is counted once.
        if (writeChunk(response, chunk) || session.isBackedUp) return;
        session.isBackedUp = true;
        pauses.pause();
      });
      body.on('end', () => this.#finish());
      if (response.destroyed) {
        this.#closed();
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
      this.#abort({ cause: 'kubeletGone', message: `${this.#source} broke the log off` });
      return;
    }
    this.#end = { cause: 'normal', message: 'the log ended' };
    this.#response.end();
  }

  #abort(end: SessionEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#body.destroy();
    // A response that is gone already gives no further 'close'.
    if (this.#response.destroyed) this.#closed();
    else abortResponse(this.#response);
  }

  /** The response is over: whole, broken off by us, or left by the client. */
  #closed(): void {
    const isUnread = this.#end?.cause === 'normal' && !this.#response.writableFinished;
    const gone: SessionEnd = { cause: 'clientGone', message: 'the client closed the connection' };
    this.#end = isUnread ? gone : (this.#end ?? gone);
    this.#body.destroy();
    this.#resolve?.(this.#end);
  }
}

/** The two response classes have `write` overloads that TypeScript cannot join. */
function writeChunk(response: AnyResponse, chunk: Buffer): boolean {
  return 'stream' in response ? response.write(chunk) : response.write(chunk);
}
