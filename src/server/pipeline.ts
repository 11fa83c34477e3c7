// The way of every request and upgrade: filters in their order over one RequestContext, then the route. A filter refuses by throwing; what
// is thrown anywhere becomes the answer here, once. Nothing that happens to one request ends the process or another request.

import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import { localName } from '../clusters/secret-watch.ts';
import { abortResponse } from '../net/http-answer.ts';
import { type Status, statusOf } from '../kube/status.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import { type Answer, RefusalWithHeaders, sendAnswer, statusAnswer, textAnswer } from './answer.ts';
import type { RequestContext } from './request-context.ts';

/** Looks at a request and sets what it finds out; throws to refuse it. */
export interface Filter {
  readonly name: string;
  apply(context: RequestContext): Promise<void> | void;
}

/** Answers the request, or hands it to who will; may throw only while nothing of an answer was written. */
export type Route = (context: RequestContext) => Promise<void> | void;

export interface PipelineObserver {
  /** The answer of a request that failed, and why. */
  requestFailed(context: RequestContext, status: number, error: unknown): void;
  /** Something threw while an error was being answered. */
  defect(error: unknown): void;
}

export class Pipeline {
  readonly #filters: readonly Filter[];
  readonly #route: Route;
  readonly #observer: PipelineObserver;
  readonly #clock: Clock;

  constructor(
    deps: { clock: Clock; observer: PipelineObserver },
    options: { filters: readonly Filter[]; route: Route },
  ) {
    this.#filters = options.filters;
    this.#route = options.route;
    this.#observer = deps.observer;
    this.#clock = deps.clock;
  }

  /** Never rejects. */
  async handle(context: RequestContext): Promise<void> {
    try {
      for (const filter of this.#filters) {
        context.stage = filter.name;
        const applied = filter.apply(context);
        // Most are done at once: a turn of the queue for each would cost more than they do.
        if (applied !== undefined) await applied;
        // Nobody waits any more: whatever would follow (reviews, calls) would be work for nobody.
        if (context.arrival.signal.aborted) return;
      }
      context.stage = 'call';
      await this.#route(context);
    } catch (error) {
      this.#answerError(context, error);
    }
  }

  #answerError(context: RequestContext, error: unknown): void {
    try {
      const status = statusOf(error);
      this.#observer.requestFailed(context, context.arrival.signal.aborted ? 499 : status.code, error);
      if (context.arrival.signal.aborted) return;
      const { exchange } = context;
      if (exchange.kind === 'request' && exchange.response.headersSent) abortResponse(exchange.response);
      else {
        const headers = error instanceof RefusalWithHeaders ? error.headers : [];
        sendAnswer({ clock: this.#clock }, exchange, errorAnswer(context, status, headers), context.arrival.auditId);
      }
    } catch (defect) {
      this.#observer.defect(new Error(`Cannot answer an error: ${describeError(error)}`, { cause: defect }));
      if (context.exchange.kind === 'upgrade') context.exchange.socket.destroy();
      else abortResponse(context.exchange.response);
    }
  }
}

/**
 * client-go shows the words of a 403 or 502 to its discovery only if they are plain text; of a Status it makes "unknown", and every kubectl
 * command begins with discovery. What is between kexer and another cluster nobody else can tell the user.
 */
function errorAnswer({ pathIfKnown: path }: RequestContext, status: Status, headers: RawHeaders): Answer {
  const isDiscovery = path?.kind === 'cluster' && path.cluster !== localName && /^\/apis?\/?$/.test(path.inner.rawPath);
  return isDiscovery && (status.code === 403 || status.code === 502)
    ? textAnswer(status.code, `${status.message ?? ''}\n`)
    : statusAnswer(status, headers);
}
