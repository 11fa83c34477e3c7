// Where the identity matrix plays: a cluster, a kexer in front of it, and everybody's credentials. By default the sandbox with a kexer in a
// process of its own. With KEXER_TEST_KUBECONFIG it is the cluster of that file's current context (real-arena.ts), where only what its API
// can set up is there.

import { readFile } from 'node:fs/promises';

import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateClient } from '../../../src/certs/generate.ts';
import { startSandbox } from '../../../src/sandbox/sandbox.ts';
import { type Credential, HttpClient, type Server } from './http-client.ts';
import { KexerProcess } from './kexer-process.ts';
import { home } from './matrix-operations.ts';

export interface CertificateUser {
  readonly name: string;
  readonly groups?: readonly string[];
  readonly uid?: string;
  readonly isExpired?: boolean;
}

/** An event of kube-apiserver's audit log, as far as the matrix reads it. */
export interface AuditEvent {
  readonly auditID: string;
  readonly stage: string;
  readonly requestURI: string;
  readonly user: AuditUser;
  readonly impersonatedUser?: AuditUser;
}

export interface AuditUser {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** An audit log that grows: each line is read once. */
export class AuditLog {
  readonly #file: string;
  readonly #byId = new Map<string, AuditEvent[]>();
  #offset = 0;

  constructor(file: string) {
    this.#file = file;
  }

  async read(): Promise<ReadonlyMap<string, readonly AuditEvent[]>> {
    const bytes = await readFile(this.#file);
    const text = bytes.toString('utf8', this.#offset);
    this.#offset = bytes.length;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const event = JSON.parse(line) as AuditEvent;
      const known = this.#byId.get(event.auditID);
      if (known === undefined) this.#byId.set(event.auditID, [event]);
      else known.push(event);
    }
    return this.#byId;
  }
}

export interface Arena {
  readonly cluster: Server;
  readonly direct: Server;
  /** Undefined: the cluster cannot reach this kexer. */
  readonly aggregated: Server | undefined;
  readonly admin: Credential;
  readonly kexer: KexerProcess;
  /** The account that carries calls of those without a token, as a subject of RBAC. */
  readonly impersonator: object;
  readonly impersonatorName: string;
  /** Of the cluster's client CA; undefined: nobody can issue one here. */
  certificate(user: CertificateUser): Promise<NonNullable<Credential['certificate']> | undefined>;
  /** Of a service account in the home namespace. */
  token(account: string, options?: { isExpired?: boolean; audience?: string }): Promise<string | undefined>;
  /** The front proxy's own certificate. */
  readonly frontProxy: Credential['certificate'] | undefined;
  /** kube-apiserver's events so far, by Audit-ID; undefined: its log cannot be read here. */
  readonly audit: AuditLog | undefined;
  /** This machine's address, for the cluster's apiserver; undefined: it cannot reach this machine. */
  readonly reachableAt: string | undefined;
  stop(): Promise<void>;
}

export const clusterPath = `/apis/backup.cv.io/v1/namespaces/${home}/clusters/local/exec`;

export async function sandboxArena(): Promise<Arena> {
  const scope = new Scope();
  try {
    const sandbox = await startSandbox({ hasSamplePods: false });
    scope.add(() => sandbox.stop());
    const { files } = sandbox;
    const kexer = await KexerProcess.start(files.kexerConfig);
    scope.add(() => kexer.stop());
    await sandbox.registerKexer({ port: kexer.port });
    const ca = await readFile(files.servingCaFile, 'utf8');
    const pair = async (cert: string, key: string): Promise<{ cert: string; key: string }> => ({
      cert: await readFile(cert, 'utf8'),
      key: await readFile(key, 'utf8'),
    });
    const { port } = sandbox.apiserver;
    return {
      cluster: { port, ca, basePath: '' },
      direct: { port: kexer.port, ca, basePath: clusterPath },
      aggregated: { port, ca, basePath: clusterPath },
      admin: { certificate: await pair(files.adminCertFile, files.adminKeyFile) },
      kexer,
      impersonator: { kind: 'ServiceAccount', name: 'kexer-impersonator', namespace: 'kexec-system' },
      impersonatorName: 'system:serviceaccount:kexec-system:kexer-impersonator',
      frontProxy: await pair(files.frontProxyCertFile, files.frontProxyKeyFile),
      certificate: remembered(({ name, groups, uid, isExpired }: CertificateUser) =>
        sandbox.clientCertificate({
          name,
          ...(groups === undefined ? {} : { groups }),
          ...(uid === undefined ? {} : { uids: [uid] }),
          ...(isExpired === true ? { notAfter: new Date(Date.now() - 60_000) } : {}),
        }),
      ),
      token: (account, { isExpired, audience } = {}) =>
        Promise.resolve(
          sandbox.serviceAccountToken(home, account, {
            ...(isExpired === true ? { expiresInSeconds: -60 } : {}),
            ...(audience === undefined ? {} : { audiences: [audience] }),
          }),
        ),
      audit: new AuditLog(files.auditLog),
      reachableAt: '127.0.0.1',
      stop: () => scope.close(),
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/** Makes each thing once: an RSA key costs a tenth of a second. */
export function remembered<A, V>(make: (argument: A) => Promise<V>): (argument: A) => Promise<V> {
  const made = new Map<string, Promise<V>>();
  return (argument) => {
    const key = JSON.stringify(argument);
    const known = made.get(key) ?? make(argument);
    made.set(key, known);
    return known;
  };
}

/** A certificate that no cluster has ever heard of. */
export const foreignCertificate = remembered(async (user: CertificateUser): Promise<{ cert: string; key: string }> => {
  const authority = await generateAuthority({ commonName: 'somebody else' });
  return generateClient(authority, { commonName: user.name, organizations: user.groups ?? [] });
});

/** Creates objects as the admin, by POST to their collections; what is there already stays. */
export async function createObjects(
  arena: Pick<Arena, 'cluster' | 'admin'>,
  objects: readonly (readonly [collection: string, object: object])[],
): Promise<void> {
  const client = new HttpClient(arena.cluster, arena.admin);
  try {
    for (const [path, object] of objects) {
      const { status, body } = await client.ask({
        method: 'POST',
        path,
        headers: [['Content-Type', 'application/json']],
        body: JSON.stringify(object),
      });
      if (status !== 201 && status !== 409) throw new Error(`Cannot create in ${path}: ${status} ${body.toString()}`);
    }
  } finally {
    client.close();
  }
}

/** Settles when the pods of the home namespace are Ready. */
export async function podsReady(arena: Arena, names: readonly string[]): Promise<void> {
  const client = new HttpClient(arena.cluster, arena.admin);
  try {
    for (const name of names) {
      for (;;) {
        const { body } = await client.ask({ method: 'GET', path: `/api/v1/namespaces/${home}/pods/${name}` });
        const { status } = JSON.parse(body.toString()) as {
          status?: { conditions?: { type: string; status: string }[] };
        };
        if (status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True')) break;
      }
    }
  } finally {
    client.close();
  }
}
