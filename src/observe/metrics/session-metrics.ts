// What sessions are counted as: the recording side of session-definitions.ts. Told of each start and end; bytes are read from the sessions
// themselves at the scrape, so that relaying one costs nothing here.

import { codeOf } from '../../base/errors.ts';
import type { StageEnd, StageName } from '../stages.ts';

import { type Counter, type Histogram, maxSeriesPerMetric, otherLabel } from './instruments.ts';
import type { Reading, Registry } from './registry.ts';
import * as definitions from './session-definitions.ts';

/** A session, as far as metrics look at it. */
export interface MeasuredSession {
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** Who made kexer end it, if anybody did. */
  readonly endRequest?: { readonly by: string } | undefined;
  readonly subject: {
    readonly kind: string;
    readonly cluster: string;
    /** A name is unique in it alone; of the local cluster it says nothing. */
    readonly clusterNamespace: string;
    readonly clientProtocol: string;
    readonly detour?: string;
  };
}

const localCluster = 'local';
const maxClusters = 100;
const kinds = ['exec', 'attach', 'portforward', 'log', 'upgrade'] as const;
const causes = ['normal', 'clientGone', 'kubeletGone', 'protocol', 'internal'] as const;
/** Why kexer itself ended one. */
const endedBy = [
  'idle',
  'maxDuration',
  'podDeleted',
  'rightLost',
  'unverified',
  'expired',
  'shutdown',
  'user',
  'clusterRemoved',
  'other',
];

/** Everything that protocol/subprotocols.ts can agree upon; of an upgrade that is not kexer's to read the client may name anything. */
const protocols: ReadonlySet<string> = new Set([
  'HTTP/1.1',
  'HTTP/2.0',
  ...['', 'v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io', 'portforward.k8s.io'].map(
    (name) => `SPDY/3.1 ${name}`.trim(),
  ),
  ...[
    '',
    'v5.channel.k8s.io',
    'v4.channel.k8s.io',
    'channel.k8s.io',
    'v4.base64.channel.k8s.io',
    'base64.channel.k8s.io',
    'binary.k8s.io',
    'base64.binary.k8s.io',
    'SPDY/3.1+portforward.k8s.io',
  ].map((name) => `websocket ${name}`.trim()),
]);

interface SubjectLabels {
  readonly kind: string;
  readonly protocol: string;
  readonly leg: string;
  readonly cluster: string;
}

function keyOf({ kind, protocol, leg, cluster }: SubjectLabels): string {
  return `${kind}\n${protocol}\n${leg}\n${cluster}`;
}

interface ByteSums {
  readonly labels: { readonly kind: string; readonly leg: string; readonly cluster: string };
  in: number;
  out: number;
}

