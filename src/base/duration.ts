// Durations as Go writes them, because that is how every flag of Kubernetes is written: `15s`, `4h`, `1m30s`, `1.5h`, `300ms`. Values are
// milliseconds; Go's negative durations have no use here and are none.

const msPerUnit: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, and the Greek letter below: Go takes both
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const partPattern = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;

/** Milliseconds of a text that Go's time.ParseDuration takes, `0` without a unit included; undefined for any other and for negative ones. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  let totalMs = 0;
  let index = text.startsWith('+') ? 1 : 0;
  if (index === text.length) return undefined;
  while (index < text.length) {
    partPattern.lastIndex = index;
    const part = partPattern.exec(text);
    if (part === null) return undefined;
    const [whole, amount = '', unit = ''] = part;
    totalMs += Number(amount) * (msPerUnit[unit] ?? 0);
    index += whole.length;
  }
  return totalMs;
}

/** As Go's Duration.String prints it: `4h0m0s`, `1m30s`, `15s`, `1.5s`, `300ms`, `0s`. Below a millisecond nothing is shown. */
export function formatDuration(durationMs: number): string {
  const wholeMs = Math.round(durationMs);
  if (wholeMs > 0 && wholeMs < 1000) return `${wholeMs}ms`;
  const hours = Math.floor(wholeMs / 3_600_000);
  const minutes = Math.floor(wholeMs / 60_000) % 60;
  const seconds = (wholeMs % 60_000) / 1000;
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
