// What a client asks of `pods/log`. Values stay as written for the preflight, so that kube-apiserver refuses the bad ones in its own
// words; the kubelet gets only what is set, in one canonical spelling, as kube-apiserver's LogLocation writes it.

import { KexerError } from '../base/errors.ts';
import { isTrue } from '../kube/request-info.ts';
import { encodeQuery, firstQueryValue, type QueryPair, type QueryPairs } from '../protocol/query.ts';

export interface LogOptions {
  readonly container: string;
  readonly isFollowing: boolean;
  readonly isPrevious: boolean;
  readonly hasTimestamps: boolean;
  /** Only passed on to the preflight: it never changes how kexer verifies a kubelet. */
  readonly isSkippingVerification: boolean;
  /** As written; undefined: absent. */
  readonly sinceSeconds: string | undefined;
  readonly sinceTime: string | undefined;
  readonly tailLines: string | undefined;
  readonly limitBytes: string | undefined;
  readonly stream: string | undefined;
}

export function parseLogOptions(pairs: QueryPairs): LogOptions {
  const first = (key: string): string | undefined => firstQueryValue(pairs, key);
  const flag = (key: string): boolean => isTrue(first(key) ?? null);
  return {
    container: first('container') ?? '',
    isFollowing: flag('follow'),
    isPrevious: flag('previous'),
    hasTimestamps: flag('timestamps'),
    isSkippingVerification: flag('insecureSkipTLSVerifyBackend'),
    sinceSeconds: first('sinceSeconds'),
    sinceTime: first('sinceTime'),
    tailLines: first('tailLines'),
    limitBytes: first('limitBytes'),
    stream: first('stream'),
  };
}

/**
 * The same read with next to nothing to carry: never followed, no lines. A value that kube-apiserver will refuse goes out as it came,
 * for its own message. Where `stream` is set `tailLines` may not be, so one byte is asked for.
 */
export function logPreflightQuery(options: LogOptions): string {
  const pairs = commonPairs(options);
  if (options.isSkippingVerification) pairs.push(['insecureSkipTLSVerifyBackend', 'true']);
  pushSet(pairs, 'sinceSeconds', options.sinceSeconds);
  pushSet(pairs, 'sinceTime', options.sinceTime);
  pushSet(pairs, 'stream', options.stream);
  if (options.stream === undefined) {
    pairs.push(['tailLines', isCount(options.tailLines, 0) ? '0' : (options.tailLines ?? '0')]);
    pushSet(pairs, 'limitBytes', options.limitBytes);
  } else {
    pushSet(pairs, 'tailLines', options.tailLines);
    pairs.push(['limitBytes', isCount(options.limitBytes, 1) ? '1' : (options.limitBytes ?? '1')]);
  }
  return encodeQuery([...pairs, ...(options.container === '' ? [] : [['container', options.container] as const])]);
}

/** @throws KexerError badRequest for values that kube-apiserver would have refused. */
export function kubeletLogQuery(options: LogOptions): string {
  const pairs = commonPairs(options);
  if (options.isFollowing) pairs.push(['follow', 'true']);
  pushSet(pairs, 'sinceSeconds', countText('sinceSeconds', options.sinceSeconds));
  pushSet(pairs, 'sinceTime', timeText(options.sinceTime));
  pushSet(pairs, 'tailLines', countText('tailLines', options.tailLines));
  pushSet(pairs, 'limitBytes', countText('limitBytes', options.limitBytes));
  pushSet(pairs, 'stream', options.stream);
  return encodeQuery(pairs);
}

function commonPairs(options: LogOptions): QueryPair[] {
  const pairs: QueryPair[] = [];
  if (options.isPrevious) pairs.push(['previous', 'true']);
  if (options.hasTimestamps) pairs.push(['timestamps', 'true']);
  return pairs;
}

function pushSet(pairs: QueryPair[], key: string, value: string | undefined): void {
  if (value !== undefined) pairs.push([key, value]);
}

/** A decimal as Go's strconv.ParseInt(text, 10, 64) takes it, and at least `min`. */
function isCount(text: string | undefined, min: number): boolean {
  return text !== undefined && /^[+]?[0-9]{1,18}$/.test(text) && Number(text) >= min;
}

function countText(key: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!isCount(text, 0))
    throw new KexerError('badRequest', `Cannot read ${key}: ${JSON.stringify(text)}, want a count`);
  return BigInt(text.replace('+', '')).toString();
}

const rfc3339 = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})$/;

/** RFC 3339 in UTC without fractions: kube-apiserver drops them on the way too. */
function timeText(text: string | undefined): string | undefined {
  // Go reads an empty time as none.
  if (text === undefined || text === '' || text === 'null') return undefined;
  const millis = rfc3339.test(text) ? Date.parse(text.replace(/[.,][0-9]+/, '')) : Number.NaN;
  if (Number.isNaN(millis)) {
    throw new KexerError(
      'badRequest',
      `Cannot read sinceTime: ${JSON.stringify(text)}, want a time as RFC 3339 writes it`,
    );
  }
  return new Date(millis).toISOString().replace('.000Z', 'Z');
}
