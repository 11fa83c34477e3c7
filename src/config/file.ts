// The config file: YAML with one strict shape. Knows the line of every key, so that each complaint can name it. The YAML library is
// loaded only when there is a file: most of a fleet runs on flags.

import { readFile } from 'node:fs/promises';

import { KexerError } from '../base/errors.ts';

export interface ConfigFile {
  readonly name: string;
  /** What the file says, as plain data; an empty file is an empty object. */
  readonly content: Record<string, unknown>;
  /** The line of the key at `path`, or of the nearest one above it that the file has. */
  lineOf(path: readonly PropertyKey[]): number;
}

/** @throws KexerError config if the file cannot be read or is no YAML; the message may have several lines, one a problem. */
export async function readConfigFile(name: string): Promise<ConfigFile> {
  const text = await readText(name);
  const { LineCounter, isAlias, isMap, isScalar, parseDocument, visit } = await import('yaml');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  if (document.errors.length > 0) {
    const problems = document.errors.map(
      (error) => `${name}:${lines.linePos(error.pos[0]).line}: this is no YAML: ${error.message}`,
    );
    throw new KexerError('config', problems.join('\n'));
  }
  visit(document, (_key, node) => {
    if (!isAlias(node)) return;
    const { line } = lines.linePos(node.range?.[0] ?? 0);
    throw new KexerError('config', `${name}:${line}: Cannot use the alias *${node.source}: want the value itself`);
  });
  const content: unknown = document.toJS({ maxAliasCount: 0 }) ?? {};
  if (!isRecord(content)) {
    throw new KexerError('config', `${name}:1: Cannot use the config file: want settings as key: value`);
  }
  return {
    name,
    content,
    lineOf(path) {
      let node: unknown = document.contents;
      let offset = 0;
      for (const key of path) {
        if (!isMap(node)) break;
        const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
        if (pair === undefined) break;
        if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
        node = pair.value;
      }
      return lines.linePos(offset).line;
    },
  };
}

async function readText(name: string): Promise<string> {
  try {
    return await readFile(name, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read the config file ${JSON.stringify(name)}`, { cause });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
