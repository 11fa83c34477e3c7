// The sandbox: a whole small cluster in one process, for a user's first five minutes and for the tests. It starts an apiserver and
// two kubelets on loopback, seeds them, and writes the files that kubectl and kexer need. It is no cluster: pods are local processes
// of the user who started it.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { type Clock, systemClock } from '../base/clock.ts';
import { Scope } from '../base/scope.ts';
import { generateClient } from '../certs/generate.ts';
import { makeUser } from '../kube/user.ts';
import { ClusterApiserver } from './apiserver/cluster-apiserver.ts';
import { defaultAudience } from './apiserver/identity/service-account-tokens.ts';
import { Store } from './apiserver/store.ts';
import {
  type CredentialFiles,
  type Credentials,
  makeCredentials,
  userAlice,
  userViewer,
  writeCredentials,
} from './credentials.ts';
import { ClusterClient } from './controllers/cluster-client.ts';
import { Controllers } from './controllers/controllers.ts';
import { dumpCommand } from './kubelet/commands.ts';
import { Kubelet } from './kubelet/kubelet.ts';
import { tellFolderGoes, tellSecret } from './made-secrets.ts';
import { accountKubeconfig, sandboxKubeconfig, writeKexerConfig, writeKubeconfig } from './kubeconfigs.ts';
import { samplePodNames, samplePods, sampleNamespace } from './seed-pods.ts';
import { kexerNamespace, seedCluster, seedKexer } from './seed.ts';

export interface SandboxOptions {
  /** Folder for everything the sandbox writes; made if absent. Left out: a temporary folder, removed again by `stop()`. */
  readonly dir?: string;
  /** Port of the apiserver; 0 (the default) takes a free one. */
  readonly apiserverPort?: number;
  readonly clock?: Clock;
  /** Whether the pods demo, multi, ticker and db are created; default true. */
  readonly hasSamplePods?: boolean;
  /** Nodes without kubelets and pods: the quick form for tests that need only the apiserver; default true. */
  readonly hasKubelets?: boolean;
  /**
   * Whether kexer's namespace, accounts and rights are there from the start; default true. False: a cluster that has never heard of kexer, to
   * which its manifests are applied. The files that need the accounts (`kexerKubeconfig`, `kexerConfig` and the impersonator's) are not written.
   */
  readonly hasKexer?: boolean;
  /** Whether the kubelets' certificates are signed by the cluster's own CA, as with serverTLSBootstrap; default: by one of their own. */
  readonly hasClusterCaOnKubelets?: boolean;
  /** Base names of images whose pods the kubelets leave alone: whoever started the sandbox runs them and writes their status. */
  readonly foreignImages?: readonly string[];
  /** Lines for people, seldom: a defect behind a 500, a pod that cannot start. Default: nowhere. */
  readonly log?: (line: string) => void;
}

/** PEM files in the sandbox's folder; `…CertFile` and `…KeyFile` belong together. */
export interface SandboxFiles {
  /** The CA that signed the apiserver's and kexer's serving certificates. */
  readonly servingCaFile: string;
  /** The CA of users' client certificates: `client-ca-file`. */
  readonly clientCaFile: string;
  /** The CA of the front proxy: `requestheader-client-ca-file`. */
  readonly frontProxyCaFile: string;
  readonly frontProxyCertFile: string;
  readonly frontProxyKeyFile: string;
  /** The CA that signed the kubelets' serving certificates. */
  readonly kubeletCaFile: string;
  /** kexer's own serving certificate: localhost, 127.0.0.1, kexer.kexec-system.svc. */
  readonly kexerCertFile: string;
  readonly kexerKeyFile: string;
  /** kexer's kubelet credential: user kexer-kubelet, nodes/proxy get and create. */
  readonly kexerKubeletCertFile: string;
  readonly kexerKubeletKeyFile: string;
  readonly adminCertFile: string;
  readonly adminKeyFile: string;
  /** Kubeconfig of kexer's reviews and informers (token of kexec-system/kexer). */
  readonly kexerKubeconfig: string;
  /** Kubeconfig of the impersonator (token of kexec-system/kexer-impersonator). */
  readonly impersonatorKubeconfig: string;
  /** The same token alone, as `identity.impersonator.tokenFile` wants it. */
  readonly impersonatorTokenFile: string;
  /** What `kexer serve --config` starts with. */
  readonly kexerConfig: string;
  /** For people and kubectl: see {@link Sandbox.contexts}. */
  readonly kubeconfig: string;
  /** audit.k8s.io/v1 events, one JSON object a line. */
  readonly auditLog: string;
  /** Streams the apiserver really proxied to a kubelet, one JSON object a line. */
  readonly connectionLog: string;
}

