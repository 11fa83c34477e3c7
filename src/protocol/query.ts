// Query strings, strictly. Go drops pairs with a bad escape or a raw `;` silently, so that admission would judge another command than
// the kubelet runs: here such a query is refused. The encoder writes what Go's url.Values.Encode writes: keys sorted, the order of the
// values of one key kept.

export type QueryPair = readonly [key: string, value: string];
export type QueryPairs = readonly QueryPair[];

/** @param raw the part after `?`, undecoded, as latin1 (Node's `req.url`). @throws KexerError badRequest naming the offence */
export function parseQuery(_raw: string): QueryPair[] {
  throw new Error('not written yet');
}

/** As Go's url.Values.Encode. */
export function encodeQuery(_pairs: QueryPairs): string {
  throw new Error('not written yet');
}

/** As Go's url.QueryEscape: letters, digits and `-_.~` stay, a space becomes `+`. */
export function queryEscape(_text: string): string {
  throw new Error('not written yet');
}

/** All values of `key`, in order. */
export function queryValues(pairs: QueryPairs, key: string): string[] {
  return pairs.filter(([name]) => name === key).map(([, value]) => value);
}

/** The first value of `key`; Kubernetes reads no other for single-valued options. */
export function firstQueryValue(pairs: QueryPairs, key: string): string | undefined {
  return pairs.find(([name]) => name === key)?.[1];
}
