// Spans as OTLP's JSON (opentelemetry-proto 1.x, trace/v1; the JSON mapping of protobuf with hex ids and times as decimal strings), which every
// collector takes at /v1/traces. Written by hand: kexer has six kinds of spans, and the official SDK costs 29 MB of memory (ADR 7).

import type { Attributes, FinishedSpan, SpanKind } from './trace.ts';

const kinds: Readonly<Record<SpanKind, number>> = { internal: 1, server: 2, client: 3 };
const statusError = 2;
/** Flags of a span: what is known of whether its parent was remote is not said. */
const scopeName = 'kexer';

export interface Resource {
  readonly version: string;
  readonly instance: string;
}

/** An ExportTraceServiceRequest. */
export function otlpJson(spans: readonly FinishedSpan[], resource: Resource): string {
  const attributes = {
    'service.name': 'kexer',
    'service.version': resource.version,
    'service.instance.id': resource.instance,
  };
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: keyValues(attributes) },
        scopeSpans: [{ scope: { name: scopeName, version: resource.version }, spans: spans.map(spanJson) }],
      },
    ],
  });
}

function spanJson(span: FinishedSpan): unknown {
  const { traceId, spanId, parentSpanId, name, kind, startMs, endMs, attributes, isError, link } = span;
  return {
    traceId,
    spanId,
    ...(parentSpanId === '' ? {} : { parentSpanId }),
    name,
    kind: kinds[kind],
    startTimeUnixNano: nanoseconds(startMs),
    endTimeUnixNano: nanoseconds(endMs),
    attributes: keyValues(attributes),
    ...(link === undefined ? {} : { links: [{ traceId: link.traceId, spanId: link.spanId, traceState: link.state }] }),
    status: isError ? { code: statusError } : {},
  };
}

/** Microseconds are as fine as the clock is; a number of nanoseconds would not be exact. */
function nanoseconds(ms: number): string {
  return `${Math.round(ms * 1000)}000`;
}

function keyValues(attributes: Attributes): unknown[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }));
}

function anyValue(value: string | number | boolean): unknown {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}
