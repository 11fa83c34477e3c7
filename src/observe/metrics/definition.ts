// What a metric is, as data: its name, type, labels and what these may be. Every metric of kexer is defined by one of these, from which
// recording, the scrape and docs/metrics.md are made. A label's text says what bounds its values; a user, a pod, a node or a path is never one.

export type MetricKind = 'counter' | 'gauge' | 'histogram';

export interface MetricDefinition<Label extends string = string> {
  /** Final name; a counter's ends with `_total` unless kube-apiserver has it otherwise. */
  readonly name: string;
  readonly kind: MetricKind;
  /** One sentence; the line `# HELP`. */
  readonly help: string;
  /** Each label with what its values are, in the order of the series. */
  readonly labels: Readonly<Record<Label, string>>;
  /** Upper bounds of a histogram, rising, without infinity. */
  readonly buckets?: readonly number[];
  /** Defined by kube-apiserver, client_golang or prom-client; kexer's own if absent. */
  readonly origin?: 'kube-apiserver' | 'process' | 'nodejs';
}

/** The label sets that a scrape shows of a definition. */
export type LabelValues<Label extends string> = Readonly<Record<Label, string>>;

/** Keeps the labels' names in the type. */
export function define<Label extends string = never>(definition: MetricDefinition<Label>): MetricDefinition<Label> {
  return definition;
}

/** `count` bounds from `start`, each `factor` times the one before; as client_golang's ExponentialBuckets. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => start * factor ** index);
}
