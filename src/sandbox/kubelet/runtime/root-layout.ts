// What a container's root folder looks like: system folders of the host read-only, everything a pod writes to its own. Only makes
// folders and says what is to be mounted where; the mounting is in isolation.ts.

import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Mount } from './isolation.ts';

/** Folders of the host that a pod sees as they are, read-only; a symbolic link (merged /usr) is copied as one. */
const systemFolders = ['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'nix', 'sys'];

/** Folders of the pod's own. */
const ownFolders = [
  'root',
  'home',
  'data',
  'mnt',
  'srv',
  'opt/sandbox/bin',
  'opt/sandbox/libexec',
  'run',
  'etc',
  'var/cache',
  'var/lib',
  'var/log',
  'var/spool',
  'dev/shm',
  'dev/pts',
  '.host/etc',
];

const stickyFolders = ['tmp', 'var/tmp'];

const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'ptmx'];

/** The folder with the sandbox's own commands; first in every pod's PATH. */
export const commandFolder = '/opt/sandbox/bin';

const libraryFolder = '/opt/sandbox/libexec';

/** Names below /etc that are the pod's own files, not links to the host's. */
const ownEtcFiles = new Set(['hosts', 'hostname', 'mtab']);

function touch(path: string): void {
  closeSync(openSync(path, 'a'));
}

function makeDevices(root: string): Mount[] {
  const mounts: Mount[] = [];
  for (const name of devices) {
    if (!existsSync(`/dev/${name}`)) continue;
    touch(join(root, 'dev', name));
    mounts.push({ source: `/dev/${name}`, target: join(root, 'dev', name), isReadOnly: false });
  }
  // The host's, because the terminals that exec opens are made outside.
  if (existsSync('/dev/pts')) mounts.push({ source: '/dev/pts', target: join(root, 'dev/pts'), isReadOnly: false });
  const links = { fd: '/proc/self/fd', stdin: '/proc/self/fd/0', stdout: '/proc/self/fd/1', stderr: '/proc/self/fd/2' };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, 'dev', name));
  return mounts;
}

/** /etc is the pod's own folder of links to the host's files, so that a pod may have files and mounts of its own in it. */
function makeEtc(root: string, hostname: string): Mount {
  for (const name of readdirSync('/etc')) {
    if (!ownEtcFiles.has(name)) symlinkSync(`/.host/etc/${name}`, join(root, 'etc', name));
  }
  writeFileSync(join(root, 'etc/hostname'), `${hostname}\n`);
  writeFileSync(
    join(root, 'etc/hosts'),
    `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.0.1\t${hostname}\n`,
  );
  symlinkSync('/proc/self/mounts', join(root, 'etc/mtab'));
  return { source: '/etc', target: join(root, '.host/etc'), isReadOnly: true };
}

/** Makes the folders of an own root and returns the mounts it needs. */
export function makeRoot(root: string, hostname: string): Mount[] {
  const mounts: Mount[] = [];
  makeFolders(root);
  for (const name of systemFolders) {
    const source = `/${name}`;
    const target = join(root, name);
    if (!existsSync(source)) continue;
    if (lstatSync(source).isSymbolicLink()) {
      symlinkSync(readlinkSync(source), target);
      continue;
    }
    mkdirSync(target);
    mounts.push({ source, target, isReadOnly: true });
  }
  mkdirSync(join(root, 'proc'));
  mounts.push({ source: '/proc', target: join(root, 'proc'), isReadOnly: false });
  symlinkSync('../run', join(root, 'var/run'));
  mounts.push(makeEtc(root, hostname), ...makeDevices(root));
  return mounts;
}

/** The folders alone, which is all a root has where nothing can be mounted. */
export function makeFolders(root: string): void {
  for (const name of ownFolders) mkdirSync(join(root, name), { recursive: true });
  for (const name of stickyFolders) mkdirSync(join(root, name), { recursive: true, mode: 0o777 });
}

/** Puts the sandbox's commands into the root: scripts for the Node that runs the sandbox, which comes along as a mount. */
export function addCommands(root: string, commands: ReadonlyMap<string, string>, isMounted: boolean): Mount[] {
  if (commands.size === 0) return [];
  const library = isMounted ? libraryFolder : join(root, libraryFolder);
  const node = isMounted ? join(libraryFolder, 'node') : process.execPath;
  for (const [name, source] of commands) {
    writeFileSync(join(root, libraryFolder, `${name}.mjs`), source);
    const script = `#!/bin/sh\nexec '${node}' '${join(library, `${name}.mjs`)}' "$@"\n`;
    writeFileSync(join(root, commandFolder, name), script, { mode: 0o755 });
  }
  if (!isMounted) return [];
  touch(join(root, libraryFolder, 'node'));
  return [{ source: process.execPath, target: join(root, libraryFolder, 'node'), isReadOnly: true }];
}

/** True if a path of a pod lies in a folder of the host, where no mount point can be made. */
export function isSystemPath(path: string): boolean {
  const first = path.split('/').find((part) => part !== '') ?? '';
  return systemFolders.includes(first) || first === 'proc';
}

/** Makes the place where `source` (a folder or a file) will be seen in the root; a link of ours that stands there gives way. */
export function makeMountPoint(root: string, path: string, isFolder: boolean): string {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  if (isFolder) mkdirSync(target, { recursive: true });
  else touch(join(dirname(target), basename(target)));
  return target;
}
