// What a command is: a function from its words and its surroundings to an exit code. Commands never end the process themselves, and never
// throw for what a user did wrong: they say one sentence and return 1.

/** Everything of the process that a command may touch. */
export interface CommandIo {
  /** A line to standard output. */
  print(line: string): void;
  /** A line to standard error. */
  complain(line: string): void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Calls `run` at each SIGINT and SIGTERM until the function it returns is called; without a listener these end the process. */
  onStopSignal(run: (signal: 'SIGINT' | 'SIGTERM') => void): () => void;
  /** A server says that its start is over: it is ready, and what that set going has run once. */
  onSettled?(): void;
}

export type Command = (argv: readonly string[], io: CommandIo) => Promise<number>;
