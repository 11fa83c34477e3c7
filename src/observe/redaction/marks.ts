// The parts of a text that are not to be shown: ranges, collected in any order, and the text without them.

/** What stands where something was. */
export const redactedMark = '[redacted]';

export class Marks {
  readonly #ranges: { readonly start: number; readonly end: number }[] = [];

  /** Marks `[start, end)`; an empty range is none. */
  add(start: number, end: number): void {
    if (end > start) this.#ranges.push({ start, end });
  }

  /** The text with one mark for each range, overlapping and touching ones being one. */
  applyTo(text: string): string {
    if (this.#ranges.length === 0) return text;
    let shown = '';
    let at = 0;
    let isAfterMark = false;
    for (const { start, end } of this.#ranges.toSorted((a, b) => a.start - b.start)) {
      if (end <= at) continue;
      if (start > at || !isAfterMark) shown += `${text.slice(at, Math.max(start, at))}${redactedMark}`;
      at = end;
      isAfterMark = true;
    }
    return shown + text.slice(at);
  }
}
