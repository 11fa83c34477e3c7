// How long a container waits before it is started again: the kubelet's container back-off. The first restart is immediate, then 10 s,
// doubling to 5 minutes; a container that ran for 10 minutes starts anew.

const firstMs = 10_000;
const maxMs = 300_000;
const resetAfterMs = 600_000;

export class BackOff {
  #nextMs = 0;

  /** The delay for the restart after a run of `ranMs`. */
  next(ranMs: number): number {
    if (ranMs >= resetAfterMs) this.#nextMs = 0;
    const delayMs = this.#nextMs;
    this.#nextMs = delayMs === 0 ? firstMs : Math.min(maxMs, delayMs * 2);
    return delayMs;
  }
}

/** Whole seconds as Go prints a time.Duration: `10s`, `1m20s`, `5m0s`. */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${seconds % 60}s`;
  if (hours > 0) return `${hours}h${minutes}m${rest}`;
  return minutes > 0 ? `${minutes}m${rest}` : rest;
}
