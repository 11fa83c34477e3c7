// Whether clusters answer: one cheap call each (/version), made when somebody asks and remembered for some seconds; bounded in time, so that no
// list waits for a cluster that is away, and in number, so that a list of many does not dial them all at once.

import type { Clock } from '../base/clock.ts';
import { codeOf, describeError, type ErrorCode } from '../base/errors.ts';
import { SingleFlight, TtlCache } from '../base/ttl-cache.ts';
import { StatusError } from '../kube/status.ts';

import type { Cluster } from './cluster.ts';

/** What a look at a cluster showed. */
export type Health =
  | { readonly isReachable: true; readonly version: string; readonly latencyMs: number }
  /** `reason` is one word for conditions, `message` a sentence; neither has anything secret. */
  | { readonly isReachable: false; readonly reason: string; readonly message: string };

/** A cluster and the name it is asked for by. */
export interface NamedProbe {
  /** NAMESPACE/NAME */
  readonly key: string;
  /** @throws StatusError if the cluster cannot be used. */
  readonly cluster: () => Cluster;
}

const lifetimeMs = 5000;
const timeoutMs = 3000;
/** Nothing more is asked for a list after this long; what was not asked is not known. */
const lookMs = 5000;
const maxEntries = 10_000;
const maxAtOnce = 32;

export class ClusterHealth {
  readonly #clock: Clock;
  readonly #known: TtlCache<{ readonly cluster: Cluster; readonly health: Health }>;
  readonly #flights: SingleFlight<{ readonly cluster: Cluster; readonly health: Health }>;
  readonly #stopping: AbortController;

  constructor(deps: { clock: Clock }) {
    this.#clock = deps.clock;
    this.#known = new TtlCache(deps, { maxEntries });
    this.#flights = new SingleFlight();
    this.#stopping = new AbortController();
  }

  /** Asks nothing any more. */
  stop(): void {
    this.#stopping.abort();
  }

  /** By key, within some seconds: those that could be asked. Never rejects. */
  async look(probes: readonly NamedProbe[]): Promise<ReadonlyMap<string, Health>> {
    const found = new Map<string, Health>();
    const rest = [...probes];
    const endMs = this.#clock.monotonic() + lookMs;
    const work = async (): Promise<void> => {
      while (this.#clock.monotonic() < endMs) {
        const probe = rest.shift();
        if (probe === undefined) return;
        found.set(probe.key, await this.#one(probe));
      }
    };
    await Promise.all(Array.from({ length: Math.min(maxAtOnce, probes.length) }, work));
    return found;
  }

  async #one({ key, cluster: find }: NamedProbe): Promise<Health> {
    try {
      const cluster = find();
      const known = this.#known.get(key);
      // Another content of the Secret is another object.
      if (known?.cluster === cluster) return known.health;
      const flown = await this.#flights.run(key, async () => ({ cluster, health: await this.#ask(key, cluster) }));
      // One that was under way may be about the content before.
      return flown.cluster === cluster ? flown.health : await this.#ask(key, cluster);
    } catch (error) {
      return failed(error);
    }
  }

  async #ask(key: string, cluster: Cluster): Promise<Health> {
    const startedMs = this.#clock.monotonic();
    let health: Health;
    try {
      const { gitVersion } = await cluster.readVersion(this.#stopping.signal, timeoutMs);
      health = { isReachable: true, version: gitVersion, latencyMs: this.#clock.monotonic() - startedMs };
    } catch (error) {
      health = failed(error);
    }
    this.#known.set(key, { cluster, health }, lifetimeMs);
    return health;
  }
}

const reasons: Readonly<Partial<Record<ErrorCode, string>>> = {
  unreachable: 'Unreachable',
  timeout: 'Timeout',
  tls: 'NotTrusted',
  badGateway: 'BadAnswer',
  cut: 'BadAnswer',
};

function reasonOf(error: unknown): string {
  const code = error instanceof StatusError && error.cause !== undefined ? codeOf(error.cause) : codeOf(error);
  return reasons[code] ?? 'Refused';
}

function failed(error: unknown): Health {
  // What others said, a Status of theirs say, may be long.
  const message = describeError(error instanceof StatusError ? error.message : error).slice(0, 512);
  return { isReachable: false, reason: reasonOf(error), message };
}
