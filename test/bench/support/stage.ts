// What the bench plays on: the sandbox's apiserver, the bench's kubelet, its clients, and the contestants in between, each a process.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../../src/certs/generate.ts';
import type { ClientOffers } from '../processes/client.ts';
import type { KubeletOffers } from '../processes/kubelet.ts';
import type { RelayOffers } from '../processes/relay.ts';
import type { SandboxFacts, SandboxOffers } from '../processes/sandbox.ts';
import { Child } from './child.ts';
import { Kexer } from './kexer.ts';
import { findNginx, Nginx, type NginxBinary } from './nginx.ts';
import type { Route } from './route.ts';

export const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url));
const cacheDir = join(repositoryRoot, 'node_modules/.cache/kexer-bench');

/** Somebody between client and kubelet whose cost can be read. */
export interface Contestant {
  readonly name: string;
  readonly pid: number;
  readonly route: Route;
  /** To the second kubelet. */
  readonly quietRoute: Route;
  stop(): Promise<void>;
}

export interface KexerContestant extends Contestant {
  readonly servingMs: number;
  readonly readyMs: number;
}

export type Routes = Pick<Contestant, 'route' | 'quietRoute'>;

function plainRoutes([port = 0, quietPort = 0]: readonly number[]): Routes {
  return { route: { port, isKexer: false }, quietRoute: { port: quietPort, isKexer: false } };
}

export interface StageOptions {
  /** The folder of kexer's `dist`; default: this repository. */
  readonly root?: string;
  /** Further kexers to compare with, by name: folders that hold a `dist`. */
  readonly others?: Readonly<Record<string, string>>;
  /** For Node of every kexer, such as --cpu-prof. */
  readonly kexerArgv?: readonly string[];
}

export class Stage {
  readonly client: Child<ClientOffers>;
  readonly sandbox: Child<SandboxOffers>;
  readonly facts: SandboxFacts;
  readonly nginxVersion: string;
  readonly #scope: Scope;
  readonly #dir: string;
  readonly #pair: KeyPairPem;
  readonly #kubeletPorts: readonly number[];
  readonly #nginx: NginxBinary;
  readonly #options: StageOptions;

  private constructor(
    scope: Scope,
    parts: {
      client: Child<ClientOffers>;
      sandbox: Child<SandboxOffers>;
      facts: SandboxFacts;
      dir: string;
      pair: KeyPairPem;
      kubeletPorts: readonly number[];
      nginx: NginxBinary;
    },
    options: StageOptions,
  ) {
    this.#scope = scope;
    this.client = parts.client;
    this.sandbox = parts.sandbox;
    this.facts = parts.facts;
    this.nginxVersion = parts.nginx.version;
    this.#dir = parts.dir;
    this.#pair = parts.pair;
    this.#kubeletPorts = parts.kubeletPorts;
    this.#nginx = parts.nginx;
    this.#options = options;
  }

  static async start(options: StageOptions = {}): Promise<Stage> {
    const scope = new Scope();
    try {
      return await Stage.#start(scope, options);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  static async #start(scope: Scope, options: StageOptions): Promise<Stage> {
    await mkdir(cacheDir, { recursive: true });
    const nginx = await findNginx(cacheDir);
    const dir = await mkdtemp(join(tmpdir(), 'kexer-bench-'));
    scope.add(() => rm(dir, { recursive: true, force: true }));
    const authority = await generateAuthority({ commonName: 'bench' });
    const pair = await generateServing(authority, { commonName: 'bench', ipAddresses: ['127.0.0.1'] });
    await writeFile(join(dir, 'ca.crt'), authority.cert);
    await writeFile(join(dir, 'tls.crt'), pair.cert);
    await writeFile(join(dir, 'tls.key'), pair.key, { mode: 0o600 });
    const child = <O extends Record<string, (input: never) => Promise<unknown>>>(file: string): Child<O> => {
      const started = new Child<O>(`../processes/${file}.ts`);
      scope.add(() => started.stop());
      return started;
    };
    const kubelets = [child<KubeletOffers>('kubelet'), child<KubeletOffers>('kubelet')];
    const sandbox = child<SandboxOffers>('sandbox');
    const client = child<ClientOffers>('client');
    const kubeletPorts = await Promise.all(kubelets.map((kubelet) => kubelet.call('listen', pair)));
    const facts = await sandbox.call('start', { kubeletPorts });
    return new Stage(scope, { client, sandbox, facts, dir, pair, kubeletPorts, nginx }, options);
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** Straight to the kubelets: the limit. */
  get straight(): Routes {
    return plainRoutes(this.#kubeletPorts);
  }

  /** Straight to the sandbox's kube-apiserver. */
  get apiserver(): Route {
    return { port: this.facts.apiserverPort, isKexer: false, token: this.facts.token };
  }

  /** A process of clients more, for what must not wait behind the others. */
  moreClients(): Child<ClientOffers> {
    const more = new Child<ClientOffers>('../processes/client.ts');
    this.#scope.add(() => more.stop());
    return more;
  }

  /** kexer, and those of {@link StageOptions.others}. */
  async kexers(): Promise<KexerContestant[]> {
    const roots = { kexer: this.#options.root ?? repositoryRoot, ...this.#options.others };
    return Promise.all(Object.entries(roots).map(([name, root]) => this.kexer(name, root)));
  }

  async kexer(name = 'kexer', root = this.#options.root ?? repositoryRoot): Promise<KexerContestant> {
    const kexer = await Kexer.start({
      root,
      flags: this.facts.kexerFlags,
      kubeletCaFile: join(this.#dir, 'ca.crt'),
      ...(this.#options.kexerArgv === undefined ? {} : { execArgv: this.#options.kexerArgv }),
    });
    const route = { port: kexer.port, isKexer: true, token: this.facts.token };
    const { servingMs, readyMs } = kexer;
    return { ...this.#contestant(name, kexer, { route, quietRoute: { ...route, pod: 'db' } }), servingMs, readyMs };
  }

  async nginx(): Promise<Contestant> {
    const dir = await mkdtemp(join(this.#dir, 'nginx-'));
    const nginx = await Nginx.start(this.#nginx, {
      dir,
      certFile: join(this.#dir, 'tls.crt'),
      keyFile: join(this.#dir, 'tls.key'),
      to: this.#kubeletPorts,
    });
    return this.#contestant('nginx', nginx, plainRoutes(nginx.ports));
  }

  /** Two `pipeline`s in Node. */
  async relay(): Promise<Contestant> {
    const relay = new Child<RelayOffers>('../processes/relay.ts');
    const ports = await Promise.all(this.#kubeletPorts.map((to) => relay.call('listen', { ...this.#pair, to })));
    return this.#contestant('pipeline', relay, plainRoutes(ports));
  }

  #contestant(name: string, process: { readonly pid: number; stop(): Promise<void> }, routes: Routes): Contestant {
    const forget = this.#scope.add(() => process.stop());
    return {
      name,
      pid: process.pid,
      ...routes,
      stop: async () => {
        forget();
        await process.stop();
      },
    };
  }
}
