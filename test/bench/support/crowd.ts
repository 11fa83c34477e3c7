// Many sessions at once that do nothing, as idle shells do: opened some at a time, counted, and closed together.

import { SpdyExecClient } from './exec-client.ts';
import type { Route } from './route.ts';

/** Handshakes under way at once: what a process of clients can do without waiting on itself. */
const openedAtOnce = 32;

export class Crowd {
  readonly #sessions: SpdyExecClient[] = [];

  /** Opens `count` more. @throws if one is refused */
  async open(route: Route, count: number): Promise<void> {
    let left = count;
    const opener = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        this.#sessions.push(await SpdyExecClient.open(route, ['sleep'], { hasStdin: true }));
      }
    };
    await Promise.all(Array.from({ length: openedAtOnce }, opener));
  }

  /** How many are still connected. */
  get alive(): number {
    return this.#sessions.filter(({ socket }) => !socket.destroyed).length;
  }

  async close(): Promise<void> {
    const closed = this.#sessions.map(
      ({ socket }) =>
        new Promise<void>((resolve) => {
          if (socket.closed) resolve();
          else socket.once('close', () => resolve()).destroy();
        }),
    );
    this.#sessions.length = 0;
    await Promise.all(closed);
  }
}
