// A command line to words by setting: `--flag value`, `--flag=value`, and for booleans `--flag` alone. Values stay text here; what they
// must look like is the schema's to say, so that a flag, a variable and a file give the same message.

import { quote } from '../base/quote.ts';

import { nearestName } from './nearest.ts';
import { settings, type Setting } from './settings.ts';

export interface ParsedFlags {
  /** Text by setting key; of a repeated flag the last counts. */
  readonly values: ReadonlyMap<string, string>;
  readonly configFile: string | undefined;
  readonly isHelpWanted: boolean;
  /** One sentence each. */
  readonly problems: readonly string[];
}

const settingsByFlag: ReadonlyMap<string, Setting> = new Map(settings.map((setting) => [setting.flag, setting]));

/** All flags `kexer serve` takes, for suggestions. */
const flagNames: readonly string[] = [...settingsByFlag.keys(), 'config', 'help'];

/** Never throws: whatever is wrong is in `problems`. */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const values = new Map<string, string>();
  const problems: string[] = [];
  let configFile: string | undefined;
  let isHelpWanted = false;
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '-h' || word === '--help') {
      isHelpWanted = true;
      continue;
    }
    if (!word.startsWith('--') || word === '--') {
      // It may be the URL that belongs to a flag, and people write passwords into these.
      const shown = quote(word.replace(/\/\/.*@/s, '//…@'));
      problems.push(`Cannot use the argument ${shown}: want only flags, as in --secure-port 6443`);
      continue;
    }
    const equals = word.indexOf('=');
    const name = word.slice(2, equals === -1 ? undefined : equals);
    const setting = settingsByFlag.get(name);
    if (setting === undefined && name !== 'config') {
      const nearest = nearestName(name, flagNames);
      problems.push(
        `Cannot use the flag ${quote(`--${name}`)}: there is none of that name${nearest === undefined ? '; see kexer help' : `, did you mean --${nearest}?`}`,
      );
      // The next word may be its value: without a dash in front it would be reported as a second, misleading problem.
      if (equals === -1 && argv[index + 1]?.startsWith('-') === false) index += 1;
      continue;
    }
    let value: string | undefined;
    if (equals !== -1) {
      value = word.slice(equals + 1);
    } else if (setting?.kind === 'boolean') {
      value = 'true';
    } else {
      index += 1;
      value = argv[index];
    }
    if (value === undefined || (equals === -1 && value.startsWith('--'))) {
      problems.push(`Cannot use the flag --${name}: it has no value, want --${name} VALUE`);
      if (value !== undefined) index -= 1;
    } else if (setting === undefined) {
      configFile = value;
    } else {
      values.set(setting.key, value);
    }
  }
  return { values, configFile, isHelpWanted, problems };
}
