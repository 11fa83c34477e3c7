// Which peers are reached straight although there is a proxy: a list in the syntax of Go's NO_PROXY (golang.org/x/net/http/httpproxy), which kubectl and
// its users know. Judged is the host as it is written in the endpoint or in the node, never what it resolves to: the way is chosen before anything is
// resolved, and the guard judges the address on either way. Two things differ from Go: loopback is straight only where the list says so, and an entry
// that means nothing is refused instead of passed over.

import { BlockList } from 'node:net';

import { unreachable } from '../base/unreachable.ts';
import { type EndpointEntry, readAddress, readEndpointEntry } from './allowed-endpoints.ts';

/** What an entry of the list may be. */
export const noProxyEntryWanted =
  '*, HOST, .DOMAIN, an IP address, each with :PORT or without, or a network such as 10.0.0.0/8';

interface NoProxyEntry {
  /** @param host a name in lower case, or an address. */
  readonly covers: (host: string) => boolean;
  /** undefined: any. */
  readonly port: number | undefined;
}

export class NoProxy {
  readonly #entries: readonly NoProxyEntry[];

  /** @param entries each an {@link isNoProxyEntry}; others mean nothing. */
  constructor(entries: readonly string[]) {
    this.#entries = entries.map(readNoProxyEntry).filter((entry) => entry !== undefined);
  }

  /** @param host a name, or an address without brackets. */
  has(host: string, port: number): boolean {
    const plain = host.toLowerCase().replace(/\.$/, '');
    return this.#entries.some((entry) => (entry.port === undefined || entry.port === port) && entry.covers(plain));
  }
}

/** Whether an entry of the list can be used. */
export function isNoProxyEntry(text: string): boolean {
  return readNoProxyEntry(text) !== undefined;
}

function readNoProxyEntry(text: string): NoProxyEntry | undefined {
  if (text === '*') return { covers: () => true, port: undefined };
  const [, bracketed, named, portText] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = portText === undefined ? undefined : Number(portText);
  if (port !== undefined && (port === 0 || port > 65_535)) return undefined;
  const host = bracketed ?? named ?? text;
  const entry = readEndpointEntry(host.startsWith('.') ? `*${host}` : host);
  // Brackets are for addresses, and a network has no port.
  if (entry === undefined || (bracketed !== undefined && entry.kind !== 'network')) return undefined;
  if (port !== undefined && host.includes('/')) return undefined;
  return { covers: coveredBy(entry), port };
}

function coveredBy(entry: EndpointEntry): NoProxyEntry['covers'] {
  switch (entry.kind) {
    case 'host':
      return (host) => host === entry.name || host.endsWith(`.${entry.name}`);
    case 'domain':
      return (host) => host.length > entry.suffix.length && host.endsWith(entry.suffix);
    case 'network': {
      const list = new BlockList();
      list.addSubnet(entry.address.text, entry.prefix, entry.address.family);
      return (host) => {
        const address = readAddress(host);
        return address !== undefined && list.check(address.text, address.family);
      };
    }
    default:
      return unreachable(entry);
  }
}
