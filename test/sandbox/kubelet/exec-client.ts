// An exec, attach or port-forward client over SPDY for tests, on the project's own connection; it keeps what came and how each
// stream ended.

import { createHash, type Hash } from 'node:crypto';
import { systemClock } from '../../../src/base/clock.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream } from '../../../src/net/spdy-connection.ts';
import { type Harness, nextChunk, requestHead } from './harness.ts';

export interface ExecOptions {
  readonly pod: string;
  readonly container?: string;
  readonly command?: readonly string[];
  readonly stdin?: boolean;
  readonly tty?: boolean;
  readonly kind?: 'exec' | 'attach';
  readonly version?: string;
  /** Output is hashed and counted, not kept. */
  readonly isHashing?: boolean;
}

/** What a session came to. */
export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  /** The error stream's text. */
  readonly status: string;
  readonly end: SpdyEnd['how'];
}

export class ExecClient {
  readonly connection: SpdyConnection;
  readonly done: Promise<ExecResult>;
  readonly stdin: SpdyStream | undefined;
  readonly resize: SpdyStream | undefined;
  readonly hash: Hash = createHash('sha256');
  bytes = 0;
  readonly #output = { stdout: [] as Buffer[], stderr: [] as Buffer[], error: [] as Buffer[] };
  #onOutput: (() => void)[] = [];

  private constructor(socket: Awaited<ReturnType<Harness['dial']>>, options: ExecOptions) {
    let settle: (end: SpdyEnd) => void = () => {};
    const ended = new Promise<SpdyEnd>((resolve) => {
      settle = resolve;
    });
    this.connection = new SpdyConnection({ socket, clock: systemClock }, { role: 'client' }, { onEnd: settle });
    this.#open('error', 'error', false);
    this.stdin = options.stdin === true ? this.#create('stdin') : undefined;
    this.#open('stdout', 'stdout', options.isHashing === true);
    if (options.tty !== true) this.#open('stderr', 'stderr', false);
    this.resize = options.tty === true ? this.#create('resize') : undefined;
    this.done = ended.then((end) => ({
      stdout: Buffer.concat(this.#output.stdout).toString(),
      stderr: Buffer.concat(this.#output.stderr).toString(),
      status: Buffer.concat(this.#output.error).toString(),
      end: end.how,
    }));
  }

  static async start(harness: Harness, options: ExecOptions): Promise<ExecClient> {
    const socket = await harness.dial();
    const { pod, container = pod, kind = 'exec', command = [] } = options;
    const query = new URLSearchParams(command.map((word): [string, string] => ['command', word]));
    query.set('output', '1');
    if (options.tty === true) query.set('tty', '1');
    else query.set('error', '1');
    if (options.stdin === true) query.set('input', '1');
    const headers = {
      Connection: 'Upgrade',
      Upgrade: 'SPDY/3.1',
      'X-Stream-Protocol-Version': options.version ?? 'v4.channel.k8s.io',
    };
    socket.write(
      requestHead({ method: 'POST', path: `/${kind}/default/${pod}/${container}?${query.toString()}`, headers }),
    );
    const head = (await nextChunk(socket))?.toString() ?? '';
    if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(head);
    return new ExecClient(socket, options);
  }

  /** Settles once stdout holds `text`. */
  async until(text: string): Promise<void> {
    while (!Buffer.concat(this.#output.stdout).toString().includes(text)) {
      await new Promise<void>((resolve) => this.#onOutput.push(resolve));
    }
  }

  #create(streamtype: string): SpdyStream {
    return this.connection.createStream([['streamtype', streamtype]], {});
  }

  #open(streamtype: string, output: 'stdout' | 'stderr' | 'error', isHashing: boolean): void {
    this.connection.createStream([['streamtype', streamtype]], {
      onData: (bytes) => {
        this.bytes += bytes.length;
        if (isHashing) this.hash.update(bytes);
        if (isHashing) this.#output[output].splice(0, Infinity, Buffer.from(bytes.subarray(-200)));
        else this.#output[output].push(bytes);
        for (const run of this.#onOutput.splice(0)) run();
      },
    });
  }
}

/** Runs to the end; `input` is written and half-closed. */
export async function runExec(harness: Harness, options: ExecOptions & { input?: string }): Promise<ExecResult> {
  const client = await ExecClient.start(harness, { ...options, stdin: options.input !== undefined });
  if (options.input !== undefined) {
    client.stdin?.write(Buffer.from(options.input));
    client.stdin?.end();
  }
  return client.done;
}

/** The exit code in a v4 status: 0 for success, -1 for what is no exit code. */
export function exitCodeIn({ status }: ExecResult): number {
  const parsed = JSON.parse(status) as {
    status: string;
    details?: { causes?: { reason?: string; message?: string }[] };
  };
  if (parsed.status === 'Success') return 0;
  const cause = parsed.details?.causes?.find(({ reason }) => reason === 'ExitCode');
  return cause?.message === undefined ? -1 : Number(cause.message);
}
