// ARCHITECTURE.md and README.md name files; a file that was moved must move there too.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

const root = join(import.meta.dirname, '..');

describe('the documents', () => {
  for (const document of ['ARCHITECTURE.md', 'README.md']) {
    it(`name only files that exist: ${document}`, () => {
      const text = readFileSync(join(root, document), 'utf8');
      const named = [
        ...[...text.matchAll(/`([\w-]+\/[\w/.-]*\.(?:ts|md|yaml))`/g)].map(([, path = '']) => path),
        ...[...text.matchAll(/\]\(([\w./-]+)\)/g)].map(([, path = '']) => path),
      ];
      expect(named.length).to.be.greaterThan(2);
      expect(
        named.filter((path) => !existsSync(join(root, path)) && !existsSync(join(root, 'src', path))),
      ).to.deep.equal([]);
    });
  }
});
