// JSON with the bytes Go's encoding/json writes: compact, and with the characters escaped that HTML or JavaScript would trip over. Key
// order is the caller's.

const goEscapes: Readonly<Record<string, string>> = {
  '<': String.raw`\u003c`,
  '>': String.raw`\u003e`,
  '&': String.raw`\u0026`,
  '\u2028': String.raw`\u2028`,
  '\u2029': String.raw`\u2029`,
};

/** JSON as Go's encoding/json prints it: `<`, `>`, `&` and the two line separators are escaped. */
export function goJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[<>&\u2028\u2029]/g, (char) => goEscapes[char] ?? char);
}
