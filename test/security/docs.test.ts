// docs/security.md says which test shows which attack fail. Both ways: each file it names is there, and each file of attacks is named.

import { expect } from 'chai';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = fileURLToPath(new URL('.', import.meta.url));

describe('docs/security.md', () => {
  it('names every file of attacks, and no other', async () => {
    const text = await readFile(`${root}docs/security.md`, 'utf8');
    const rows = text.split('\n').filter((line) => line.startsWith('| '));
    // The last column of the table of attacks.
    const named = rows.flatMap((row) => {
      const cell = row.split(' | ').at(-1) ?? '';
      return /^`[a-z0-9-]+`(?:, `[a-z0-9-]+`)* *\|$/.test(cell)
        ? [...cell.matchAll(/`([a-z0-9-]+)`/g)].map(([, name = '']) => name)
        : [];
    });
    const files = (await readdir(folder))
      .filter((file) => file.endsWith('.test.ts') && file !== 'docs.test.ts')
      .map((file) => file.replace('.test.ts', ''));
    expect(new Set(named)).to.deep.equal(new Set(files));
  });

  it('links to documents and headings that are there', async () => {
    const text = await readFile(`${root}docs/security.md`, 'utf8');
    const broken: string[] = [];
    for (const [, file = '', anchor] of text.matchAll(/\]\(([a-z0-9-]+\.md)(?:#([a-z0-9-]+))?\)/g)) {
      const target = await readFile(`${root}docs/${file}`, 'utf8').catch(() => undefined);
      const headings = (target ?? '').split('\n').filter((line) => line.startsWith('#'));
      const anchors = headings.map((line) => line.replace(/^#+ /, '').toLowerCase().replaceAll(' ', '-'));
      if (target === undefined || (anchor !== undefined && !anchors.includes(anchor))) broken.push(`${file}#${anchor}`);
    }
    expect(broken).to.deep.equal([]);
  });
});
