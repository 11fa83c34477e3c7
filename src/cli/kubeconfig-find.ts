// Where kexer is, and by what authority it is known, asked of the cluster with the rights of whoever asks: the Service's load balancer, else a
// node port, else the aggregation layer. It never guesses between two: then the address has to be given.

import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

import { describeError, KexerError } from '../base/errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { isRecord, readList } from '../kube/objects.ts';
import { StatusError } from '../kube/status.ts';

type Fields = Readonly<Record<string, unknown>>;

const namespace = 'kexec-system';
const services = `/api/v1/namespaces/${namespace}/services`;
const apiServicePath = '/apis/apiregistration.k8s.io/v1/apiservices/v1.backup.cv.io';
const wantServer = 'want --server https://HOST:PORT';
const askTimeoutMs = 15_000;
/** In every certificate that kexer makes for itself, and in those of the manifests' other ways. */
export const serviceName = `kexer.${namespace}.svc`;

export interface Authority {
  /** PEM; undefined: nobody says, and clients go by those of their machine. */
  readonly ca: string | undefined;
  /** What kexer serves with, if its Secret may be read. */
  readonly leaf: X509Certificate | undefined;
}

export interface FoundServer {
  /** Without a path; undefined: through the apiserver itself. */
  readonly server: string | undefined;
  /** Lines for whoever asked. */
  readonly notes: readonly string[];
}

/** Never throws for a refusal: what may not be read is not known. @throws KexerError unreachable and its like. */
export async function findAuthority(client: KubeClient): Promise<Authority> {
  const secret = await readIfAllowed(client, `/api/v1/namespaces/${namespace}/secrets/kexer-serving-cert`);
  const data = recordAt(secret, 'data');
  const leaf = certificateOf(decoded(data, 'tls.crt'));
  const own = decoded(data, 'ca.crt');
  if (certificateOf(own) !== undefined) return { ca: own, leaf };
  const apiService = await readIfAllowed(client, apiServicePath);
  const bundle = decoded(recordAt(apiService, 'spec'), 'caBundle');
  return { ca: certificateOf(bundle) === undefined ? undefined : bundle, leaf };
}

/** @throws KexerError with one sentence that ends in what to give instead. */
export async function findServer(client: KubeClient, leaf: X509Certificate | undefined): Promise<FoundServer> {
  let service: unknown;
  try {
    service = await client.json({ target: `${services}/kexer`, timeoutMs: askTimeoutMs });
  } catch (error) {
    const code = statusOf(error);
    if (code === 404) {
      throw new KexerError('notFound', `Cannot find kexer: there is no Service ${namespace}/kexer, ${wantServer}`);
    }
    if (code === 0) throw unreachable(client, error);
    throw new KexerError('forbidden', `Cannot read the Service ${namespace}/kexer, ${wantServer}`, { cause: error });
  }
  const outer = isReachable(service) ? service : ((await secondService(client)) ?? service);
  const spec = recordAt(outer, 'spec');
  const balanced = balancerAddresses(outer);
  const port = portOf(spec);
  const balancer = named(balanced, leaf);
  if (balancer !== undefined && port.outer !== undefined) {
    return { server: `https://${hostOf(balancer)}:${port.outer}`, notes: [] };
  }
  if (port.node !== undefined && isReachable(outer)) {
    const nodes = await nodeAddresses(client);
    const node = Array.isArray(nodes) ? named(nodes, leaf) : undefined;
    if (node !== undefined) {
      const pending =
        spec['type'] === 'LoadBalancer' ? ['The load balancer has no address yet: this is a node port'] : [];
      return { server: `https://${hostOf(node)}:${port.node}`, notes: pending };
    }
    const why = Array.isArray(nodes) ? 'no node that is ready has an address' : nodes;
    return aggregated(client, `The Service has the node port ${port.node}, but ${why}`);
  }
  return aggregated(client, 'The Service has no address outside the cluster');
}

async function aggregated(client: KubeClient, why: string): Promise<FoundServer> {
  try {
    await client.json({ target: apiServicePath, timeoutMs: askTimeoutMs });
  } catch (error) {
    // Whoever may not read it may use it all the same.
    if (statusOf(error) === 0) throw unreachable(client, error);
    if (statusOf(error) === 404) {
      throw new KexerError(
        'notFound',
        `Cannot find a way to kexer: ${lowerFirst(why)}, and there is no APIService; ${wantServer}`,
      );
    }
  }
  return {
    server: undefined,
    notes: [`${why}: this goes through kube-apiserver, streams too; --server https://HOST:PORT keeps them off it`],
  };
}

