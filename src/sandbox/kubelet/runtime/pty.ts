// Real terminals for pods. Uses the native part of @lydell/node-pty (an optional dependency, pinned to the exact version whose call
// is typed here) and not its JavaScript: that one destroys the terminal 200 ms after the process has ended, so whatever a
// slow reader has not taken by then is lost. Here the master is read until its end.

import { createRequire } from 'node:module';
import { ReadStream } from 'node:tty';
import { KexerError } from '../../../base/errors.ts';

/** What pty.node of version 1.1 exports. */
interface NativePty {
  fork(
    file: string,
    args: readonly string[],
    environment: readonly string[],
    cwd: string,
    columns: number,
    rows: number,
    uid: number,
    gid: number,
    isUtf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { fd: number; pid: number };
  resize(fd: number, columns: number, rows: number): void;
}

/** A process that leads a session of its own on a new terminal. */
export interface PtyProcess {
  readonly pid: number;
  /** The master side; ends with `close` (an EIO, which is how Linux says that no process holds the terminal, is not reported). */
  readonly terminal: ReadStream;
  readonly exited: Promise<number>;
  readonly resize: (columns: number, rows: number) => void;
}

export interface PtySpawn {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

const require = createRequire(import.meta.url);

/** The binary belongs to a package of the package, which may be nested below it. */
function loadNative(): { native: NativePty; helperPath: string } {
  const platformPackage = `@lydell/node-pty-${process.platform}-${process.arch}`;
  try {
    const inner = createRequire(require.resolve('@lydell/node-pty'));
    const native = inner(`${platformPackage}/pty.node`) as NativePty;
    const helperPath = process.platform === 'darwin' ? inner.resolve(`${platformPackage}/spawn-helper`) : '';
    return { native, helperPath };
  } catch (error) {
    throw new KexerError('config', 'Cannot open a terminal: the optional package @lydell/node-pty is not installed', {
      cause: error,
    });
  }
}

/** Loads the native part on first use: most pods never see a terminal. */
export class PtyHost {
  #loaded: { native: NativePty; helperPath: string } | undefined;

  /** @throws KexerError config, with a sentence for people, where terminals cannot be had. */
  check(): void {
    this.#loaded ??= loadNative();
  }

  spawn(spec: PtySpawn): PtyProcess {
    this.#loaded ??= loadNative();
    const { native, helperPath } = this.#loaded;
    const environment = Object.entries(spec.env).map(([name, value]) => `${name}=${value}`);
    let settle: (code: number) => void = () => {};
    const exited = new Promise<number>((resolve) => {
      settle = resolve;
    });
    const { fd, pid } = native.fork(
      spec.file,
      spec.args,
      environment,
      spec.cwd,
      80,
      24,
      -1,
      -1,
      true,
      helperPath,
      (code, signal) => settle(signal > 0 ? 128 + signal : code),
    );
    const terminal = new ReadStream(fd);
    terminal.on('error', () => terminal.destroy());
    const resize = (columns: number, rows: number): void => {
      // A size of 0 is what some clients send before they know theirs; the closed descriptor may be another file's by now.
      if (columns > 0 && rows > 0 && !terminal.destroyed) native.resize(fd, columns, rows);
    };
    return { pid, terminal, exited, resize };
  }
}
