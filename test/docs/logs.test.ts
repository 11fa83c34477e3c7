// docs/logs.md has every line that kexer can log, with its level, and no other. Lines are the literals of src/observe/*-lines.ts, and nobody else logs.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

const root = join(import.meta.dirname, '../..');
const text = readFileSync(join(root, 'docs/logs.md'), 'utf8');
const source = join(root, 'src');

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
}

/** `LEVEL MESSAGE` of each literal on a line that logs. */
function logged(): string[] {
  const found = files(join(source, 'observe'))
    .filter((name) => name.endsWith('-lines.ts'))
    .flatMap((name) => [
      ...readFileSync(join(source, 'observe', name), 'utf8').matchAll(/\blog\.(\w+)\((.*)\)[,;]?$/gm),
    ])
    .flatMap(([, level = '', call = '']) =>
      [...call.matchAll(/'((?:[^'\\]|\\.)*)'/g)].map(([, message = '']) => `${level} ${message}`),
    );
  return [...new Set(found)].toSorted((a, b) => (a < b ? -1 : 1));
}

describe('docs/logs.md', () => {
  it('has every line, with its level', () => {
    const documented = [...text.matchAll(/^\| (debug|info|warn|error) +\| (.+?) +\|/gm)].map(
      ([, level = '', message = '']) => `${level} ${message}`,
    );
    expect(logged().length).to.be.above(40);
    expect(documented.toSorted((a, b) => (a < b ? -1 : 1))).to.deep.equal(logged());
  });

  it('is complete because nothing is logged but by these functions', () => {
    const others = files(source)
      .filter((name) => !/observe\/[\w-]+-lines\.ts$/.test(name.replaceAll('\\', '/')))
      .filter((name) =>
        /\blog\.(?:trace|debug|info|warn|error|fatal)\(/.test(readFileSync(join(source, name), 'utf8')),
      );
    expect(others).to.deep.equal([]);
  });
});
