// What requests are counted as when they have ended, and what their stages did: the recording side of request-definitions.ts. Called once a
// request and once a stage, never for bytes.

import type { RequestInfo } from '../../kube/request-info.ts';
import { StatusError } from '../../kube/status.ts';
import { codeOf } from '../../base/errors.ts';

import * as definitions from './request-definitions.ts';
import { type Counter, type CounterCell, type Histogram, type HistogramCell } from './instruments.ts';
import { maxSeriesPerMetric, otherLabel } from './instruments.ts';
import type { Reading, Registry } from './registry.ts';
import { ResourceNames } from './resource-labels.ts';

/** What labels are made of; the same for requests that run and that have ended. */
export interface RequestFacts {
  readonly method: string;
  /** Of the inner path for a call on a cluster; undefined: it could not be read. */
  readonly info: RequestInfo | undefined;
  /** The raw query of that path. */
  readonly rawQuery: string;
  readonly contentType: string;
  /** A session, or what would have become one. */
  readonly isStream: boolean;
}

export interface RequestEndFacts extends RequestFacts {
  readonly status: number;
  readonly durationMs: number;
}

/** A request that runs now. */
export interface RunningRequest extends RequestFacts {
  readonly isLongRunning: boolean;
}

export type ReviewName = 'TokenReview' | 'SubjectAccessReview';

/** How often reviews were asked for since the start, by where the answer came from. */
export interface ReviewCacheCounts {
  readonly hit: number;
  readonly joined: number;
  readonly miss: number;
}

const component = 'apiserver';
const mutatingVerbs = new Set(['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE', 'DELETECOLLECTION', otherLabel]);

export class RequestMetrics {
  readonly #registry: Registry;
  readonly #names: ResourceNames;
  /** Where requests are counted, so that one key a request is put together and not one a metric. */
  readonly #ends: Map<string, Cells>;
  readonly #total: Counter<keyof (typeof definitions.requestTotal)['labels']>;
  readonly #duration: Histogram<keyof (typeof definitions.requestDuration)['labels']>;
  readonly #connectionErrors: Counter<never>;
  readonly #authentications: Results<'success' | 'failure' | 'error'>;
  readonly #users: Counter<'username'>;
  readonly #certificates: Histogram<never>;
  readonly #authorizations: Results<'allowed' | 'denied' | 'error'>;
  readonly #reviews: Readonly<
    Record<ReviewName, { readonly total: Counter<'code'>; readonly duration: Histogram<'code'> }>
  >;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#names = new ResourceNames();
    this.#ends = new Map();
    this.#total = registry.counter(definitions.requestTotal);
    this.#duration = registry.histogram(definitions.requestDuration);
    this.#connectionErrors = registry.counter(definitions.tlsHandshakeErrors);
    const attempts = registry.counter(definitions.authenticationAttempts);
    const authentication = registry.histogram(definitions.authenticationDuration);
    this.#authentications = results(attempts, authentication, ['success', 'failure', 'error']);
    this.#users = registry.counter(definitions.authenticatedUsers);
    this.#certificates = registry.histogram(definitions.clientCertificateExpiration);
    const decisions = registry.counter(definitions.authorizationAttempts);
    const authorization = registry.histogram(definitions.authorizationDuration);
    this.#authorizations = results(decisions, authorization, ['allowed', 'denied', 'error']);
    this.#reviews = {
      TokenReview: {
        total: registry.counter(definitions.tokenReviews),
        duration: registry.histogram(definitions.tokenReviewDuration),
      },
      SubjectAccessReview: {
        total: registry.counter(definitions.accessReviews),
        duration: registry.histogram(definitions.accessReviewDuration),
      },
    };
    this.#connectionErrors.touch({});
  }

  ended(end: RequestEndFacts): void {
    const { info, status } = end;
    // A 2xx or 3xx, and a switch of protocols: what was named is there.
    const names = this.#names.labelsOf(info, status < 400);
    const verb = verbOf(end);
    const dryRun = dryRunOf(end);
    const scope = scopeOf(info);
    const key = `${verb} ${dryRun} ${names.key} ${scope} ${status}`;
    let cells = this.#ends.get(key);
    if (cells === undefined) {
      const { group, version, resource, subresource } = names;
      const labels = { verb, dry_run: dryRun, group, version, resource, subresource, scope, component };
      cells = {
        total: this.#total.touch({ ...labels, code: codeText(status) }),
        duration: this.#duration.touch(labels),
      };
      if (this.#ends.size < maxSeriesPerMetric) this.#ends.set(key, cells);
    }
    cells.total.inc();
    cells.duration.observe(end.durationMs / 1000);
  }

  connectionFailed(): void {
    this.#connectionErrors.inc({});
  }

  /** @param error undefined: somebody was authenticated. */
  authenticated(durationMs: number, error: unknown): void {
    const result = error === undefined ? 'success' : statusCodeOf(error) === 401 ? 'failure' : 'error';
    // Who left is neither.
    if (codeOf(error) === 'clientGone') return;
    const cells = this.#authentications[result];
    cells.total.inc();
    cells.duration.observe(durationMs / 1000);
  }

  /** @param certificateLeftMs how long the certificate that proved it is still good; undefined: it was none. */
  user(name: string, certificateLeftMs: number | undefined): void {
    this.#users.inc({ username: compressedName(name) });
    if (certificateLeftMs !== undefined) this.#certificates.observe({}, Math.max(0, certificateLeftMs / 1000));
  }

  authorized(durationMs: number, error: unknown): void {
    const result = error === undefined ? 'allowed' : statusCodeOf(error) === 403 ? 'denied' : 'error';
    const cells = this.#authorizations[result];
    cells.total.inc();
    cells.duration.observe(durationMs / 1000);
  }

  /** One question that kube-apiserver was asked. @param code HTTP status, or undefined if there was none. */
  reviewed(review: ReviewName, durationMs: number, code: number | undefined): void {
    const labels = { code: code === undefined ? '<error>' : codeText(code) };
    this.#reviews[review].total.inc(labels);
    this.#reviews[review].duration.observe(labels, durationMs / 1000);
  }

  /** What runs now is looked at when it is scraped. */
  readRunning(list: () => Iterable<RunningRequest>): void {
    this.#registry.read(definitions.inflightRequests, () => {
      const counts = { mutating: 0, readOnly: 0 };
      for (const request of list()) {
        if (request.isLongRunning) continue;
        counts[mutatingVerbs.has(verbOf(request)) ? 'mutating' : 'readOnly'] += 1;
      }
      return [
        [{ request_kind: 'mutating' }, counts.mutating],
        [{ request_kind: 'readOnly' }, counts.readOnly],
      ];
    });
    this.#registry.read(definitions.longrunningRequests, () => {
      const groups = new Map<string, { labels: LongrunningLabels; count: number }>();
      for (const request of list()) {
        if (!request.isLongRunning) continue;
        const { group, version, resource, subresource } = this.#names.labelsOf(request.info);
        const verb = verbOf(request);
        const labels = { verb, group, version, resource, subresource, scope: scopeOf(request.info), component };
        const key = Object.values(labels).join('\n');
        const known = groups.get(key);
        if (known === undefined) groups.set(key, { labels, count: 1 });
        else known.count += 1;
      }
      return [...groups.values()].map(({ labels, count }): Reading<keyof LongrunningLabels> => [labels, count]);
    });
  }

  readReviewCache(read: () => Readonly<Record<ReviewName, ReviewCacheCounts>>): void {
    this.#registry.read(definitions.reviewCache, () =>
      Object.entries(read()).flatMap(([review, counts]) =>
        Object.entries(counts).map(([result, count]: [string, number]) => [{ review, result }, count] as const),
      ),
    );
  }
}

