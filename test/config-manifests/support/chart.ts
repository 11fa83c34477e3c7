// Renders config/chart as `helm template` does, with the functions of Helm and sprig that its templates use and no others. Values are held
// against the chart's own schema first, as Helm does. What it renders was compared once, byte by byte, with Go's own text/template and sprig.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parse, stringify } from 'yaml';
import { z } from 'zod';

import { type Manifest, parseManifests, root } from './manifests.ts';
import { type Command, type Node, parseTemplate, type Pipeline, type Template, type Word } from './template-tree.ts';

const folder = join(root, 'config/chart');

export type Values = Readonly<Record<string, unknown>>;

export interface Release {
  readonly name: string;
  readonly namespace: string;
}

const defaultRelease: Release = { name: 'kexer', namespace: 'kexec-system' };

export function chartMetadata(): { name: string; version: string; appVersion: string } {
  return parse(readFileSync(join(folder, 'Chart.yaml'), 'utf8')) as {
    name: string;
    version: string;
    appVersion: string;
  };
}

export function defaultValues(): Values {
  return parse(readFileSync(join(folder, 'values.yaml'), 'utf8')) as Values;
}

/** What values.schema.json has against these values; none: they may be used. */
export function valueComplaints(values: Values): string[] {
  const schema = z.fromJSONSchema(
    JSON.parse(readFileSync(join(folder, 'values.schema.json'), 'utf8')) as z.core.JSONSchema.JSONSchema,
  );
  return (schema.safeParse(values).error?.issues ?? []).map(
    ({ path, message }) => `${path.map(String).join('.')}: ${message}`,
  );
}

/** Maps are merged, everything else is replaced, and null takes a default away. */
export function mergeValues(base: Values, over: Values): Values {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isMap(old) && isMap(value) ? mergeValues(old, value) : value;
  }
  return merged;
}

/** Text by template, the notes included. @throws if a value is refused, or a template uses what is not known here. */
export function renderTexts(over: Values = {}, release: Release = defaultRelease): Map<string, string> {
  const values = mergeValues(defaultValues(), over);
  const complaints = valueComplaints(values);
  if (complaints.length > 0) throw new Error(`values: ${complaints.join('; ')}`);
  const { name, version, appVersion } = chartMetadata();
  const names = readdirSync(join(folder, 'templates')).toSorted();
  const templates = new Map(
    names.map((file) => [file, parseTemplate(readFileSync(join(folder, 'templates', file), 'utf8'))]),
  );
  const root = {
    Values: values,
    Release: { Name: release.name, Namespace: release.namespace, Service: 'Helm' },
    Chart: { Name: name, Version: version, AppVersion: appVersion },
    Files: new ChartFiles(),
  };
  const renderer = new Renderer([...templates.values()]);
  return new Map(
    [...templates]
      .filter(([file]) => !file.startsWith('_'))
      .map(([file, { nodes }]) => [file, renderer.run(nodes, root)]),
  );
}

/** The objects that `helm install` would send. */
export function renderChart(over: Values = {}, release: Release = defaultRelease): Manifest[] {
  const texts = [...renderTexts(over, release)].filter(([file]) => file.endsWith('.yaml'));
  return texts.flatMap(([file, text]) => {
    try {
      return parseManifests(text);
    } catch (cause) {
      throw new Error(`${file} is no YAML:\n${text}`, { cause });
    }
  });
}

/** `.Files`: what stands in the chart beside the templates. */
class ChartFiles {
  get(name: string): string {
    return readFileSync(join(folder, name), 'utf8');
  }
}

class Renderer {
  readonly #defined: ReadonlyMap<string, readonly Node[]>;

  constructor(templates: readonly Template[]) {
    this.#defined = new Map(templates.flatMap(({ defined }) => [...defined]));
  }

  run(nodes: readonly Node[], dot: unknown, top: unknown = dot): string {
    return nodes.map((node) => this.#render(node, dot, top)).join('');
  }

  #render(node: Node, dot: unknown, top: unknown): string {
    if (node.type === 'text') return node.text;
    const value = this.#pipe(node.pipeline, dot, top);
    switch (node.type) {
      case 'print':
        return printed(value);
      case 'if':
        return this.run(isTrue(value) ? node.body : node.other, dot, top);
      case 'with':
        return isTrue(value) ? this.run(node.body, value, top) : this.run(node.other, dot, top);
      case 'range': {
        if (!Array.isArray(value)) throw new TypeError('range over something that is no list');
        return value.length === 0
          ? this.run(node.other, dot, top)
          : value.map((item) => this.run(node.body, item, top)).join('');
      }
      default:
        throw new TypeError('a node of no type');
    }
  }

