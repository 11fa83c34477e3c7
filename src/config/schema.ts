// The settings of kexer: one strict schema with defaults. Keys here are those of the config file; flags and environment variables that
// set the same values stand in settings.ts. Each leaf's error text says what is wanted; what was seen and where is added by load.ts.

import { z } from 'zod/v3';

import { apiserver } from './apiserver.ts';
import { audit } from './audit.ts';
import { clusters } from './clusters.ts';
import { certificates } from './certificates.ts';
import { limits } from './limits.ts';
import { peers } from './peers.ts';
import { tracing } from './tracing.ts';
import { duration, file, flag, group, wanted } from './values.ts';

/** Address types of a node in kube-apiserver's spelling. */
const addressTypes = ['InternalIP', 'Hostname', 'InternalDNS', 'ExternalIP', 'ExternalDNS'] as const;

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const server = group({
  /** Address to listen on. */
  bindAddress: z.string(wanted('an IP address')).ip('an IP address').default('0.0.0.0'),
  /** 0 takes a free port. */
  securePort: z
    .number(wanted('a port from 0 to 65535'))
    .int('a port from 0 to 65535')
    .min(0, 'a port from 0 to 65535')
    .max(65535, 'a port from 0 to 65535')
    .default(6443),
  tlsCertFile: file().optional(),
  tlsPrivateKeyFile: file().optional(),
  /** Where a self-signed pair is made and kept when none is given. */
  certDir: file().default('apiserver.local.config/certificates'),
  /** How long new calls and sessions are still taken after the order to stop, until endpoints have moved on. */
  shutdownDelay: duration(15_000),
  /** How long running sessions may then go on: as long as runtimes let a session be idle, so that dumps of hours are not cut. */
  shutdownGracePeriod: duration(4 * 3_600_000),
});

/** Both parts are names of objects: DNS labels, and for the account DNS labels with dots. */
const accountPattern =
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const accountWanted = 'NAMESPACE/NAME of a service account';

const account = () => z.string(wanted(accountWanted)).regex(accountPattern, accountWanted);

const kubelet = group({
  certificateAuthority: file().optional(),
  insecureTls: flag().default(false),
  clientCertificate: file().optional(),
  clientKey: file().optional(),
  tokenFile: file().optional(),
  /** Whose short-lived tokens kexer asks for; instead of a file or a certificate. */
  serviceAccount: account().optional(),
  preferredAddressTypes: z
    .array(
      z.enum(addressTypes, wanted(`one of ${addressTypes.join(', ')}`)),
      wanted(`a list of ${addressTypes.join(', ')}`),
    )
    .min(1, 'at least one address type')
    .default([...addressTypes]),
  /** How long a connection that was made ahead waits for the next stream of its node; 0: none is made. */
  spareConnection: duration(10_000),
});

const impersonator = group({
  /** Whose short-lived tokens kexer asks for; instead of a file or a certificate. */
  serviceAccount: account().optional(),
  tokenFile: file().optional(),
  clientCertificate: file().optional(),
  clientKey: file().optional(),
});

const identity = group({
  /** Whether callers without a token of their own are impersonated towards kube-apiserver. */
  impersonation: flag().default(false),
  /** Whether that may be system:masters and system:node:*. */
  allowPrivileged: flag().default(false),
  impersonator: impersonator.default({}),
});

const ways = ['kubelet', 'apiserver'] as const;

const streams = group({
  /** Which way the streams of the local cluster go: to the kubelets where they may, or always by kube-apiserver. */
  local: z.enum(ways, wanted(`one of ${ways.join(', ')}`)).default('kubelet'),
});

/** Limits of every session; 0: none. */
const sessions = group({
  /** How long no byte of payload may pass; keepalives do not count. */
  idleTimeout: duration(0),
  maxDuration: duration(0),
  /** How often the rights of those who have sessions are asked for again. */
  recheckInterval: duration(5 * 60_000).refine((ms) => ms === 0 || ms >= 1000, 'a duration of at least 1s, or 0'),
  /** How long a session may go on when its rights cannot be asked for. */
  maxUnverified: duration(0),
  /** Whether a session ends when the token or certificate that began it expires. */
  endOnExpiry: flag().default(false),
});

const logFormats = ['json', 'text'] as const;

const log = group({
  level: z.enum(logLevels, wanted(`one of ${logLevels.join(', ')}`)).default('info'),
  /** JSON for machines, text for people. */
  format: z.enum(logFormats, wanted(`one of ${logFormats.join(', ')}`)).default('json'),
});

/** Rules between settings are in rules.ts, so that they are checked even when a single value is wrong. */
export const configSchema = group({
  /** For reviews and informers; left out: the service account kexer runs as. */
  kubeconfig: file().optional(),
  server: server.default({}),
  certificates: certificates.default({}),
  kubelet: kubelet.default({}),
  identity: identity.default({}),
  apiserver: apiserver.default({}),
  streams: streams.default({}),
  clusters: clusters.default({}),
  sessions: sessions.default({}),
  limits: limits.default({}),
  audit: audit.default({}),
  peers: peers.default({}),
  log: log.default({}),
  tracing: tracing.default({}),
});

type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

/** What kexer was told, complete and checked; deep-frozen. */
export type Config = Frozen<z.infer<typeof configSchema>>;
