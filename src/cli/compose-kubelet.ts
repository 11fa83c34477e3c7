// How the kubelets of the local cluster are dialled: authority, credential, addresses, as the settings say. `kexer serve` and `kexer doctor`
// both have it from here, so that what the doctor tries is what serves.

import type { CertificateStats } from '../certs/certificate-stats.ts';
import { watchPair } from '../certs/serving.ts';
import type { KubeletAccess } from '../clusters/cluster.ts';
import { createKubeletAccess, RotatedFile } from '../clusters/kubelet-access.ts';
import type { Config } from '../config/schema.ts';
import type { KubeClient } from '../kube/client.ts';
import type { ClusterAccess } from '../kube/credential.ts';
import type { RequestedToken } from '../kube/requested-token.ts';
import * as lines from '../observe/log-lines.ts';

import type { ComposeDeps } from './compose.ts';
import { requestedToken } from './compose-impersonator.ts';

interface KubeletParts {
  readonly access: ClusterAccess;
  /** With kexer's own credential. */
  readonly own: KubeClient;
  readonly certificates: CertificateStats;
}

export interface ComposedKubelet {
  readonly access: KubeletAccess;
  /** Only of a token that kexer asks for: how often it did. */
  readonly tokens?: Pick<RequestedToken, 'counts' | 'expiresAtMs'>;
}

/** @throws KexerError config that names the setting whose file cannot be used. */
export async function composeKubelet(
  deps: Pick<ComposeDeps, 'clock' | 'log' | 'scope'>,
  config: Config,
  { access, own, certificates }: KubeletParts,
): Promise<ComposedKubelet> {
  const { clock, log, scope } = deps;
  const { certificateAuthority, clientCertificate, clientKey, tokenFile, serviceAccount, insecureTls } = config.kubelet;
  const { ca } = access.endpoint;
  const hasPair = clientCertificate !== undefined && clientKey !== undefined;
  const pair = hasPair
    ? await watchPair(
        {
          clock,
          onError: (err) => {
            certificates.reloadFailed('kubelet-client');
            lines.kubeletCertificateNotReloaded(log, err);
          },
          onRecovered: () => {
            certificates.isStale['kubelet-client'] = false;
          },
        },
        { certFile: clientCertificate, keyFile: clientKey },
      )
    : undefined;
  if (pair !== undefined) {
    scope.add(() => pair.close());
    certificates.note('kubelet-client', pair.current.cert);
    pair.onChange(({ cert }) => certificates.reloaded('kubelet-client', cert));
  }
  const tokens =
    serviceAccount === undefined
      ? undefined
      : requestedToken({ clock, log, own }, serviceAccount, "kexer's account towards kubelets");
  const kubelet = createKubeletAccess(
    { clock },
    {
      ca:
        certificateAuthority === undefined
          ? ca === undefined
            ? undefined
            : { text: ca }
          : new RotatedFile({ clock }, { file: certificateAuthority, setting: '--kubelet-certificate-authority' }),
      caSource:
        certificateAuthority === undefined
          ? config.kubeconfig === undefined
            ? 'the service account'
            : `the kubeconfig ${config.kubeconfig}`
          : `--kubelet-certificate-authority ${certificateAuthority}`,
      isVerified: !insecureTls,
      preferredAddressTypes: config.kubelet.preferredAddressTypes,
      certificate: pair,
      token:
        tokens !== undefined || tokenFile === undefined
          ? tokens
          : new RotatedFile({ clock }, { file: tokenFile, setting: '--kubelet-token-file' }),
      accountName: clientCertificate ?? tokenFile ?? serviceAccount ?? 'none',
    },
  );
  return { access: kubelet, ...(tokens === undefined ? {} : { tokens }) };
}
