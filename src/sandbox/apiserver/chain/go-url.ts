// A request target as Go's net/url and net/http read it, leniently where Go is lenient: the sandbox must show the same readings as
// kube-apiserver, so that a check of kexer's that relies on another reading fails here too.

/** A decoded path and its query; undefined path: the escapes are bad, which Go answers with a bare 400. */
export interface GoTarget {
  readonly path: string | undefined;
  readonly rawQuery: string;
  readonly query: URLSearchParams;
}

export function parseGoTarget(target: string): GoTarget {
  const mark = target.indexOf('?');
  const rawPath = mark === -1 ? target : target.slice(0, mark);
  const rawQuery = mark === -1 ? '' : target.slice(mark + 1);
  return { path: unescape(rawPath), rawQuery, query: parseGoQuery(rawQuery) };
}

/** url.ParseQuery, whose error kube-apiserver ignores: a pair with a raw `;` or a bad escape vanishes, all others count. */
export function parseGoQuery(rawQuery: string): URLSearchParams {
  const pairs = new URLSearchParams();
  for (const pair of rawQuery.split('&')) {
    if (pair === '' || pair.includes(';')) continue;
    const equals = pair.indexOf('=');
    const key = unescape((equals === -1 ? pair : pair.slice(0, equals)).replaceAll('+', ' '));
    const value = unescape(equals === -1 ? '' : pair.slice(equals + 1).replaceAll('+', ' '));
    if (key !== undefined && value !== undefined) pairs.append(key, value);
  }
  return pairs;
}

/** url.Values.Encode: keys sorted by bytes, values in their order, query escaping. */
export function encodeGoQuery(pairs: URLSearchParams): string {
  const keys = [...new Set(pairs.keys())].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return keys.flatMap((key) => pairs.getAll(key).map((value) => `${queryEscape(key)}=${queryEscape(value)}`)).join('&');
}

/** url.QueryEscape: everything but letters, digits and `-_.~` is escaped; a space is `+`. */
export function queryEscape(text: string): string {
  return encodeURIComponent(text.toWellFormed())
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** URL.EscapedPath of a path that was decoded before: how a proxy in Go writes it again. An encoded slash is lost, as there. */
export function escapeGoPath(path: string): string {
  return encodeURIComponent(path.toWellFormed())
    .replaceAll(/%(2F|24|26|2B|2C|3A|3B|3D|40)/g, (escape) => decodeURIComponent(escape))
    .replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Path segments as RequestInfo splits them: slashes at both ends trimmed, empty segments inside kept. */
export function splitPath(path: string): string[] {
  const trimmed = path.replaceAll(/^\/+|\/+$/g, '');
  return trimmed === '' ? [] : trimmed.split('/');
}

/** url.PathUnescape; undefined for bad escapes. Bytes that are no UTF-8 become U+FFFD here, where Go keeps them. */
export function unescape(text: string): string | undefined {
  if (!text.includes('%')) return text;
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined;
  const bytes: Buffer[] = [];
  let last = 0;
  for (const match of text.matchAll(/%([0-9a-fA-F]{2})/g)) {
    bytes.push(Buffer.from(text.slice(last, match.index)), Buffer.from(match[1] ?? '', 'hex'));
    last = match.index + 3;
  }
  bytes.push(Buffer.from(text.slice(last)));
  return Buffer.concat(bytes).toString('utf8');
}
