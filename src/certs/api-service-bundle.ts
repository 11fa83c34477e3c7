// Keeps the caBundle of kexer's APIService up with the authority of its serving certificate, so that kube-aggregator can verify it. Writes
// only into an empty caBundle and into one that it wrote itself, which an annotation with its digest proves; whatever else stands there is
// somebody's decision: it stays, and is reported if it does not verify the certificate in use.

import { createHash } from 'node:crypto';

import type { Clock, Timer } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import { missingRule } from '../kube/missing-rule.ts';
import { isRecord, type KubeObject } from '../kube/objects.ts';
import { StatusError } from '../kube/status.ts';
import { containsAll, extendBundle, verifiesChain } from './ca-bundle.ts';
import type { ObjectName } from './certificate-names.ts';
import type { CertificateStats } from './certificate-stats.ts';
import type { ServingState } from './serving-secret.ts';

/** The digest of what kexer wrote: while it fits, the caBundle is kexer's. */
export const bundleAnnotation = 'backup.cv.io/ca-bundle-sha256';

/** cert-manager's injector writes the caBundle of objects that have one of these. */
const injectorPrefix = 'cert-manager.io/inject-';

export interface ApiServiceObserver {
  readonly informerFailed: (informer: string, error: unknown) => void;
  readonly written: (fields: { apiService: string; authorities: number }) => void;
  /** It is somebody else's and does not verify kexer's certificate: calls through kube-apiserver fail. */
  readonly foreign: (fields: { apiService: string; reason: string }) => void;
  readonly notWritten: (fields: { apiService: string; err: unknown }) => void;
}

interface Found {
  readonly resourceVersion: string;
  readonly caBundle: string;
  readonly isUnverified: boolean;
  /** Where it leads. */
  readonly service: ObjectName | undefined;
  readonly digest: string;
  readonly isInjected: boolean;
}

type Client = Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;

const firstRetryMs = 1000;
const maxRetryMs = 60_000;
const writeTimeoutMs = 10_000;

export class ApiServiceBundle {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #stats: CertificateStats;
  readonly #observer: ApiServiceObserver;
  readonly #options: { readonly name: string; readonly service: ObjectName | undefined };
  readonly #informer: Informer<Found>;
  readonly #stopping: AbortController;
  #state: ServingState | undefined;
  #found: Found | undefined;
  /** What was told last, so that a line is written once for each thing. */
  #told: string;
  #reason: string;
  #retryMs: number;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #isStale: boolean;

