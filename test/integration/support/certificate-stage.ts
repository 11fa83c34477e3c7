// A sandbox in which kexers keep their serving certificate in the Secret, as in a cluster: the Secret is empty, the Service is there, and the
// APIService has no caBundle. Kexers are processes of their own; requests to them verify what they serve with.

import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';

import { parse, stringify } from 'yaml';

import { Scope } from '../../../src/base/scope.ts';
import { isRecord } from '../../../src/kube/objects.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { KexerProcess } from './kexer-process.ts';

export const secretKey = { group: '', resource: 'secrets', namespace: 'kexec-system', name: 'kexer-serving-cert' };
export const serviceKey = { group: '', resource: 'services', namespace: 'kexec-system', name: 'kexer' };
export const apiServiceKey = {
  group: 'apiregistration.k8s.io',
  resource: 'apiservices',
  namespace: '',
  name: 'v1.backup.cv.io',
};

export interface Asked {
  readonly status: number;
  readonly body: string;
  /** Of the certificate that was verified. */
  readonly serialNumber: string;
}

export class CertificateStage {
  readonly sandbox: Sandbox;
  readonly #scope: Scope;
  readonly #configFile: string;

  constructor(sandbox: Sandbox, scope: Scope, configFile: string) {
    this.sandbox = sandbox;
    this.#scope = scope;
    this.#configFile = configFile;
  }

  static async start(options: SandboxOptions = { hasKubelets: false }): Promise<CertificateStage> {
    const scope = new Scope();
    try {
      const sandbox = await startSandbox(options);
      scope.add(() => sandbox.stop());
      const config: unknown = parse(await readFile(sandbox.files.kexerConfig, 'utf8'));
      const server = isRecord(config) && isRecord(config['server']) ? config['server'] : {};
      const { tlsCertFile: _cert, tlsPrivateKeyFile: _key, ...rest } = server;
      const configFile = join(sandbox.dir, 'kexer-secret.yaml');
      const certificates = { servingSecret: 'kexec-system/kexer-serving-cert' };
      await writeFile(configFile, stringify({ ...(isRecord(config) ? config : {}), server: rest, certificates }));
      const stage = new CertificateStage(sandbox, scope, configFile);
      stage.putSecret({});
      await sandbox.registerKexer({ port: 1 });
      stage.setCaBundle(undefined);
      return stage;
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** A kexer that listens; whether it is ready is not waited for. */
  async kexer(flags: readonly string[] = [], configFile = this.#configFile): Promise<KexerProcess> {
    const own = ['--config', configFile, '--secure-port', '0', '--shutdown-delay-duration', '0s'];
    const kexer = new KexerProcess([...own, ...flags]);
    this.#scope.add(() => kexer.stop().then(() => undefined));
    await kexer.untilLogged('serving');
    return kexer;
  }

  /** Where the Service leads. */
  place(port: number): void {
    const slice = { group: 'discovery.k8s.io', resource: 'endpointslices', namespace: 'kexec-system', name: 'kexer-1' };
    this.sandbox.store.mutate(slice, (draft) => {
      draft['ports'] = [{ name: 'https', protocol: 'TCP', port }];
    });
  }

  putSecret(data: Readonly<Record<string, string>>, type = 'Opaque'): void {
    const { store } = this.sandbox;
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
    );
    if (store.get(secretKey) === undefined) {
      const { namespace, name } = secretKey;
      store.create(secretKey, { apiVersion: 'v1', kind: 'Secret', type, metadata: { namespace, name }, data: encoded });
    } else {
      store.mutate(secretKey, (draft) => {
        draft['data'] = encoded;
      });
    }
  }

  secret(): Record<string, string> {
    const data = this.sandbox.store.get(secretKey)?.['data'];
    return Object.fromEntries(
      Object.entries(isRecord(data) ? data : {}).map(([key, text]) => [
        key,
        typeof text === 'string' ? Buffer.from(text, 'base64').toString() : '',
      ]),
    );
  }

  setCaBundle(pem: string | undefined): void {
    this.sandbox.store.mutate(apiServiceKey, (draft) => {
      const { caBundle: _, ...spec } = isRecord(draft['spec']) ? draft['spec'] : {};
      draft['spec'] = { ...spec, ...(pem === undefined ? {} : { caBundle: Buffer.from(pem).toString('base64') }) };
    });
  }

  caBundle(): string {
    const spec = this.sandbox.store.get(apiServiceKey)?.['spec'];
    const caBundle = isRecord(spec) ? spec['caBundle'] : undefined;
    return typeof caBundle === 'string' ? Buffer.from(caBundle, 'base64').toString() : '';
  }

  /** The status of the condition `Available`, and its reason. */
  availability(): string {
    const status = this.sandbox.store.get(apiServiceKey)?.['status'];
    const conditions: unknown = isRecord(status) ? status['conditions'] : undefined;
    const first: unknown = Array.isArray(conditions) ? conditions[0] : undefined;
    return isRecord(first) ? `${String(first['status'])} ${String(first['reason'])}` : '';
  }
}

/** A GET on a connection of its own. @throws what TLS objects to */
export function ask(
  port: number,
  path: string,
  options: { ca?: string | undefined; token?: string; servername?: string } = {},
): Promise<Asked> {
  const { ca, token, servername = 'kexer.kexec-system.svc' } = options;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        path,
        servername,
        agent: false,
        ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
        headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
      },
      (response) => {
        const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate();
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.once('end', () => resolve({ status: response.statusCode ?? 0, body, serialNumber }));
      },
    );
    outgoing.once('error', reject);
    outgoing.end();
  });
}

const patienceMs = 15_000;

/** Asks again and again, a turn of the event loop between, until it is so. */
export async function untilTrue(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const startMs = performance.now();
  while (!(await isSo())) {
    if (performance.now() - startMs > patienceMs) throw new Error(`it did not come to be: ${String(isSo)}`);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
