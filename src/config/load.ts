// Flags, environment, file and defaults to one frozen value, or to all problems at once. Precedence: flags over environment over file
// over defaults. Every problem names the setting as its author wrote it, what was seen and what is wanted.

import { dirname, resolve } from 'node:path';
import type { z } from 'zod/v3';

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { unreachable } from '../base/unreachable.ts';

import { readConfigFile, type ConfigFile } from './file.ts';
import { parseFlags } from './flags.ts';
import { nearestName } from './nearest.ts';
import { brokenRules } from './rules.ts';
import { configSchema, type Config } from './schema.ts';
import { environmentName, settings, type Setting } from './settings.ts';

export interface ConfigSources {
  /** What follows `kexer serve`. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Values as they are collected: groups of groups, as in the file. */
interface Draft {
  readonly values: Record<string, unknown>;
  /** Where a setting's text came from, if not from the file: `--secure-port` or `KEXER_SECURE_PORT`. */
  readonly origins: Map<string, string>;
}

/** @throws KexerError config whose message has one line for each problem. */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const flags = parseFlags(sources.argv);
  // Unknown KEXER_ variables are no problem: Kubernetes itself sets KEXER_SERVICE_HOST and more beside a Service of that name.
  const problems = [...flags.problems];
  const configFile = flags.configFile ?? sources.environment['KEXER_CONFIG'];
  let file: ConfigFile | undefined;
  if (configFile !== undefined && configFile !== '') {
    try {
      file = await readConfigFile(configFile);
    } catch (error) {
      if (!(error instanceof KexerError)) throw error;
      problems.push(error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message);
    }
  }
  const draft: Draft = { values: file === undefined ? {} : structuredClone(file.content), origins: new Map() };
  if (file !== undefined) resolveFileNames(draft.values, dirname(resolve(file.name)));
  for (const setting of settings) {
    const variable = environmentName(setting);
    const text = sources.environment[variable];
    if (text !== undefined) assign(draft, setting, text, variable);
    const flag = flags.values.get(setting.key);
    if (flag !== undefined) assign(draft, setting, flag, `--${setting.flag}`);
  }
  const result = configSchema.safeParse(draft.values);
  const issues: Complaint[] = [
    ...(result.error?.issues ?? []).flatMap(complaintsOf),
    ...brokenRules((key) => valueAt(draft.values, key.split('.'))).map(({ key, wanted }) => ({
      path: key.split('.'),
      wanted,
    })),
  ];
  problems.push(...describe(issues, draft, file));
  if (problems.length > 0 || !result.success) throw new KexerError('config', problems.join('\n'));
  return deepFreeze(result.data);
}

/** Puts the text of a flag or variable where the file would have its value. */
function assign(draft: Draft, setting: Setting, text: string, origin: string): void {
  const path = setting.key.split('.');
  const last = path.pop() ?? '';
  let group = draft.values;
  for (const key of path) {
    const next = group[key];
    // What the file has there and is no group is reported by the schema, unless a flag replaces it whole.
    if (isRecord(next)) group = next;
    else group = group[key] = {};
  }
  group[last] = valueOf(setting, text);
  draft.origins.set(setting.key, origin);
}

/** Text that does not fit is left as text: the schema then says what is wanted. */
function valueOf(setting: Setting, text: string): unknown {
  switch (setting.kind) {
    case 'integer':
      return /^\d{1,15}$/.test(text) ? Number(text) : text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'list':
      return text.split(',').map((item) => item.trim());
    case 'text':
    case 'file':
    case 'duration':
      return text;
    default:
      return unreachable(setting.kind);
  }
}

/** File names in a config file count from its folder, so that kexer may be started from anywhere. */
function resolveFileNames(values: Record<string, unknown>, folder: string): void {
  for (const setting of settings) {
    if (setting.kind !== 'file') continue;
    const path = setting.key.split('.');
    const last = path.pop() ?? '';
    let group: unknown = values;
    for (const key of path) group = isRecord(group) ? group[key] : undefined;
    if (!isRecord(group)) continue;
    const value = group[last];
    // '-' is standard output.
    if (typeof value === 'string' && value !== '' && value !== '-') group[last] = resolve(folder, value);
  }
}

/** Something wrong at a path: a value that is not as wanted, or a key that does not exist. */
interface Complaint {
  readonly path: readonly PropertyKey[];
  /** Undefined: the last key of the path is unknown. */
  readonly wanted: string | undefined;
}

function complaintsOf(issue: z.ZodIssue): Complaint[] {
  if (issue.code !== 'unrecognized_keys') return [{ path: issue.path, wanted: issue.message }];
  return issue.keys.map((key) => ({ path: [...issue.path, key], wanted: undefined }));
}

/** One line a complaint, those about the file in its order. */
function describe(complaints: readonly Complaint[], draft: Draft, file: ConfigFile | undefined): string[] {
  const placed = complaints.map((complaint) => {
    const origin = draft.origins.get(settingKey(complaint.path));
    const line = origin !== undefined || file === undefined ? 0 : file.lineOf(complaint.path);
    const place = line === 0 || file === undefined ? '' : `${file.name}:${line}: `;
    return { line, text: `${place}${describeOne(complaint, draft, origin)}` };
  });
  return placed.toSorted((a, b) => a.line - b.line).map(({ text }) => text);
}

function describeOne({ path, wanted }: Complaint, draft: Draft, origin: string | undefined): string {
  if (wanted !== undefined) {
    const name = origin ?? quote(settingKey(path));
    const value = valueAt(draft.values, path);
    const describeOwn = value === undefined ? undefined : settingOf(path)?.describe;
    return `Cannot use ${name}: it is ${(describeOwn ?? describeValue)(value)}, want ${wanted}`;
  }
  const key = String(path.at(-1));
  const group = path.slice(0, -1).join('.');
  const nearest = nearestName(key, keysUnder(group));
  const hint = nearest === undefined ? '' : `, did you mean ${quote(nearest)}?`;
  return `Cannot use the key ${quote(key)}${group === '' ? '' : ` in ${quote(group)}`}: there is no such setting${hint}`;
}

/** The setting a path is in: an item of a list counts as its list. */
function settingKey(path: readonly PropertyKey[]): string {
  return path.filter((part) => typeof part === 'string').join('.');
}

function settingOf(path: readonly PropertyKey[]): Setting | undefined {
  const key = settingKey(path);
  return settings.find((setting) => setting.key === key);
}

function keysUnder(group: string): string[] {
  const prefix = group === '' ? '' : `${group}.`;
  const keys = settings
    .filter((setting) => setting.key.startsWith(prefix))
    .map((setting) => setting.key.slice(prefix.length).split('.')[0] ?? '');
  return [...new Set(keys)];
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  let value = values;
  for (const key of path) {
    if (Array.isArray(value) && typeof key === 'number') value = value[key];
    else value = isRecord(value) && typeof key === 'string' ? value[key] : undefined;
  }
  return value;
}

function describeValue(value: unknown): string {
  if (value === undefined) return 'not set';
  if (typeof value === 'string') return quote(value);
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member);
    Object.freeze(value);
  }
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
