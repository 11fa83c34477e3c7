// docs/limits.md is held to the code: each setting with its flag and default, each deadline, and no other.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { parseDuration } from '../../src/base/duration.ts';
import { configSchema } from '../../src/config/schema.ts';
import { settings } from '../../src/config/settings.ts';
import { defaultDeadlines } from '../../src/server/listener.ts';

const text = readFileSync(join(import.meta.dirname, '../../docs/limits.md'), 'utf8');
const groups = ['limits', 'sessions'] as const;

/** The cells of each row whose first one is code. */
function rows(): string[][] {
  return [...text.matchAll(/^\| `.*\|$/gm)].map(([line]) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

describe('docs/limits.md', () => {
  const isSetting = ([key = '']: string[]): boolean => key.includes('.');

  it('has every setting of limits and sessions with its flag and default', () => {
    const defaults = configSchema.parse({});
    const wanted = groups.flatMap((group) =>
      Object.entries(defaults[group]).map(([name, value]) => {
        const key = `${group}.${name}`;
        const setting = settings.find((candidate) => candidate.key === key);
        return `${key} --${setting?.flag ?? 'none'} ${String(value)}`;
      }),
    );
    const documented = rows()
      .filter(isSetting)
      .map(([key = '', flag = '', value = '']) => {
        const isDuration = settings.find((setting) => setting.key === key)?.kind === 'duration';
        return `${key} ${flag} ${isDuration ? String(parseDuration(value)) : value}`;
      });
    expect(documented.toSorted()).to.deep.equal(wanted.toSorted());
  });

  it('says the same defaults as the help of each flag', () => {
    for (const [key = '', , value = ''] of rows().filter(isSetting)) {
      const help = settings.find((setting) => setting.key === key)?.help ?? '';
      const told = /\(default ([0-9a-z]+)/.exec(help)?.[1];
      if (value === 'false') expect(told, key).to.equal(undefined);
      else expect(told, key).to.equal(value);
    }
  });

  it('gives a reason for every default', () => {
    for (const [key, , , reason = ''] of rows().filter(isSetting)) expect(reason, key).to.match(/\w{3,}/);
  });

  it('has the deadlines of the listener', () => {
    const documented = rows()
      .filter((row) => !isSetting(row))
      .map(([name, seconds]) => [name, Number(seconds) * 1000]);
    expect(Object.fromEntries(documented)).to.deep.equal(defaultDeadlines);
  });
});