/** A second way in beside the Service of the aggregation layer, as in sample/nodeport-service.yaml. */
async function secondService(client: KubeClient): Promise<unknown> {
  const selector = encodeURIComponent('app.kubernetes.io/name=kexer');
  const list = await readIfAllowed(client, `${services}?labelSelector=${selector}`);
  if (list === undefined) return undefined;
  const found = readList(list).items.filter((item) => item.metadata.name !== 'kexer' && isReachable(item));
  if (found.length > 1) {
    const names = found.map(({ metadata }) => `${namespace}/${metadata.name}`).join(', ');
    throw new KexerError('badRequest', `Cannot choose between the Services ${names}, ${wantServer}`);
  }
  return found[0];
}

function isReachable(service: unknown): boolean {
  const type = recordAt(service, 'spec')['type'];
  return type === 'LoadBalancer' || type === 'NodePort';
}

function balancerAddresses(service: unknown): string[] {
  const ingress = recordAt(recordAt(service, 'status'), 'loadBalancer')['ingress'];
  if (!Array.isArray(ingress)) return [];
  return ingress
    .flatMap((entry: unknown) => [textOf(entry, 'hostname'), textOf(entry, 'ip')])
    .filter((text) => text !== '');
}

/** kexer's port is called https; a Service with one port need not name it. */
function portOf(spec: Fields): { outer: number | undefined; node: number | undefined } {
  const ports = Array.isArray(spec['ports']) ? spec['ports'].filter(isRecord) : [];
  const port = ports.find(({ name }) => name === 'https') ?? ports[0] ?? {};
  const number = (value: unknown): number | undefined => (typeof value === 'number' && value > 0 ? value : undefined);
  return { outer: number(port['port']), node: number(port['nodePort']) };
}

/** Outer addresses, else inner ones, of nodes that are ready; a text says why there are none to be had. */
async function nodeAddresses(client: KubeClient): Promise<string[] | string> {
  let list: unknown;
  try {
    list = await client.json({ target: '/api/v1/nodes?limit=500', timeoutMs: askTimeoutMs });
  } catch (error) {
    if (statusOf(error) === 0) throw unreachable(client, error);
    return 'you may not list nodes';
  }
  const addresses = readList(list)
    .items.filter(isReady)
    .flatMap((node) => {
      const listed = recordAt(node, 'status')['addresses'];
      return Array.isArray(listed) ? listed.filter(isRecord) : [];
    });
  const ofType = (type: string): string[] =>
    addresses.filter((entry) => entry['type'] === type).map((entry) => textOf(entry, 'address'));
  return [...ofType('ExternalIP'), ...ofType('InternalIP')].filter((text) => isIP(text) !== 0);
}

function isReady(node: unknown): boolean {
  const conditions = recordAt(node, 'status')['conditions'];
  return (
    Array.isArray(conditions) &&
    conditions.some((entry) => textOf(entry, 'type') === 'Ready' && textOf(entry, 'status') === 'True')
  );
}

/** The first that kexer's certificate names, else the first. */
function named(addresses: readonly string[], leaf: X509Certificate | undefined): string | undefined {
  return addresses.find((address) => leaf !== undefined && isNamed(leaf, address)) ?? addresses[0];
}

/** Whether `host` (a name, or an address without brackets) is one of the certificate's. */
export function isNamed(leaf: X509Certificate, host: string): boolean {
  return (isIP(host) === 0 ? leaf.checkHost(host) : leaf.checkIP(host)) !== undefined;
}

const hostOf = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);

/** Undefined for what is not there or may not be read. */
async function readIfAllowed(client: KubeClient, target: string): Promise<unknown> {
  try {
    return await client.json({ target, timeoutMs: askTimeoutMs });
  } catch (error) {
    const code = statusOf(error);
    if (code === 403 || code === 404) return undefined;
    throw unreachable(client, error);
  }
}

function unreachable(client: KubeClient, error: unknown): KexerError {
  return new KexerError(
    'unreachable',
    `Cannot ask the apiserver ${client.endpoint.url}: ${describeError(error)}; ${wantServer}`,
  );
}

const statusOf = (error: unknown): number => (error instanceof StatusError ? error.status.code : 0);

function certificateOf(pem: string): X509Certificate | undefined {
  try {
    return pem === '' ? undefined : new X509Certificate(pem);
  } catch {
    return undefined; // somebody wrote something else there: not to be given on
  }
}

const decoded = (fields: Fields, key: string): string => Buffer.from(textOf(fields, key), 'base64').toString('utf8');

const lowerFirst = (text: string): string => `${text.charAt(0).toLowerCase()}${text.slice(1)}`;

function recordAt(value: unknown, key: string): Fields {
  const found = isRecord(value) ? value[key] : undefined;
  return isRecord(found) ? found : {};
}

function textOf(value: unknown, key: string): string {
  const found = isRecord(value) ? value[key] : undefined;
  return typeof found === 'string' ? found : '';
}
