// /livez, /readyz and /healthz in kube-apiserver's format: `ok`, or with ?verbose or on failure a line for each named check. Open to
// everybody, so a failure's reason is withheld from strangers; the log has it, and whoever proves an identity and asks for ?verbose is told.

import { textAnswer, type Answer } from './answer.ts';
import type { Shutdown } from './shutdown.ts';

export interface HealthCheck {
  readonly name: string;
  readonly isHealthy: () => boolean;
  /** Why it is not; absent: nothing to say. Without secrets. */
  readonly reason?: () => string;
  /** What is wrong though it is healthy; '' or absent: nothing. Without secrets. */
  readonly note?: () => string;
}

const healthPaths = new Set(['/livez', '/readyz', '/healthz']);

/** Whether reasons would be told in the answer, if its caller were known. */
export function asksForReasons(path: string, query: URLSearchParams): boolean {
  return healthPaths.has(path) && query.has('verbose');
}

export class Health {
  readonly #readiness: readonly HealthCheck[];
  readonly #shutdown: Shutdown;

  /** @param readiness what must be true besides that kexer is not stopping. */
  constructor(deps: { shutdown: Shutdown }, readiness: readonly HealthCheck[]) {
    this.#readiness = readiness;
    this.#shutdown = deps.shutdown;
  }

  /**
   * The answer to a health path, or undefined if it is none.
   * @param isKnown whether the caller has proven an identity.
   */
  answer(path: string, query: URLSearchParams, isKnown = false): Answer | undefined {
    const ping: HealthCheck = { name: 'ping', isHealthy: () => true };
    switch (path) {
      case '/livez':
      case '/healthz':
        return report(path.slice(1), [ping], query, isKnown);
      case '/readyz':
        return report('readyz', [ping, ...this.readiness()], query, isKnown);
      default:
        return undefined;
    }
  }

  /** What /readyz asks for; all of it must be so. */
  readiness(): readonly HealthCheck[] {
    const isHealthy = (): boolean => !this.#shutdown.isStopping;
    return [...this.#readiness, { name: 'shutdown', isHealthy, reason: () => 'kexer is stopping' }];
  }
}

function report(name: string, checks: readonly HealthCheck[], query: URLSearchParams, isKnown: boolean): Answer {
  const results = checks.map((check) => ({ check, isHealthy: check.isHealthy() }));
  const isHealthy = results.every((result) => result.isHealthy);
  const isVerbose = query.has('verbose');
  if (isHealthy && !isVerbose) return textAnswer(200, 'ok');
  const lines = results.map((result) => lineOf(result.check, result.isHealthy, isKnown && isVerbose));
  lines.push(`${name} check ${isHealthy ? 'passed' : 'failed'}`);
  return textAnswer(isHealthy ? 200 : 500, `${lines.join('\n')}\n`);
}

function lineOf({ name, reason, note }: HealthCheck, isHealthy: boolean, isTold: boolean): string {
  const text = isTold ? ((isHealthy ? note : reason)?.() ?? '') : '';
  if (isHealthy) return text === '' ? `[+]${name} ok` : `[+]${name} ok: ${text}`;
  return `[-]${name} failed: ${text === '' ? 'reason withheld' : text}`;
}
