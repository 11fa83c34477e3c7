// What the log says of tracing and metrics themselves.

import type { Logger } from './logger.ts';

/** Spans are dropped until it works again; told once for each stretch of failures. */
export function tracingFailed(log: Logger, fields: { endpoint: string; err: unknown }): void {
  log.error(fields, 'cannot export spans');
}

/** It is missing in this scrape. */
export function metricFailed(log: Logger, fields: { metric: string; err: unknown }): void {
  log.error(fields, 'cannot read a metric');
}
