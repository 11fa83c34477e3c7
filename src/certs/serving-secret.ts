// The serving certificate that lives in a Secret and that all replicas share. An empty Secret is filled; a leaf of kexer's own is renewed in
// time, and issued anew when a name is missing; what an operator or cert-manager put there is followed and never written. Replicas need no
// leader: each writes with the resourceVersion it has read, so that one of them wins, and the others take the winner's by their watch.
// A pair that was good once stays in use whatever happens to the Secret, or to the apiserver.

import { X509Certificate } from 'node:crypto';

import type { Clock, Timer } from '../base/clock.ts';
import { codeOf, describeError, KexerError } from '../base/errors.ts';
import { unreachable } from '../base/unreachable.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import { missingRule } from '../kube/missing-rule.ts';
import { isKubeObject, type KubeObject } from '../kube/objects.ts';
import { StatusError } from '../kube/status.ts';
import { missingNames, namesIn, type ObjectName, servingNames } from './certificate-names.ts';
import type { CertificateStats } from './certificate-stats.ts';
import type { KeyPairPem } from './generate.ts';
import { isLasting, issueAuthority, issueLeaf, renewalMs } from './issue.ts';
import { readSecret, type SecretData, secretDataOf, secretKeys } from './secret-content.ts';

/** The pair in use, and who signed it. */
export interface ServingState {
  readonly pair: KeyPairPem;
  /** PEM; undefined if the Secret does not say. */
  readonly ca: string | undefined;
}

/** For logs. Each is called once for each thing that happened. */
export interface ServingSecretObserver {
  /** A list or watch failed; it goes on trying. */
  readonly informerFailed: (informer: string, error: unknown, object: string) => void;
  /** A new pair is in use. */
  readonly taken: (fields: { names: readonly string[]; notAfter: string; isFirst: boolean }) => void;
  /** This replica issued a leaf. */
  readonly issued: (fields: {
    names: readonly string[];
    notAfter: string;
    reason: string;
    /** Clients that trust the authority of before are to be given the new one. */
    isAuthorityReplaced: boolean;
  }) => void;
  /** What is in the Secret cannot be used; the pair in use stays. */
  readonly unusable: (error: unknown) => void;
  /** A leaf is due and the Secret cannot be written; tried again. */
  readonly notWritten: (error: unknown) => void;
  /** The Secret is gone. */
  readonly deleted: (fields: { isRecreated: boolean; err?: unknown }) => void;
  /** An operator's certificate lacks names by which clients call kexer. */
  readonly namesMissing: (names: readonly string[]) => void;
}

export interface ServingSecretOptions {
  readonly secret: ObjectName;
  /** Undefined: names come from `extraNames` alone. */
  readonly service: ObjectName | undefined;
  readonly extraNames: readonly string[];
}

interface Found {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly data: SecretData;
}

type Client = Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;

/** Replicas see a new name at the same moment; the first to wake issues, and is seen by the others. */
const namesSpreadMs = 5000;
/** A loser of a race hears of the winner by its watch; this is for a watch that is just down. */
const conflictPauseMs = 2000;
const firstRetryMs = 1000;
const maxRetryMs = 60_000;
/** Node's timers hold 24 days, and a clock may be set. */
const maxPauseMs = 6 * 60 * 60 * 1000;
const writeTimeoutMs = 10_000;
const fieldManager = 'kexer';

export class ServingSecret {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #stats: CertificateStats;
  readonly #observer: ServingSecretObserver;
  readonly #options: ServingSecretOptions;
  /** Of this replica: when it renews, of all replicas. */
  readonly #place: number;
  readonly #secrets: Informer<Found>;
  readonly #services: Informer<KubeObject> | undefined;
  readonly #listeners: Set<(state: ServingState) => void>;
  readonly #stopping: AbortController;
  #found: Found | undefined;
  #current: ServingState | undefined;
  /** Of the pair in use, if it is kexer's own: what a Secret that was deleted is filled with again. */
  #authority: KeyPairPem | undefined;
  /** Of the Secret in which that authority was seen last. */
  #ownUid: string;
  #problem: string;
  /** The version of the Secret whose flaw was told, and the last refusal of a write that was. */
  #told: string;
  #toldRefusal: string;
  #namesDueMs: number | undefined;
  #retryMs: number;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #isStale: boolean;

