// Whether a pod can have its own folder as root on this machine: with mount namespaces of util-linux (unshare, nsenter), as root or,
// where the kernel allows user namespaces, as an ordinary user. Found out by doing it once; where it does not work the pod's
// folder is only its working directory and HOME, and absolute paths are the host's.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { describeError, KexerError } from '../../../base/errors.ts';

const run = promisify(execFile);

/** How pods' processes see the file system. */
export type Isolation =
  | { readonly kind: 'chroot'; readonly hasUserNamespace: boolean; /** Absolute path. */ readonly nsenter: string }
  | { readonly kind: 'folder'; readonly why: string };

/** One bind mount of a container's root, in order. */
export interface Mount {
  readonly source: string;
  /** Path on the host below the container's root folder; exists. */
  readonly target: string;
  readonly isReadOnly: boolean;
}

/**
 * The process that keeps a container's namespaces alive; others join it by its pid. It ends with its stdin, so with the sandbox, even
 * if that is killed, and then takes the container's processes along.
 */
export interface NamespaceHolder {
  readonly pid: number;
  close(): Promise<void>;
}

/** Absolute path of a tool of the host; its bare name if it is not there, so that running it says what is missing. */
function findTool(name: string): string {
  for (const dir of toolPath.split(':')) {
    if (dir.startsWith('/') && existsSync(`${dir}/${name}`)) return `${dir}/${name}`;
  }
  return name;
}

/** Where mount, chroot and unshare are; an ordinary user's PATH often lacks the sbin folders. */
export const toolPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

const holderScript = `
root=$1; name=$2; mark=$3; shift 3
while [ $# -ge 3 ]; do
  mount --rbind "$1" "$2" || exit 1
  # Best effort: below a user namespace the kernel may lock the mount's other flags; then its owner protects it.
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$2" 2>/dev/null; fi
  shift 3
done
hostname "$name" 2>/dev/null
# Ready only behind the chroot: others take this process's root for theirs.
# Its stdin ends without a SIGKILL only if the sandbox itself was killed: then the pod's processes are nobody's, and go.
exec chroot "$root" sh -c '
  echo ready
  while read -r line; do :; done
  for process in /proc/[0-9]*; do
    if grep -qF "$0" "$process/environ" 2>/dev/null; then kill -9 "\${process#/proc/}"; fi
  done
' "$mark"
`;

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null || child.stderr === null) throw new TypeError('the child has no pipes');
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString().slice(0, 500)));
  const data = once(child.stdout, 'data').then(([chunk]) => String(chunk));
  const ended = once(child, 'close').then(() => '');
  const line = await Promise.race([data, ended]);
  if (line !== 'ready\n') throw new KexerError('internal', `Cannot make a container's root: ${errors.trim()}`);
  return line;
}

/** Makes new namespaces with `mounts` in them and `root` as the root folder. */
export async function holdNamespaces(
  isolation: Isolation & { kind: 'chroot' },
  options: { root: string; hostname: string; mounts: readonly Mount[]; mark: string },
): Promise<NamespaceHolder> {
  const mounts = options.mounts.flatMap(({ source, target, isReadOnly }) => [source, target, isReadOnly ? 'ro' : 'rw']);
  const namespaces = ['--mount', '--uts', '--propagation', 'private'];
  if (isolation.hasUserNamespace) namespaces.unshift('--user', '--map-root-user');
  const args = [
    ...namespaces,
    'sh',
    '-c',
    holderScript,
    'holder',
    options.root,
    options.hostname,
    options.mark,
    ...mounts,
  ];
  const child = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: toolPath }, detached: true });
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  child.stdin.on('error', () => {});
  const close = (): Promise<void> => {
    child.kill('SIGKILL');
    return closed;
  };
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    await firstLine(child);
  } catch (error) {
    await close();
    throw error;
  }
  return { pid: child.pid ?? 0, close };
}

/** The arguments of nsenter that run a command in the holder's namespaces, root and working directory. */
export function joinArguments(isolation: Isolation & { kind: 'chroot' }, holder: NamespaceHolder): string[] {
  const user = isolation.hasUserNamespace ? ['--user', '--preserve-credentials'] : [];
  return [`--target=${holder.pid}`, ...user, '--mount', '--uts', '--root', '--wd', '--'];
}

/** Tries it with the folder `root`, which holds nothing else; asked once per kubelet. */
export async function probeIsolation(
  root: string,
  prepare: (root: string) => Mount[],
  wanted: 'auto' | 'chroot' | 'folder',
): Promise<Isolation> {
  if (wanted === 'folder') return { kind: 'folder', why: 'as configured' };
  const hasUserNamespace = process.getuid?.() !== 0;
  const isolation = { kind: 'chroot', hasUserNamespace, nsenter: findTool('nsenter') } as const;
  try {
    if (process.platform !== 'linux')
      throw new KexerError('config', `mount namespaces are Linux's, this is ${process.platform}`);
    const holder = await holdNamespaces(isolation, { root, hostname: 'probe', mounts: prepare(root), mark: 'probe' });
    try {
      await run(isolation.nsenter, [...joinArguments(isolation, holder), 'sh', '-c', ': > /tmp/probe'], {
        env: { PATH: toolPath },
      });
    } finally {
      await holder.close();
    }
    return isolation;
  } catch (error) {
    if (wanted === 'chroot') throw error;
    return { kind: 'folder', why: describeError(error) };
  }
}
