// Families as text, in the two formats that Prometheus reads: its own (version 0.0.4) and OpenMetrics 1.0.0, written as client_golang writes
// them. Which one, the scraper's Accept header says. A counter whose name does not end with _total (kube-apiserver has such) would get
// another name in OpenMetrics; there it is of type unknown instead, so that one expression reads both.

import type { MetricDefinition } from './definition.ts';
import type { Family } from './registry.ts';

export type Format = 'text' | 'openmetrics';

export const contentTypes: Readonly<Record<Format, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

const totalSuffix = '_total';

export function exposition(families: readonly Family[], format: Format): string {
  const lines: string[] = [];
  for (const family of families) addFamily(lines, family, format);
  if (format === 'openmetrics') lines.push('# EOF');
  return `${lines.join('\n')}\n`;
}

/** By the qualities in Accept (RFC 9110, 12.5.1); on a tie, and without a word about either, Prometheus' own. */
export function negotiateFormat(accept: string | undefined): Format {
  let [text, openmetrics] = [0, 0];
  for (const item of (accept ?? '*/*').split(',')) {
    const [type = '', ...parameters] = item.split(';').map((part) => part.trim().toLowerCase());
    const quality = qualityOf(parameters);
    const version = parameters.find((parameter) => parameter.startsWith('version='))?.slice('version='.length);
    if (type === 'application/openmetrics-text') {
      if (version === undefined || version === '1.0.0') openmetrics = Math.max(openmetrics, quality);
    } else if (type === 'text/plain' ? version === undefined || version === '0.0.4' : type === '*/*') {
      text = Math.max(text, quality);
    }
  }
  return openmetrics > text ? 'openmetrics' : 'text';
}

function qualityOf(parameters: readonly string[]): number {
  const text = parameters.find((parameter) => parameter.startsWith('q='))?.slice('q='.length);
  const quality = text === undefined ? 1 : Number(text);
  return quality >= 0 && quality <= 1 ? quality : 0;
}

function addFamily(lines: string[], family: Family, format: Format): void {
  const { definition } = family;
  const { name, kind } = definition;
  const isOddCounter = kind === 'counter' && !name.endsWith(totalSuffix);
  const isTrimmed = format === 'openmetrics' && kind === 'counter' && !isOddCounter;
  const familyName = isTrimmed ? name.slice(0, -totalSuffix.length) : name;
  lines.push(`# HELP ${familyName} ${escapeHelp(definition.help, format)}`);
  lines.push(`# TYPE ${familyName} ${format === 'openmetrics' && isOddCounter ? 'unknown' : kind}`);
  const labels = Object.keys(definition.labels);
  if ('samples' in family) {
    for (const { values, value } of family.samples) {
      lines.push(`${name}${labelText(labels, values)} ${numberText(value)}`);
    }
    return;
  }
  for (const { values, counts, sum, count } of family.bins) {
    addBuckets(lines, definition, { labels, values, counts }, format);
    const text = labelText(labels, values);
    lines.push(`${name}_sum${text} ${numberText(sum)}`, `${name}_count${text} ${numberText(count)}`);
  }
}

function addBuckets(
  lines: string[],
  { name, buckets = [] }: MetricDefinition,
  bins: { readonly labels: readonly string[]; readonly values: readonly string[]; readonly counts: readonly number[] },
  format: Format,
): void {
  const labels = [...bins.labels, 'le'];
  let total = 0;
  for (const [index, count] of bins.counts.entries()) {
    total += count;
    const bound = buckets[index];
    const le = bound === undefined ? '+Inf' : boundText(bound, format);
    lines.push(`${name}_bucket${labelText(labels, [...bins.values, le])} ${numberText(total)}`);
  }
}

function labelText(labels: readonly string[], values: readonly string[]): string {
  if (labels.length === 0) return '';
  return `{${labels.map((label, index) => `${label}="${escapeValue(values[index] ?? '')}"`).join(',')}}`;
}

/** OpenMetrics wants bounds as floats: `1.0`. */
function boundText(bound: number, format: Format): string {
  const text = numberText(bound);
  return format === 'openmetrics' && /^\d+$/.test(text) ? `${text}.0` : text;
}

/** JavaScript's shortest form is one that Go's ParseFloat reads, but for the names of what is no number. */
function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}

function escapeValue(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

/** Quotes in it are escaped by OpenMetrics alone. */
function escapeHelp(help: string, format: Format): string {
  const text = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return format === 'openmetrics' ? text.replaceAll('"', '\\"') : text;
}