/** Contexts of the sandbox's kubeconfig; those with `kexer` exist once {@link Sandbox.registerKexer} was called. */
export const sandboxContexts = [
  'kexer',
  'kexer-aggregated',
  'cluster',
  'kexer-alice',
  'kexer-viewer',
  'kexer-aggregated-alice',
  'kexer-aggregated-viewer',
  'cluster-alice',
  'cluster-viewer',
] as const;

export type SandboxContext = (typeof sandboxContexts)[number];

/** The sandbox's kube-apiserver as tests handle it. */
export interface SandboxApiserver {
  readonly port: number;
  /** https://127.0.0.1:PORT */
  readonly url: string;
  /** Ends every connection at once, as SIGKILL would, and stops listening. */
  kill(): Promise<void>;
  /** Stops listening, lets requests in flight end, then closes. */
  stop(): Promise<void>;
  /** Listens again on the same port; the store lives on. */
  restart(): Promise<void>;
  /** Streams proxied right now. */
  readonly openStreams: number;
  /** Requests not answered to their end, watches and proxied streams included. */
  readonly requestsInFlight: number;
}

export interface Sandbox {
  readonly dir: string;
  readonly files: SandboxFiles;
  readonly store: Store;
  readonly apiserver: SandboxApiserver;
  /** By node name: node1 (generation 1.36) and node2 (generation 1.35). */
  readonly kubelets: ReadonlyMap<string, Kubelet>;
  readonly tokens: { readonly alice: string; readonly viewer: string };
  /** The client CA with its key, which is in no file. */
  readonly clientAuthority: { readonly cert: string; readonly key: string };
  /** A fresh token of any service account, as the TokenRequest API would give. */
  serviceAccountToken(
    namespace: string,
    name: string,
    options?: { expiresInSeconds?: number; audiences?: string[] },
  ): string;
  /** Issues a client certificate of the client CA (`clientCaFile`). */
  clientCertificate(user: {
    name: string;
    groups?: readonly string[];
    uids?: readonly string[];
    notAfter?: Date;
  }): Promise<{ cert: string; key: string }>;
  /**
   * Tells the cluster where kexer listens: Service, EndpointSlice and APIService, and the `kexer…` contexts of the kubeconfig.
   * `caPem` defaults to the serving CA of the sandbox, which signed `files.kexerCertFile`.
   */
  registerKexer(kexer: { port: number; caPem?: string }): Promise<void>;
  /** Settles when the sample pods run and are Ready. */
  ready(): Promise<void>;
  /** Leaves nothing running. */
  stop(): Promise<void>;
}

const nodes = [
  { name: 'node1', generation: '1.36' },
  { name: 'node2', generation: '1.35' },
] as const;

const accountTokenSeconds = 365 * 24 * 3600;

