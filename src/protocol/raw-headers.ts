// HTTP header fields as they stood on the wire: a list of pairs in order and case, repeated names kept apart. Never an object keyed by
// name: Node joins repeated fields with `, `, and a comma inside a group name would then forge a second group. Values are latin1
// strings, one character a byte.

export type RawHeader = readonly [name: string, value: string];
export type RawHeaders = readonly RawHeader[];

/** Pairs from Node's `rawHeaders` (name, value, name, value, …). HTTP/2 pseudo headers (`:path`) are left out. */
export function fromRawHeaders(flat: readonly string[]): RawHeader[] {
  const headers: RawHeader[] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const name = flat[index] ?? '';
    if (!name.startsWith(':')) headers.push([name, flat[index + 1] ?? '']);
  }
  return headers;
}

/** The inverse of {@link fromRawHeaders}: what Node's `writeHead` and `request` take without joining repeated names. */
export function toRawHeaders(headers: RawHeaders): string[] {
  return headers.flat();
}

/** The first value under `name` (any case). */
export function getHeader(headers: RawHeaders, name: string): string | undefined {
  const wanted = name.toLowerCase();
  for (const header of headers) if (isNamed(header, wanted)) return header[1];
  return undefined;
}

/** All values under `name` (any case), one an occurrence, in order; commas inside stay. */
export function getAllHeaders(headers: RawHeaders, name: string): string[] {
  const wanted = name.toLowerCase();
  const values: string[] = [];
  for (const header of headers) if (isNamed(header, wanted)) values.push(header[1]);
  return values;
}

/** Names are as long in lower case as they are; most differ in that, and need no copy to be compared. */
function isNamed([name]: RawHeader, wanted: string): boolean {
  return name.length === wanted.length && name.toLowerCase() === wanted;
}

export function hasHeader(headers: RawHeaders, name: string): boolean {
  return getHeader(headers, name) !== undefined;
}

/** The items of a comma-separated list over all lines of `name`, trimmed, empty ones left out, case kept. */
export function listItems(headers: RawHeaders, name: string): string[] {
  const values = getAllHeaders(headers, name);
  if (values.length === 0) return values;
  return values
    .flatMap((value) => value.split(','))
    .map(trimSpace)
    .filter((item) => item !== '');
}

/** Whether the comma-separated list `name` holds `token` (any case): `hasToken(headers, 'Connection', 'upgrade')`. */
export function hasToken(headers: RawHeaders, name: string, token: string): boolean {
  const wanted = token.toLowerCase();
  return listItems(headers, name).some((item) => item.toLowerCase() === wanted);
}

/** A copy without any header of these names (any case). */
export function withoutHeaders(headers: RawHeaders, ...names: readonly string[]): RawHeader[] {
  const unwanted = names.map((name) => name.toLowerCase());
  return headers.filter(([key]) => !unwanted.includes(key.toLowerCase()));
}

/** A copy in which `name` occurs once, with `value`, at the end. */
export function withHeader(headers: RawHeaders, name: string, value: string): RawHeader[] {
  return [...withoutHeaders(headers, name), [name, value]];
}

/** Optional whitespace of RFC 9110 is space and tab only; `trim` would also eat 0xA0 and its like. */
export function trimSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charCodeAt(start))) start += 1;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
