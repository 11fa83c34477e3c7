// What is under config/ as objects: each kustomization as kubectl itself builds it, and files of their own.

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { parseAllDocuments } from 'yaml';

const run = promisify(execFile);

export const root = fileURLToPath(new URL('../../..', import.meta.url));

/** An object as it is sent to kube-apiserver. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** All documents of a YAML text; empty ones are left out. @throws if one is no YAML or no object of Kubernetes. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    const [problem] = document.errors;
    if (problem !== undefined) throw problem;
    const value: unknown = document.toJS();
    if (value === null) return [];
    if (!isManifest(value)) throw new TypeError(`no object of Kubernetes: ${JSON.stringify(value)}`);
    return [value];
  });
}

function isManifest(value: unknown): value is Manifest {
  return typeof value === 'object' && value !== null && 'apiVersion' in value && 'kind' in value && 'metadata' in value;
}

/** What `kubectl apply -k FOLDER` would send. @param folder of the repository, or anywhere. */
export async function kustomize(folder: string): Promise<Manifest[]> {
  const { stdout } = await run('kubectl', ['kustomize', resolve(root, folder)], { maxBuffer: 16 * 1024 * 1024 });
  return parseManifests(stdout);
}

export function readManifests(file: string): Manifest[] {
  return parseManifests(readFileSync(join(root, file), 'utf8'));
}

/** Folders below config/ that can be applied; components only change what others have. */
export function applicableFolders(): string[] {
  return ['config', ...readdirSync(join(root, 'config/overlays')).map((name) => `config/overlays/${name}`)].toSorted();
}

/** Every file below a folder of the repository that ends so. */
export function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .toSorted();
}

/** `Kind NAMESPACE/NAME`, which tells objects of one installation apart. */
export function nameOf({ kind, metadata }: Manifest): string {
  return `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
}

/** The one object of that kind and name. @throws if there is none. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}
