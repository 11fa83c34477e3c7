// Counts of bytes for people: three digits and a unit of Kubernetes' quantities, as `0`, `512`, `1.5Ki`, `64Mi`. Rounded down, so that
// nothing is called a gibibyte before it is one; who needs the exact number finds it beside, as a number.

const units = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** @param bytes a count, not negative. */
export function humanBytes(bytes: number): string {
  let value = Math.max(0, Math.floor(bytes));
  let index = 0;
  while (value >= 1024 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  const text = index > 0 && value < 10 ? (Math.floor(value * 10) / 10).toString() : String(Math.floor(value));
  return `${text}${units[index] ?? ''}`;
}
