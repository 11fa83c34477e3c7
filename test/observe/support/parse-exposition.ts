// A strict reader of both exposition formats: refuses whatever Prometheus refuses, and what it tolerates but should not have to. The source is the
// formats' documents, not the code that writes them.

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ParsedFamily {
  readonly type: string;
  readonly help: string;
  readonly samples: ParsedSample[];
}

const kinds = new Set(['counter', 'gauge', 'histogram', 'unknown']);

/** @throws Error that names the line. */
export function parseExposition(text: string, format: 'text' | 'openmetrics'): Map<string, ParsedFamily> {
  const families = new Map<string, ParsedFamily>();
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const lines = text.slice(0, -1).split('\n');
  if (format === 'openmetrics' && lines.pop() !== '# EOF') throw new Error('no EOF');
  const seen = new Set<string>();
  let current = '';
  let help: { name: string; text: string } | undefined;
  for (const line of lines) {
    const meta = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line);
    if (meta !== null) {
      const [, word, name = '', rest = ''] = meta;
      if (word === 'HELP') {
        help = { name, text: rest };
        continue;
      }
      if (help?.name !== name) throw new Error(`TYPE without its HELP: ${line}`);
      if (families.has(name)) throw new Error(`twice: ${line}`);
      if (!kinds.has(rest) || (format === 'text' && rest === 'unknown')) throw new Error(`no such type: ${line}`);
      families.set(name, { type: rest, help: help.text, samples: [] });
      current = name;
      continue;
    }
    const sample = readSample(line);
    const family = families.get(current);
    if (family === undefined) throw new Error(`a sample before its family: ${line}`);
    if (!belongs(sample.name, current, family.type, format)) throw new Error(`not of family ${current}: ${line}`);
    const key = `${sample.name}${labelsText(sample.labels)}`;
    if (seen.has(key)) throw new Error(`a series twice: ${line}`);
    seen.add(key);
    if (family.type === 'counter' && !(sample.value >= 0)) throw new Error(`a counter below zero: ${line}`);
    family.samples.push(sample);
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family.samples);
  return families;
}

/** The same for the same labels, in whatever order they came. */
export function labelsText(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function belongs(sample: string, family: string, type: string, format: 'text' | 'openmetrics'): boolean {
  if (type === 'histogram') return ['_bucket', '_sum', '_count'].some((suffix) => sample === `${family}${suffix}`);
  return sample === (type === 'counter' && format === 'openmetrics' ? `${family}_total` : family);
}

function readSample(line: string): ParsedSample {
  const head = /^([a-zA-Z_:][a-zA-Z0-9_:]*)/.exec(line);
  if (head === null) throw new Error(`no sample: ${JSON.stringify(line)}`);
  const [name] = head;
  let rest = line.slice(name.length);
  const labels: Record<string, string> = {};
  if (rest.startsWith('{')) {
    rest = rest.slice(1);
    while (!rest.startsWith('}')) {
      const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,(?=[a-zA-Z_])|(?=\}))/.exec(rest);
      if (label === null) throw new Error(`a broken label: ${line}`);
      const [whole, key = '', value = ''] = label;
      if (key in labels) throw new Error(`a label twice: ${line}`);
      labels[key] = value.replaceAll(/\\([\\"n])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
      rest = rest.slice(whole.length);
    }
    rest = rest.slice(1);
  }
  const value = /^ (NaN|[+-]Inf|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/.exec(rest)?.[1];
  if (value === undefined) throw new Error(`no value: ${line}`);
  return { name, labels, value: Number(value.replace('Inf', 'Infinity')) };
}

/** Buckets rise to +Inf, which is the count; each has a sum. */
function checkHistogram(name: string, samples: readonly ParsedSample[]): void {
  const bySet = new Map<string, { buckets: [bound: number, count: number][]; sum?: number; count?: number }>();
  for (const { name: sample, labels, value } of samples) {
    const { le, ...others } = labels;
    const key = JSON.stringify(others);
    const set = bySet.get(key) ?? { buckets: [] };
    bySet.set(key, set);
    if (sample.endsWith('_bucket')) set.buckets.push([Number((le ?? '').replace('Inf', 'Infinity')), value]);
    else if (sample.endsWith('_sum')) set.sum = value;
    else set.count = value;
  }
  for (const [key, { buckets, sum, count }] of bySet) {
    const isRising = buckets.every(([bound, total], index) => {
      const before = buckets[index - 1];
      return before === undefined || (bound > before[0] && total >= before[1]);
    });
    const last = buckets.at(-1);
    if (!isRising || last?.[0] !== Infinity || last[1] !== count || sum === undefined) {
      throw new Error(`no histogram: ${name}${key}`);
    }
  }
}
