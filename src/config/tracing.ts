// The settings of tracing, meant as kube-apiserver's TracingConfiguration means them; the endpoint is one of OTLP over HTTP.

import { z } from 'zod/v3';

import { quote } from '../base/quote.ts';

import type { Setting } from './settings.ts';
import { file, group, wanted } from './values.ts';

const endpointWanted = 'an http:// or https:// URL without a user, a query and a fragment';
const rateWanted = 'a whole number from 0 to 1000000';

export const tracing = group({
  /** Where spans go; left out: there is no tracing. A URL without a path gets OTLP's /v1/traces. */
  endpoint: z.string(wanted(endpointWanted)).refine(isEndpoint, endpointWanted).optional(),
  /** Of requests that are not part of the trace of a caller who may decide that. */
  samplingRatePerMillion: z
    .number(wanted(rateWanted))
    .int(rateWanted)
    .min(0, rateWanted)
    .max(1_000_000, rateWanted)
    .default(0),
  /** PEM; left out: the authorities that Node knows. */
  certificateAuthority: file().optional(),
});

export const tracingSettings: readonly Setting[] = [
  {
    key: 'tracing.endpoint',
    flag: 'tracing-endpoint',
    kind: 'text',
    help: 'URL of a collector that takes OTLP over HTTP as JSON (default: no tracing)',
    describe: describeEndpoint,
  },
  {
    key: 'tracing.samplingRatePerMillion',
    flag: 'tracing-sampling-rate-per-million',
    kind: 'integer',
    help: 'requests that are traced, of a million (default 0: those alone whose caller may and does ask for it)',
  },
  {
    key: 'tracing.certificateAuthority',
    flag: 'tracing-certificate-authority',
    kind: 'file',
    help: "CA of the collector's certificate, PEM (default: those that Node knows)",
  },
];

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return (protocol === 'http:' || protocol === 'https:') && username + password + search + hash === '';
}

/** Without a user and a password, which are refused and all the same in many URLs. */
function describeEndpoint(value: unknown): string {
  return typeof value === 'string' ? quote(value.replace(/^.*@/s, '…@')) : 'no text';
}
