// The one function that decides which headers of a client leave for kube-apiserver, in one order: (1) names that the client's Connection
// header nominates, (2) hop-by-hop and framing headers, (3) everything an identity could be forged with, (4) what only kexer may say
// about the way, (5) the outgoing identity is added. The identity is read before, from the raw list (outgoing.ts), so that a nomination
// can remove nothing of it; and it is added last, so that nothing the client sent can stand beside it.

import { listItems, type RawHeader, type RawHeaders, trimSpace } from '../protocol/raw-headers.ts';
import { bearerProtocolPrefix } from './bearer.ts';

export interface RemoteHeaderNames {
  /** Configured names and prefixes of the front proxy's headers, stripped besides everything that starts with `X-Remote-`. */
  readonly names: readonly string[];
  readonly prefixes: readonly string[];
}

/** RFC 9110 7.6.1 and their historic kin, and what belongs to the framing of one connection. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'host',
  'content-length',
  'expect',
]);

const identityNames: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'proxy-authenticate',
  'cookie',
]);
const identityPrefixes = ['impersonate-', 'x-remote-'] as const;

/** Where a request came from and how its audit event is called: kexer says so itself. */
const wayNames: ReadonlySet<string> = new Set(['forwarded', 'x-real-ip', 'audit-id']);
const wayPrefixes = ['x-forwarded-'] as const;

const alwaysStripped: ReadonlySet<string> = new Set([...hopByHop, ...identityNames, ...wayNames]);
const strippedPrefixes: readonly string[] = [...identityPrefixes, ...wayPrefixes];

const webSocketProtocol = 'sec-websocket-protocol';

/**
 * End-to-end headers without any identity, then `identity`. Also without Host, Content-Length, Expect, X-Forwarded-* and Audit-ID: whoever
 * sends the request makes its framing and adds what it vouches for. Sec-WebSocket-Protocol keeps its items but the bearer token.
 */
export function outgoingHeaders(
  inbound: RawHeaders,
  identity: RawHeaders,
  remote: RemoteHeaderNames = { names: [], prefixes: [] },
): RawHeader[] {
  const nominated = listItems(inbound, 'Connection').map((name) => name.toLowerCase());
  const remoteNames = remote.names.map((name) => name.toLowerCase());
  const remotePrefixes = remote.prefixes.map((prefix) => prefix.toLowerCase());

  const kept: RawHeader[] = [];
  for (const header of inbound) {
    const [name, value] = header;
    const lower = name.toLowerCase();
    const isStripped =
      nominated.includes(lower) ||
      alwaysStripped.has(lower) ||
      remoteNames.includes(lower) ||
      startsWithAny(lower, strippedPrefixes) ||
      startsWithAny(lower, remotePrefixes);
    if (isStripped) continue;
    if (lower !== webSocketProtocol) {
      kept.push(header);
      continue;
    }
    const protocols = withoutBearer(value);
    if (protocols !== '') kept.push([name, protocols]);
  }
  return kept.concat(identity);
}

function startsWithAny(name: string, prefixes: readonly string[]): boolean {
  for (const prefix of prefixes) if (name.startsWith(prefix)) return true;
  return false;
}

/** One line of Sec-WebSocket-Protocol; as it stands if it has no token, so that its bytes change only where they must. */
function withoutBearer(value: string): string {
  const items = value.split(',').map(trimSpace);
  if (!items.some(isBearer)) return value;
  return items.filter((item) => !isBearer(item)).join(', ');
}

function isBearer(item: string): boolean {
  // Any case: kube-apiserver takes only this one, but nothing that looks like a token shall travel on.
  return item.toLowerCase().startsWith(bearerProtocolPrefix.toLowerCase());
}
