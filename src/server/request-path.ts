// What a request target names, read once from its raw bytes. The outer part names a cluster, or something of kexer's own; the inner part is
// a path of that cluster's apiserver with its own RequestInfo. Whatever has no one reading is refused, since the apiserver behind would
// read it anew: dot segments, empty segments, encoded slashes and their like. What was checked is what is sent: the raw inner bytes.

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { clustersResource } from '../clusters/directory.ts';
import type { InnerPath } from '../clusters/call.ts';
import { parseRequestInfo, type RequestInfo } from '../kube/request-info.ts';

export type RequestPath =
  /** Kexer's own: discovery, health, the clusters resource, or nothing at all. */
  | { readonly kind: 'own'; readonly info: RequestInfo; readonly query: URLSearchParams }
  /** A call on a cluster; `info` is of the outer path and what is authorised. */
  | {
      readonly kind: 'cluster';
      readonly info: RequestInfo;
      readonly namespace: string;
      readonly cluster: string;
      readonly inner: InnerPath;
    };

/** Segments of `/apis/backup.cv.io/v1/namespaces/NAMESPACE/clusters/CLUSTER/exec`. */
const outerSegments = 8;

/** @throws KexerError badRequest naming the offence. */
export function parseRequestPath(method: string, rawTarget: string): RequestPath {
  const target = originForm(rawTarget);
  const mark = target.indexOf('?');
  const rawPath = mark === -1 ? target : target.slice(0, mark);
  const rawQuery = mark === -1 ? '' : target.slice(mark + 1);
  const rawSegments = rawPath.slice(1).split('/');
  if (!namesCluster(rawSegments)) {
    const query = new URLSearchParams(rawQuery);
    return { kind: 'own', info: parseRequestInfo(method, decodeSegments(rawSegments), query), query };
  }
  const outer = decodeSegments(rawSegments.slice(0, outerSegments));
  const innerSegments = rawSegments.slice(outerSegments);
  const innerRawPath = `/${innerSegments.join('/')}`;
  return {
    kind: 'cluster',
    // Go gives RequestInfo the whole path; what follows the subresource is in `parts` alone and decides nothing.
    info: parseRequestInfo(method, outer, new URLSearchParams()),
    namespace: outer[4] ?? '',
    cluster: outer[6] ?? '',
    inner: parseInner(method, innerRawPath, innerSegments, rawQuery, mark !== -1),
  };
}

/** The path and query of a target in origin form or absolute form (RFC 9112, section 3.2). */
function originForm(rawTarget: string): string {
  // An absolute target's authority is ignored as Go's server does: kexer has no virtual hosts.
  let target = rawTarget;
  const absolute = rawTarget.startsWith('/') ? null : /^https?:\/\/[^/?#]*/i.exec(rawTarget);
  if (absolute !== null) {
    target = rawTarget.slice(absolute[0].length);
    if (!target.startsWith('/')) target = `/${target}`;
  }
  if (!target.startsWith('/')) throw refusal(rawTarget, 'it does not start with a slash');
  if (target.includes('#')) throw refusal(rawTarget, 'it has a fragment');
  // Bytes outside printable ASCII have to be escaped; raw, readers disagree on their encoding.
  if (/[^\x21-\x7e]/.test(target)) throw refusal(rawTarget, 'it has a character that must be escaped');
  return target;
}

/** Compares raw segments: whoever escapes letters of this prefix names something that is not there, which is safe. */
function namesCluster(segments: readonly string[]): boolean {
  const [apis, group, version, namespaces, , clusters, , exec] = segments;
  return (
    apis === 'apis' &&
    group === clustersResource.group &&
    version === clustersResource.version &&
    namespaces === 'namespaces' &&
    clusters === clustersResource.resource &&
    exec === 'exec'
  );
}

function parseInner(
  method: string,
  rawPath: string,
  rawSegments: readonly string[],
  rawQuery: string,
  hasQuery: boolean,
): InnerPath {
  const proxyIndex = indexOfProxy(rawSegments);
  const read = proxyIndex === -1 ? rawSegments : rawSegments.slice(0, proxyIndex + 1);
  if (proxyIndex !== -1) checkProxied(rawSegments.slice(proxyIndex + 1));
  const segments = decodeSegments(read);
  const info = parseRequestInfo(method, segments, new URLSearchParams(rawQuery));
  if (
    info.apiGroup === clustersResource.group &&
    info.resource === clustersResource.resource &&
    info.subresource !== ''
  ) {
    throw new KexerError('badRequest', 'Cannot reach a cluster through a cluster: want a path of the cluster itself');
  }
  return { rawPath, rawQuery, target: hasQuery ? `${rawPath}?${rawQuery}` : rawPath, segments, info };
}

/**
 * Where `proxy` stands as a subresource (`/api/v1/namespaces/NS/services/NAME/proxy/…`), or -1. Raw, like {@link namesCluster}: with an
 * escaped letter in it the path is judged by the stricter rules.
 */
function indexOfProxy(segments: readonly string[]): number {
  const [prefix] = segments;
  let resource = prefix === 'api' ? 2 : prefix === 'apis' ? 3 : -1;
  if (resource === -1) return -1;
  if (segments[resource] === 'namespaces') resource += 2;
  return segments[resource + 2] === 'proxy' ? resource + 2 : -1;
}

/** Bytes behind `/proxy/` belong to the target; only what could climb out of it, or end a string, is refused. */
function checkProxied(rawSegments: readonly string[]): void {
  for (const raw of rawSegments) {
    // Decoded bytewise, not as text: the target may use any encoding, and a bad escape is its own to refuse.
    const decoded = raw.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    if (decoded.includes('\0')) throw refusal(raw, 'it has a NUL');
    if (decoded.split(/[/\\]/).some(isDotSegment)) throw refusal(raw, 'it has a dot segment');
  }
}

/** As nearly all are: nothing to decode, and nothing in it to refuse. A dot stands behind something else. */
const plainSegment = /^[A-Za-z0-9_-][A-Za-z0-9_.:~-]*$/;

/** Decodes what RequestInfo reads. One slash at the end is allowed: RequestInfo trims it, so it has one reading. */
function decodeSegments(rawSegments: readonly string[]): string[] {
  const segments = rawSegments.at(-1) === '' ? rawSegments.slice(0, -1) : rawSegments;
  return segments.map((raw) => {
    if (plainSegment.test(raw)) return raw;
    if (raw === '') throw new KexerError('badRequest', 'Cannot read the path: it has an empty segment');
    if (/%(?![0-9a-fA-F]{2})/.test(raw)) throw refusal(raw, 'it has a bad escape');
    let decoded: string;
    try {
      decoded = decodeURIComponent(raw);
    } catch (cause) {
      throw new KexerError('badRequest', `Cannot read the path segment ${quote(raw)}: it is no UTF-8`, { cause });
    }
    if (isDotSegment(decoded)) throw refusal(raw, 'it is a dot segment');
    if (/[/\\]/.test(decoded)) throw refusal(raw, 'it has an encoded slash or a backslash');
    if (/[\x00-\x1f\x7f]/.test(decoded)) throw refusal(raw, 'it has a control character');
    return decoded;
  });
}

function isDotSegment(segment: string): boolean {
  return segment === '.' || segment === '..';
}

function refusal(what: string, why: string): KexerError {
  return new KexerError('badRequest', `Cannot read the path ${quote(what)}: ${why}`);
}
