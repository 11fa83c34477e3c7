// The serving certificate's part of the object graph. Four ways, of which the settings choose one: files; a Secret that an operator or
// cert-manager fills; the same Secret, empty, which kexer fills itself and tells its APIService of; or, without a cluster to keep anything
// in, a self-signed pair in a folder. Each gives a pair at once, so that probes are answered, and tells of every later one.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { ApiServiceBundle } from '../certs/api-service-bundle.ts';
import type { ObjectName } from '../certs/certificate-names.ts';
import type { CertificateStats } from '../certs/certificate-stats.ts';
import type { KeyPairPem } from '../certs/generate.ts';
import { issueAuthority, issueLeaf } from '../certs/issue.ts';
import { ownNames } from '../certs/own-names.ts';
import { selfSignedPair } from '../certs/self-signed.ts';
import { type WatchedPair, watchPair } from '../certs/serving.ts';
import { ServingSecret } from '../certs/serving-secret.ts';
import { splitPem } from '../certs/verify-chain.ts';
import { none } from '../config/certificates.ts';
import type { Config } from '../config/schema.ts';
import type { KubeClient } from '../kube/client.ts';
import { missingRule } from '../kube/missing-rule.ts';
import * as lines from '../observe/certificate-lines.ts';
import {
  certificateNotReloaded,
  certificateReloaded,
  informerFailed,
  selfSignedPairUsed,
} from '../observe/log-lines.ts';
import type { HealthCheck } from '../server/health.ts';
import type { LoadNotes } from '../server/load-notes.ts';

import type { ComposeDeps } from './compose.ts';

/** What the server serves with. */
export interface Serving {
  readonly current: KeyPairPem;
  /** PEM of the authority by which others verify `current`, as it is now; undefined: not known. */
  readonly ca: string | undefined;
  /** Called with each new pair. */
  onChange(listener: (pair: KeyPairPem) => void): void;
  /** For /readyz. */
  readonly checks: readonly HealthCheck[];
  /** Resolves when `current` is what clients are to verify; rejects when `signal` aborts. */
  whenReady(signal: AbortSignal): Promise<void>;
}

interface ServingParts {
  readonly own: KubeClient;
  /** Kexer's own namespace; undefined: it does not run in a cluster. */
  readonly namespace: string | undefined;
  readonly stats: CertificateStats;
  readonly notes: LoadNotes;
}

const defaultSecret = 'kexer-serving-cert';
const defaultService = 'kexer';
const defaultApiService = 'v1.backup.cv.io';
/** A Secret that is there is read in milliseconds; probes of a kexer that waits for one must be answered soon. */
const firstPairMs = 2000;

/** @throws KexerError config */
export async function composeServing(deps: ComposeDeps, config: Config, parts: ServingParts): Promise<Serving> {
  const { tlsCertFile, tlsPrivateKeyFile } = config.server;
  if (tlsCertFile !== undefined && tlsPrivateKeyFile !== undefined) {
    return fromFiles(deps, parts.stats, { certFile: tlsCertFile, keyFile: tlsPrivateKeyFile });
  }
  const { servingSecret, servingService } = config.certificates;
  const home = parts.namespace ?? 'default';
  const secret = objectName(servingSecret ?? (parts.namespace === undefined ? none : defaultSecret), home);
  if (secret === undefined) return selfSigned(deps, config, parts.stats);
  const service = objectName(servingService ?? defaultService, secret.namespace);
  return fromSecret(deps, config, parts, { secret, service });
}

/** `none` is undefined. */
function objectName(text: string, namespace: string): ObjectName | undefined {
  if (text === none) return undefined;
  const [first = '', second] = text.split('/', 2);
  return second === undefined ? { namespace, name: first } : { namespace: first, name: second };
}

async function fromFiles(
  { clock, log, scope }: ComposeDeps,
  stats: CertificateStats,
  files: { certFile: string; keyFile: string },
): Promise<Serving> {
  const pair: WatchedPair = await watchPair(
    {
      clock,
      onError: (err) => {
        stats.reloadFailed('serving');
        certificateNotReloaded(log, err);
      },
      onRecovered: () => {
        stats.isStale.serving = false;
      },
    },
    files,
  );
  scope.add(() => pair.close());
  stats.note('serving', pair.current.cert);
  const caFile = join(dirname(files.certFile), 'ca.crt');
  return {
    get current() {
      return pair.current;
    },
    get ca() {
      return authorityBeside(caFile) ?? selfSignedEnd(pair.current.cert);
    },
    onChange: (listener) => {
      pair.onChange((next) => {
        stats.reloaded('serving', next.cert);
        listener(next);
        certificateReloaded(log);
      });
    },
    checks: [],
    whenReady: () => Promise.resolve(),
  };
}