  /** @param options.service where the APIService must lead to be kexer's; undefined: not looked at. */
  constructor(
    deps: { client: Client; clock: Clock; stats: CertificateStats; observer: ApiServiceObserver },
    options: { name: string; service: ObjectName | undefined },
  ) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#stats = deps.stats;
    this.#observer = deps.observer;
    this.#options = options;
    this.#informer = new Informer<Found>(deps, {
      path: '/apis/apiregistration.k8s.io/v1/apiservices',
      name: options.name,
      project: foundIn,
      onError: (error) => {
        this.#reason = missingRule(error, options.name) ?? describeError(error);
        deps.observer.informerFailed('caBundle of the APIService', error);
      },
    });
    this.#stopping = new AbortController();
    this.#state = undefined;
    this.#found = undefined;
    this.#told = '';
    this.#reason = 'it has not been read yet';
    this.#retryMs = firstRetryMs;
    this.#timer = undefined;
    this.#running = undefined;
    this.#isStale = false;
    this.#stats.caBundle = 'unwritten';
  }

  /** Why kube-aggregator may not be able to verify kexer; '' if all is well. A sentence without secrets. */
  get problem(): string {
    return this.#stats.caBundle === 'current'
      ? ''
      : `the caBundle of ${this.#options.name} is ${this.#stats.caBundle}: ${this.#reason}`;
  }

  start(): void {
    this.#informer.onChange((change) => {
      this.#found = change.type === 'set' ? change.object : undefined;
      this.#wake();
    });
    this.#informer.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new KexerError('draining', 'Cannot go on: kexer is stopping'));
    this.#timer?.cancel();
    await Promise.all([this.#informer.stop(), this.#running]);
  }

  /** The pair that kexer serves with from now on. */
  announce(state: ServingState): void {
    this.#state = state;
    this.#wake();
  }

  #wake(): void {
    if (this.#stopping.signal.aborted) return;
    if (this.#running !== undefined) {
      this.#isStale = true;
      return;
    }
    this.#timer?.cancel();
    this.#isStale = false;
    this.#running = this.#look()
      .catch((error: unknown) => this.#failed(error))
      .then(() => {
        this.#running = undefined;
        if (this.#isStale) this.#wake();
      });
  }

  async #look(): Promise<void> {
    const found = this.#found;
    const state = this.#state;
    if (found === undefined || state === undefined) {
      this.#stats.caBundle = 'unwritten';
      this.#reason = found === undefined ? 'the APIService is not there' : 'there is no serving certificate yet';
      return;
    }
    const { caBundle } = found;
    const { ca } = state;
    if (ca !== undefined && containsAll(caBundle, ca)) {
      this.#settle('current');
      return;
    }
    const obstacle = this.#obstacle(found, ca);
    if (obstacle !== undefined) {
      const isVerified = !found.isUnverified && verifiesChain(caBundle, state.pair.cert);
      this.#settle(isVerified ? 'current' : 'foreign', isVerified ? '' : obstacle);
      return;
    }
    await this.#write(found, extendBundle(caBundle, ca ?? '', this.#clock.now()));
  }

  /** Why it is not to be written; undefined: it is. */
  #obstacle(found: Found, ca: string | undefined): string | undefined {
    const { service } = this.#options;
    if (found.isUnverified) return 'it has insecureSkipTLSVerify';
    if (found.isInjected) return 'cert-manager is to write it, and has not (yet)';
    if (
      service !== undefined &&
      (found.service?.name !== service.name || found.service.namespace !== service.namespace)
    ) {
      return `the APIService leads to another Service than ${service.namespace}/${service.name}`;
    }
    if (ca === undefined) return 'the Secret has no ca.crt, so that the authority is not known';
    if (found.caBundle !== '' && found.digest !== digestOf(found.caBundle)) {
      return 'it was written by somebody else: empty it, or put the authority of the serving certificate in it';
    }
    return undefined;
  }

  #settle(state: 'current' | 'foreign', reason = ''): void {
    this.#stats.caBundle = state;
    this.#retryMs = firstRetryMs;
    if (reason !== '' && reason !== this.#told) this.#observer.foreign({ apiService: this.#options.name, reason });
    this.#told = reason;
    this.#reason = reason;
  }

  async #write(found: Found, caBundle: string): Promise<void> {
    const { name } = this.#options;
    await this.#client.json({
      method: 'PATCH',
      target: `/apis/apiregistration.k8s.io/v1/apiservices/${name}?fieldManager=kexer`,
      contentType: 'application/merge-patch+json',
      body: {
        // The lock: what stood there when it was judged.
        metadata: { resourceVersion: found.resourceVersion, annotations: { [bundleAnnotation]: digestOf(caBundle) } },
        spec: { caBundle: Buffer.from(caBundle).toString('base64') },
      },
      timeoutMs: writeTimeoutMs,
      signal: this.#stopping.signal,
    });
    this.#settle('current');
    this.#observer.written({ apiService: name, authorities: caBundle.split('-----BEGIN').length - 1 });
  }

  #failed(error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    this.#stats.caBundle = 'unwritten';
    const isConflict = error instanceof StatusError && error.status.code === 409;
    const text = missingRule(error, this.#options.name) ?? describeError(error);
    if (!isConflict && text !== this.#told) this.#observer.notWritten({ apiService: this.#options.name, err: error });
    if (!isConflict) this.#told = text;
    this.#reason = text;
    this.#timer = this.#clock.after(this.#retryMs, () => this.#wake());
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
  }
}

function foundIn(object: KubeObject): Found {
  const spec = asRecord(object['spec']);
  const annotations = asRecord(object.metadata['annotations']);
  const { namespace, name } = asRecord(spec['service']);
  const bundle = spec['caBundle'];
  const digest = annotations[bundleAnnotation];
  return {
    resourceVersion: object.metadata.resourceVersion ?? '',
    caBundle: typeof bundle === 'string' ? Buffer.from(bundle, 'base64').toString('utf8') : '',
    isUnverified: spec['insecureSkipTLSVerify'] === true,
    service: typeof namespace === 'string' && typeof name === 'string' ? { namespace, name } : undefined,
    digest: typeof digest === 'string' ? digest : '',
    isInjected: Object.keys(annotations).some((key) => key.startsWith(injectorPrefix)),
  };
}

function digestOf(caBundle: string): string {
  return createHash('sha256').update(caBundle).digest('hex');
}

function asRecord(value: unknown): Record<string, unknown> {
  return isRecord(value) ? value : {};
}
