// /livez, /readyz and /healthz in kube-apiserver's format: `ok`, or with ?verbose or on failure a line for each named check. Open to
// everybody, so a failure's reason is withheld here; the log has it.

import { textAnswer, type Answer } from './answer.ts';
import type { Shutdown } from './shutdown.ts';

export interface HealthCheck {
  readonly name: string;
  readonly isHealthy: () => boolean;
}

export class Health {
  readonly #readiness: readonly HealthCheck[];
  readonly #shutdown: Shutdown;

  /** @param readiness what must be true besides that kexer is not stopping. */
  constructor(deps: { shutdown: Shutdown }, readiness: readonly HealthCheck[]) {
    this.#readiness = readiness;
    this.#shutdown = deps.shutdown;
  }

  /** The answer to a health path, or undefined if it is none. */
  answer(path: string, query: URLSearchParams): Answer | undefined {
    const ping: HealthCheck = { name: 'ping', isHealthy: () => true };
    switch (path) {
      case '/livez':
      case '/healthz':
        return report(path.slice(1), [ping], query);
      case '/readyz': {
        const shutdown: HealthCheck = { name: 'shutdown', isHealthy: () => !this.#shutdown.isStopping };
        return report('readyz', [ping, ...this.#readiness, shutdown], query);
      }
      default:
        return undefined;
    }
  }
}

function report(name: string, checks: readonly HealthCheck[], query: URLSearchParams): Answer {
  const results = checks.map((check) => ({ name: check.name, isHealthy: check.isHealthy() }));
  const isHealthy = results.every((result) => result.isHealthy);
  if (isHealthy && !query.has('verbose')) return textAnswer(200, 'ok');
  const lines = results.map((result) =>
    result.isHealthy ? `[+]${result.name} ok` : `[-]${result.name} failed: reason withheld`,
  );
  lines.push(`${name} check ${isHealthy ? 'passed' : 'failed'}`);
  return textAnswer(isHealthy ? 200 : 500, `${lines.join('\n')}\n`);
}
