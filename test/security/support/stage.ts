// What the tests of this folder play on: a sandbox in this process, the real kexer in a process of its own, and a wiretap between kexer and
// the sandbox's apiserver. All files share one, because each costs seconds: every test makes users of its own, and puts back what it
// changes. When the last file is done, kexer must be alive and no token may be anywhere in what it has written.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Scope } from '../../../src/base/scope.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { type Credential, HttpClient, type Server } from './http-client.ts';
import { KexerProcess } from './kexer-process.ts';
import type { RawTarget } from './raw-client.ts';
import { Wiretap } from './wiretap.ts';

export const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

const rbac = 'rbac.authorization.k8s.io';

export class SecurityStage {
  readonly sandbox: Sandbox;
  readonly tap: Wiretap;
  readonly kexer: KexerProcess;
  readonly ca: string;
  readonly frontProxy: CertificatePair;
  readonly admin: CertificatePair;
  readonly #scope: Scope;
  /** Everything secret that was ever sent to kexer. */
  readonly #secrets = new Set<string>();
  #nextName = 1;

  private constructor(
    scope: Scope,
    parts: {
      sandbox: Sandbox;
      tap: Wiretap;
      kexer: KexerProcess;
      ca: string;
      frontProxy: CertificatePair;
      admin: CertificatePair;
    },
  ) {
    this.#scope = scope;
    this.sandbox = parts.sandbox;
    this.tap = parts.tap;
    this.kexer = parts.kexer;
    this.ca = parts.ca;
    this.frontProxy = parts.frontProxy;
    this.admin = parts.admin;
    for (const token of Object.values(parts.sandbox.tokens)) this.#secrets.add(token);
  }

  static async start(): Promise<SecurityStage> {
    const scope = new Scope();
    try {
      const sandbox = await startSandbox();
      scope.add(() => sandbox.stop());
      const { files } = sandbox;
      const ca = await readFile(files.servingCaFile, 'utf8');
      const { kexer, tap } = await startTapped(scope, sandbox, ca, []);
      await sandbox.registerKexer({ port: kexer.port });
      await sandbox.ready();
      const stage = new SecurityStage(scope, {
        sandbox,
        tap,
        kexer,
        ca,
        frontProxy: await readPair(files.frontProxyCertFile, files.frontProxyKeyFile),
        admin: await readPair(files.adminCertFile, files.adminKeyFile),
      });
      for (const file of [files.impersonatorTokenFile, files.kexerKubeconfig, files.kexerKubeletKeyFile]) {
        stage.#addSecrets(await readFile(file, 'utf8'));
      }
      await stage.#whenAvailable();
      return stage;
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  /** kexer's port, for bytes. */
  raw(certificate?: CertificatePair): RawTarget {
    return { port: this.kexer.port, ca: this.ca, certificate };
  }

  /** The apiserver's port, whose aggregation layer leads to kexer. */
  front(certificate?: CertificatePair): RawTarget {
    return { port: this.sandbox.apiserver.port, ca: this.ca, certificate };
  }

  /** Calls on the local cluster through kexer. */
  get direct(): Server {
    return { port: this.kexer.port, ca: this.ca, basePath: clusterPath };
  }

  get aggregated(): Server {
    return { port: this.sandbox.apiserver.port, ca: this.ca, basePath: clusterPath };
  }

  get cluster(): Server {
    return { port: this.sandbox.apiserver.port, ca: this.ca, basePath: '' };
  }

  /** A client that is closed with the stage, if nobody does it before. */
  client(server: Server, credential: Credential): HttpClient {
    const client = new HttpClient(server, credential);
    this.#scope.add(() => client.close());
    return client;
  }

  /** A name nobody has yet. */
  freshName(prefix: string): string {
    this.#nextName += 1;
    return `${prefix}-${this.#nextName}`;
  }

  /** A service account of its own with a ClusterRole in `default` (edit unless named) and the right to use kexer. */
  async account(options: { role?: string; kexerRole?: string } = {}): Promise<{ name: string; token: string }> {
    const account = this.freshName('account');
    const subject = { kind: 'ServiceAccount', name: account, namespace: 'default' };
    await this.create('/api/v1/namespaces/default/serviceaccounts', {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: account },
    });
    await this.bind(options.role ?? 'edit', subject);
    await this.bind(options.kexerRole ?? 'kexer-user', subject);
    const token = this.sandbox.serviceAccountToken('default', account);
    this.secret(token);
    return { name: `system:serviceaccount:default:${account}`, token };
  }

  /** A user of their own by certificate, with a ClusterRole in `default` and the right to use kexer. */
  async user(
    options: { role?: string; groups?: readonly string[]; notAfter?: Date; name?: string } = {},
  ): Promise<{ name: string; certificate: CertificatePair }> {
    const { role = 'edit', groups = [], notAfter } = options;
    const name = options.name ?? this.freshName('user');
    const subject = { apiGroup: rbac, kind: 'User', name };
    await this.bind(role, subject);
    await this.bind('kexer-user', subject);
    const certificate = await this.sandbox.clientCertificate({
      name,
      groups,
      ...(notAfter === undefined ? {} : { notAfter }),
    });
    return { name: makeUser({ name }).name, certificate };
  }

  /** Gives a ClusterRole in `default`. */
  bind(role: string, subject: object): Promise<void> {
    return this.create(`/apis/${rbac}/v1/namespaces/default/rolebindings`, {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata: { name: this.freshName('binding') },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
      subjects: [subject],
    });
  }

  /** A ClusterRole of these rules. */
  async role(...rules: readonly object[]): Promise<string> {
    const name = this.freshName('role');
    await this.create(`/apis/${rbac}/v1/clusterroles`, {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules,
    });
    return name;
  }

  /** Creates an object as the admin, at the cluster itself. */
  async create(path: string, object: object): Promise<void> {
    const client = new HttpClient(this.cluster, { certificate: this.admin });
    try {
      const body = JSON.stringify(object);
      const headers = [['Content-Type', 'application/json']] as const;
      const answer = await client.ask({ method: 'POST', path, headers, body });
      if (answer.status !== 201)
        throw new Error(`Cannot create in ${path}: ${answer.status} ${answer.body.toString()}`);
    } finally {
      client.close();
    }
  }

  /** Tokens and lines of private keys in a file. */
  #addSecrets(text: string): void {
    for (const [secret] of text.matchAll(/\beyJ[\w.-]+|^[\w+/]{64}$/gm)) this.#secrets.add(secret);
  }