/** Starts a whole sandbox; settles when the apiserver answers and the nodes are Ready. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const scope = new Scope();
  try {
    return await start(scope, options);
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function start(scope: Scope, options: SandboxOptions): Promise<Sandbox> {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? (() => {});
  const dir = await openFolder(scope, options.dir);
  scope.add(() => tellFolderGoes(dir));
  const credentials = await makeCredentials({
    nodeNames: nodes.map(({ name }) => name),
    hasClusterCaOnKubelets: options.hasClusterCaOnKubelets ?? false,
  });
  const hasKexer = options.hasKexer ?? true;
  const pemFiles = await writeCredentials(join(dir, 'certs'), credentials);

  const store = new Store({ clock });
  const apiserver = new ClusterApiserver(
    { store, clock },
    {
      port: options.apiserverPort ?? 0,
      dir,
      credentials,
      staticTokens: new Map([
        [credentials.aliceToken, makeUser({ name: userAlice })],
        [credentials.viewerToken, makeUser({ name: userViewer })],
      ]),
      log,
    },
  );
  scope.add(() => apiserver.close());
  await apiserver.start();
  const cluster = new ClusterClient({ store, clock }, 'kube-apiserver');
  await seedCluster(cluster, {
    clientCaPem: credentials.clientCa.cert,
    frontProxyCaPem: credentials.frontProxyCa.cert,
    apiserverPort: apiserver.server.port,
    hasKexer,
  });

  // After the seed, which has no competitors then.
  const controllers = new Controllers({ store, clock }, { rootCa: credentials.servingCa.cert });
  scope.add(() => controllers.stop());
  controllers.start();

  const kubelets = new Map<string, Kubelet>();
  if (options.hasKubelets !== false) {
    for (const node of nodes) {
      const kubelet = makeKubelet(
        { store, clock, apiserver, credentials, log },
        { ...node, dir, foreignImages: options.foreignImages ?? [] },
      );
      scope.add(() => kubelet.stop());
      kubelets.set(node.name, kubelet);
    }
    await Promise.all([...kubelets.values()].map((kubelet) => kubelet.start()));
    if (options.hasSamplePods !== false) for (const pod of samplePods()) await cluster.create(podResource, pod);
  }

  const files = await writeFiles(dir, pemFiles, { apiserver, credentials, hasKexer });
  return {
    dir,
    files,
    store,
    apiserver: {
      get port() {
        return apiserver.server.port;
      },
      get url() {
        return apiserver.server.url;
      },
      kill: () => apiserver.server.kill(),
      stop: () => apiserver.server.stop(),
      restart: async () => {
        await apiserver.server.stop();
        await apiserver.server.start();
      },
      get openStreams() {
        return apiserver.connections.open;
      },
      get requestsInFlight() {
        return apiserver.server.requestsInFlight;
      },
    },
    kubelets,
    tokens: { alice: credentials.aliceToken, viewer: credentials.viewerToken },
    clientAuthority: credentials.clientCa,
    serviceAccountToken: (namespace, name, wanted = {}) => apiserver.accounts.issue(namespace, name, wanted).token,
    clientCertificate: async ({ name, groups = [], uids = [], notAfter }) => {
      const pair = await generateClient(credentials.clientCa, {
        commonName: name,
        organizations: groups,
        uids,
        ...(notAfter === undefined ? {} : { notAfter }),
      });
      tellSecret(`the private key of the client certificate of ${name}`, pair.key);
      return pair;
    },
    registerKexer: async ({ port, caPem = credentials.servingCa.cert }) => {
      await seedKexer(cluster, { port, caPem });
      const plan = sandboxKubeconfig(credentials, { apiserverUrl: apiserver.server.url, kexer: { port, caPem } });
      await writeKubeconfig(files.kubeconfig, plan);
    },
    ready: () => podsReady(store, options.hasSamplePods === false || kubelets.size === 0 ? [] : samplePodNames),
    stop: () => scope.close(),
  };
}

/** The folder, emptied of an earlier sandbox's logs; a temporary one goes with the sandbox. */
async function openFolder(scope: Scope, wanted: string | undefined): Promise<string> {
  if (wanted === undefined) {
    const dir = await mkdtemp(join(tmpdir(), 'kexer-sandbox-'));
    scope.add(() => rm(dir, { recursive: true, force: true }));
    return dir;
  }
  const dir = resolve(wanted);
  await mkdir(dir, { recursive: true });
  for (const name of ['audit.log', 'connections.log']) await rm(join(dir, name), { force: true });
  return dir;
}