/** How often and how long, by what came of it. */
type Results<R extends string> = Readonly<Record<R, Cells>>;

interface Cells {
  readonly total: CounterCell;
  readonly duration: HistogramCell;
}

function results<R extends string>(
  total: Counter<'result'>,
  duration: Histogram<'result'>,
  names: readonly R[],
): Results<R> {
  const cells = names.map((result) => [
    result,
    { total: total.touch({ result }), duration: duration.touch({ result }) },
  ]);
  return Object.fromEntries(cells) as Results<R>;
}

type LongrunningLabels = Record<keyof (typeof definitions.longrunningRequests)['labels'], string>;

/** k8s.io/apiserver's CanonicalVerb and cleanVerb, from what RequestInfo made of the method. */
export function verbOf({ method, info, contentType, isStream }: RequestFacts): string {
  if (isStream && info?.subresource !== 'log') return 'CONNECT';
  if (info?.isResourceRequest !== true) return plainVerbs.has(method) ? method : otherLabel;
  if (info.verb === 'proxy' || info.subresource === 'proxy') return 'CONNECT';
  switch (info.verb) {
    case 'get':
      return 'GET';
    case 'list':
      return 'LIST';
    case 'watch':
      return 'WATCH';
    case 'create':
      return 'POST';
    case 'update':
      return 'PUT';
    case 'patch':
      return contentType.startsWith('application/apply-patch') ? 'APPLY' : 'PATCH';
    case 'delete':
      return 'DELETE';
    case 'deletecollection':
      return 'DELETECOLLECTION';
    default:
      return otherLabel;
  }
}

const plainVerbs = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** CleanScope. */
export function scopeOf(info: RequestInfo | undefined): string {
  if (info?.isResourceRequest !== true) return '';
  if (info.name !== '' || info.verb === 'create') return 'resource';
  if (info.namespace !== '') return 'namespace';
  return 'cluster';
}

/** cleanDryRun: kube-apiserver knows one value. */
function dryRunOf({ rawQuery }: RequestFacts): string {
  if (!rawQuery.includes('dryRun')) return '';
  const values = new URLSearchParams(rawQuery).getAll('dryRun');
  if (values.length === 0) return '';
  return values.every((value) => value === 'All') ? 'All' : 'invalid';
}

/** Three digits; whatever else a backend answers is not worth a series. */
function codeText(status: number): string {
  return Number.isInteger(status) && status >= 100 && status <= 599 ? String(status) : otherLabel;
}

function statusCodeOf(error: unknown): number | undefined {
  if (error instanceof StatusError) return error.status.code;
  const code = codeOf(error);
  return code === 'unauthenticated' ? 401 : code === 'forbidden' ? 403 : undefined;
}

/** compressUsername. */
function compressedName(name: string): string {
  switch (name) {
    case 'admin':
    case 'client':
    case 'kube_proxy':
    case 'kubelet':
    case 'system:serviceaccount:kube-system:default':
      return name;
    default:
      return name.includes('@') ? 'email_id' : otherLabel;
  }
}
