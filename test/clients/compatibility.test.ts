import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { makeTable, tableOf } from './support/table.ts';

describe('docs/compatibility.md', () => {
  it('lists exactly the cells that are tested, and says of each that it passes', () => {
    const document = readFileSync(join(import.meta.dirname, '../../docs/compatibility.md'), 'utf8');
    expect(tableOf(document)).to.deep.equal(makeTable(() => 'pass'));
  });
});
