// A lifetime. What is opened is registered on the next line; closing the scope closes everything in reverse order, once.
// Adding to a closed scope disposes the newcomer at once, so that a slow open cannot leak past a fast close.

export type Disposer = () => void | Promise<void>;

export class Scope {
  readonly #disposers = new Set<Disposer>();
  readonly #controller = new AbortController();
  #closing: Promise<void> | undefined;

  /** Aborted when the scope starts to close. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** Registers `dispose`; returns a function that forgets it again (for things that ended by themselves). */
  add(dispose: Disposer): () => void {
    if (this.#closing !== undefined) {
      // Late-safe: the owner is gone, so nobody waits for this one; its failure has nowhere to go but the process.
      void Promise.resolve(dispose());
      return () => {};
    }
    this.#disposers.add(dispose);
    return () => this.#disposers.delete(dispose);
  }

  /** A scope that closes with this one, or earlier by itself. */
  child(): Scope {
    const child = new Scope();
    const forget = this.add(() => child.close());
    child.add(forget);
    return child;
  }

  /** Disposes everything, newest first, each after the one before it is done. All run; the first error is thrown at the end. */
  close(): Promise<void> {
    this.#closing ??= this.#disposeAll();
    return this.#closing;
  }

  async #disposeAll(): Promise<void> {
    // A tick later, so that `#closing` is set before a disposer looks at this scope.
    await Promise.resolve();
    this.#controller.abort();
    const errors: unknown[] = [];
    for (const dispose of [...this.#disposers].toReversed()) {
      try {
        await dispose();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#disposers.clear();
    if (errors.length > 0) throw errors[0];
  }
}
