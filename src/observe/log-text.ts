// Log lines for people: pino's JSON, one line for one line, as `TIME LEVEL message key=value …`. Values may come from users and peers: whatever could
// move a terminal's cursor, end the line, or pass for another field is quoted and escaped.

const levelWidth = 5;
/** Shown bare; anything else is quoted. */
const plain = /^[\w.:/@%+,;~*[\]()-]+$/;
/** What JSON leaves as it is and terminals obey: C1 controls, line separators, marks that turn the direction of text. */
const unsafe = /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** @param line one JSON object with `level`, `time` and `msg`; whatever is none comes back as it is. */
export function textLine(line: string): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line; // pino writes nothing else; a line that is not understood is worth more than none
  }
  const { level, time, msg, ...rest } = fields;
  const words = [escaped(String(time)), escaped(String(level)).toUpperCase().padEnd(levelWidth), escaped(String(msg))];
  for (const [key, value] of Object.entries(rest)) {
    // What is not known of a line (no container of a port-forward) need not be read either.
    if (value !== '') words.push(`${key}=${valueText(value)}`);
  }
  return `${words.join(' ')}\n`;
}

function valueText(value: unknown): string {
  if (typeof value === 'string' && plain.test(value)) return value;
  return escaped(JSON.stringify(value));
}

function escaped(text: string): string {
  return text.replaceAll(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
