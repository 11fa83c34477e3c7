// The kinds of values that several groups of settings have, each with what is wanted of it in words.

import { z } from 'zod';

import { parseDuration } from '../base/duration.ts';

export const file = () => z.string({ error: 'a file name' }).min(1, 'a file name');
export const flag = () => z.boolean({ error: 'true or false' });

/** Longer ones cannot be timed: Node's timers count milliseconds in 31 bits. */
const maxDurationMs = 2 ** 31 - 1;
const durationWanted = 'a duration such as 15s, 4h or 1m30s, at most 596h';

/** Text in the file, milliseconds in the config. A bare 0 needs no quotes in YAML. */
export const duration = (defaultMs: number) =>
  z
    .union([z.string(), z.literal(0)], { error: durationWanted })
    .transform((text, context) => {
      const ms = parseDuration(String(text));
      if (ms !== undefined && ms <= maxDurationMs) return ms;
      context.addIssue({ code: 'custom', message: durationWanted });
      return z.NEVER;
    })
    .default(defaultMs);

/** A group of settings: may be left out, is then filled with its members' defaults. */
export const keysOf = 'a group of settings (key: value)';
