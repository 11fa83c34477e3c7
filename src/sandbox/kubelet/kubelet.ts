// One node of the sandbox: registers the Node, runs the pods bound to it as local processes and serves the kubelet's HTTPS API.
// It speaks as a real kubelet of its generation does ('1.36' terminates WebSocket v5 and tunnels itself; '1.35' knows v4 and older
// only). It runs commands of the user who started the sandbox, on loopback only. The faults at the end exist for tests.

import type { Clock } from '../../base/clock.ts';
import type { UserInfo } from '../../kube/user.ts';
import type { Store } from '../apiserver/store.ts';

/** What a request wants to do, in the terms of the kubelet's SubjectAccessReview: always resource `nodes`, name = node name. */
export interface NodeAction {
  readonly verb: string;
  readonly nodeName: string;
  readonly subresource: string;
}

export interface KubeletDeps {
  readonly store: Store;
  readonly clock: Clock;
  /** PEM of the serving certificate; its names must cover the node name, localhost and 127.0.0.1. */
  readonly serving: { readonly cert: string; readonly key: string };
  /** PEM bundle that client certificates are verified against. */
  readonly clientCa: string;
  /** TokenReview in process: the user, or undefined for a token nobody knows. */
  readonly reviewToken: (token: string) => Promise<UserInfo | undefined>;
  /** SubjectAccessReview in process; a throw becomes the kubelet's 500 `Authorization error`. */
  readonly reviewAccess: (user: UserInfo, action: NodeAction) => Promise<{ allowed: boolean }>;
  /** A token for the projected volume of a pod's service account; without it no token file is written. */
  readonly issueToken?: (account: { namespace: string; name: string; podName: string; podUid: string }) => string;
  /** One line for people, seldom (how roots are made, a pod that cannot start). */
  readonly log?: (line: string) => void;
}

export interface KubeletOptions {
  readonly nodeName: string;
  readonly generation: '1.36' | '1.35';
  /** Folder of the node; pods live in `pods/UID` below it. */
  readonly dir: string;
  /** Port of the HTTPS server on 127.0.0.1; 0 (the default) lets the system choose. */
  readonly port?: number;
  /** Goes into pods as KUBERNETES_SERVICE_HOST and _PORT. */
  readonly apiserver?: { readonly host: string; readonly port: number };
  /** PEM of the apiserver's CA: `ca.crt` in pods when the namespace has no kube-root-ca.crt. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Executables put into /usr/local/bin of every pod: name → text of a script. */
  readonly commands?: ReadonlyMap<string, string>;
  /** A container's log is rotated at this size; one older file is kept. Default 10 MiB. */
  readonly logMaxBytes?: number;
  /** 'chroot' insists on own roots, 'folder' never tries; 'auto' (default) probes once. */
  readonly isolation?: 'auto' | 'chroot' | 'folder';
}

/** One request a kubelet has answered or upgraded: the sandbox's connection log, by which tests prove which way a stream went. */
export interface KubeletRequest {
  readonly at: number;
  readonly method: string;
  /** Path and query as they came. */
  readonly target: string;
  readonly user: string;
  readonly protocol: string;
  readonly userAgent: string;
  /** Status of the answer; 101 for upgrades. */
  readonly status: number;
}

export class Kubelet {
  constructor(deps: KubeletDeps, options: KubeletOptions) {
    void deps;
    void options;
  }

  /** `https://127.0.0.1:PORT`; valid after start(). */
  get url(): string {
    return '';
  }

  get port(): number {
    return 0;
  }

  /** Every request since start, oldest first (the last 10,000). */
  get requests(): readonly KubeletRequest[] {
    return [];
  }

  /** Listens, registers the Node object (Ready), starts the pods bound to this node and watches for more. */
  start(): Promise<void> {
    return Promise.resolve();
  }

  /** Ends the server and every process it has started; the Node object stays. Resolves when nothing is left running. */
  stop(): Promise<void> {
    return Promise.resolve();
  }

  /** The server dies as a killed process would: its port closes, every connection is reset (or just ended). Pods run on. */
  kill(how: 'rst' | 'fin' = 'rst'): Promise<void> {
    void how;
    return Promise.resolve();
  }

  /** Serves again on the same port after kill(). */
  revive(): Promise<void> {
    return Promise.resolve();
  }

  /** The container runtime dies: exec and attach sessions end without a status. `/healthz` goes on answering. */
  cutRuntime(): void {}

  /** Stops (or resumes) reading and writing on every open connection; new ones are accepted and left waiting. */
  stall(isStalled: boolean): void {
    void isStalled;
  }
}
