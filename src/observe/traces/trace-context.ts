// W3C Trace Context, level 1: the headers `traceparent` and `tracestate` as values.
//
//     traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//                  version, trace id (16 bytes), parent span id (8 bytes), flags (bit 0: sampled), all in lower-case hex

import { getAllHeaders, type RawHeader, type RawHeaders } from '../../protocol/raw-headers.ts';

export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
  /** The tracing systems' own; passed on as it is. '' if there is none. */
  readonly state: string;
}

/** As the specification asks a receiver to bound it at least. */
const maxStateLength = 512;

/** What a request's headers say; undefined if they say nothing that may be used. */
export function readTraceContext(headers: RawHeaders): TraceContext | undefined {
  const values = getAllHeaders(headers, 'traceparent');
  const [value = ''] = values;
  if (values.length !== 1) return undefined;
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(value.trim());
  const [, version, traceId, spanId, flags = '', rest] = match ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined) return undefined;
  // Version ff is forbidden; 00 has nothing behind its flags, a later one may have.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  const state = getAllHeaders(headers, 'tracestate').join(',');
  return {
    traceId,
    spanId,
    isSampled: (Number.parseInt(flags, 16) & 1) === 1,
    state: state.length <= maxStateLength && /^[\x20-\x7e\t]*$/.test(state) ? state : '',
  };
}

export function writeTraceContext({ traceId, spanId, isSampled, state }: TraceContext): RawHeader[] {
  const headers: RawHeader[] = [['Traceparent', `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`]];
  if (state !== '') headers.push(['Tracestate', state]);
  return headers;
}
