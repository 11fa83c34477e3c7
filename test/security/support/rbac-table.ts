// The table of docs/rbac.md and the manifests under config/rbac as the same kind of value: one right a line. Read from the files, so that a
// test can hold them together.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { parseAllDocuments } from 'yaml';

import { bootstrapClusterRoles } from '../../../src/sandbox/seed-roles.ts';
import type { PolicyRule } from '../../../src/sandbox/apiserver/identity/rbac.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** A row of the table. */
export interface TableRight {
  readonly account: string;
  readonly verbs: readonly string[];
  readonly resource: string;
  readonly group: string;
  /** '' for all names; '' for the whole cluster. */
  readonly name: string;
  readonly namespace: string;
  readonly file: string;
  /** The ClusterRole or Role of Kubernetes' own that gives it; '' if the manifest itself does. */
  readonly through: string;
  /** What is seen when it is taken away: the texts in backticks of the last column. */
  readonly without: readonly string[];
}

/** An object of RBAC, as far as it is read here. */
export interface RbacObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly PolicyRule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly kind: string; readonly name: string; readonly namespace?: string }[];
}

/** One right of one subject; `verb resource.group [named N] [in NS]` in `right`. */
export interface Right {
  readonly account: string;
  readonly right: string;
}

export const kexerNamespace = 'kexec-system';
/** Who is bound to kexer-lookup: system:authenticated. */
export const everybody = 'everybody';
/** Whoever is bound to kexer-user; the manifests bind nobody. */
export const users = 'users of kexer';
/** Roles that the manifests bind nobody to, by what the table calls those who have them. */
export const userRoles: ReadonlyMap<string, string> = new Map([
  [users, 'kexer-user'],
  ['users of shared clusters', 'kexer-shared-cluster-user'],
  ['viewers of sessions', 'kexer-session-viewer'],
  ['admins of sessions', 'kexer-session-admin'],
]);

const groups = [
  'authentication.k8s.io',
  'authorization.k8s.io',
  'admissionregistration.k8s.io',
  'discovery.k8s.io',
  'apiregistration.k8s.io',
  'backup.cv.io',
] as const;

/** @param nth of the page's tables: the first has all rights but those of constrained impersonation, which the second has. */
export async function readTable(nth = 0): Promise<TableRight[]> {
  const text = await readFile(join(root, 'docs/rbac.md'), 'utf8');
  const tables = text.split(/\n(?!\|)[^\n]*/).flatMap((block) => {
    const rows = block.split('\n').filter((line) => line.startsWith('|'));
    return rows.length === 0 ? [] : [rows];
  });
  // The first two lines are the names of the columns and the rule below them.
  return (tables[nth] ?? []).slice(2).map(readRow);
}

