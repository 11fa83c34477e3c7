// A process of the bench's own and a way to call functions in it: each part that is measured, and each that loads it, is a process by
// itself, so that CPU seconds and memory of one are not another's. Calls are messages over Node's IPC channel, answers come in any order.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What a process offers: each function takes one JSON value and gives one. */
export type Offers = Readonly<Record<string, (input: never) => Promise<unknown>>>;

interface Question {
  readonly id: number;
  readonly name: string;
  readonly input: unknown;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** In the child: answers calls until the parent lets go, and then ends the process. */
export function offer(offers: Offers, onEnd: () => Promise<void> = async () => {}): void {
  process.on('message', (message) => {
    const { id, name, input } = message as Question;
    const run = offers[name] as ((input: unknown) => Promise<unknown>) | undefined;
    const answer = async (): Promise<Answer> => {
      if (run === undefined) return { id, error: `no function ${name}` };
      return { id, value: await run(input) };
    };
    answer()
      .catch((error: unknown): Answer => ({ id, error: error instanceof Error ? (error.stack ?? '') : String(error) }))
      .then((reply) => process.send?.(reply))
      .catch(() => {}); // the parent is gone
  });
  process.once('disconnect', () => {
    onEnd()
      .catch(() => {})
      .finally(() => process.exit());
  });
}

/** In the parent. */
export class Child<O extends Offers> {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #name: string;
  #nextId = 1;

  /** @param file relative to this folder. */
  constructor(file: string, options: { args?: readonly string[]; execArgv?: readonly string[] } = {}) {
    this.#name = file;
    this.#process = fork(
      file.startsWith('/') ? file : fileURLToPath(new URL(file, import.meta.url)),
      [...(options.args ?? [])],
      {
        execArgv: [...(options.execArgv ?? [])],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    this.#process.on('message', (message) => this.#accept(message as Answer));
    this.#process.on('exit', (code, signal) => {
      const error = new Error(`${file} ended (${signal ?? code})`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  call<K extends keyof O & string>(name: K, input: Parameters<O[K]>[0]): Promise<Awaited<ReturnType<O[K]>>> {
    const id = this.#nextId;
    this.#nextId += 1;
    if (!this.#process.connected) return Promise.reject(new Error(`${this.#name} has ended`));
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#process.send({ id, name, input } satisfies Question);
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    if (this.#process.connected) this.#process.disconnect();
    await ended;
  }

  #accept(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.error === undefined) waiting?.resolve(answer.value);
    else waiting?.reject(new Error(`${this.#name}: ${answer.error}`));
  }
}
