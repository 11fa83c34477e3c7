// The names a serving certificate must carry, and which of them a certificate lacks. Names come from a Service: what Pods call it by DNS, its
// own addresses, and those by which it is reached from outside.

import type { X509Certificate } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';

import { isRecord, type KubeObject } from '../kube/objects.ts';

export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

/** Of this machine: probes, and `kubectl port-forward` to kexer itself. */
const loopback = ['localhost', '127.0.0.1', '::1'];

/** Of a Service by DNS; kube-aggregator verifies NAME.NAMESPACE.svc. The cluster's domain is by convention, and cannot be asked for. */
export function dnsNamesOf({ namespace, name }: ObjectName): string[] {
  return [`${name}.${namespace}.svc`, name, `${name}.${namespace}`, `${name}.${namespace}.svc.cluster.local`];
}

/**
 * Every name, the most telling first, each once.
 * @param service undefined: not there, or not to be read.
 */
export function servingNames(
  reference: ObjectName | undefined,
  service: KubeObject | undefined,
  extra: readonly string[],
): string[] {
  const names = [
    ...(reference === undefined ? [] : dnsNamesOf(reference)),
    ...(service === undefined ? [] : addressesOf(service)),
    ...extra.map((name) => name.toLowerCase()),
    ...loopback,
  ];
  return [...new Set(names)];
}

/** Cluster IPs, external IPs, and what its load balancer is reached by. */
function addressesOf({ spec, status }: KubeObject): string[] {
  const { clusterIP, clusterIPs, externalIPs } = asRecord(spec);
  const { ingress } = asRecord(asRecord(status)['loadBalancer']);
  const entries = Array.isArray(ingress) ? ingress.map(asRecord) : [];
  return [
    ...addresses([clusterIP]),
    ...addresses(clusterIPs),
    ...addresses(externalIPs),
    ...addresses(entries.map(({ ip }) => ip)),
    ...entries.flatMap(({ hostname }) => (isHostName(hostname) ? [hostname.toLowerCase()] : [])),
  ];
}

/** Those of `wanted` that the certificate does not carry as alternative names; a wildcard stands only for itself. */
export function missingNames(certificate: X509Certificate, wanted: readonly string[]): string[] {
  const held = new Set(dnsNamesIn(certificate));
  return wanted.filter((name) =>
    isIP(name) === 0 ? !held.has(name.toLowerCase()) : certificate.checkIP(name) === undefined,
  );
}

/** The DNS names and addresses that a certificate carries. */
export function namesIn(certificate: X509Certificate): string[] {
  const entries = (certificate.subjectAltName ?? '').split(', ');
  const ips = entries.flatMap((entry) => (entry.startsWith('IP Address:') ? [entry.slice('IP Address:'.length)] : []));
  return [...dnsNamesIn(certificate), ...ips.map(shortAddress)];
}

/** `::1` for what OpenSSL writes out as `0:0:0:0:0:0:0:1`. */
function shortAddress(ip: string): string {
  return isIPv6(ip) ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip;
}

function dnsNamesIn(certificate: X509Certificate): string[] {
  // Node quotes what holds a comma or a quote; no name that kexer looks for does.
  return (certificate.subjectAltName ?? '')
    .split(', ')
    .flatMap((entry) => (entry.startsWith('DNS:') ? [entry.slice('DNS:'.length).toLowerCase()] : []));
}

function addresses(values: unknown): string[] {
  // `None` of a headless Service is no address.
  return Array.isArray(values)
    ? values.filter((value): value is string => typeof value === 'string' && isIP(value) !== 0)
    : [];
}

function isHostName(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/i.test(value)
  );
}

function asRecord(value: unknown): Record<string, unknown> {
  return isRecord(value) ? value : {};
}
