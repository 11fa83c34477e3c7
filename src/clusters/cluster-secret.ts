// A Secret of the type backup.cv.io/cluster as kexer reads it: where a cluster is, who kexer is there, and which way its streams go. What is wrong
// with one is a sentence that names the Secret and the key, and never a value: a URL may have a password in it. Only what is used is kept.

import { createPrivateKey, X509Certificate } from 'node:crypto';

import { isRecord, type KubeObject } from '../kube/objects.ts';
import { checkedPair } from '../kube/sources.ts';

export const clusterSecretType = 'backup.cv.io/cluster';

export type ClusterCredential =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'certificate'; readonly cert: string; readonly key: string };

export type ClusterIdentity = 'shared' | 'impersonate';
export type ClusterStreams = 'apiserver' | 'kubelet';

export interface ClusterSpec {
  /** `https://host[:port]` */
  readonly endpointUrl: string;
  /** PEM; undefined: the system's authorities. */
  readonly ca: string | undefined;
  /** The name in the apiserver's certificate; undefined: the host of the URL. */
  readonly tlsServerName: string | undefined;
  readonly credential: ClusterCredential;
  readonly identity: ClusterIdentity;
  /** Put before the names of users and groups that are impersonated there. */
  readonly identityPrefix: string;
  readonly streams: ClusterStreams;
}

/** A Secret that names a cluster. */
export interface ClusterSecret {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** RFC 3339 */
  readonly creationTimestamp: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What can be shown of it, as far as it is in order. */
  readonly shown: { readonly endpoint: string; readonly identity: string; readonly streams: string };
  /** Or why there is none: the end of the sentence "the Secret NS/NAME …". */
  readonly spec: ClusterSpec | { readonly problem: string };
}

/** @returns undefined for a Secret of another type. */
export function readClusterSecret(object: KubeObject): ClusterSecret | undefined {
  if (object['type'] !== clusterSecretType) return undefined;
  const { metadata } = object;
  const data = new SecretData(object['data']);
  let spec: ClusterSecret['spec'];
  try {
    spec = readSpec(data);
  } catch (error) {
    if (!(error instanceof SecretProblem)) throw error;
    spec = { problem: error.message };
  }
  const labels = isRecord(metadata['labels']) ? metadata['labels'] : {};
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    uid: textOf(metadata['uid']),
    creationTimestamp: textOf(metadata['creationTimestamp']),
    labels: Object.fromEntries(
      Object.entries(labels).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
    shown: {
      endpoint: shownOr(() => endpointUrlOf(data)),
      identity: shownOr(() => choiceOf(data, 'identity', identities)),
      streams: shownOr(() => choiceOf(data, 'streams', ways, 'apiserver')),
    },
    spec,
  };
}

/** What is wrong with a Secret; its message has no value of it. */
class SecretProblem extends Error {}

const identities = ['shared', 'impersonate'] as const;
const ways = ['apiserver', 'kubelet'] as const;

/** The keys of a Secret, decoded when they are read. */
class SecretData {
  readonly #data: Readonly<Record<string, unknown>>;

  constructor(data: unknown) {
    this.#data = isRecord(data) ? data : {};
  }

  /** Without white space at its ends, which `echo` leaves; undefined if there is no such key, or nothing in it. */
  text(key: string): string | undefined {
    const value = this.#data[key];
    if (typeof value !== 'string') return undefined;
    const text = Buffer.from(value, 'base64').toString('utf8').trim();
    return text === '' ? undefined : text;
  }

  required(key: string): string {
    const text = this.text(key);
    if (text === undefined) throw new SecretProblem(`has no key "${key}"`);
    return text;
  }

  /** PEM; or the base64 of PEM, as a kubeconfig has it and as it comes into `stringData` by copying. */
  pem(key: string): string | undefined {
    const text = this.text(key);
    if (text === undefined || text.includes('-----BEGIN ')) return text;
    return Buffer.from(text, 'base64').toString('utf8');
  }
}

function readSpec(data: SecretData): ClusterSpec {
  return {
    endpointUrl: endpointUrlOf(data),
    identity: choiceOf(data, 'identity', identities),
    streams: choiceOf(data, 'streams', ways, 'apiserver'),
    identityPrefix: identityPrefixOf(data),
    ca: caOf(data),
    tlsServerName: serverNameOf(data),
    credential: credentialOf(data),
  };
}

