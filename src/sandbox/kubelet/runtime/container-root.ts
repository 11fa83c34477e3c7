// One container's view of the file system and the way to run something in it: an own root where the machine allows it, else a folder
// that is only working directory and HOME. Also looks commands up as a runtime does, so that a missing one is told in runc's words.

import { accessSync, constants, existsSync, lstatSync, mkdirSync, readlinkSync, statSync, symlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { holdNamespaces, type Isolation, joinArguments, type Mount, type NamespaceHolder } from './isolation.ts';
import type { ProcessSpec } from './process.ts';
import { addCommands, commandFolder, isSystemPath, makeFolders, makeMountPoint, makeRoot } from './root-layout.ts';

/** A volume, or a part of one, at a path of the container. */
export interface VolumeMount {
  /** A folder or file on the host. */
  readonly source: string;
  readonly path: string;
  readonly isReadOnly: boolean;
}

export interface ContainerRootOptions {
  /** Folder to be made for this root. */
  readonly dir: string;
  readonly hostname: string;
  /** What the environment of each of the container's processes holds (see process-mark.ts). */
  readonly mark: string;
  readonly commands: ReadonlyMap<string, string>;
  readonly volumes: readonly VolumeMount[];
}

/** What runc finds, or why not, in its words. */
export type CommandLookup = { readonly found: string } | { readonly problem: string };

/** Links followed before a path counts as not there, as in the kernel. */
const maxLinks = 40;

/** Where the host's /etc is in a root of its own (see root-layout.ts). */
const hostEtc = '/.host/etc/';

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export class ContainerRoot {
  readonly #isolation: Isolation;
  readonly #dir: string;
  readonly #holder: NamespaceHolder | undefined;
  /** Container path → host path of mounted volumes, longest first. */
  readonly #volumes: readonly VolumeMount[];

  private constructor(isolation: Isolation, options: ContainerRootOptions, holder: NamespaceHolder | undefined) {
    this.#isolation = isolation;
    this.#dir = options.dir;
    this.#holder = holder;
    this.#volumes = options.volumes.toSorted((a, b) => b.path.length - a.path.length);
  }

  /** @throws KexerError if a volume's path is not possible or the namespaces cannot be made. */
  static async create(isolation: Isolation, options: ContainerRootOptions): Promise<ContainerRoot> {
    mkdirSync(options.dir, { recursive: true });
    if (isolation.kind === 'folder') {
      makeFolders(options.dir);
      addCommands(options.dir, options.commands, false);
      for (const { source, path } of options.volumes) linkVolume(options.dir, path, source);
      return new ContainerRoot(isolation, options, undefined);
    }
    const mounts: Mount[] = makeRoot(options.dir, options.hostname);
    mounts.push(...addCommands(options.dir, options.commands, true));
    // Outer paths first, so that a volume below another one is not covered by it.
    for (const { source, path, isReadOnly } of options.volumes.toSorted((a, b) => a.path.length - b.path.length)) {
      if (isSystemPath(path)) throw new Error(`cannot mount at ${path}: that folder is the host's in the sandbox`);
      const outer = options.volumes.find((volume) => path.startsWith(`${volume.path}/`));
      const root = outer === undefined ? options.dir : outer.source;
      const inner = outer === undefined ? path : path.slice(outer.path.length);
      makeMountPoint(root, inner, statSync(source).isDirectory());
      mounts.push({ source, target: join(options.dir, path), isReadOnly });
    }
    const holder = await holdNamespaces(isolation, {
      root: options.dir,
      hostname: options.hostname,
      mounts,
      mark: options.mark,
    });
    return new ContainerRoot(isolation, options, holder);
  }

  /** Variables every process starts from; the pod's own come over them. */
  baseEnvironment(): Record<string, string> {
    if (this.#isolation.kind === 'chroot') return { PATH: `${commandFolder}:${defaultPath}`, HOME: '/root' };
    const hostPath = process.env['PATH'] ?? defaultPath;
    return { PATH: `${join(this.#dir, commandFolder)}:${hostPath}`, HOME: this.#dir, TMPDIR: join(this.#dir, 'tmp') };
  }

  /** Where a path of the container is on the host. */
  hostPath(path: string): string {
    const absolute = posix.resolve('/', path);
    const volume = this.#volumes.find((each) => absolute === each.path || absolute.startsWith(`${each.path}/`));
    if (volume !== undefined) return join(volume.source, absolute.slice(volume.path.length));
    const own = join(this.#dir, absolute);
    if (this.#isolation.kind === 'folder') return existsSync(own) ? own : absolute;
    return isSystemPath(absolute) ? absolute : own;
  }

  /** The command `name` as execvp in the container would find it. */
  findCommand(name: string, path: string, cwd: string): CommandLookup {
    if (name.includes('/')) {
      const absolute = posix.resolve(cwd, name);
      return this.#checkFile(absolute, (why) => `exec: ${JSON.stringify(name)}: ${why}`, name);
    }
    let problem = `exec: ${JSON.stringify(name)}: executable file not found in $PATH`;
    if (name === '') return { problem };
    for (const dir of path.split(':')) {
      const checked = this.#checkFile(posix.join(dir, name), (why) => `exec: ${JSON.stringify(name)}: ${why}`, name);
      if ('found' in checked) return checked;
      if (checked.problem.endsWith('permission denied')) ({ problem } = checked);
    }
    return { problem };
  }

  /** Where a path ends that may be an absolute link: on the host such a link would lead somewhere else than in the container. */
  #follow(path: string): string {
    let current = path;
    for (let links = 0; links < maxLinks; links += 1) {
      if (current.startsWith(hostEtc)) return current.slice(hostEtc.length - '/etc/'.length);
      const file = this.hostPath(current);
      if (this.#isolation.kind === 'folder' || lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() !== true) {
        return file;
      }
      current = posix.resolve(posix.dirname(current), readlinkSync(file));
    }
    return this.hostPath(current);
  }

  #checkFile(absolute: string, text: (why: string) => string, name: string): CommandLookup {
    const file = this.#follow(absolute);
    try {
      const stats = statSync(file);
      if (stats.isDirectory()) return { problem: text('is a directory') };
    } catch {
      return { problem: text(`stat ${name}: no such file or directory`) };
    }
    try {
      accessSync(file, constants.X_OK);
    } catch {
      return { problem: text('permission denied') };
    }
    return { found: absolute };
  }

  /** How to run `argv` (its command found before) in this root. */
  process(argv: readonly string[], cwd: string, env: Readonly<Record<string, string>>): ProcessSpec {
    const [command = '', ...args] = argv;
    if (this.#isolation.kind === 'folder' || this.#holder === undefined) {
      const folder = cwd === '/' ? this.#dir : this.hostPath(cwd);
      const lookup = this.findCommand(command, env['PATH'] ?? '', cwd);
      const file = 'found' in lookup ? this.hostPath(lookup.found) : command;
      return { file, args, cwd: existsSync(folder) ? folder : this.#dir, env };
    }
    const inner = cwd === '/' ? argv : ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', cwd, ...argv];
    const all = [...joinArguments(this.#isolation, this.#holder), ...inner];
    return { file: this.#isolation.nsenter, args: all, cwd: '/', env };
  }

  /** Makes the working directory of a container, as runtimes do. */
  makeWorkingDirectory(path: string): void {
    if (path !== '/' && !(this.#isolation.kind === 'chroot' && isSystemPath(path))) {
      mkdirSync(this.hostPath(path), { recursive: true });
    }
  }

  /** Gives up the namespaces and removes the folder. The container's processes must have ended. */
  async close(): Promise<void> {
    await this.#holder?.close();
    // The mounts were seen only inside the namespaces; outside, their targets are empty folders.
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 3 }).catch(() => {
      // A pod made a folder that its own user cannot empty; the sandbox's folder is temporary anyway.
    });
  }
}

function linkVolume(root: string, path: string, source: string): void {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  if (!existsSync(target)) symlinkSync(source, target);
}
