// What every check of the doctor works with.

import type { Clock } from '../../base/clock.ts';
import type { Config } from '../../config/schema.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeletAccess } from '../../clusters/cluster.ts';
import type { ProxyChoice } from '../../kube/tunnel.ts';
import type { UserInfo } from '../../kube/user.ts';

/** Each question of the doctor; an apiserver that takes longer is none that kexer could work with. */
export const askTimeoutMs = 10_000;

/** What the doctor needs of a client. */
export type DoctorClient = Pick<KubeClient, 'json' | 'exchange' | 'endpoint' | 'userAgent'>;

export interface Examination {
  readonly clock: Clock;
  readonly config: Config;
  /** With the credential of --kubeconfig, or of the pod. */
  readonly client: DoctorClient;
  readonly kubelet: KubeletAccess;
  /** On the way to other clusters; undefined: none. */
  readonly proxyFor: ProxyChoice | undefined;
  /** Whose rights are looked at: the ServiceAccount kexer runs as. */
  readonly account: { readonly namespace: string; readonly name: string };
}

/** What the first check found out, for the others. */
export interface ApiserverReport {
  /** kube-apiserver answers, and takes the credential. */
  readonly isUsable: boolean;
  readonly version: { readonly major: number; readonly minor: number } | undefined;
  /** As whom the doctor asks; undefined: kube-apiserver is too old to say. */
  readonly user: UserInfo | undefined;
}
