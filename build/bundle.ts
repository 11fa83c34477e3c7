// `npm run build`: the sources and what they import from npm become `dist/`, a few files of plain JavaScript that need no node_modules. Three
// hundred modules less to find, read and keep: kexer starts in half the time and holds 2 MiB less (docs/performance.md). What is imported
// dynamically stays in files of its own and is loaded when it is called for. Types are not looked at here; `npm run typecheck` does.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { rolldown, type OutputChunk } from 'rolldown';

export interface BundledFile {
  /** Below the folder of the build. */
  readonly name: string;
  /** Those loaded with it. */
  readonly imports: readonly string[];
  /** Those loaded when something in it calls for them. */
  readonly dynamicImports: readonly string[];
  /** Absolute names of the sources in it. */
  readonly modules: readonly string[];
}

const noticesFile = 'THIRD-PARTY-LICENSES.txt';

/**
 * Builds the repository in `root` into `outDir`, which is emptied first: `main.js`, `chunks/`, and the licences of what is in them.
 * @throws if anything is imported that cannot be found, or a package does not say under which licence it is.
 */
export async function bundle(options: { root: string; outDir: string }): Promise<BundledFile[]> {
  const { root, outDir } = options;
  const complaints: string[] = [];
  const build = await rolldown({
    input: { main: join(root, 'src/main.ts') },
    cwd: root,
    platform: 'node',
    // Whatever it warns of is a mistake here: an import that leads nowhere would be found by the first user only.
    onLog: (_level, { message }) => void complaints.push(message),
  });
  await rm(outDir, { recursive: true, force: true });
  const { output } = await build.write({
    dir: outDir,
    format: 'esm',
    entryFileNames: '[name].js',
    // One folder deep: cli/version.ts finds package.json two folders above itself, as among the sources.
    chunkFileNames: 'chunks/[name].js',
    // Names, lines and files stay, so that a stack trace can be read; comments are half of the sources, and V8 keeps sources in memory.
    minify: false,
    comments: false,
    sourcemap: true,
    plugins: [{ name: 'ascii', renderChunk: (code) => ({ code: escapeWide(code), map: null }) }],
  });
  await build.close();
  if (complaints.length > 0) throw new Error(`Cannot build: ${complaints.join('\n')}`);
  const chunks = output.filter((file) => file.type === 'chunk');
  await mkdir(outDir, { recursive: true });
  await writeFile(join(outDir, noticesFile), notices(chunks));
  return chunks.map(({ fileName, imports, dynamicImports, moduleIds }) => ({
    name: fileName,
    imports,
    dynamicImports,
    modules: moduleIds,
  }));
}

/**
 * Characters beyond Latin-1 as escapes, which mean the same in strings, templates and regular expressions, and there are none elsewhere once
 * comments are gone. One such character would make V8 keep its whole file at two bytes a character.
 */
function escapeWide(code: string): string {
  return code.replaceAll(/[\u0100-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What the licences ask for: their text, with whatever is a copy of the package. */
function notices(chunks: readonly OutputChunk[]): string {
  const folders = new Set(
    chunks
      .flatMap(({ moduleIds }) => moduleIds)
      .filter((id) => id.includes('/node_modules/'))
      .map(packageFolder),
  );
  const entries = [...folders].map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, string>;
    const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.(md|txt))?$/i.test(entry));
    if (file === undefined) throw new Error(`Cannot build: ${name} has no file with its licence`);
    return { name: `${name} ${version}`, text: readFileSync(join(folder, file), 'utf8').trim() };
  });
  const sorted = entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const head = 'kexer contains copies of these packages, each under the licence that follows its name.';
  return `${[head, ...sorted.map(({ name, text }) => `${'='.repeat(80)}\n${name}\n\n${text}`)].join('\n\n')}\n`;
}

/** The nearest folder above a module whose package.json has a name: some packages have nameless ones further down. */
function packageFolder(id: string): string {
  for (let folder = dirname(id); folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && 'version' in (JSON.parse(readFileSync(file, 'utf8')) as object)) return folder;
  }
  throw new Error(`Cannot build: ${id} is in no package`);
}

if (import.meta.main) {
  const root = resolve(import.meta.dirname, '..');
  await bundle({ root, outDir: join(root, 'dist') });
}
