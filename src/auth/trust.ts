// Whom kube-apiserver tells extension apiservers to trust: the ConfigMap kube-system/extension-apiserver-authentication, watched. Two
// authorities that are never mixed: the client CA (users) and the request-header CA (the front proxy). What is missing, unread or broken is
// trusted by nobody: an error here costs access, never grants it.

import { KexerError } from '../base/errors.ts';
import { CaBundle } from '../certs/verify-chain.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../base/clock.ts';
import { Informer, type KubeObject } from '../kube/informer.ts';

/** How the front proxy proves itself and where it writes whom it speaks for. */
export interface RequestHeaderTrust {
  readonly ca: CaBundle;
  /** Common names of the front proxy's certificate; empty: any under `ca`. */
  readonly allowedNames: readonly string[];
  readonly usernameHeaders: readonly string[];
  /** Empty: no UID is taken from headers. */
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraPrefixes: readonly string[];
}

/** One state of the ConfigMap. */
export interface Trust {
  readonly clientCa: CaBundle | undefined;
  readonly requestHeader: RequestHeaderTrust | undefined;
  /** What could not be used, each a sentence. */
  readonly problems: readonly string[];
}

export const noTrust: Trust = Object.freeze({ clientCa: undefined, requestHeader: undefined, problems: [] });

/** The current trust, as the authenticators read it. */
export interface TrustSource {
  readonly current: Trust;
  /** The ConfigMap was looked for at least once. */
  readonly hasSynced: boolean;
}

type Data = Readonly<Record<string, string>>;

/** @param previous whose bundles are kept while their text is unchanged, and with them the verdicts of open connections. */
export function readTrust(data: Data, previous: Trust = noTrust): Trust {
  const problems: string[] = [];
  const attempt = <T>(what: string, read: () => T | undefined): T | undefined => {
    try {
      return read();
    } catch (error) {
      problems.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  };
  const clientCa = attempt('client-ca-file', () => bundle(data['client-ca-file'], previous.clientCa));
  const requestHeader = attempt('requestheader', () => readRequestHeader(data, previous.requestHeader?.ca));
  return { clientCa, requestHeader, problems };
}

function readRequestHeader(data: Data, previous: CaBundle | undefined): RequestHeaderTrust | undefined {
  const ca = bundle(data['requestheader-client-ca-file'], previous);
  if (ca === undefined) return undefined;
  const usernameHeaders = names(data, 'requestheader-username-headers');
  if (usernameHeaders.length === 0) throw new KexerError('config', 'requestheader-username-headers names no header');
  return {
    ca,
    allowedNames: names(data, 'requestheader-allowed-names'),
    usernameHeaders,
    uidHeaders: names(data, 'requestheader-uid-headers'),
    groupHeaders: names(data, 'requestheader-group-headers'),
    extraPrefixes: names(data, 'requestheader-extra-headers-prefix').filter((prefix) => prefix !== ''),
  };
}

function bundle(pem: string | undefined, previous: CaBundle | undefined): CaBundle | undefined {
  if (pem === undefined || pem === '') return undefined;
  return previous?.pem === pem ? previous : new CaBundle(pem);
}

/** A JSON array of strings; an absent key is empty. */
function names(data: Data, key: string): string[] {
  const text = data[key];
  if (text === undefined || text === '') return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KexerError('config', `Cannot read ${key}: want a JSON array of strings`, { cause });
  }
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw new KexerError('config', `Cannot read ${key}: want a JSON array of strings`);
  }
  return value;
}

const configMap = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };

/** Follows the ConfigMap. Start it, and stop it with its owner. */
export class TrustWatch implements TrustSource {
  readonly #informer: Informer<Data>;
  readonly #onProblem: (problem: string) => void;
  readonly #onMissing: () => void;
  readonly #waiters: Set<() => void>;
  #hasLoaded: boolean;
  #current: Trust;

  constructor(deps: {
    client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;
    clock: Clock;
    /** Failures of the watch. */
    onError?: (error: unknown) => void;
    /** Parts of the ConfigMap that cannot be used, when it changes. */
    onProblem?: (problem: string) => void;
    /** It was looked for and is not there. */
    onMissing?: () => void;
  }) {
    this.#current = noTrust;
    this.#hasLoaded = false;
    this.#waiters = new Set();
    this.#onMissing = deps.onMissing ?? (() => {});
    this.#onProblem = deps.onProblem ?? (() => {});
    this.#informer = new Informer<Data>(
      { client: deps.client, clock: deps.clock },
      {
        path: `/api/v1/namespaces/${configMap.namespace}/configmaps`,
        name: configMap.name,
        project: dataOf,
        ...(deps.onError === undefined ? {} : { onError: deps.onError }),
      },
    );
    this.#informer.onChange((change) => {
      if (change.type === 'set') {
        this.#take(change.object);
        this.#loaded();
      } else {
        this.#take({});
        this.#onMissing();
      }
    });
  }

  get current(): Trust {
    return this.#current;
  }

  get hasSynced(): boolean {
    return this.#informer.hasSynced;
  }

  /** Resolves when the ConfigMap was looked for; rejects when `signal` aborts. */
  whenSynced(signal?: AbortSignal): Promise<void> {
    return this.#informer.whenSynced(signal);
  }

  /** The ConfigMap was there once. What it said is forgotten when it goes; that it had been there is not. */
  get hasLoaded(): boolean {
    return this.#hasLoaded;
  }

  /** Resolves when `hasLoaded`; rejects when `signal` aborts. */
  async whenLoaded(signal?: AbortSignal): Promise<void> {
    await this.#informer.whenSynced(signal);
    if (this.#hasLoaded) return;
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(done);
        reject(
          new KexerError('timeout', `Cannot wait longer for the ConfigMap ${configMap.namespace}/${configMap.name}`),
        );
      };
      const done = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiters.add(done);
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  start(): void {
    this.#informer.start();
    // A list without the ConfigMap makes no change.
    void this.#informer.whenSynced().then(() => {
      if (!this.#hasLoaded) this.#onMissing();
    });
  }

  async stop(): Promise<void> {
    await this.#informer.stop();
  }

  #loaded(): void {
    this.#hasLoaded = true;
    for (const done of this.#waiters) done();
    this.#waiters.clear();
  }

  #take(data: Data): void {
    this.#current = readTrust(data, this.#current);
    for (const problem of this.#current.problems) this.#onProblem(problem);
  }
}

function dataOf(object: KubeObject): Data {
  const { data } = object;
  if (typeof data !== 'object' || data === null) return {};
  return Object.fromEntries(
    Object.entries(data).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}
