// The sandbox: a whole small cluster in one process, for a user's first five minutes and for the tests. It starts an apiserver and
// two kubelets on loopback, seeds them, and writes the files that kubectl and kexer need. It is no cluster: pods are local processes
// of the user who started it.

import type { Clock } from '../base/clock.ts';
import type { Store } from './apiserver/store.ts';
import type { Kubelet } from './kubelet/kubelet.ts';

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
}

export interface Sandbox {
  readonly dir: string;
  readonly files: SandboxFiles;
  readonly store: Store;
  readonly apiserver: SandboxApiserver;
  /** By node name: node1 (generation 1.36) and node2 (generation 1.35). */
  readonly kubelets: ReadonlyMap<string, Kubelet>;
  readonly tokens: { readonly alice: string; readonly viewer: string };
  /** A fresh token of any service account, as the TokenRequest API would give. */
  serviceAccountToken(
    namespace: string,
    name: string,
    options?: { expiresInSeconds?: number; audiences?: string[] },
  ): string;
  /** Issues a client certificate of the client CA (`clientCaFile`). */
  clientCertificate(user: { name: string; groups?: readonly string[] }): Promise<{ cert: string; key: string }>;
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

/** Starts a whole sandbox; settles when the apiserver answers and the sample pods run. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  await Promise.resolve(options);
  throw new Error('Cannot start the sandbox: not built yet');
}
