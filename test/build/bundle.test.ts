// What `npm run build` makes, run where there is no node_modules and no source: every command loads, what it loads is what it needs, and a
// kexer made of it serves.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';

import { expect } from 'chai';

import { bundle, type BundledFile } from '../../build/bundle.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';

const root = join(import.meta.dirname, '../..');

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe('bundle', function () {
  this.timeout(60_000);
  let dir: string;
  let files: BundledFile[];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kexer-bundle-'));
    files = await bundle({ root, outDir: join(dir, 'dist') });
    await copyFile(join(root, 'package.json'), join(dir, 'package.json'));
  });

  after(() => rm(dir, { recursive: true, force: true }));

  async function kexer(...argv: string[]): Promise<Outcome> {
    const environment = { PATH: process.env['PATH'] ?? '', HOME: dir };
    const child = execFile(process.execPath, [join(dir, 'dist/main.js'), ...argv], { cwd: dir, env: environment });
    let [stdout, stderr] = ['', ''];
    child.stdout?.on('data', (text: string) => (stdout += text));
    child.stderr?.on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    return { code, stdout, stderr };
  }

  /** Everything that is loaded with a file, as names of sources and packages. */
  function loadedWith(name: string): string[] {
    const seen = new Set<string>();
    const follow = (next: string): void => {
      const file = files.find((other) => other.name === next);
      if (file === undefined || seen.has(next)) return;
      seen.add(next);
      file.imports.forEach(follow);
    };
    follow(name);
    return files.filter((file) => seen.has(file.name)).flatMap(({ modules }) => modules.map(shortName));
  }

  function shortName(module: string): string {
    const [, inPackage] = module.split('/node_modules/');
    return inPackage?.split('/')[0] ?? relative(root, module);
  }

  function fileOf(source: string): string {
    return files.find(({ modules }) => modules.map(shortName).includes(source))?.name ?? '';
  }

  it('loads with main.js nothing but what V8 is told first', () => {
    expect(loadedWith('main.js')).to.have.members(['src/cli/engine.ts', 'src/main.ts']);
  });

  it('loads with kexer serve all that serves, and nothing that only some need', () => {
    const loaded = loadedWith(fileOf('src/cli/serve.ts'));
    expect(loaded).to.include.members(['src/cli/compose.ts', 'src/server/listener.ts', 'pino', 'zod']);
    const spared = ['yaml', 'src/sandbox/sandbox.ts', 'src/cli/doctor.ts', 'src/observe/audit/policy-file.ts'];
    expect(spared.filter((name) => loaded.includes(name))).to.deep.equal([]);
    // All the same it is in there somewhere.
    expect(spared.map(fileOf).filter((name) => name === '')).to.deep.equal([]);
  });

  it('has lines to read in a stack trace, one byte a character, and a map to each file', async () => {
    const dist = join(dir, 'dist');
    const names = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith('.js'));
    expect(names.length).to.be.above(10);
    for (const name of names) {
      const text = await readFile(join(dist, name), 'utf8');
      expect(/[^\u0000-\u00ff]/.exec(text)?.[0], name).to.equal(undefined);
      const longest = Math.max(...text.split('\n').map((line) => line.length));
      if (!loadedWith(name).includes('src/sandbox/apiserver/schemas/definitions.json')) {
        expect(longest, name).to.be.below(10_000);
      }
      const map = /^\/\/# sourceMappingURL=(.*)$/m.exec(text)?.[1];
      if (map !== undefined) await readFile(join(dist, name, '..', map));
    }
    // A sign that what was escaped still says the same.
    const { stderr } = await kexer('serve', '--bind-address', 'nowhere…');
    expect(stderr).to.equal('kexer: Cannot use --bind-address: it is "nowhere…", want an IP address\n');
  });

  it('has the licence of every package in it', async () => {
    const text = await readFile(join(dir, 'dist/THIRD-PARTY-LICENSES.txt'), 'utf8');
    const packages = new Set(
      files
        .flatMap(({ modules }) => modules)
        .filter((id) => id.includes('/node_modules/'))
        .map(shortName),
    );
    packages.delete('@pinojs'); // a scope, not a name
    expect([...packages]).to.include.members(['pino', 'sonic-boom', 'yaml', 'zod']);
    for (const name of [...packages, '@pinojs/redact']) {
      expect(text).to.match(new RegExp(`={80}\n${name} \\d+\\.\\d+\\.\\d+\n\n.*(MIT|ISC|License|Copyright)`, 'i'));
    }
  });

  it('has every command', async () => {
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(await kexer('version')).to.deep.equal({ code: 0, stdout: `kexer ${version}\n`, stderr: '' });
    expect((await kexer('help')).stdout).to.contain('kexer serve');
    const certs = await kexer('certs', '--dir', join(dir, 'certs'));
    expect([certs.code, certs.stderr]).to.deep.equal([0, '']);
    const configFile = join(dir, 'kexer.yaml');
    await writeFile(configFile, 'server:\n  securePort: 99999\n');
    expect((await kexer('serve', '--config', configFile)).stderr).to.equal(
      `kexer: ${configFile}:2: Cannot use "server.securePort": it is 99999, want a port from 0 to 65535\n`,
    );
    for (const words of [['doctor'], ['kubeconfig']]) {
      expect((await kexer(...words)).stderr, words.join(' ')).not.to.match(/Cannot find (module|package)|SyntaxError/);
    }
    const sandboxed = await kexer('sandbox', '--', process.execPath, '-e', 'console.log("in a sandbox")');
    expect([sandboxed.code, sandboxed.stdout.trim().split('\n').at(-1)]).to.deep.equal([0, 'in a sandbox']);
  });

  it('serves', async () => {
    const sandbox = await startSandbox({ hasKubelets: false });
    let child: ChildProcess | undefined;
    try {
      await sandbox.ready();
      const words = [
        'serve',
        '--config',
        sandbox.files.kexerConfig,
        '--secure-port',
        '0',
        '--shutdown-delay-duration',
        '0s',
      ];
      child = spawn(process.execPath, [join(dir, 'dist/main.js'), ...words], {
        stdio: ['ignore', 'ignore', 'pipe'],
        cwd: dir,
      });
      const messages: string[] = [];
      if (child.stderr === null) throw new Error('no standard error');
      for await (const line of createInterface({ input: child.stderr })) {
        messages.push((JSON.parse(line) as { msg: string }).msg);
        if (messages.at(-1) === 'ready') child.kill('SIGTERM');
      }
      expect(messages).to.deep.equal(['serving', 'ready', 'stopping', 'refusing new calls', 'stopped']);
    } finally {
      child?.kill('SIGKILL');
      await sandbox.stop();
    }
  });
});
