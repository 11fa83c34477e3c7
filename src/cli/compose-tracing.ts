// Tracing's part of the object graph, which is loaded only where there is tracing.

import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';

import { codeOf, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { Config } from '../config/schema.ts';
import { KubeClient } from '../kube/client.ts';
import { tracingFailed } from '../observe/trace-lines.ts';
import { SpanExporter } from '../observe/traces/span-exporter.ts';
import { Tracer } from '../observe/traces/trace.ts';
import { getHeader } from '../protocol/raw-headers.ts';

import type { ComposeDeps } from './compose.ts';

const postTimeoutMs = 10_000;
/** Of an answer, which says nothing that is read. */
const maxAnswerBytes = 64 * 1024;
const tracesPath = '/v1/traces';

export interface Tracing {
  readonly tracer: Tracer;
  readonly counts: SpanExporter['counts'];
}

/** @throws KexerError config */
export async function composeTracing(
  { clock, log, scope, version }: ComposeDeps,
  config: Config['tracing'],
  endpoint: string,
): Promise<Tracing> {
  const { certificateAuthority, samplingRatePerMillion } = config;
  const ca = certificateAuthority === undefined ? undefined : await readAuthority(certificateAuthority);
  const url = new URL(endpoint);
  const target = url.pathname === '/' ? tracesPath : url.pathname;
  const client = new KubeClient(
    { clock },
    {
      endpoint: { url: url.origin, isVerified: true, servername: undefined, ca },
      credential: { kind: 'none' },
      userAgent: `kexer/${version}`,
    },
  );
  scope.add(() => client.close());
  const exporter = new SpanExporter(
    {
      clock,
      onError: (err) => tracingFailed(log, { endpoint, err }),
      post: async (body) => {
        const exchange = client.exchange({
          method: 'POST',
          target,
          headers: [
            ['Content-Type', 'application/json'],
            ['User-Agent', `kexer/${version}`],
          ],
          body,
          timeoutMs: postTimeoutMs,
          maxBytes: maxAnswerBytes,
          isRetriedOnce: true,
        });
        const { status, headers } = await exchange.catch((error: unknown) => {
          // The client calls whatever it talks to an apiserver.
          const cause = error instanceof Error ? (error.cause ?? error) : error;
          throw new KexerError(codeOf(error), `Cannot reach the collector at ${url.host}`, { cause });
        });
        const seconds = Number(getHeader(headers, 'Retry-After') ?? Number.NaN);
        return { status, retryAfterSeconds: seconds >= 0 ? seconds : undefined };
      },
    },
    { version, instance: hostname() },
  );
  scope.add(() => exporter.close());
  const tracer = new Tracer({ clock, onSpan: (span) => exporter.add(span) }, { samplingRatePerMillion });
  return { tracer, counts: () => exporter.counts() };
}

async function readAuthority(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read --tracing-certificate-authority ${quote(file)}`, { cause });
  }
  try {
    // Node itself would only complain at each connection.
    void new X509Certificate(text);
    return text;
  } catch (cause) {
    const message = `Cannot use --tracing-certificate-authority ${quote(file)}: want PEM certificates`;
    throw new KexerError('config', message, { cause });
  }
}
