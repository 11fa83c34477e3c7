// Heads of HTTP/2 in the form that the rest of kexer has from HTTP/1.1: what leaves is checked by the same rules, what comes is the same list. Pure.

import { STATUS_CODES, validateHeaderName, validateHeaderValue } from '../base/node-http.ts';
import { type RawHeader, type RawHeaders, trimSpace } from '../protocol/raw-headers.ts';
import { connectionHeaders } from './transport.ts';

export interface AnswerHead {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
}

/** What Node's HTTP/1.1 client refuses in a path. */
const unwritablePath = /[^\u0021-\u00ff]/;
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** CR, LF and NUL would forge structure in HTTP/1.1; other control characters no answer needs. */
// eslint-disable-next-line no-control-regex
const unreadableValue = /[\u0000-\u0008\u000a-\u001f\u007f]/;

/**
 * The fields of a request without a body: pseudo headers, then `headers` without those of a connection, in order, repeated ones apart.
 * @throws Error with Node's own codes for what may not stand in a head.
 */
export function requestFields(request: {
  method: string;
  authority: string;
  /** With the endpoint's prefix. */
  path: string;
  headers: RawHeaders;
}): RawHeader[] {
  const { method, authority, path, headers } = request;
  if (unwritablePath.test(path)) {
    throw Object.assign(new TypeError('Request path contains unescaped characters'), {
      code: 'ERR_UNESCAPED_CHARACTERS',
    });
  }
  const fields: RawHeader[] = [
    [':method', method],
    [':scheme', 'https'],
    [':authority', authority],
    [':path', path],
  ];
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    if (connectionHeaders.has(key)) continue;
    validateHeaderName(name);
    validateHeaderValue(name, value);
    // Around a value HTTP/2 forbids what an HTTP/1.1 peer would skip.
    fields.push([key, trimSpace(value)]);
  }
  return fields;
}

/**
 * The head of an answer. Names as Go's server spells them on HTTP/1.1 (`Content-Type`), so that clients see no difference.
 * @throws Error with a code of Node's HTTP/1.1 parser for a list that is no head.
 */
export function answerHead(fields: RawHeaders): AnswerHead {
  const headers: RawHeader[] = [];
  let status: number | undefined;
  for (const [name, value] of fields) {
    if (name === ':status' && status === undefined && headers.length === 0 && /^[1-9]\d\d$/.test(value)) {
      status = Number(value);
    } else if (status === undefined || !tokenPattern.test(name) || unreadableValue.test(value)) {
      throw Object.assign(new Error(`the answer has a header that may not be there: ${JSON.stringify(name)}`), {
        code: 'HPE_INVALID_HEADER_TOKEN',
      });
    } else {
      headers.push([canonicalName(name), value]);
    }
  }
  if (status === undefined) {
    throw Object.assign(new Error('the answer has no status'), { code: 'HPE_INVALID_STATUS' });
  }
  return { status, reason: STATUS_CODES[status] ?? '', headers };
}

/** As every answer has them; a name is put together by itself for each other. */
const usualNames: ReadonlyMap<string, string> = new Map(
  [
    'Age',
    'Audit-Id',
    'Cache-Control',
    'Content-Encoding',
    'Content-Length',
    'Content-Type',
    'Date',
    'Etag',
    'Expires',
    'Last-Modified',
    'Retry-After',
    'Vary',
    'Via',
    'Warning',
    'X-Content-Type-Options',
    'X-Kubernetes-Pf-Flowschema-Uid',
    'X-Kubernetes-Pf-Prioritylevel-Uid',
  ].map((name) => [name.toLowerCase(), name]),
);

/** Go's `CanonicalMIMEHeaderKey`. */
function canonicalName(name: string): string {
  return usualNames.get(name) ?? name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}
