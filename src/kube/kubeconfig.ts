// Reads a kubeconfig file: one context of it becomes an endpoint and a credential. Everything wrong with it is reported at once. Relative
// paths are relative to the file, inline data goes before files, as in client-go. What kexer does not do (proxies, basic auth, the removed
// auth-provider, impersonation by kubeconfig) is refused by name: half of a configuration would be another identity or another way.

import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';

import type { Clock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { CertificateSource, ClusterAccess, Credential, Endpoint, TokenSource } from './credential.ts';
import { execCredential } from './exec-plugin.ts';
import { isRecord } from './objects.ts';
import { checkedPair, fileCertificate, fileToken, fixedCertificate, fixedToken } from './sources.ts';

type Fields = Readonly<Record<string, unknown>>;

/** @throws KexerError config: one sentence that names the file and every problem in it. */
export async function loadKubeconfig(
  deps: { clock: Clock },
  options: {
    file: string;
    /** What was read of it already; `file` is then its name in messages, and what relative paths start from. */
    document?: Fields;
    /** Default: its current-context. */
    context?: string;
    /** For an endpoint that may want none: a webhook's. */
    isCredentialOptional?: boolean;
    /** For exec plugins. */
    environment?: Readonly<Record<string, string | undefined>>;
  },
): Promise<ClusterAccess> {
  const reader = new Reader(deps, options.file, options.environment ?? {});
  const document = options.document ?? (await reader.parse());
  const access = await reader.access(document, options);
  if (access === undefined || reader.problems.length > 0) {
    throw new KexerError('config', `Cannot use the kubeconfig ${quote(options.file)}: ${reader.problems.join('; ')}`);
  }
  return access;
}

class Reader {
  readonly problems: string[];
  readonly #clock: Clock;
  readonly #file: string;
  readonly #environment: Readonly<Record<string, string | undefined>>;

  constructor(deps: { clock: Clock }, file: string, environment: Readonly<Record<string, string | undefined>>) {
    this.problems = [];
    this.#clock = deps.clock;
    this.#file = file;
    this.#environment = environment;
  }

  async parse(): Promise<Fields> {
    let text: string;
    try {
      text = await readFile(this.#file, 'utf8');
    } catch (cause) {
      throw new KexerError('config', `Cannot read the kubeconfig ${quote(this.#file)}`, { cause });
    }
    const json = parseJson(text);
    if (json !== undefined) return json;
    // Only here: neither a pod's in-cluster configuration nor one that is written as JSON needs the library, which costs 7 MiB.
    const { parseDocument } = await import('yaml');
    const document = parseDocument(text, { prettyErrors: true });
    const [first] = document.errors;
    if (first !== undefined) {
      // The first line of the message names line and column; the rest quotes the file, which may hold secrets.
      const line = first.message.split('\n', 1)[0] ?? '';
      throw new KexerError('config', `Cannot parse the kubeconfig ${quote(this.#file)}: ${line.replace(/:$/, '')}`);
    }
    const value: unknown = document.toJS();
    if (isRecord(value)) return value;
    throw new KexerError('config', `Cannot use the kubeconfig ${quote(this.#file)}: want a mapping`);
  }

  async access(
    document: Fields,
    options: { context?: string; isCredentialOptional?: boolean },
  ): Promise<ClusterAccess | undefined> {
    const contextName = options.context ?? this.#text(document, 'current-context', 'it');
    if (contextName === '') {
      this.problems.push('it has no current-context');
      return undefined;
    }
    const context = this.#named(document, 'contexts', 'context', contextName);
    if (context === undefined) return undefined;
    const where = `context ${quote(contextName)}`;
    const clusterName = this.#text(context, 'cluster', where);
    const userName = this.#text(context, 'user', where);
    const namespace = this.#text(context, 'namespace', where);
    const cluster = this.#named(document, 'clusters', 'cluster', clusterName);
    const isAnonymous = options.isCredentialOptional === true && userName === '';
    const user = isAnonymous ? {} : this.#named(document, 'users', 'user', userName);
    const endpoint = cluster && (await this.#endpoint(cluster, `cluster ${quote(clusterName)}`));
    const credential =
      options.isCredentialOptional === true && user !== undefined && Object.keys(user).length === 0
        ? { kind: 'none' as const }
        : user && (await this.#credential(user, `user ${quote(userName)}`, cluster, endpoint));
    if (endpoint === undefined || credential === undefined) return undefined;
    return { endpoint, credential, namespace: namespace === '' ? 'default' : namespace };
  }

  async #endpoint(cluster: Fields, where: string): Promise<Endpoint | undefined> {
    const server = this.#text(cluster, 'server', where);
    const url = URL.canParse(server) ? new URL(server) : undefined;
    if (server === '') this.problems.push(`${where} has no server`);
    else if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.host === '') {
      this.problems.push(`the server of ${where} is no http or https URL`);
    } else if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
      this.problems.push(`the server of ${where} has more than scheme, host, port and path`);
    }
    if (this.#text(cluster, 'proxy-url', where) !== '')
      this.problems.push(`${where} has a proxy-url, which is not supported`);
    const isInsecure = cluster['insecure-skip-tls-verify'] === true;
    const ca = await this.#dataOrFile(cluster, 'certificate-authority', where);
    if (isInsecure && ca !== undefined) {
      this.problems.push(`${where} has both a certificate-authority and insecure-skip-tls-verify`);
    }
    if (ca !== undefined && !ca.includes('-----BEGIN CERTIFICATE-----')) {
      this.problems.push(`the certificate-authority of ${where} holds no PEM certificate`);
    }
    const servername = this.#text(cluster, 'tls-server-name', where);
    return {
      url: server.replace(/\/+$/, ''),
      ca,
      isVerified: !isInsecure,
      servername: servername === '' ? undefined : servername,
    };
  }

  async #credential(
    user: Fields,
    where: string,
    cluster: Fields | undefined,
    endpoint: Endpoint | undefined,
  ): Promise<Credential | undefined> {
    for (const key of ['username', 'password', 'auth-provider', 'as', 'as-uid', 'as-groups', 'as-user-extra']) {
      const value = user[key];
      if (value !== undefined && value !== null && value !== '') {
        this.problems.push(`${where} has ${key}, which is not supported`);
      }
    }
    const exec = user['exec'];
    const token = await this.#token(user, where);
    const certificate = await this.#certificate(user, where);
    if (isRecord(exec)) {
      // client-go: what stands beside a plugin wins, but nobody means that.
      if (token !== undefined || certificate !== undefined) {
        this.problems.push(`${where} has exec and another credential`);
      }
      return this.#plugin(exec, where, cluster, endpoint);
    }
    if (token !== undefined && certificate !== undefined) return { kind: 'both', token, certificate };
    if (token !== undefined) return { kind: 'token', token };
    if (certificate !== undefined) return { kind: 'certificate', certificate };
    this.problems.push(`${where} has no credential`);
    return undefined;
  }

  async #token(user: Fields, where: string): Promise<TokenSource | undefined> {
    const file = this.#text(user, 'tokenFile', where);
    const token = this.#text(user, 'token', where);
    if (file === '') return token === '' ? undefined : fixedToken(token);
    const source = fileToken({ clock: this.#clock }, this.#resolve(file));
    // Read once now, so that a wrong name is found at the start.
    await this.#attempt(() => source.read());
    return source;
  }

  async #certificate(user: Fields, where: string): Promise<CertificateSource | undefined> {
    const certData = this.#data(user, 'client-certificate-data', where);
    const keyData = this.#data(user, 'client-key-data', where);
    const certFile = this.#text(user, 'client-certificate', where);
    const keyFile = this.#text(user, 'client-key', where);
    const hasCert = certData !== undefined || certFile !== '';
    const hasKey = keyData !== undefined || keyFile !== '';
    if (!hasCert && !hasKey) return undefined;
    if (!hasCert || !hasKey) {
      this.problems.push(
        `${where} has a client ${hasCert ? 'certificate without its key' : 'key without its certificate'}`,
      );
      return undefined;
    }
    if (certData === undefined && keyData === undefined) {
      const files = { certFile: this.#resolve(certFile), keyFile: this.#resolve(keyFile) };
      const source = fileCertificate({ clock: this.#clock }, files);
      await this.#attempt(() => source.read());
      return source;
    }
    return this.#attempt(async () => {
      const cert = certData ?? (await this.#readFile(certFile));
      const key = keyData ?? (await this.#readFile(keyFile));
      const names = { certFile: `client-certificate-data of ${where}`, keyFile: `client-key-data of ${where}` };
      return fixedCertificate(checkedPair({ cert, key }, names));
    });
  }

  #plugin(
    exec: Fields,
    where: string,
    cluster: Fields | undefined,
    endpoint: Endpoint | undefined,
  ): Credential | undefined {
    const apiVersion = this.#text(exec, 'apiVersion', where);
    const command = this.#text(exec, 'command', where);
    if (!/^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion)) {
      this.problems.push(
        `the exec of ${where} has the apiVersion ${quote(apiVersion)}, want client.authentication.k8s.io/v1`,
      );
    }
    if (command === '') this.problems.push(`the exec of ${where} has no command`);
    if (exec['interactiveMode'] === 'Always') {
      this.problems.push(`the exec of ${where} wants a terminal (interactiveMode Always)`);
    }
    const args = exec['args'] ?? [];
    if (!Array.isArray(args) || !args.every((arg) => typeof arg === 'string')) {
      this.problems.push(`the args of the exec of ${where} are no list of strings`);
      return undefined;
    }
    const env = exec['env'] ?? [];
    if (!Array.isArray(env) || !env.every(isNameValue)) {
      this.problems.push(`the env of the exec of ${where} is no list of names and values`);
      return undefined;
    }
    const isClusterShown = exec['provideClusterInfo'] === true && endpoint !== undefined;
    return execCredential(
      { clock: this.#clock },
      {
        apiVersion,
        command,
        args,
        env,
        installHint: this.#text(exec, 'installHint', where),
        cluster: isClusterShown ? pluginClusterInfo(endpoint, cluster) : undefined,
        folder: dirname(this.#file),
        environment: this.#environment,
      },
    );
  }

  /** `KEY-data`, else the file `KEY`. */
  async #dataOrFile(fields: Fields, key: string, where: string): Promise<string | undefined> {
    const data = this.#data(fields, `${key}-data`, where);
    if (data !== undefined) return data;
    const file = this.#text(fields, key, where);
    return file === '' ? undefined : this.#attempt(() => this.#readFile(file));
  }

  #data(fields: Fields, key: string, where: string): string | undefined {
    const text = this.#text(fields, key, where).replaceAll(/\s/g, '');
    if (text === '') return undefined;
    if (/^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length % 4 === 0)
      return Buffer.from(text, 'base64').toString('utf8');
    this.problems.push(`${key} of ${where} is no base64`);
    return undefined;
  }

  /** A string, '' if absent; a problem if it is something else. */
  #text(fields: Fields, key: string, where: string): string {
    const value = fields[key];
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') return value;
    this.problems.push(`${key} of ${where} is no string`);
    return '';
  }

  /** The entry called `name` in a list of `{ name, KIND: … }`; the first, as client-go has it. */
  #named(document: Fields, list: string, kind: string, name: string): Fields | undefined {
    const entries = document[list] ?? [];
    if (!Array.isArray(entries)) {
      this.problems.push(`${list} is no list`);
      return undefined;
    }
    const entry: unknown = entries.find((item) => isRecord(item) && item['name'] === name);
    const fields = isRecord(entry) ? entry[kind] : undefined;
    if (isRecord(fields)) return fields;
    this.problems.push(`it has no ${kind} ${quote(name)}`);
    return undefined;
  }

  #resolve(path: string): string {
    return isAbsolute(path) ? path : join(dirname(this.#file), path);
  }

  async #readFile(path: string): Promise<string> {
    return readFile(this.#resolve(path), 'utf8');
  }

  async #attempt<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.problems.push(describeError(error));
      return undefined;
    }
  }
}

function isNameValue(value: unknown): value is { name: string; value: string } {
  return isRecord(value) && typeof value['name'] === 'string' && typeof value['value'] === 'string';
}

/** `spec.cluster` of an ExecCredential, with the cluster's extension for plugins. */
function pluginClusterInfo(endpoint: Endpoint, cluster: Fields | undefined): Record<string, unknown> {
  const extensions = cluster?.['extensions'];
  const extension: unknown = Array.isArray(extensions)
    ? extensions.find((item) => isRecord(item) && item['name'] === 'client.authentication.k8s.io/exec')
    : undefined;
  return {
    server: endpoint.url,
    ...(endpoint.servername === undefined ? {} : { 'tls-server-name': endpoint.servername }),
    ...(endpoint.isVerified ? {} : { 'insecure-skip-tls-verify': true }),
    ...(endpoint.ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(endpoint.ca).toString('base64') }),
    ...(isRecord(extension) ? { config: extension['extension'] } : {}),
  };
}

/** JSON is YAML; whatever begins like it and is none is left to the one who can say where. */
function parseJson(text: string): Fields | undefined {
  if (!text.trimStart().startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