async function selfSigned({ clock, log }: ComposeDeps, config: Config, stats: CertificateStats): Promise<Serving> {
  const { certDir: dir } = config.server;
  const current = await selfSignedPair({ clock }, { dir, names: [...ownNames(), ...config.certificates.extraNames] });
  selfSignedPairUsed(log, { dir });
  stats.note('serving', current.cert);
  stats.note('serving-ca', current.ca);
  return { current, ca: current.ca, onChange: () => {}, checks: [], whenReady: () => Promise.resolve() };
}

async function fromSecret(
  { clock, log, scope }: ComposeDeps,
  config: Config,
  { own, stats, notes }: ServingParts,
  { secret: name, service }: { secret: ObjectName; service: ObjectName | undefined },
): Promise<Serving> {
  const failed = (informer: string, err: unknown, object: string | undefined): void => {
    informerFailed(log, { informer, err });
    notes.failed(informer, err, object);
  };
  const withMissing = (err: unknown, object: string): { err: unknown; missing?: string } => {
    const missing = missingRule(err, object);
    return missing === undefined ? { err } : { err, missing };
  };
  const secret = new ServingSecret(
    {
      client: own,
      clock,
      stats,
      observer: {
        informerFailed: (informer, err, object) => failed(informer, err, object),
        taken: (fields) => lines.servingPairTaken(log, fields),
        issued: (fields) => lines.servingPairIssued(log, fields),
        unusable: (err) => lines.servingSecretUnusable(log, err),
        notWritten: (err) => lines.servingSecretNotWritten(log, withMissing(err, name.name)),
        deleted: (fields) => lines.servingSecretGone(log, fields),
        namesMissing: (missing) => lines.servingNamesMissing(log, { missing }),
      },
    },
    { secret: name, service, extraNames: config.certificates.extraNames },
  );
  scope.add(() => secret.stop());
  const problem = (): string => secret.problem;
  const checks: HealthCheck[] = [
    { name: 'serving-certificate', isHealthy: () => secret.current !== undefined, reason: problem, note: problem },
  ];
  const apiServiceName = config.certificates.apiService ?? defaultApiService;
  if (apiServiceName !== none) {
    const bundle = new ApiServiceBundle(
      {
        client: own,
        clock,
        stats,
        observer: {
          informerFailed: (informer, err) => failed(informer, err, apiServiceName),
          written: (fields) => lines.caBundleWritten(log, fields),
          foreign: (fields) => lines.caBundleForeign(log, fields),
          notWritten: ({ apiService, err }) =>
            lines.caBundleNotWritten(log, { apiService, ...withMissing(err, apiService) }),
        },
      },
      { name: apiServiceName, service },
    );
    secret.onChange((state) => bundle.announce(state));
    bundle.start();
    scope.add(() => bundle.stop());
    // Never a reason not to be ready: clients that come straight here need no APIService.
    checks.push({ name: 'api-service', isHealthy: () => true, note: () => bundle.problem });
  }
  secret.start();
  const temporary = await firstPair({ clock, log }, secret);
  return {
    get current() {
      return secret.current?.pair ?? temporary ?? neverWithout();
    },
    get ca() {
      return secret.current?.ca;
    },
    onChange: (listener) => {
      secret.onChange(({ pair }) => listener(pair));
    },
    checks,
    whenReady: (signal) => secret.whenLoaded(signal),
  };
}

/** Undefined if the Secret gives one soon; else one that nobody is to trust, so that probes are told `not ready` and not nothing. */
async function firstPair(
  { clock, log }: Pick<ComposeDeps, 'clock' | 'log'>,
  secret: ServingSecret,
): Promise<KeyPairPem | undefined> {
  const patience = new AbortController();
  const timer = clock.after(firstPairMs, () => patience.abort());
  try {
    await secret.whenLoaded(patience.signal);
    return undefined;
  } catch {
    lines.temporaryPairUsed(log, { problem: secret.problem });
    const nowMs = clock.now();
    return issueLeaf(await issueAuthority(nowMs, 1), ['localhost'], nowMs, 1);
  } finally {
    timer.cancel();
  }
}

/** As mounted Secrets of cert-manager have it. Read when it is asked for, which is seldom. */
function authorityBeside(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // there is none
  }
}

/** The last certificate of a chain, if it is an authority that signed itself. */
function selfSignedEnd(chain: string): string | undefined {
  const last = splitPem(chain).at(-1);
  if (last === undefined) return undefined;
  const certificate = new X509Certificate(last);
  return certificate.ca && certificate.checkIssued(certificate) ? `${last}\n` : undefined;
}

function neverWithout(): never {
  throw new Error('there is no serving pair');
}