  #pipe(pipeline: Pipeline, dot: unknown, top: unknown): unknown {
    let last: unknown[] = [];
    for (const command of pipeline) last = [this.#call(command, last, dot, top)];
    return last[0];
  }

  #call(command: Command, piped: unknown[], dot: unknown, top: unknown): unknown {
    const [first, ...rest] = command;
    if (first === undefined) throw new TypeError('an empty command');
    const values = (): unknown[] => [...rest.map((word) => this.#value(word, dot, top)), ...piped];
    if (first.type === 'name') return this.#function(first.name, values());
    // The one method of the chart's: .Files.Get.
    if (first.type === 'field' && first.names.at(-1) === 'Get') {
      const files = this.#value({ ...first, names: first.names.slice(0, -1) }, dot, top);
      if (files instanceof ChartFiles) return files.get(textOf(values()[0]));
    }
    if (rest.length + piped.length > 0) throw new TypeError('arguments for something that is no function');
    return this.#value(first, dot, top);
  }

  #value(word: Word, dot: unknown, top: unknown): unknown {
    switch (word.type) {
      case 'literal':
        return word.value;
      case 'name':
        return this.#function(word.name, []);
      case 'group':
        return fieldOf(this.#pipe(word.pipeline, dot, top), word.names);
      case 'field':
        return fieldOf(word.from === 'root' ? top : dot, word.names);
      default:
        throw new TypeError('a word of no type');
    }
  }

  #function(name: string, args: readonly unknown[]): unknown {
    if (name === 'include') {
      const body = this.#defined.get(textOf(args[0]));
      if (body === undefined) throw new TypeError(`no template ${textOf(args[0])}`);
      return this.run(body, args[1]);
    }
    const found = functions.get(name);
    if (found === undefined) throw new TypeError(`no function ${name}`);
    return found(...args);
  }
}

function fieldOf(from: unknown, names: readonly string[]): unknown {
  let value = from;
  for (const name of names) {
    if (value === null || value === undefined) throw new TypeError(`nil pointer: .${names.join('.')}`);
    value = isMap(value) ? value[name] : undefined;
  }
  return value;
}

const functions: ReadonlyMap<string, (...args: unknown[]) => unknown> = new Map<
  string,
  (...args: unknown[]) => unknown
>([
  ['and', (...args) => args.find((value) => !isTrue(value)) ?? args.at(-1)],
  ['or', (...args) => args.find(isTrue) ?? args.at(-1)],
  ['not', (value) => !isTrue(value)],
  ['eq', (a, b) => a === b],
  ['ne', (a, b) => a !== b],
  ['gt', (a, b) => Number(a) > Number(b)],
  ['int', (value) => BigInt(Math.trunc(Number(value)))],
  ['list', (...args) => args],
  ['ternary', (yes, no, condition) => (isTrue(condition) ? yes : no)],
  [
    'dict',
    (...args) => Object.fromEntries(args.flatMap((key, at) => (at % 2 === 0 ? [[textOf(key), args[at + 1]]] : []))),
  ],
  ['default', (fallback, value) => (isTrue(value) ? value : fallback)],
  ['quote', (value) => JSON.stringify(printed(value))],
  ['join', (separator, values) => (Array.isArray(values) ? values.map(printed).join(textOf(separator)) : '')],
  ['printf', (format, ...args) => textOf(format).replaceAll('%s', () => printed(args.shift()))],
  ['replace', (from, to, text) => textOf(text).replaceAll(textOf(from), textOf(to))],
  ['indent', (width, text) => indent(Number(width), textOf(text))],
  ['nindent', (width, text) => `\n${indent(Number(width), textOf(text))}`],
  ['fromYaml', (text) => parse(textOf(text))],
  ['toYaml', (value) => stringify(value, { lineWidth: 0, sortMapEntries: true }).trimEnd()],
]);

function indent(width: number, text: string): string {
  return text
    .split('\n')
    .map((line) => `${' '.repeat(width)}${line}`)
    .join('\n');
}

/** Go's truth: the zero value of every type is false, an empty map and list as well. */
function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

function printed(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  // Helm reads numbers as floats and prints a million as 1e+06.
  if (typeof value === 'number') throw new TypeError(`the number ${value} must go through int`);
  throw new TypeError(`Go would print a structure: ${JSON.stringify(value)}`);
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${JSON.stringify(value)} is no string`);
  return value;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
