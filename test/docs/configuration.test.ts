// docs/configuration.md is generated; here it is generated again and compared, whatever the formatter did to the tables.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse } from 'yaml';

import { loadConfig } from '../../src/config/load.ts';
import { environmentName, settings } from '../../src/config/settings.ts';
import { configurationPage, defaultOf, mistakes, wantedOf } from './support/configuration-page.ts';
import { complaintAboutMistakes } from './support/mistakes.ts';

const text = readFileSync(join(import.meta.dirname, '../../docs/configuration.md'), 'utf8');

/** Without the padding of tables. */
function plain(page: string): string[] {
  return page
    .split('\n')
    .map((line) => (line.startsWith('|') ? line.replaceAll(/ +/g, ' ').replaceAll(/-{3,}/g, '---') : line))
    .filter((line) => line !== '');
}

describe('docs/configuration.md', () => {
  it('is what the code has: node test/docs/generate-configuration.ts && npx oxfmt docs/configuration.md', async () => {
    expect(plain(text)).to.deep.equal(plain(configurationPage(await complaintAboutMistakes())));
  });

  it('has every setting with its flag, its variable and its key', () => {
    for (const setting of settings) {
      const row = text.split('\n').find((line) => line.startsWith(`| \`--${setting.flag}\`<br>`)) ?? '';
      expect(row, setting.flag)
        .to.contain(`\`${environmentName(setting)}\``)
        .and.contain(`\`${setting.key}\``);
      expect(wantedOf(setting), setting.key).not.to.equal('');
    }
  });

  it('tells each default that a help text tells', () => {
    for (const setting of settings) {
      const told = /\(default ([0-9a-z.]+)\)/.exec(setting.help)?.[1];
      if (told !== undefined) expect(defaultOf(setting), setting.flag).to.be.oneOf([`\`${told}\``, '']);
    }
  });

  it('shows ten mistakes, all told at once', async () => {
    const lines = (await complaintAboutMistakes()).split('\n');
    expect(lines).to.have.length(10);
    expect(mistakes.argv).to.have.length(4);
  });

  it('has an example of the file that works', async () => {
    const example = /```yaml\n([^]*?)```/.exec(text)?.[1] ?? '';
    const values = parse(example) as Record<string, Record<string, unknown>>;
    const argv = settings.flatMap(({ key, flag }) => {
      const [group = '', name = ''] = key.split('.');
      const value = values[group]?.[name];
      return value === undefined ? [] : [`--${flag}=${typeof value === 'string' ? value : JSON.stringify(value)}`];
    });
    expect(argv).to.have.length(3);
    expect((await loadConfig({ argv, environment: {} })).limits.sessionsPerUser).to.equal(50);
  });
});
