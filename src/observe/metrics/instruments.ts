// Counters and histograms: what code that does something records in. A label set is a key of a map, its value a number that is added to; nothing
// is allocated for a set that is known. The number of label sets is bounded by definition; as a last guard a metric that has too many counts
// what is new under `other`, so that a mistake costs detail and never memory.

import type { LabelValues, MetricDefinition } from './definition.ts';

/** Far above what the bounded labels can make of any metric here; a thousand series are some 100 KB. */
export const maxSeriesPerMetric = 4096;
export const otherLabel = 'other';

interface Cell {
  readonly values: readonly string[];
  value: number;
}

/** One label set of a counter or a histogram, for who records in it often. */
export interface CounterCell {
  inc(): void;
}

export interface HistogramCell {
  observe(value: number): void;
}

export interface Bins {
  readonly values: readonly string[];
  /** One for each bound and one for what is above all, not cumulated. */
  readonly counts: number[];
  sum: number;
  count: number;
}

/** Cells by label set. */
class Series<C extends { readonly values: readonly string[] }> {
  readonly #labels: readonly string[];
  readonly #create: (values: readonly string[]) => C;
  readonly #byKey: Map<string, C>;
  readonly #maxSeries: number;

  constructor(labels: readonly string[], create: (values: readonly string[]) => C, maxSeries: number) {
    this.#labels = labels;
    this.#create = create;
    this.#maxSeries = maxSeries;
    this.#byKey = new Map();
  }

  of(values: Readonly<Record<string, string>>): C {
    let key = '';
    for (const label of this.#labels) key += `${values[label] ?? ''}\n`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    return this.#add(key, values);
  }

  cells(): Iterable<C> {
    return this.#byKey.values();
  }

  #add(key: string, values: Readonly<Record<string, string>>): C {
    const isFull = this.#byKey.size >= this.#maxSeries;
    const list = this.#labels.map((label) => (isFull ? otherLabel : (values[label] ?? '')));
    const cellKey = isFull ? list.map((value) => `${value}\n`).join('') : key;
    const cell = this.#byKey.get(cellKey) ?? this.#create(list);
    this.#byKey.set(cellKey, cell);
    return cell;
  }
}

export class Counter<Label extends string> {
  readonly #series: Series<Cell>;

  constructor(definition: MetricDefinition<Label>, maxSeries = maxSeriesPerMetric) {
    this.#series = new Series(Object.keys(definition.labels), (values) => ({ values, value: 0 }), maxSeries);
  }

  /** @param by not negative. */
  inc(values: LabelValues<Label>, by = 1): void {
    this.#series.of(values).value += by;
  }

  /** Shows a label set from the start, so that its first event is an increase and no new series. @returns it, to be recorded in. */
  touch(values: LabelValues<Label>): CounterCell {
    const cell = this.#series.of(values);
    return {
      inc: () => {
        cell.value += 1;
      },
    };
  }

  cells(): Iterable<Readonly<Cell>> {
    return this.#series.cells();
  }
}

export class Histogram<Label extends string> {
  readonly #series: Series<Bins>;
  readonly #bounds: readonly number[];

  constructor(definition: MetricDefinition<Label>, maxSeries = maxSeriesPerMetric) {
    const bounds = definition.buckets ?? [];
    this.#bounds = bounds;
    const create = (values: readonly string[]): Bins => ({
      values,
      counts: Array.from({ length: bounds.length + 1 }, () => 0),
      sum: 0,
      count: 0,
    });
    this.#series = new Series(Object.keys(definition.labels), create, maxSeries);
  }

  observe(values: LabelValues<Label>, value: number): void {
    this.#record(this.#series.of(values), value);
  }

  /** As {@link Counter.touch}. */
  touch(values: LabelValues<Label>): HistogramCell {
    const bins = this.#series.of(values);
    return { observe: (value) => this.#record(bins, value) };
  }

  #record(bins: Bins, value: number): void {
    // A bound belongs to its bucket (`le`). Twenty comparisons are cheaper than anything clever.
    let index = 0;
    while (index < this.#bounds.length && value > (this.#bounds[index] ?? 0)) index += 1;
    bins.counts[index] = (bins.counts[index] ?? 0) + 1;
    bins.sum += value;
    bins.count += 1;
  }

  cells(): Iterable<Readonly<Bins>> {
    return this.#series.cells();
  }
}