function readRow(line: string): TableRight {
  const [account = '', right = '', , file = '', without = ''] = line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
  const [verbs = '', qualified = ''] = codeIn(right);
  const [, name = ''] = /named `([^`]*)`/.exec(right) ?? [];
  const [, namespace = ''] = / in `([^`]*)`$/.exec(right) ?? [];
  const group = groups.find((known) => qualified.endsWith(`.${known}`)) ?? '';
  const [manifest = '', through = ''] = codeIn(file);
  return {
    account: account.replaceAll('`', ''),
    verbs: verbs.split(','),
    resource: group === '' ? qualified : qualified.slice(0, -group.length - 1),
    group,
    name,
    namespace,
    file: manifest,
    through,
    without: codeIn(without),
  };
}

function codeIn(cell: string): string[] {
  return [...cell.matchAll(/`([^`]*)`/g)].map(([, code = '']) => code);
}

/** Each verb of a row by itself. */
export function rightsOf(row: TableRight): Right[] {
  return row.verbs.map((verb) => ({ account: row.account, right: describe({ ...row, verb }) }));
}

export function describe(parts: {
  verb: string;
  resource: string;
  group: string;
  name: string;
  namespace: string;
}): string {
  const { verb, resource, group, name, namespace } = parts;
  const qualified = group === '' ? resource : `${resource}.${group}`;
  return `${verb} ${qualified}${name === '' ? '' : ` named ${name}`}${namespace === '' ? '' : ` in ${namespace}`}`;
}

export const constrainedFolder = 'impersonation-constrained';

/** Every object of the manifests, with the file it stands in, as the table names it. */
export async function readManifests(): Promise<{ file: string; object: RbacObject }[]> {
  const folder = join(root, 'config/rbac');
  // What stands in for impersonation/ is no right besides; constrained-impersonation.test.ts reads it.
  const files = (await readdir(folder, { recursive: true })).filter((name) => !name.startsWith(constrainedFolder));
  const found: { file: string; object: RbacObject }[] = [];
  for (const file of files
    .filter((name) => name.endsWith('.yaml') && !name.endsWith('kustomization.yaml'))
    .toSorted()) {
    for (const document of parseAllDocuments(await readFile(join(folder, file), 'utf8'))) {
      found.push({ file, object: document.toJS() as RbacObject });
    }
  }
  return found;
}

/** Roles that a cluster is born with, as far as kexer is bound to them. */
const builtInRoles: readonly RbacObject[] = [
  ...bootstrapClusterRoles.map(({ name, rules }) => ({ kind: 'ClusterRole', metadata: { name }, rules })),
  {
    kind: 'Role',
    metadata: { name: 'extension-apiserver-authentication-reader', namespace: 'kube-system' },
    rules: [
      {
        verbs: ['get', 'list', 'watch'],
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['extension-apiserver-authentication'],
      },
    ],
  },
];

/** What the bindings among `objects` give to kexer's accounts, what kexer's own roles give to everybody, and the role for users to whoever is bound to it. */
export function grants(objects: readonly RbacObject[]): Right[] {
  const roles = [...objects, ...builtInRoles].filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role');
  const found: Right[] = [];
  for (const binding of objects.filter(({ kind }) => kind === 'ClusterRoleBinding' || kind === 'RoleBinding')) {
    const { namespace = '' } = binding.metadata;
    const { kind = '', name = '' } = binding.roleRef ?? {};
    const role = roles.find(
      (candidate) =>
        candidate.kind === kind &&
        candidate.metadata.name === name &&
        (kind === 'ClusterRole' || candidate.metadata.namespace === namespace),
    );
    for (const subject of binding.subjects ?? []) {
      const account =
        subject.name === 'system:authenticated' && name.startsWith('kexer') ? everybody : accountOf(subject);
      if (account === undefined) continue;
      for (const right of rightsIn(role?.rules ?? [], namespace)) found.push({ account, right });
    }
  }
  for (const [account, roleName] of userRoles) {
    const role = roles.find(({ metadata }) => metadata.name === roleName);
    for (const right of rightsIn(role?.rules ?? [], '')) found.push({ account, right });
  }
  return found;
}

/** `kexer-kubelet (User)` for what is no ServiceAccount; undefined: none of kexer's. */
function accountOf(subject: { kind: string; name: string; namespace?: string }): string | undefined {
  if (!subject.name.startsWith('kexer')) return undefined;
  if (subject.kind === 'ServiceAccount') return subject.namespace === kexerNamespace ? subject.name : undefined;
  return `${subject.name} (${subject.kind})`;
}

function rightsIn(rules: readonly PolicyRule[], namespace: string): string[] {
  return rules.flatMap(({ verbs = [], apiGroups = [], resources = [], resourceNames = [''], nonResourceURLs = [] }) => [
    ...nonResourceURLs.flatMap((url) => verbs.map((verb) => `${verb} ${url}`)),
    ...apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        resourceNames.flatMap((name) => verbs.map((verb) => describe({ verb, resource, group, name, namespace }))),
      ),
    ),
  ]);
}