  constructor(
    deps: {
      client: Client;
      clock: Clock;
      stats: CertificateStats;
      observer: ServingSecretObserver;
      random?: () => number;
    },
    options: ServingSecretOptions,
  ) {
    const { client, clock, observer } = deps;
    this.#client = client;
    this.#clock = clock;
    this.#stats = deps.stats;
    this.#observer = observer;
    this.#options = options;
    this.#place = (deps.random ?? Math.random)();
    this.#secrets = new Informer<Found>(deps, {
      path: `/api/v1/namespaces/${options.secret.namespace}/secrets`,
      name: options.secret.name,
      project: foundIn,
      onError: (error) => this.#informerFailed('serving certificate', options.secret.name, error),
    });
    const { service } = options;
    this.#services =
      service === undefined
        ? undefined
        : new Informer<KubeObject>(deps, {
            path: `/api/v1/namespaces/${service.namespace}/services`,
            name: service.name,
            project: (object) => object,
            onError: (error) => observer.informerFailed('service of the serving certificate', error, service.name),
          });
    this.#listeners = new Set();
    this.#stopping = new AbortController();
    this.#found = undefined;
    this.#current = undefined;
    this.#authority = undefined;
    this.#ownUid = '';
    this.#problem = 'the Secret has not been read yet';
    this.#told = '';
    this.#toldRefusal = '';
    this.#namesDueMs = undefined;
    this.#retryMs = firstRetryMs;
    this.#timer = undefined;
    this.#running = undefined;
    this.#isStale = false;
  }

  /** The last good pair. */
  get current(): ServingState | undefined {
    return this.#current;
  }

  /** Why there is no pair, or why a newer one is not in use; '' if all is well. A sentence without secrets. */
  get problem(): string {
    return this.#problem;
  }

  /** Called with each new pair. Returns a function that ends it. */
  onChange(listener: (state: ServingState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when there is a pair; rejects when `signal` aborts. */
  whenLoaded(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#current !== undefined) {
        resolve();
        return;
      }
      const onAbort = (): void => {
        forget();
        reject(new KexerError('timeout', 'Cannot wait longer for the serving certificate'));
      };
      const forget = this.onChange(() => {
        forget();
        signal.removeEventListener('abort', onAbort);
        resolve();
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  start(): void {
    this.#secrets.onChange((change) => {
      this.#found = change.type === 'set' ? change.object : undefined;
      this.#wake();
    });
    this.#secrets.start();
    // A Secret that is not there makes no change.
    this.#wakeAfter(this.#secrets.whenTried(this.#stopping.signal));
    if (this.#services === undefined) return;
    this.#services.onChange(() => this.#wake());
    this.#services.start();
    this.#wakeAfter(this.#services.whenTried(this.#stopping.signal));
  }

  /** Resolves when nothing runs any more; the pair stays readable. */
  async stop(): Promise<void> {
    this.#stopping.abort(new KexerError('draining', 'Cannot go on: kexer is stopping'));
    this.#timer?.cancel();
    await Promise.all([this.#secrets.stop(), this.#services?.stop(), this.#running]);
  }

  #wakeAfter(event: Promise<void>): void {
    event.then(
      () => this.#wake(),
      () => {
        // Stopped before: there is nothing to wake.
      },
    );
  }

  /** One look at a time; what changes during one is looked at after it. */
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
      .then((pauseMs) => {
        this.#running = undefined;
        if (this.#stopping.signal.aborted) return;
        if (this.#isStale) this.#wake();
        else this.#timer = this.#clock.after(Math.min(pauseMs, maxPauseMs), () => this.#wake());
      });
  }

  /** @returns after how long to look again, if nothing changes before. */
  async #look(): Promise<number> {
    const found = this.#found;
    if (found === undefined) return this.#secrets.hasSynced ? this.#missing() : maxPauseMs;
    const nowMs = this.#clock.now();
    const content = readSecret(this.#options.secret, found.data, nowMs);
    switch (content.kind) {
      case 'empty':
        // Soon known, and without it the first certificate would lack addresses and be followed by a second.
        if (this.#services?.hasTried === false) return maxPauseMs;
        // Emptied is an order; deleted and applied again is not, and nobody shall notice.
        return this.#authority === undefined || found.uid === this.#ownUid
          ? this.#issue(found, undefined, this.#wantedNames(), 'the Secret is empty')
          : this.#issue(found, this.#authority, this.#wantedNames(), 'the Secret is another one, and empty');
      case 'own': {
        const { authority, pair } = content;
        this.#authority = authority;
        this.#ownUid = found.uid;
        if (pair !== undefined) this.#take({ pair, ca: authority.cert });
        const due = this.#due(authority, pair, nowMs);
        if (due.inMs > 0) return due.inMs;
        const isGood = isLasting(new X509Certificate(authority.cert), nowMs);
        return this.#issue(found, isGood ? authority : undefined, due.names, due.reason);
      }
      case 'given':
        this.#authority = undefined;
        this.#take({ pair: content.pair, ca: content.ca });
        return maxPauseMs;
      case 'unusable':
        this.#refuse(found, content.problem);
        // An early certificate becomes good by waiting.
        return content.isEarly ? maxRetryMs : maxPauseMs;
      default:
        return unreachable(content);
    }
  }

  /** When the next leaf is due and with which names. */
  #due(
    authority: KeyPairPem,
    pair: KeyPairPem | undefined,
    nowMs: number,
  ): { readonly inMs: number; readonly names: readonly string[]; readonly reason: string } {
    const wanted = this.#wantedNames();
    if (pair === undefined) return { inMs: 0, names: wanted, reason: 'there is no good certificate' };
    const leaf = new X509Certificate(pair.cert);
    const kept = [...new Set([...wanted, ...namesIn(leaf)])];
    if (!leaf.verify(new X509Certificate(authority.cert).publicKey)) {
      return { inMs: 0, names: kept, reason: 'the authority is another one' };
    }
    const missing = missingNames(leaf, wanted);
    // Old names stay until the renewal: replicas with different flags, as in a rollout, would otherwise take turns for ever.
    if (missing.length === 0) this.#namesDueMs = undefined;
    else this.#namesDueMs ??= nowMs + this.#place * namesSpreadMs;
    if (this.#namesDueMs !== undefined && this.#namesDueMs <= nowMs) {
      return { inMs: 0, names: kept, reason: `it lacks the names ${missing.join(', ')}` };
    }
    const renewMs = renewalMs(leaf, this.#place);
    const names = this.#services?.hasSynced === false ? kept : wanted;
    if (renewMs <= nowMs) return { inMs: 0, names, reason: 'two thirds of its life are over' };
    return { inMs: Math.min(renewMs, this.#namesDueMs ?? renewMs) - nowMs, names, reason: '' };
  }

  #wantedNames(): string[] {
    const { service, extraNames } = this.#options;
    const object = service === undefined ? undefined : this.#services?.get(`${service.namespace}/${service.name}`);
    return servingNames(service, object, extraNames);
  }

  /** Issues and writes a leaf, and an authority if none is given. @throws what the apiserver refused. */
  async #issue(found: Found, kept: KeyPairPem | undefined, names: readonly string[], reason: string): Promise<number> {
    const nowMs = this.#clock.now();
    const authority = kept ?? (await issueAuthority(nowMs));
    const pair = await issueLeaf(authority, names, nowMs);
    const written = await this.#write('application/merge-patch+json', '', {
      // The lock: whoever wrote since then has won.
      metadata: { resourceVersion: found.resourceVersion },
      data: encode(dataOf(pair, authority)),
    });
    this.#retryMs = firstRetryMs;
    this.#toldRefusal = '';
    this.#namesDueMs = undefined;
    this.#stats.counts.renewals += 1;
    const notAfter = new X509Certificate(pair.cert).validToDate.toISOString();
    const isAuthorityReplaced = kept === undefined && this.#authority !== undefined;
    this.#observer.issued({ names, notAfter, reason, isAuthorityReplaced });
    this.#found = written;
    this.#authority = authority;
    this.#ownUid = written.uid;
    this.#take({ pair, ca: authority.cert });
    return maxPauseMs;
  }

  /** The Secret is not there. What kexer made goes into a new one, if it may create it by this name. */
  async #missing(): Promise<number> {
    const { namespace, name } = this.#options.secret;
    const text = `the Secret ${namespace}/${name} is not there`;
    if (this.#current === undefined || this.#authority === undefined) {
      if (this.#problem !== text) this.#observer.deleted({ isRecreated: false });
      this.#problem = text;
      return maxPauseMs;
    }
    const { pair } = this.#current;
    try {
      // Apply is the one way to create an object that RBAC can allow by name, and does not overwrite what somebody else put there meanwhile.
      this.#found = await this.#write('application/apply-patch+yaml', '&force=false', {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name, namespace },
        type: 'Opaque',
        data: encode(dataOf(pair, this.#authority)),
      });
    } catch (error) {
      if (this.#problem !== text) this.#observer.deleted({ isRecreated: false, err: error });
      this.#problem = text;
      return this.#nextRetryMs();
    }
    this.#retryMs = firstRetryMs;
    this.#ownUid = this.#found.uid;
    this.#observer.deleted({ isRecreated: true });
    this.#problem = '';
    return firstRetryMs;
  }

  async #write(contentType: string, query: string, body: object): Promise<Found> {
    const { namespace, name } = this.#options.secret;
    const answer = await this.#client.json({
      method: 'PATCH',
      target: `/api/v1/namespaces/${namespace}/secrets/${name}?fieldManager=${fieldManager}${query}`,
      contentType,
      body,
      timeoutMs: writeTimeoutMs,
      signal: this.#stopping.signal,
    });
    if (!isKubeObject(answer)) throw new KexerError('badGateway', 'Cannot read the answer: want the Secret');
    return foundIn(answer);
  }

  #take(state: ServingState): void {
    this.#problem = '';
    this.#told = '';
    this.#stats.isStale.serving = false;
    const before = this.#current;
    if (before?.pair.cert === state.pair.cert && before.pair.key === state.pair.key && before.ca === state.ca) return;
    this.#current = state;
    if (before === undefined) this.#stats.note('serving', state.pair.cert);
    else this.#stats.reloaded('serving', state.pair.cert);
    if (state.ca !== undefined) this.#stats.note('serving-ca', state.ca);
    const leaf = new X509Certificate(state.pair.cert);
    const fields = { names: namesIn(leaf), notAfter: leaf.validToDate.toISOString(), isFirst: before === undefined };
    this.#observer.taken(fields);
    const { service } = this.#options;
    if (this.#authority === undefined && service !== undefined) {
      const missing = [`${service.name}.${service.namespace}.svc`].filter((name) => leaf.checkHost(name) === undefined);
      if (missing.length > 0) this.#observer.namesMissing(missing);
    }
    for (const listener of this.#listeners) listener(state);
  }

  #refuse(found: Found, problem: KexerError): void {
    this.#problem = describeError(problem);
    // Once for each content, not at each look.
    if (this.#told === found.resourceVersion) return;
    this.#told = found.resourceVersion;
    this.#stats.reloadFailed('serving');
    this.#observer.unusable(problem);
  }

  #failed(error: unknown): number {
    if (this.#stopping.signal.aborted) return maxPauseMs;
    // Another replica was quicker: its pair is on its way here.
    if (error instanceof StatusError && error.status.code === 409) return conflictPauseMs;
    this.#stats.counts.renewalFailures += 1;
    const problem = missingRule(error, this.#options.secret.name) ?? describeError(error);
    // An outage of the apiserver is told by the informers.
    if (problem !== this.#toldRefusal && codeOf(error) !== 'unreachable') this.#observer.notWritten(error);
    this.#toldRefusal = problem;
    this.#problem = problem;
    return this.#nextRetryMs();
  }

  #nextRetryMs(): number {
    const pauseMs = this.#retryMs;
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
    return pauseMs;
  }

  #informerFailed(informer: string, name: string, error: unknown): void {
    this.#observer.informerFailed(informer, error, name);
    if (this.#current === undefined) this.#problem = missingRule(error, name) ?? describeError(error);
  }
}

function foundIn(object: KubeObject): Found {
  const { uid, resourceVersion = '' } = object.metadata;
  return { uid: typeof uid === 'string' ? uid : '', resourceVersion, data: secretDataOf(object) };
}

function dataOf(pair: KeyPairPem, authority: KeyPairPem): SecretData {
  return {
    [secretKeys.cert]: pair.cert,
    [secretKeys.key]: pair.key,
    [secretKeys.ca]: authority.cert,
    [secretKeys.caKey]: authority.key,
  };
}

function encode(data: SecretData): Record<string, string> {
  return Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));
}