/** Read from its text, not by a URL parser alone, which would make something of almost everything. */
function endpointUrlOf(data: SecretData): string {
  const text = data.required('endpointUrl');
  const problem = (what: string): SecretProblem =>
    new SecretProblem(`has an "endpointUrl" ${what}; want https://HOST[:PORT]`);
  if (/^http:/i.test(text)) throw problem('without TLS');
  if (!/^https:\/\//i.test(text)) throw problem('that is no https URL');
  const rest = text.slice('https://'.length).replace(/\/$/, '');
  if (rest.includes('@')) throw problem('with user information');
  if (rest.includes('?')) throw problem('with a query');
  if (rest.includes('#')) throw problem('with a fragment');
  if (rest.includes('/') || rest.includes('\\')) throw problem('with a path');
  let url: URL;
  try {
    url = new URL(`https://${rest}`);
  } catch {
    throw problem('that is no URL');
  }
  // A host that the parser understands otherwise than it is written: 2130706433, 0x7f.1, full-width digits.
  const written = rest.toLowerCase().replace(/:\d*$/, '');
  if (url.hostname === '' || (url.hostname !== written && !rest.startsWith('['))) {
    throw problem('whose host is written in an odd way');
  }
  return url.origin;
}

function choiceOf<T extends string>(data: SecretData, key: string, choices: readonly T[], fallback?: T): T {
  const text = data.text(key) ?? fallback;
  if (text === undefined) throw new SecretProblem(`has no key "${key}"; want ${choices.join(' or ')}`);
  const choice = choices.find((it) => it === text);
  if (choice === undefined) throw new SecretProblem(`has another "${key}" than ${choices.join(' or ')}`);
  return choice;
}

function identityPrefixOf(data: SecretData): string {
  const prefix = data.text('identityPrefix') ?? '';
  if (prefix.startsWith('system:')) throw new SecretProblem('has an "identityPrefix" that begins with system:');
  if (!/^[\x21-\x7e]*$/.test(prefix)) throw new SecretProblem('has an "identityPrefix" with odd characters');
  return prefix;
}

function caOf(data: SecretData): string | undefined {
  const text = data.pem('caData');
  if (text === undefined) return undefined;
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (certificates.length === 0) throw new SecretProblem('has no PEM certificate in "caData"');
  for (const certificate of certificates) {
    try {
      void new X509Certificate(certificate);
    } catch {
      throw new SecretProblem('has a certificate in "caData" that cannot be read');
    }
  }
  return certificates.join('\n');
}

function serverNameOf(data: SecretData): string | undefined {
  const name = data.text('tlsServerName');
  if (name !== undefined && !/^[-A-Za-z0-9_.:]{1,253}$/.test(name)) {
    throw new SecretProblem('has a "tlsServerName" that is no name');
  }
  return name;
}

function credentialOf(data: SecretData): ClusterCredential {
  const token = data.text('token');
  const cert = data.pem('clientCertificateData');
  const key = data.pem('clientKeyData');
  if (token !== undefined) {
    if (cert !== undefined || key !== undefined) {
      throw new SecretProblem('has a "token" and a client certificate; want one of them');
    }
    if (!/^[\x21-\x7e]+$/.test(token)) throw new SecretProblem('has a "token" that is not one word');
    return { kind: 'token', token };
  }
  if (cert === undefined && key === undefined) {
    throw new SecretProblem('has no credential; want "token", or "clientCertificateData" and "clientKeyData"');
  }
  if (cert === undefined) throw new SecretProblem('has no key "clientCertificateData" beside "clientKeyData"');
  if (key === undefined) throw new SecretProblem('has no key "clientKeyData" beside "clientCertificateData"');
  return { kind: 'certificate', ...certificateOf(cert, key) };
}

function certificateOf(cert: string, key: string): { cert: string; key: string } {
  try {
    void new X509Certificate(cert);
  } catch {
    throw new SecretProblem('has a "clientCertificateData" that cannot be read');
  }
  try {
    void createPrivateKey(key);
  } catch {
    throw new SecretProblem('has a "clientKeyData" that cannot be read');
  }
  try {
    checkedPair({ cert, key }, { certFile: 'clientCertificateData', keyFile: 'clientKeyData' });
  } catch {
    throw new SecretProblem('has a "clientKeyData" that is not of its "clientCertificateData"');
  }
  return { cert, key };
}

function shownOr(read: () => string): string {
  try {
    return read();
  } catch {
    return ''; // the problem says why
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
