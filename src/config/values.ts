// The kinds of values that several groups of settings have, each with what is wanted of it in words. zod's version 3 interface, which
// its version 4 carries along: the newer one loads fifty languages and costs 14 MB of memory more.

import { z } from 'zod/v3';

import { formatDuration, parseDuration } from '../base/duration.ts';

/** What every problem with a value says: what is wanted of it. */
export const wanted = (text: string) => ({ errorMap: () => ({ message: text }) });

export const file = () => z.string(wanted('a file name')).min(1, 'a file name');
export const flag = () => z.boolean(wanted('true or false'));

/** Longer ones cannot be timed: Node's timers count milliseconds in 31 bits. */
const maxDurationMs = 2 ** 31 - 1;
const durationWanted = 'a duration such as 15s, 4h or 1m30s, at most 596h';

/** Text in the file, milliseconds in the config. A bare 0 needs no quotes in YAML. */
export const duration = (defaultMs: number) =>
  z
    .union([z.string(), z.literal(0)], wanted(durationWanted))
    .transform((text, context) => {
      const ms = parseDuration(String(text));
      if (ms !== undefined && ms <= maxDurationMs) return ms;
      context.addIssue({ code: z.ZodIssueCode.custom, message: durationWanted });
      return z.NEVER;
    })
    .default(formatDuration(defaultMs)); // read like a text of the file

/** A group of settings: may be left out, is then filled with its members' defaults. An unknown key in it is a problem. */
export const group = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.object(shape, wanted('a group of settings (key: value)')).strict();
