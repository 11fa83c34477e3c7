// Makes a pod's volumes as folders of the host: empty ones, and ConfigMaps, Secrets, the downward API and service account tokens as
// files, written once when the pod starts.

import type { Buffer } from 'node:buffer';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import type { VolumeMount } from '../runtime/container-root.ts';
import type { ContainerSpec, KeyToPath, ProjectedSource, Volume } from './pod.ts';
import { fieldOf, keysOf, MissingReference, type PodContext } from './references.ts';

export interface VolumeSettings {
  /** Folder for the pod's volumes. */
  readonly dir: string;
  /** Makes a token of the pod's service account; undefined if nobody issues any. */
  readonly issueToken: ((wish: TokenWish) => string) | undefined;
}

/** What a projected token is to be; left out: for kube-apiserver, and as long as the issuer likes. */
export interface TokenWish {
  readonly audience?: string;
  readonly expirationSeconds?: number;
}

type IssueToken = VolumeSettings['issueToken'];

type Files = Map<string, Buffer | string>;

function addKeys(
  files: Files,
  keys: Map<string, Buffer> | undefined,
  items: KeyToPath[] | undefined,
  what: string,
): void {
  if (keys === undefined) return;
  if (items === undefined) {
    for (const [key, value] of keys) files.set(key, value);
    return;
  }
  for (const { key, path } of items) {
    const value = keys.get(key);
    if (value === undefined) throw new MissingReference(`${what} references non-existent config key: ${key}`);
    files.set(path, value);
  }
}

function addFields(
  files: Files,
  context: PodContext,
  items: { path: string; fieldRef?: { fieldPath: string } }[],
): void {
  for (const { path, fieldRef } of items) {
    files.set(path, fieldRef === undefined ? '' : (fieldOf(context, fieldRef.fieldPath) ?? ''));
  }
}

function addSource(files: Files, context: PodContext, source: ProjectedSource, issueToken: IssueToken): void {
  const { configMap, secret, downwardAPI, serviceAccountToken } = source;
  if (configMap !== undefined) {
    const keys = keysOf(context, 'configmap', configMap.name ?? '', configMap.optional ?? false);
    addKeys(files, keys, configMap.items, 'configmap');
  }
  if (secret !== undefined) {
    const keys = keysOf(context, 'secret', secret.name ?? '', secret.optional ?? false);
    addKeys(files, keys, secret.items, 'secret');
  }
  if (downwardAPI !== undefined) addFields(files, context, downwardAPI.items ?? []);
  if (serviceAccountToken !== undefined && issueToken !== undefined) {
    const { path, ...wish } = serviceAccountToken;
    files.set(path, issueToken(wish));
  }
}

/** The files of a volume; undefined for one that starts empty. */
function filesOf(context: PodContext, volume: Volume, issueToken: IssueToken): Files | undefined {
  const files: Files = new Map();
  if (volume.configMap !== undefined) {
    const { name = '', optional = false, items } = volume.configMap;
    addKeys(files, keysOf(context, 'configmap', name, optional), items, 'configmap');
  } else if (volume.secret !== undefined) {
    const { secretName = '', optional = false, items } = volume.secret;
    addKeys(files, keysOf(context, 'secret', secretName, optional), items, 'secret');
  } else if (volume.downwardAPI !== undefined) {
    addFields(files, context, volume.downwardAPI.items ?? []);
  } else if (volume.projected !== undefined) {
    for (const source of volume.projected.sources ?? []) addSource(files, context, source, issueToken);
  } else {
    return undefined;
  }
  return files;
}

/** A path of files inside a volume may not leave it. */
function insideOf(dir: string, path: string): string {
  return join(dir, posix.resolve('/', path));
}

/**
 * Makes all volumes of the pod; returns volume name → folder.
 * @throws MissingReference with the kubelet's text (`MountVolume.SetUp failed for volume …`).
 */
export function makeVolumes(context: PodContext, settings: VolumeSettings): Map<string, string> {
  const folders = new Map<string, string>();
  for (const volume of context.pod.spec.volumes ?? []) {
    if (volume.hostPath !== undefined) {
      folders.set(volume.name, volume.hostPath.path);
      continue;
    }
    const dir = join(settings.dir, volume.name);
    let files: Files | undefined;
    try {
      files = filesOf(context, volume, settings.issueToken);
    } catch (error) {
      if (!(error instanceof MissingReference)) throw error;
      throw new MissingReference(`MountVolume.SetUp failed for volume "${volume.name}" : ${error.message}`, {
        cause: error,
      });
    }
    mkdirSync(dir, { recursive: true });
    for (const [path, content] of files ?? []) {
      const file = insideOf(dir, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
    folders.set(volume.name, dir);
  }
  return folders;
}

/** Where a container sees which volume. */
export function volumeMountsOf(container: ContainerSpec, folders: ReadonlyMap<string, string>): VolumeMount[] {
  return (container.volumeMounts ?? []).map(({ name, mountPath, subPath, readOnly }) => {
    const folder = folders.get(name);
    if (folder === undefined) throw new MissingReference(`volume "${name}" not found`);
    const source = subPath === undefined || subPath === '' ? folder : insideOf(folder, subPath);
    if (source !== folder) mkdirSync(dirname(source), { recursive: true });
    return { source, path: posix.resolve('/', mountPath), isReadOnly: readOnly ?? false };
  });
}
