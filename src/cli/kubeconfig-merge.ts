// One context of the kubeconfigs that kubectl would read, merged as client-go does: KUBECONFIG names several files, the first that has an
// entry or a current-context wins whole, files that are not there are passed over. Entries are kept as they are written; only relative paths
// become absolute, since what comes of them lies in another folder.

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { isRecord } from '../kube/objects.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface ChosenContext {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly cluster: Fields;
  /** '' and no fields: the context has none, and its calls are anonymous. */
  readonly userName: string;
  readonly user: Fields;
  /** What was read, for messages. */
  readonly source: string;
}

/** @throws KexerError config: one sentence. */
export async function chooseContext(
  environment: Readonly<Record<string, string | undefined>>,
  options: { kubeconfig: string | undefined; context: string | undefined },
): Promise<ChosenContext> {
  const listed = (environment['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const usual = listed.length > 0 ? listed : [join(environment['HOME'] ?? homedir(), '.kube', 'config')];
  const files = options.kubeconfig === undefined ? usual : [options.kubeconfig];
  const read = await Promise.all(files.map((file) => readDocument(file, options.kubeconfig === undefined)));
  const documents = read.filter((document) => document !== undefined);
  const source = files.join(delimiter);
  if (documents.length === 0)
    throw new KexerError('config', `Cannot find a context: there is no ${files.join(' nor ')}`);
  const current = documents.map(({ fields }) => textAt(fields, 'current-context')).find((text) => text !== '');
  const name = options.context ?? current;
  if (name === undefined) {
    throw new KexerError('config', `Cannot find a context: ${quote(source)} has no current-context, want --context`);
  }
  const missing = (kind: string, wanted: string): KexerError =>
    new KexerError('config', `Cannot use the context ${quote(name)}: ${quote(source)} has no ${kind} ${quote(wanted)}`);
  const context = find(documents, 'context', name);
  if (context === undefined) {
    throw new KexerError('config', `Cannot find the context ${quote(name)}: ${quote(source)} has none of that name`);
  }
  const clusterName = textAt(context.fields, 'cluster');
  const cluster = find(documents, 'cluster', clusterName);
  if (cluster === undefined) throw missing('cluster', clusterName);
  const userName = textAt(context.fields, 'user');
  const user = userName === '' ? { fields: {}, folder: '' } : find(documents, 'user', userName);
  if (user === undefined) throw missing('user', userName);
  const namespace = textAt(context.fields, 'namespace');
  return {
    name,
    namespace: namespace === '' ? undefined : namespace,
    cluster: withAbsolutePaths(cluster, ['certificate-authority']),
    userName,
    user: withAbsoluteCommand(withAbsolutePaths(user, ['client-certificate', 'client-key', 'tokenFile']), user.folder),
    source,
  };
}

interface Part {
  readonly fields: Fields;
  readonly folder: string;
}

/** Undefined: there is no such file, and none was asked for by name. */
async function readDocument(file: string, isOptional: boolean): Promise<Part | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (isOptional && code === 'ENOENT') return undefined;
    throw new KexerError('config', `Cannot read the kubeconfig ${quote(file)}`, { cause });
  }
  const { parseDocument } = await import('yaml');
  const document = parseDocument(text, { prettyErrors: true });
  const [first] = document.errors;
  if (first !== undefined) {
    // The lines after the first quote the file, which may hold secrets.
    const line = first.message.split('\n', 1)[0] ?? '';
    throw new KexerError('config', `Cannot parse the kubeconfig ${quote(file)}: ${line.replace(/:$/, '')}`);
  }
  const value: unknown = document.toJS() ?? {};
  if (!isRecord(value)) throw new KexerError('config', `Cannot use the kubeconfig ${quote(file)}: want a mapping`);
  return { fields: value, folder: dirname(resolve(file)) };
}

function find(documents: readonly Part[], kind: 'context' | 'cluster' | 'user', name: string): Part | undefined {
  for (const { fields, folder } of documents) {
    const entries = fields[`${kind}s`];
    if (!Array.isArray(entries)) continue;
    const entry: unknown = entries.find((item) => isRecord(item) && item['name'] === name);
    if (!isRecord(entry)) continue;
    const found = entry[kind];
    return { fields: isRecord(found) ? found : {}, folder };
  }
  return undefined;
}

function withAbsolutePaths({ fields, folder }: Part, keys: readonly string[]): Fields {
  const paths = keys.flatMap((key) => {
    const path = textAt(fields, key);
    return path === '' || isAbsolute(path) ? [] : [[key, join(folder, path)] as const];
  });
  return { ...fields, ...Object.fromEntries(paths) };
}

/** A plugin without a slash in its name is looked for on the PATH; any other is beside the kubeconfig. */
function withAbsoluteCommand(user: Fields, folder: string): Fields {
  const { exec } = user;
  if (!isRecord(exec)) return user;
  const command = textAt(exec, 'command');
  return command.includes('/') && !isAbsolute(command)
    ? { ...user, exec: { ...exec, command: join(folder, command) } }
    : user;
}

/** '' for what is absent or no text. */
export function textAt(fields: Fields, key: string): string {
  const value = fields[key];
  return typeof value === 'string' ? value : '';
}