function makeKubelet(
  parts: {
    store: Store;
    clock: Clock;
    apiserver: ClusterApiserver;
    credentials: Credentials;
    log: (line: string) => void;
  },
  node: { name: string; generation: '1.36' | '1.35'; dir: string; foreignImages: readonly string[] },
): Kubelet {
  const { store, clock, apiserver, credentials, log } = parts;
  return new Kubelet(
    {
      store,
      clock,
      serving: credentials.nodes.get(node.name) ?? credentials.apiserver,
      clientCa: credentials.clientCa.cert,
      reviewToken: async (token) => {
        await Promise.resolve();
        return apiserver.authenticator.token(token, [defaultAudience])?.user;
      },
      reviewAccess: async (user, action) => {
        await Promise.resolve();
        const decision = apiserver.authorizer.authorize(user, {
          isResourceRequest: true,
          path: '',
          verb: action.verb,
          apiGroup: '',
          resource: 'nodes',
          subresource: action.subresource,
          namespace: '',
          name: action.nodeName,
        });
        return { allowed: decision.isAllowed };
      },
      issueToken: ({ namespace, name, podName, podUid, audience, expirationSeconds }) => {
        const registered = store.get({ group: '', resource: 'nodes', namespace: '', name: node.name });
        return apiserver.accounts.issue(namespace, name, {
          expiresInSeconds: expirationSeconds ?? accountTokenSeconds,
          ...(audience === undefined ? {} : { audiences: [audience] }),
          bound: {
            kind: 'Pod',
            name: podName,
            uid: podUid,
            node: { name: node.name, uid: registered?.metadata.uid ?? '' },
          },
        }).token;
      },
      log,
    },
    {
      nodeName: node.name,
      generation: node.generation,
      dir: join(node.dir, 'nodes', node.name),
      apiserver: { host: '127.0.0.1', port: apiserver.server.port },
      commands: new Map([['dump', dumpCommand]]),
      foreignImages: node.foreignImages,
    },
  );
}

async function writeFiles(
  dir: string,
  pemFiles: CredentialFiles,
  options: { apiserver: ClusterApiserver; credentials: Credentials; hasKexer: boolean },
): Promise<SandboxFiles> {
  const { apiserver, credentials } = options;
  const files: SandboxFiles = {
    ...pemFiles,
    kexerKubeconfig: join(dir, 'kexer.kubeconfig'),
    impersonatorKubeconfig: join(dir, 'impersonator.kubeconfig'),
    impersonatorTokenFile: join(dir, 'certs', 'impersonator.token'),
    kexerConfig: join(dir, 'kexer.yaml'),
    kubeconfig: join(dir, 'kubeconfig'),
    auditLog: join(dir, 'audit.log'),
    connectionLog: join(dir, 'connections.log'),
  };
  const { url } = apiserver.server;
  await writeKubeconfig(files.kubeconfig, sandboxKubeconfig(credentials, { apiserverUrl: url }));
  if (!options.hasKexer) return files;
  const token = (name: string): string =>
    apiserver.accounts.issue(kexerNamespace, name, { expiresInSeconds: accountTokenSeconds }).token;
  const [kexerToken, impersonatorToken] = [token('kexer'), token('kexer-impersonator')];
  await writeFile(files.impersonatorTokenFile, impersonatorToken, { mode: 0o600 });
  await writeKubeconfig(files.kexerKubeconfig, accountKubeconfig(credentials, url, { token: kexerToken }));
  const impersonator = accountKubeconfig(credentials, url, { token: impersonatorToken });
  await writeKubeconfig(files.impersonatorKubeconfig, impersonator);
  await writeKexerConfig(files.kexerConfig, files);
  return files;
}

const podResource = { group: '', resource: 'pods' } as const;

/** Settles when all named pods of the sample namespace are Ready. */
function podsReady(store: Store, names: readonly string[]): Promise<void> {
  const areReady = (): boolean =>
    names.every((name) => {
      const pod = store.get({ ...podResource, namespace: sampleNamespace, name });
      const status = pod?.['status'] as { conditions?: readonly { type: string; status: string }[] } | undefined;
      return status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
    });
  return new Promise((resolve) => {
    if (areReady()) {
      resolve();
      return;
    }
    const stop = store.watch(podResource, undefined, () => {
      if (!areReady()) return;
      stop();
      resolve();
    });
  });
}
