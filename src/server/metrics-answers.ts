// /metrics: everything there is to count, in the format that the scraper prefers. Who may read it, RBAC has said before (nonResourceURLs); what it
// says names no user, pod or path.

import type { ProcessMetrics } from '../observe/metrics/process-metrics.ts';
import { contentTypes, exposition, negotiateFormat } from '../observe/metrics/exposition.ts';
import type { Registry } from '../observe/metrics/registry.ts';
import { getAllHeaders } from '../protocol/raw-headers.ts';

import { type Answer, textAnswer } from './answer.ts';
import type { Arrival } from './request-context.ts';

export class MetricsAnswers {
  readonly #registry: Registry;
  readonly #process: Pick<ProcessMetrics, 'refresh'>;

  constructor(deps: { registry: Registry; process: Pick<ProcessMetrics, 'refresh'> }) {
    this.#registry = deps.registry;
    this.#process = deps.process;
  }

  /** The answer if the path is /metrics. */
  answer(path: string, { method, headers }: Pick<Arrival, 'method' | 'headers'>): Promise<Answer> | undefined {
    if (path !== '/metrics') return undefined;
    if (method !== 'GET' && method !== 'HEAD') {
      const answer = textAnswer(405, 'Method Not Allowed\n');
      return Promise.resolve({ ...answer, headers: [...(answer.headers ?? []), ['Allow', 'GET, HEAD']] });
    }
    return this.#scrape(getAllHeaders(headers, 'Accept').join(','));
  }

  async #scrape(accept: string): Promise<Answer> {
    await this.#process.refresh();
    const format = negotiateFormat(accept === '' ? undefined : accept);
    return { status: 200, contentType: contentTypes[format], body: exposition(this.#registry.collect(), format) };
  }
}
