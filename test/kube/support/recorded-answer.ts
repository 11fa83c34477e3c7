// A sink that remembers, and tells when something has come.

import { KexerError } from '../../../src/base/errors.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';
import type { AnswerController, AnswerSink } from '../../../src/kube/transport.ts';

export class RecordedAnswer implements AnswerSink {
  status = 0;
  reason = '';
  headers: RawHeaders = [];
  /** `end`, or the code of the error; '' while it goes on. */
  outcome = '';
  error: Error | undefined;
  calls = 0;
  readonly #chunks: Buffer[] = [];
  readonly #waiters = new Set<() => void>();

  onHead(answer: { status: number; reason: string; headers: RawHeaders }, _controller: AnswerController): void {
    this.status = answer.status;
    this.reason = answer.reason;
    this.headers = answer.headers;
    this.#changed();
  }

  onData(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#changed();
  }

  onEnd(): void {
    this.#over('end');
  }

  onError(error: Error): void {
    this.error = error;
    this.#over(error instanceof KexerError ? error.code : error.message);
  }

  get body(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get bodyBytes(): number {
    return this.#chunks.reduce((sum, { length }) => sum + length, 0);
  }

  /** Status, body and outcome, for one comparison. */
  get summary(): [status: number, body: string, outcome: string] {
    return [this.status, this.body.toString('latin1'), this.outcome];
  }

  /** Resolves when it is so. */
  async until(isSo: (answer: this) => boolean): Promise<this> {
    while (!isSo(this)) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
    return this;
  }

  whenOver(): Promise<this> {
    return this.until(({ outcome }) => outcome !== '');
  }

  whenBegun(): Promise<this> {
    return this.until(({ status, outcome }) => status !== 0 || outcome !== '');
  }

  #over(outcome: string): void {
    this.calls += 1;
    this.outcome = outcome;
    this.#changed();
  }

  #changed(): void {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}
