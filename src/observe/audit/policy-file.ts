// Reads a policy file: YAML or JSON with one strict shape, and kube-apiserver's own rules about what goes together. Everything wrong with
// it is told at once, each with its line: a rule that silently means nothing is a hole in the log.

import { readFile } from 'node:fs/promises';
import { z } from 'zod/v3';

import { KexerError } from '../../base/errors.ts';
import { auditLevels, auditStages, type PolicyDocument } from './policy.ts';

/** What every problem with a value says: what is wanted of it. */
const wanted = (text: string) => ({ errorMap: () => ({ message: text }) });

const texts = z.array(z.string(wanted('text')), wanted('a list of text')).default([]);
const levelWanted = `one of ${auditLevels.join(', ')}`;
const stageWanted = `one of ${auditStages.join(', ')}`;
const stages = z.array(z.enum(auditStages, wanted(stageWanted)), wanted('a list of stages')).default([]);

const subdomain = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

const resources = z
  .object(
    {
      group: z
        .string(wanted("an API group, '' for the core one"))
        .refine((group) => group === '' || subdomain.test(group), 'an API group without a version')
        .default(''),
      resources: texts,
      resourceNames: texts,
    },
    wanted('a group with resources'),
  )
  .strict()
  .refine((entry) => entry.resourceNames.length === 0 || entry.resources.length > 0, {
    message: 'resources with resourceNames',
    path: ['resourceNames'],
  });

const nonResourceUrl = z
  .string(wanted('a path'))
  .refine((url) => url === '*' || url.startsWith('/'), "'*' or a path that begins with a slash")
  .refine((url) => !url.slice(0, -1).includes('*'), "a '*' at its end only");

const rule = z
  .object(
    {
      level: z.enum(auditLevels, wanted(levelWanted)),
      users: texts,
      userGroups: texts,
      verbs: texts,
      resources: z.array(resources, wanted('a list of groups with resources')).default([]),
      namespaces: texts,
      nonResourceURLs: z.array(nonResourceUrl, wanted('a list of paths')).default([]),
      omitStages: stages,
      // Bodies are not recorded, so there is nothing to omit from them.
      omitManagedFields: z.boolean(wanted('true or false')).optional(),
    },
    wanted('a rule (level: …)'),
  )
  .strict()
  .refine(
    (entry) => entry.nonResourceURLs.length === 0 || (entry.resources.length === 0 && entry.namespaces.length === 0),
    { message: 'no resources or namespaces beside it', path: ['nonResourceURLs'] },
  );

const policySchema = z
  .object(
    {
      apiVersion: z.literal('audit.k8s.io/v1', wanted('audit.k8s.io/v1')),
      kind: z.literal('Policy', wanted('Policy')),
      metadata: z.unknown().optional(),
      rules: z.array(rule, wanted('a list of rules')).min(1, 'at least one rule'),
      omitStages: stages,
      omitManagedFields: z.boolean(wanted('true or false')).optional(),
    },
    wanted('a Policy (apiVersion, kind, rules)'),
  )
  .strict();

/** @throws KexerError config with one line a problem: `FILE:LINE: …`. */
export async function loadPolicyFile(file: string): Promise<PolicyDocument> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read the audit policy ${JSON.stringify(file)}`, { cause });
  }
  return parsePolicy(text, file);
}

/** @param name of the file, for problems. @throws KexerError config with one line a problem. */
export async function parsePolicy(text: string, name: string): Promise<PolicyDocument> {
  // Only here: who has no policy file needs no YAML.
  const { LineCounter, isMap, isScalar, isSeq, parseDocument } = await import('yaml');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const lineOf = (path: readonly PropertyKey[]): number => {
    let node: unknown = document.contents;
    let offset = 0;
    for (const key of path) {
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
        if (pair === undefined) break;
        if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
        node = pair.value;
      } else if (isSeq(node) && typeof key === 'number') {
        node = node.items[key];
        if (isScalar(node) || isMap(node) || isSeq(node)) offset = node.range?.[0] ?? offset;
      } else {
        break;
      }
    }
    return lines.linePos(offset).line;
  };
  const problems =
    document.errors.length > 0
      ? document.errors.map((error) => ({
          line: lines.linePos(error.pos[0]).line,
          text: `this is no YAML: ${error.message}`,
        }))
      : [];
  if (problems.length === 0) {
    // Unbounded aliases would let a small file take all memory; a policy has no use for them.
    const result = policySchema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      if (issue.code === 'unrecognized_keys') {
        for (const key of issue.keys) {
          const line = lineOf([...issue.path, key]);
          problems.push({ line, text: `Cannot use the key ${JSON.stringify(key)}: a policy has no such field` });
        }
      } else {
        const path = pathText(issue.path);
        problems.push({ line: lineOf(issue.path), text: `Cannot use ${path}: want ${issue.message}` });
      }
    }
  }
  const sorted = problems.toSorted((a, b) => a.line - b.line);
  throw new KexerError('config', sorted.map(({ line, text }) => `${name}:${line}: ${text}`).join('\n'));
}

/** `rules[2].level`; the document itself is `the policy`. */
function pathText(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  return text === '' ? 'the policy' : text.replace(/^\./, '');
}
