// The direction of imports (DESIGN, section 4), kept by a lint rule. A rule that sees no file keeps nothing, so the rule itself is
// tested: every source file, moved into an empty project together with the lint configuration, is given a forbidden import.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';

import { expect } from 'chai';

const root = join(import.meta.dirname, '..');
const oxlint = join(root, 'node_modules', '.bin', 'oxlint');

/** Folders of src/, each importing only those before it. */
const layers = 'base protocol kube observe certs net config auth clusters rest streams server sandbox cli'.split(' ');

/** What the order alone would allow and the design does not. */
const strangers: Record<string, readonly string[]> = {
  streams: ['rest'],
  sandbox: ['observe', 'config', 'auth', 'clusters', 'rest', 'streams', 'server'],
};

function mayImport(from: string, to: string): boolean {
  if (from === to) return true;
  if (strangers[from]?.includes(to) === true) return false;
  return layers.indexOf(to) < layers.indexOf(from);
}

function sourceFiles(): string[] {
  return readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join('src', name));
}

/** Paths that oxlint complains about with no-restricted-imports in `directory`. */
function lint(directory: string): string[] {
  let output: string;
  try {
    output = execFileSync(oxlint, ['--format', 'json', 'src'], {
      cwd: directory,
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
  } catch (error) {
    output = (error as { stdout: string }).stdout; // oxlint exits 1 when it finds something
  }
  const report = JSON.parse(output) as { diagnostics: { code: string; filename: string }[] };
  return report.diagnostics
    .filter(({ code }) => code.includes('no-restricted-imports'))
    .map(({ filename }) => filename)
    .toSorted();
}

describe('the direction of imports', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'kexer-layers-'));
    cpSync(join(root, '.oxlintrc.json'), join(directory, '.oxlintrc.json'));
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  function plant(path: string, target: string): string {
    const file = join(directory, path);
    mkdirSync(dirname(file), { recursive: true });
    const specifier = relative(dirname(path), target).split(sep).join('/');
    writeFileSync(file, `export * from '${specifier.startsWith('.') ? specifier : `./${specifier}`}';\n`);
    return path;
  }

  it('is checked in every source file', () => {
    const planted = sourceFiles().filter((path) => path !== join('src', 'main.ts'));
    expect(planted.length).to.be.greaterThan(10);
    for (const path of planted) plant(path, join('src', 'main.ts'));
    expect(lint(directory)).to.deep.equal(planted.toSorted());
  });

  it('refuses each import that the design forbids and no other', () => {
    const expected: string[] = [];
    for (const from of layers) {
      for (const to of layers) {
        for (const path of [join('src', from, `to-${to}.ts`), join('src', from, 'deeper', `to-${to}.ts`)]) {
          plant(path, join('src', to, 'thing.ts'));
          if (!mayImport(from, to)) expected.push(path);
        }
      }
    }
    expect(lint(directory)).to.deep.equal(expected.toSorted());
  });

  it('is kept, by a second reading of every import', () => {
    const wrong: string[] = [];
    for (const path of sourceFiles()) {
      const from = path.split(sep)[1] ?? '';
      const text = readFileSync(join(root, path), 'utf8');
      for (const [, specifier = ''] of text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
        const to = join(dirname(path), specifier).split(sep)[1] ?? '';
        if (from !== 'main.ts' && !mayImport(from, to)) wrong.push(`${path} imports ${specifier}`);
      }
    }
    expect(wrong).to.deep.equal([]);
  });
});
