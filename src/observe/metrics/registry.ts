// All metrics of one process: made here from their definitions, read here by a scrape. What somebody counts anyway (sessions, limits, detours) is
// not counted a second time: a function reads it when it is scraped. A reader that fails costs its own metric for this scrape, never the scrape.

import { KexerError } from '../../base/errors.ts';
import { quote } from '../../base/quote.ts';

import type { LabelValues, MetricDefinition } from './definition.ts';
import { type Bins, Counter, Histogram } from './instruments.ts';

export interface Sample {
  /** In the order of the definition's labels. */
  readonly values: readonly string[];
  readonly value: number;
}

/** What a scrape has of one metric. */
export type Family =
  | { readonly definition: MetricDefinition; readonly samples: readonly Sample[] }
  | { readonly definition: MetricDefinition; readonly bins: readonly Readonly<Bins>[] };

/** One label set as a reader gives it. */
export type Reading<Label extends string> = readonly [labels: LabelValues<Label>, value: number];

export interface RegistryDeps {
  /** A reader threw. Must not throw. */
  readonly onError: (metric: string, error: unknown) => void;
}

export class Registry {
  readonly #onError: RegistryDeps['onError'];
  readonly #byName: Map<string, () => Family>;

  constructor(deps: RegistryDeps) {
    this.#onError = deps.onError;
    this.#byName = new Map();
  }

  counter<Label extends string>(definition: MetricDefinition<Label>): Counter<Label> {
    const counter = new Counter(definition);
    this.#add(definition, () => ({ definition, samples: [...counter.cells()] }));
    return counter;
  }

  histogram<Label extends string>(definition: MetricDefinition<Label>): Histogram<Label> {
    const histogram = new Histogram(definition);
    this.#add(definition, () => ({ definition, bins: [...histogram.cells()] }));
    return histogram;
  }

  /**
   * A gauge, or a counter that somebody else counts.
   * @param read called at each scrape; label sets must be distinct, a counter's values may only grow.
   */
  read<Label extends string>(definition: MetricDefinition<Label>, read: () => Iterable<Reading<Label>>): void {
    const labels = Object.keys(definition.labels) as Label[];
    this.#add(definition, () => ({
      definition,
      samples: Array.from(read(), ([values, value]) => ({ values: labels.map((label) => values[label]), value })),
    }));
  }

  /** The same for a metric without labels; undefined: it has no value now. */
  readOne(definition: MetricDefinition<never>, read: () => number | undefined): void {
    this.read(definition, () => {
      const value = read();
      return value === undefined ? [] : [[{}, value] as const];
    });
  }

  /** Everything as it is now, in alphabetical order. Never throws. */
  collect(): Family[] {
    const families: Family[] = [];
    for (const [name, read] of [...this.#byName].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      try {
        families.push(read());
      } catch (error) {
        this.#onError(name, error);
      }
    }
    return families;
  }

  #add(definition: MetricDefinition, read: () => Family): void {
    const { name } = definition;
    if (this.#byName.has(name)) throw new KexerError('internal', `Cannot add the metric ${quote(name)} twice`);
    this.#byName.set(name, read);
  }
}
