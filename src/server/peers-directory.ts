// Where the other kexers are: the EndpointSlices of their common Service, read when somebody asks and kept for a moment. Serving endpoints and
// terminating ones count: a kexer that shuts down is not ready any more, and carries its sessions to their end.

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { KubeClient } from '../kube/client.ts';
import { isRecord, readList, type KubeObject } from '../kube/objects.ts';

/** Where one kexer listens. */
export interface PeerAddress {
  /** Its pod's name if the slice tells it, else `host:port`; the same as long as it lives. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** How old the answer may be: somebody who looks every second costs kube-apiserver half as much. */
const freshMs = 2000;
const timeoutMs = 1000;
/** What the serving port is called where a Service has several. */
const portName = 'https';

export class PeerDirectory {
  readonly #client: Pick<KubeClient, 'json'>;
  readonly #clock: Clock;
  readonly #target: string;
  readonly #service: string;
  readonly #ownName: string;
  #known: readonly PeerAddress[];
  #knownAtMs: number;
  #reading: Promise<readonly PeerAddress[]> | undefined;

  /** @param options.ownName of the pod this runs in: it is not among the others. */
  constructor(
    deps: { client: Pick<KubeClient, 'json'>; clock: Clock },
    options: { namespace: string; service: string; ownName: string },
  ) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    const selector = encodeURIComponent(`kubernetes.io/service-name=${options.service}`);
    this.#target = `/apis/discovery.k8s.io/v1/namespaces/${options.namespace}/endpointslices?labelSelector=${selector}`;
    this.#service = `${options.namespace}/${options.service}`;
    this.#ownName = options.ownName;
    this.#known = [];
    this.#knownAtMs = -Infinity;
    this.#reading = undefined;
  }

  /** Those that are asked; this kexer is among them only if its slice does not tell pods. @throws StatusError, KexerError if it cannot be read. */
  async others(): Promise<readonly PeerAddress[]> {
    if (this.#clock.monotonic() - this.#knownAtMs < freshMs) return this.#known;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<readonly PeerAddress[]> {
    const { items } = readList(await this.#client.json({ target: this.#target, timeoutMs }));
    // A pod of two address families is in two slices; an address that has changed hands is for a while under two names, and its sessions are to
    // count once.
    const names = new Set([this.#ownName]);
    const places = new Set<string>();
    this.#known = items
      .flatMap((slice) => addressesOf(slice, this.#service))
      .filter(({ name, host, port }) => {
        const place = hostPort(host, port);
        if (names.has(name) || places.has(place)) return false;
        names.add(name);
        places.add(place);
        return true;
      });
    this.#knownAtMs = this.#clock.monotonic();
    return this.#known;
  }
}

/** The addresses a slice tells. @throws KexerError badGateway if it does not say which port is meant. */
export function addressesOf(slice: KubeObject, service: string): PeerAddress[] {
  const endpoints = Array.isArray(slice['endpoints']) ? slice['endpoints'].filter(isRecord) : [];
  const serving = endpoints.filter((endpoint) => isServing(endpoint['conditions']));
  if (serving.length === 0) return [];
  const port = portOf(slice['ports'], service);
  return serving.flatMap((endpoint) => {
    const addresses: unknown = endpoint['addresses'];
    const host: unknown = Array.isArray(addresses) ? addresses[0] : undefined;
    if (typeof host !== 'string' || host === '') return [];
    return [{ name: podOf(endpoint['targetRef']) ?? hostPort(host, port), host, port }];
  });
}

/** Absent means true, as of `ready`; terminating ones count whatever they say of themselves. */
function isServing(conditions: unknown): boolean {
  if (!isRecord(conditions)) return true;
  return conditions['terminating'] === true || (conditions['serving'] ?? conditions['ready'] ?? true) === true;
}

function portOf(ports: unknown, service: string): number {
  const tcp = (Array.isArray(ports) ? ports.filter(isRecord) : []).filter(
    (port) => (port['protocol'] ?? 'TCP') === 'TCP',
  );
  const port = tcp.length === 1 ? tcp[0] : tcp.find(({ name }) => name === portName);
  const number: unknown = port?.['port'];
  if (typeof number === 'number') return number;
  throw new KexerError(
    'badGateway',
    `Cannot tell the port of the Service ${quote(service)}: it has ${tcp.length} of TCP, want one, or one that is called ${portName}`,
  );
}

function podOf(reference: unknown): string | undefined {
  if (!isRecord(reference) || reference['kind'] !== 'Pod') return undefined;
  return typeof reference['name'] === 'string' && reference['name'] !== '' ? reference['name'] : undefined;
}

export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