  /**
   * Another kexer with flags of its own, behind a wiretap of its own, which may intercept from the first call on; ended by the function
   * returned.
   */
  async another(
    flags: readonly string[] = [],
    intercept?: Wiretap['intercept'],
  ): Promise<{ kexer: KexerProcess; tap: Wiretap; stop: () => Promise<void> }> {
    const scope = new Scope();
    try {
      const started = await startTapped(scope, this.sandbox, this.ca, flags, intercept);
      return { ...started, stop: () => scope.close() };
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  /** Must never be found in what kexer writes. */
  secret(text: string): void {
    this.#secrets.add(text);
  }

  /** @throws Error if kexer has ended, has written nonsense, or has logged a secret. */
  check(): void {
    this.kexer.assertAlive();
    if (this.tap.problems.length > 0) throw new Error(`kexer wrote no HTTP: ${String(this.tap.problems[0])}`);
    const { output } = this.kexer;
    const found = [...this.#secrets].filter((secret) => output.includes(secret));
    if (found.length > 0) throw new Error(`kexer has logged ${found.length} of ${this.#secrets.size} secrets`);
    if (/eyJ[\w-]+\.[\w-]+/.test(output)) throw new Error('kexer has logged something that looks like a token');
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** Until the aggregation layer has seen that kexer answers. */
  async #whenAvailable(): Promise<void> {
    const client = new HttpClient(this.aggregated, { certificate: this.admin });
    try {
      for (;;) {
        const { status } = await client.ask({ method: 'GET', path: '/api/v1/nodes' });
        if (status === 200) return;
      }
    } finally {
      client.close();
    }
  }
}

let shared: Promise<SecurityStage> | undefined;
let users = 0;

/** Call inside `describe`: the stage of this run, there from the first `it` on. */
export function useStage(): () => SecurityStage {
  let stage: SecurityStage | undefined;
  users += 1;
  before('the sandbox, kexer, and a wiretap between them', async function () {
    this.timeout(60_000);
    shared ??= SecurityStage.start();
    stage = await shared;
  });
  after('kexer is well and has logged no secret', async () => {
    users -= 1;
    try {
      stage?.check();
    } finally {
      if (users === 0) await stage?.stop();
      if (users === 0) shared = undefined;
    }
  });
  return () => {
    if (stage === undefined) throw new Error('There is no stage before the first test');
    return stage;
  };
}

async function readPair(certFile: string, keyFile: string): Promise<CertificatePair> {
  return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
}

/** kexer with a wiretap where it believes the apiserver to be. */
async function startTapped(
  scope: Scope,
  sandbox: Sandbox,
  ca: string,
  flags: readonly string[],
  intercept?: Wiretap['intercept'],
): Promise<{ kexer: KexerProcess; tap: Wiretap }> {
  const { files, apiserver, dir } = sandbox;
  const pair = await readPair(files.kexerCertFile, files.kexerKeyFile);
  const tap = await Wiretap.start({ target: { port: apiserver.port, ca }, pair });
  scope.add(() => tap.stop());
  tap.intercept = intercept;
  const kubeconfig = join(dir, `tapped-${tap.port}.kubeconfig`);
  const own = await readFile(files.kexerKubeconfig, 'utf8');
  await writeFile(kubeconfig, own.replaceAll(apiserver.url, `https://127.0.0.1:${tap.port}`), { mode: 0o600 });
  const kexer = await KexerProcess.start(files.kexerConfig, ['--kubeconfig', kubeconfig, ...flags]);
  scope.add(() => kexer.stop());
  return { kexer, tap };
}