export class SessionMetrics {
  readonly #registry: Registry;
  readonly #total: Counter<keyof SubjectLabels>;
  readonly #ends: Counter<'reason' | 'kind'>;
  readonly #duration: Histogram<'kind'>;
  readonly #start: Histogram<'stage'>;
  readonly #preflights: Counter<'outcome'>;
  readonly #dialErrors: Counter<'cause'>;
  readonly #clusters: Set<string>;
  /** Every combination of labels that a session has had. */
  readonly #seen: Map<string, SubjectLabels>;
  /** Of sessions that have ended. */
  readonly #bytes: Map<string, ByteSums>;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#total = registry.counter(definitions.sessionsTotal);
    this.#ends = registry.counter(definitions.sessionEnd);
    this.#duration = registry.histogram(definitions.sessionDuration);
    this.#start = registry.histogram(definitions.sessionStart);
    this.#preflights = registry.counter(definitions.preflights);
    this.#dialErrors = registry.counter(definitions.kubeletDialErrors);
    this.#clusters = new Set([localCluster]);
    this.#seen = new Map();
    this.#bytes = new Map();
    for (const reason of [...causes, ...endedBy]) for (const kind of kinds) this.#ends.touch({ reason, kind });
    for (const outcome of preflightOutcomes) this.#preflights.touch({ outcome });
    for (const cause of dialCauses) this.#dialErrors.touch({ cause });
  }

  sessionStarted(session: MeasuredSession): void {
    const labels = this.#labelsOf(session);
    this.#total.inc(labels);
    this.#remember(labels);
  }

  sessionEnded(session: MeasuredSession, end: { readonly cause: string }): void {
    const { kind } = this.#labelsOf(session);
    const reason = end.cause === 'ended' ? (session.endRequest?.by ?? otherLabel) : end.cause;
    this.#ends.inc({ reason, kind });
    this.#duration.observe({ kind }, session.durationMs / 1000);
    this.#addBytes(this.#bytes, session);
  }

  /** How long what led to a session took. */
  started(stages: ReadonlyMap<StageName, number>, totalMs: number): void {
    for (const [stage, durationMs] of stages) this.#start.observe({ stage }, durationMs / 1000);
    this.#start.observe({ stage: 'total' }, totalMs / 1000);
  }

  stageEnded(stage: StageName, end: StageEnd): void {
    if (stage === 'preflight') this.#preflights.inc({ outcome: preflightOutcome(end) });
    if (stage === 'dial' && !end.isOk) this.#dialErrors.inc({ cause: dialCause(end.error) });
  }

  /** What runs is looked at when it is scraped. */
  readRunning(list: () => Iterable<MeasuredSession>): void {
    this.#registry.read(definitions.sessionsActive, () => {
      const counts = new Map<string, number>();
      for (const session of list()) {
        const key = this.#remember(this.#labelsOf(session));
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      // What ran before is shown as none: a series that ends would look like one that could not be scraped.
      return [...this.#seen].map(([key, labels]): Reading<keyof SubjectLabels> => [labels, counts.get(key) ?? 0]);
    });
    this.#registry.read(definitions.sessionBytes, () => {
      const sums = new Map([...this.#bytes].map(([key, sum]) => [key, { ...sum }]));
      for (const session of list()) this.#addBytes(sums, session);
      return [...sums.values()].flatMap((sum) =>
        (['in', 'out'] as const).map((direction) => [{ direction, ...sum.labels }, sum[direction]] as const),
      );
    });
  }

  /** @returns the key under which a session with these labels counts. */
  #remember(labels: SubjectLabels): string {
    const isFull = this.#seen.size >= maxSeriesPerMetric && !this.#seen.has(keyOf(labels));
    const shown = isFull ? { kind: otherLabel, protocol: otherLabel, leg: otherLabel, cluster: otherLabel } : labels;
    const key = keyOf(shown);
    this.#seen.set(key, shown);
    return key;
  }

  #addBytes(sums: Map<string, ByteSums>, session: MeasuredSession): void {
    const { kind, leg, cluster } = this.#labelsOf(session);
    const key = `${kind}\n${leg}\n${cluster}`;
    const sum = sums.get(key) ?? { labels: { kind, leg, cluster }, in: 0, out: 0 };
    sum.in += session.bytesIn;
    sum.out += session.bytesOut;
    sums.set(key, sum);
  }

  #labelsOf({ subject }: MeasuredSession): SubjectLabels {
    const { kind, clientProtocol, detour } = subject;
    return {
      kind,
      protocol: protocols.has(clientProtocol) ? clientProtocol : otherLabel,
      leg: kind === 'upgrade' || detour !== undefined ? 'apiserver' : 'kubelet',
      cluster: this.#clusterOf(subject),
    };
  }

  /** Clusters exist before they have sessions, but may come and go for years. */
  #clusterOf({ cluster, clusterNamespace }: MeasuredSession['subject']): string {
    const name = cluster === localCluster ? cluster : `${clusterNamespace}/${cluster}`;
    if (this.#clusters.has(name)) return name;
    if (this.#clusters.size >= maxClusters) return otherLabel;
    this.#clusters.add(name);
    return name;
  }
}

const preflightOutcomes = [
  'allowed',
  'forbidden',
  'notFound',
  'invalid',
  'refused',
  'serverError',
  'unreachable',
  'timeout',
  'clientGone',
  'error',
] as const;

function preflightOutcome(end: StageEnd): (typeof preflightOutcomes)[number] {
  if (!end.isOk) {
    const code = codeOf(end.error);
    return code === 'unreachable' || code === 'timeout' || code === 'clientGone' ? code : 'error';
  }
  const status = end.status ?? 0;
  if (status < 400) return 'allowed';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'notFound';
  if (status === 400 || status === 422) return 'invalid';
  return status < 500 ? 'refused' : 'serverError';
}

const dialCauses = [
  'refused',
  'reset',
  'noRoute',
  'unknownHost',
  'timeout',
  'untrusted',
  'wrongName',
  'expired',
  'tls',
  'notConfigured',
  'clientGone',
  'other',
] as const;
type DialCause = (typeof dialCauses)[number];

/** By the code that Node or OpenSSL gives. */
const causesByCode: Readonly<Record<string, DialCause>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  EHOSTUNREACH: 'noRoute',
  ENETUNREACH: 'noRoute',
  EHOSTDOWN: 'noRoute',
  ENOTFOUND: 'unknownHost',
  EAI_AGAIN: 'unknownHost',
  ETIMEDOUT: 'timeout',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'untrusted',
  UNABLE_TO_GET_ISSUER_CERT: 'untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'untrusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'untrusted',
  CERT_SIGNATURE_FAILURE: 'untrusted',
  ERR_TLS_CERT_ALTNAME_INVALID: 'wrongName',
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'expired',
};

function dialCause(error: unknown): DialCause {
  const systemCode = error instanceof Error && 'systemCode' in error ? error.systemCode : undefined;
  const code = codeOf(error);
  if (code === 'clientGone' || code === 'timeout') return code;
  if (typeof systemCode === 'string' && causesByCode[systemCode] !== undefined) return causesByCode[systemCode];
  if (code === 'tls') return error instanceof Error && 'systemCode' in error ? 'tls' : 'notConfigured';
  // A peer that hangs up in the middle of a handshake gives no code.
  return code === 'unreachable' && systemCode === undefined ? 'reset' : 'other';
}
