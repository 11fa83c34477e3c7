// Every setting's other names: the flag and the environment variable that set what the config file's key sets. Flags are named as
// kube-apiserver's and metrics-server's are, where these have one.

import { apiserverSettings } from './apiserver.ts';
import { auditSettings } from './audit.ts';
import { clusterSettings } from './clusters.ts';
import { certificateSettings } from './certificates.ts';
import { limitSettings } from './limits.ts';
import { tracingSettings } from './tracing.ts';
import { peerSettings } from './peers.ts';

/** How a word of the command line or the environment becomes a value. */
export type SettingKind = 'text' | 'file' | 'integer' | 'boolean' | 'list' | 'duration';

export interface Setting {
  /** Path in the config file. */
  readonly key: string;
  /** Without the two dashes. */
  readonly flag: string;
  readonly kind: SettingKind;
  /** One line for `kexer help`. */
  readonly help: string;
  /** What is said of a value that cannot be used, as in "it is …"; left out: the value itself, which then holds no secret. */
  readonly describe?: (value: unknown) => string;
}

export const settings: readonly Setting[] = [
  {
    key: 'kubeconfig',
    flag: 'kubeconfig',
    kind: 'file',
    help: 'kubeconfig of kexer itself: reviews and informers (default: in-cluster)',
  },
  { key: 'server.bindAddress', flag: 'bind-address', kind: 'text', help: 'address to listen on (default 0.0.0.0)' },
  { key: 'server.securePort', flag: 'secure-port', kind: 'integer', help: 'port to listen on (default 6443)' },
  {
    key: 'server.tlsCertFile',
    flag: 'tls-cert-file',
    kind: 'file',
    help: 'serving certificate, PEM; reloaded when it changes',
  },
  {
    key: 'server.tlsPrivateKeyFile',
    flag: 'tls-private-key-file',
    kind: 'file',
    help: 'its key, PEM; reloaded when it changes',
  },
  {
    key: 'server.certDir',
    flag: 'cert-dir',
    kind: 'file',
    help: 'where a self-signed pair is kept when none is given (default apiserver.local.config/certificates)',
  },
  ...certificateSettings,
  {
    key: 'server.shutdownDelay',
    flag: 'shutdown-delay-duration',
    kind: 'duration',
    help: 'after the order to stop, not ready but still serving for so long (default 15s)',
  },
  {
    key: 'server.shutdownGracePeriod',
    flag: 'shutdown-grace-period',
    kind: 'duration',
    help: 'then running sessions may go on for so long (default 4h)',
  },
  {
    key: 'streams.local',
    flag: 'streams-local',
    kind: 'text',
    help: 'kubelet (default) or apiserver: send all streams by kube-apiserver; single nodes by their label backup.cv.io/streams=apiserver',
  },
  {
    key: 'sessions.idleTimeout',
    flag: 'streaming-idle-timeout',
    kind: 'duration',
    help: 'end sessions in which no byte passed for so long, keepalives aside (default 0: never)',
  },
  {
    key: 'sessions.maxDuration',
    flag: 'session-max-duration',
    kind: 'duration',
    help: 'end sessions that are this old (default 0: never)',
  },
  {
    key: 'sessions.recheckInterval',
    flag: 'session-recheck-interval',
    kind: 'duration',
    help: 'ask so often whether users may still have their sessions, and end those of whom may not (default 5m; 0: never)',
  },
  {
    key: 'sessions.maxUnverified',
    flag: 'session-max-unverified',
    kind: 'duration',
    help: 'end sessions whose rights could not be asked for so long, say in an outage (default 0: never)',
  },
  {
    key: 'sessions.endOnExpiry',
    flag: 'session-end-on-expiry',
    kind: 'boolean',
    help: 'end sessions when the token or certificate expires that began them',
  },
  ...apiserverSettings,
  ...clusterSettings,
  ...limitSettings,
  ...auditSettings,
  ...peerSettings,
  {
    key: 'kubelet.certificateAuthority',
    flag: 'kubelet-certificate-authority',
    kind: 'file',
    help: "CA of the kubelets' serving certificates, PEM (default: the service account's)",
  },
  { key: 'kubelet.insecureTls', flag: 'kubelet-insecure-tls', kind: 'boolean', help: 'do not verify kubelets' },
  {
    key: 'kubelet.clientCertificate',
    flag: 'kubelet-client-certificate',
    kind: 'file',
    help: 'client certificate towards kubelets, PEM',
  },
  { key: 'kubelet.clientKey', flag: 'kubelet-client-key', kind: 'file', help: 'its key, PEM' },
  {
    key: 'kubelet.tokenFile',
    flag: 'kubelet-token-file',
    kind: 'file',
    help: 'bearer token towards kubelets, when there is no certificate',
  },
  {
    key: 'kubelet.serviceAccount',
    flag: 'kubelet-service-account',
    kind: 'text',
    help: 'or NAMESPACE/NAME of the account that may enter kubelets; kexer asks for its tokens, for an hour each',
  },
  {
    key: 'kubelet.preferredAddressTypes',
    flag: 'kubelet-preferred-address-types',
    kind: 'list',
    help: 'which address of a node to dial (default InternalIP,Hostname,InternalDNS,ExternalIP,ExternalDNS)',
  },
  {
    key: 'kubelet.spareConnection',
    flag: 'kubelet-spare-connection-duration',
    kind: 'duration',
    help: 'how long a connection to the kubelet of a busy node waits for its next stream; 0: none is made ahead (default 10s)',
  },
  {
    key: 'identity.impersonation',
    flag: 'identity-impersonation',
    kind: 'boolean',
    help: 'carry callers without a token of their own by impersonation',
  },
  {
    key: 'identity.allowPrivileged',
    flag: 'identity-allow-privileged',
    kind: 'boolean',
    help: 'also members of system:masters and nodes',
  },
  {
    key: 'identity.impersonator.serviceAccount',
    flag: 'impersonator-service-account',
    kind: 'text',
    help: 'NAMESPACE/NAME of the account that may impersonate; kexer asks for its tokens, for an hour each',
  },
  {
    key: 'identity.impersonator.tokenFile',
    flag: 'impersonator-token-file',
    kind: 'file',
    help: 'or a file with its token',
  },
  {
    key: 'identity.impersonator.clientCertificate',
    flag: 'impersonator-client-certificate',
    kind: 'file',
    help: 'or its client certificate, PEM',
  },
  { key: 'identity.impersonator.clientKey', flag: 'impersonator-client-key', kind: 'file', help: 'and its key, PEM' },
  {
    key: 'log.level',
    flag: 'log-level',
    kind: 'text',
    help: 'trace, debug, info, warn, error, fatal or silent (default info)',
  },
  {
    key: 'log.format',
    flag: 'log-format',
    kind: 'text',
    help: 'json (default) or text, for people',
  },
  ...tracingSettings,
];

/** `secure-port` → `KEXER_SECURE_PORT`. */
export function environmentName(setting: Setting): string {
  return `KEXER_${setting.flag.replaceAll('-', '_').toUpperCase()}`;
}
