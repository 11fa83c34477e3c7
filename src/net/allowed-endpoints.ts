// A list of hosts, addresses and networks that may be dialled, and what may never be: link-local addresses, those of metadata services,
// multicast and what stands for "this host"; loopback only where it is named itself. IPv4 addresses written as IPv6 count as what they are.

import { BlockList, isIP } from 'node:net';

import type { AddressGuard } from '../kube/address-guard.ts';

/** What an entry of the list may be. */
export const endpointEntryWanted = 'a host name, *.DOMAIN, an IP address or a network such as 10.0.0.0/8';

export type Family = 'ipv4' | 'ipv6';

export interface Address {
  readonly text: string;
  readonly family: Family;
}

/** One entry, read. */
export type EndpointEntry =
  | { readonly kind: 'host'; readonly name: string }
  | { readonly kind: 'domain'; readonly suffix: string }
  | { readonly kind: 'network'; readonly address: Address; readonly prefix: number };

const label = '[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?';
const hostName = new RegExp(`^${label}(?:\\.${label})*$`);

/** Networks that no list can allow. */
const never = networks([
  '0.0.0.0/8',
  '169.254.0.0/16', // link-local, with most clouds' metadata service
  '224.0.0.0/4',
  '255.255.255.255/32',
  '100.100.100.200/32', // metadata: Alibaba Cloud
  '168.63.129.16/32', // Azure
  '192.0.0.192/32', // Oracle Cloud
  '::/128',
  'fe80::/10',
  'ff00::/8',
  'fd00:ec2::254/128', // metadata: AWS
  'fd20:ce::254/128', // Google Cloud
]);
const loopback = networks(['127.0.0.0/8', '::1/128']);

export class AllowedEndpoints implements AddressGuard {
  readonly #hosts: ReadonlySet<string>;
  readonly #suffixes: readonly string[];
  readonly #networks: BlockList;
  readonly #namedLoopback: BlockList;

  /** @param entries each an {@link isEndpointEntry}; others allow nothing. */
  constructor(entries: readonly string[]) {
    const read = entries.map(readEndpointEntry).filter((entry) => entry !== undefined);
    this.#hosts = new Set(read.flatMap((entry) => (entry.kind === 'host' ? [entry.name] : [])));
    this.#suffixes = read.flatMap((entry) => (entry.kind === 'domain' ? [entry.suffix] : []));
    this.#networks = new BlockList();
    this.#namedLoopback = new BlockList();
    for (const entry of read) {
      if (entry.kind !== 'network') continue;
      addTo(this.#networks, entry);
      // A network that merely contains it, such as 0.0.0.0/0, does not name it.
      if (isWithin(loopback, entry.address) && entry.prefix >= (entry.address.family === 'ipv4' ? 8 : 128)) {
        addTo(this.#namedLoopback, entry);
      }
    }
  }

  problem(host: string, address: string): string | undefined {
    const found = readAddress(address);
    if (found === undefined) return 'it has no address';
    if (isWithin(never, found)) return `${found.text} is an address that is never allowed`;
    if (isWithin(loopback, found)) {
      const isNamed = isWithin(this.#namedLoopback, found) || (isLocalhost(host) && this.#hosts.has(plain(host)));
      return isNamed
        ? undefined
        : `${found.text} is a loopback address, which clusters.allowedEndpoints has to name itself`;
    }
    if (isWithin(this.#networks, found) || this.#allowsName(plain(host))) return undefined;
    return 'it is not in clusters.allowedEndpoints';
  }

  #allowsName(host: string): boolean {
    return (
      this.#hosts.has(host) || this.#suffixes.some((suffix) => host.endsWith(suffix) && host.length > suffix.length)
    );
  }
}

/** Whether an entry of the list can be used. */
export function isEndpointEntry(text: string): boolean {
  return readEndpointEntry(text) !== undefined;
}

/** @returns undefined if it is none. */
export function readEndpointEntry(text: string): EndpointEntry | undefined {
  const [first = '', prefixText, ...more] = text.split('/');
  const address = readAddress(first);
  if (address !== undefined) {
    const max = address.family === 'ipv4' ? 32 : 128;
    if (more.length > 0 || (prefixText !== undefined && !/^\d{1,3}$/.test(prefixText))) return undefined;
    // An IPv4 network written as IPv6 would have another prefix than it says.
    if (prefixText !== undefined && isIP(first) !== (address.family === 'ipv4' ? 4 : 6)) return undefined;
    const prefix = prefixText === undefined ? max : Number(prefixText);
    return prefix <= max ? { kind: 'network', address, prefix } : undefined;
  }
  const name = plain(text);
  if (name.startsWith('*.')) {
    return hostName.test(name.slice(2)) ? { kind: 'domain', suffix: name.slice(1) } : undefined;
  }
  // What looks like an address and is none (300.1.1.1) is no name either.
  return hostName.test(name) && !/^[\d.]+$/.test(name) ? { kind: 'host', name } : undefined;
}

/** Lower case, without the dot of the root. */
function plain(host: string): string {
  return host.toLowerCase().replace(/\.$/, '');
}

function isLocalhost(host: string): boolean {
  return /(?:^|\.)localhost$/.test(plain(host));
}

/** An address, without a zone; the IPv4 address that an IPv6 one stands for (mapped, compatible, NAT64). */
export function readAddress(text: string): Address | undefined {
  const [address = ''] = text.split('%', 1);
  switch (isIP(address)) {
    case 4:
      return { text: address, family: 'ipv4' };
    case 6: {
      // The URL parser writes each address in one way only: lower case, shortest.
      const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
      const embedded = /^(?:::ffff:|64:ff9b::|::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
      if (embedded === null) return { text: canonical, family: 'ipv6' };
      const [high, low] = [Number.parseInt(embedded[1] ?? '', 16), Number.parseInt(embedded[2] ?? '', 16)];
      return { text: [high >> 8, high & 255, low >> 8, low & 255].join('.'), family: 'ipv4' };
    }
    default:
      return undefined;
  }
}

function networks(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const entry = readEndpointEntry(text);
    if (entry?.kind === 'network') addTo(list, entry);
  }
  return list;
}

function addTo(list: BlockList, { address, prefix }: EndpointEntry & { kind: 'network' }): void {
  list.addSubnet(address.text, prefix, address.family);
}

function isWithin(list: BlockList, { text, family }: Address): boolean {
  return list.check(text, family);
}
