// How a command ended, as far as its kubelet said so. Collects the error stream and watches the output streams; gives one verdict when
// all of them are over or the connection is. A status counts only if every output stream ended in order before: a connection that is cut
// may have lost output behind a status that got through.

import { Buffer } from 'node:buffer';

import type { SpdyEnd, SpdyStreamEnd } from '../net/spdy-connection.ts';
import { type CommandEnd, parseCommandEnd } from '../protocol/exit-status.ts';
import { backendEndText } from './leg.ts';

export type Verdict =
  /** The kubelet's own status, in its own bytes. */
  | { readonly kind: 'status'; readonly end: CommandEnd; readonly bytes: Buffer }
  /** There is none: the client must be told a failure that says `message`. */
  | { readonly kind: 'broken'; readonly message: string };

/** A status is below a kilobyte unless the command line it quotes is long; runtimes bound that by 256 KiB or so. */
const maxStatusBytes = 1024 * 1024;

export class Outcome {
  readonly #backend: string;
  readonly #onVerdict: (verdict: Verdict) => void;
  readonly #parts: Buffer[];
  #length: number;
  #openOutputs: number;
  #isErrorOver: boolean;
  #isOutputCut: boolean;
  #isDecided: boolean;

  constructor(options: { backend: string }, onVerdict: (verdict: Verdict) => void) {
    this.#backend = options.backend;
    this.#onVerdict = onVerdict;
    this.#parts = [];
    this.#length = 0;
    this.#openOutputs = 0;
    this.#isErrorOver = false;
    this.#isOutputCut = false;
    this.#isDecided = false;
  }

  get isDecided(): boolean {
    return this.#isDecided;
  }

  /** One more output stream to wait for. */
  addOutput(): void {
    this.#openOutputs += 1;
  }

  errorData(bytes: Buffer): void {
    this.#length += bytes.length;
    // The socket's chunk is let go: a slice of 20 bytes would hold 64 KiB until the end.
    if (this.#length <= maxStatusBytes) this.#parts.push(Buffer.from(bytes));
  }

  errorEnded(how: SpdyStreamEnd): void {
    // After a cut the connection's end follows and says why.
    if (how === 'cut') return;
    this.#isErrorOver = true;
    this.#decideIfOver();
  }

  outputEnded(how: SpdyStreamEnd): void {
    if (how === 'cut') {
      this.#isOutputCut = true;
      return;
    }
    this.#openOutputs -= 1;
    this.#decideIfOver();
  }

  /** The kubelet's connection is over: there is nothing more to wait for. */
  connectionEnded(end: SpdyEnd): void {
    this.#decide(end);
  }

  /** Nobody is left to be told: no verdict will be given. */
  abandon(): void {
    this.#isDecided = true;
  }

  /** Somebody else has ended the session; what the kubelet still says no longer counts. */
  decide(verdict: Verdict): void {
    if (this.#isDecided) return;
    this.#isDecided = true;
    this.#onVerdict(verdict);
  }

  #decideIfOver(): void {
    if (this.#isErrorOver && this.#openOutputs === 0) this.#decide(undefined);
  }

  #decide(end: SpdyEnd | undefined): void {
    if (this.#isDecided) return;
    const how = end === undefined ? `${this.#backend} ended the session` : backendEndText(this.#backend, end);
    if (this.#isOutputCut) {
      const known = this.#length === 0 ? 'before the command had ended' : 'before all output had arrived';
      this.decide({ kind: 'broken', message: `${how} ${known}` });
    } else if (this.#length === 0) {
      this.decide({ kind: 'broken', message: `${how} without a status of the command` });
    } else {
      this.decide(this.#readStatus(how));
    }
  }

  #readStatus(how: string): Verdict {
    if (this.#length > maxStatusBytes) {
      return {
        kind: 'broken',
        message: `${how} with a status of ${this.#length} bytes, want at most ${maxStatusBytes}`,
      };
    }
    const bytes = Buffer.concat(this.#parts, this.#length);
    try {
      return { kind: 'status', end: parseCommandEnd(bytes), bytes };
    } catch {
      // Whatever is wrong with it, the client cannot be told success or an exit code on its strength.
      return { kind: 'broken', message: `${how} with a status that cannot be read` };
    }
  }
}
