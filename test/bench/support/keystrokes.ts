// Somebody who types: a byte goes to `cat` and comes back, one at a time.

import { SpdyExecClient } from './exec-client.ts';
import type { Route } from './route.ts';

export interface Typing {
  readonly route: Route;
  readonly count: number;
  /** Between an echo and the next key; 0: at once. */
  readonly pauseMs: number;
}

const key = Buffer.from('k');

/** Milliseconds of each echo. */
export async function type({ route, count, pauseMs }: Typing): Promise<number[]> {
  let onEcho = (): void => {};
  const client = await SpdyExecClient.open(route, ['cat'], { hasStdin: true, onOutput: () => onEcho() });
  const times: number[] = [];
  try {
    for (let typed = 0; typed < count; typed += 1) {
      const echoed = new Promise<void>((resolve) => {
        onEcho = resolve;
      });
      const startedMs = performance.now();
      client.socket.write(Buffer.concat([client.stdinHead(key.length), key]));
      await Promise.race([echoed, client.succeeded]);
      times.push(performance.now() - startedMs);
      if (pauseMs > 0) {
        await new Promise((resolve) => {
          setTimeout(resolve, pauseMs);
        });
      }
    }
  } finally {
    client.socket.destroy();
  }
  return times;
}
