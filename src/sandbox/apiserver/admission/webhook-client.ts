// Calls one admission webhook: an AdmissionReview over HTTPS (or, in the sandbox, HTTP on loopback), to a URL or to a Service.

import { request as httpsRequest } from 'node:https';

import { request as httpRequest } from '../../../base/node-http.ts';
import { goNetworkError } from '../connect/kubelet-client.ts';
import { resolveService } from '../aggregation/service-endpoint.ts';
import type { Store } from '../store.ts';
import type { Webhook } from './webhook-rules.ts';

/** `response` of an AdmissionReview. */
export interface AdmissionResponse {
  readonly uid?: string;
  readonly allowed?: boolean;
  readonly status?: { readonly message?: string; readonly reason?: string; readonly code?: number };
  readonly patch?: string;
  readonly patchType?: string;
  readonly warnings?: readonly string[];
  readonly auditAnnotations?: Readonly<Record<string, string>>;
}

const defaultTimeoutSeconds = 10;
const maxAnswerBytes = 3 * 1024 * 1024;

/** @throws Error with Go's text: what stands behind `failed calling webhook "NAME": `. */
export async function callWebhook(
  store: Store,
  webhook: Webhook,
  review: { request: { uid: string } },
  signal: AbortSignal,
): Promise<AdmissionResponse> {
  const seconds = webhook.timeoutSeconds ?? defaultTimeoutSeconds;
  const place = placeOf(store, webhook);
  const url = new URL(place.url);
  url.searchParams.set('timeout', `${seconds}s`);
  const deadline = AbortSignal.timeout(seconds * 1000);
  let answer: { status: number; body: string };
  try {
    answer = await post(url, place, JSON.stringify(review), AbortSignal.any([signal, deadline]));
  } catch (error) {
    const port = Number(url.port === '' ? 443 : url.port);
    const text = deadline.aborted ? 'context deadline exceeded' : goNetworkError(error, { host: url.hostname, port });
    throw new Error(`failed to call webhook: Post ${JSON.stringify(place.shown(url))}: ${text}`, { cause: error });
  }
  if (answer.status < 200 || answer.status > 299) {
    const text = answer.status === 404 ? 'the server could not find the requested resource' : answer.body.trim();
    throw new Error(`failed to call webhook: ${text === '' ? `status ${answer.status}` : text}`);
  }
  const { response } = JSON.parse(answer.body) as { response?: AdmissionResponse };
  if (response === undefined)
    throw new Error('expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got nothing');
  if (response.uid !== review.request.uid) {
    throw new Error(
      `expected response.uid=${JSON.stringify(review.request.uid)}, got ${JSON.stringify(response.uid ?? '')}`,
    );
  }
  return response;
}

interface Place {
  readonly url: string;
  readonly servername: string | undefined;
  readonly ca: string | undefined;
  /** How errors name the URL: a Service by its own name, not by the endpoint. */
  readonly shown: (url: URL) => string;
}

function placeOf(store: Store, { clientConfig }: Webhook): Place {
  const ca = clientConfig.caBundle === undefined ? undefined : Buffer.from(clientConfig.caBundle, 'base64').toString();
  const { service } = clientConfig;
  if (service === undefined) return { url: clientConfig.url ?? '', servername: undefined, ca, shown: String };
  const { namespace, name, path = '', port = 443 } = service;
  const host = `${name}.${namespace}.svc`;
  const endpoint = resolveService(store, { namespace, name, port });
  if (endpoint === undefined) {
    throw new Error(
      `failed to call webhook: Post "https://${host}:${port}${path}": service ${JSON.stringify(name)} not found`,
    );
  }
  return {
    url: `https://${endpoint.host}:${endpoint.port}${path}`,
    servername: host,
    ca,
    shown: (url) => `https://${host}:${port}${url.pathname}${url.search}`,
  };
}

function post(url: URL, place: Place, body: string, signal: AbortSignal): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST',
      signal,
      agent: false as const, // one connection for each call: seldom, and nothing is left behind
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json',
        'User-Agent': 'kube-apiserver-admission',
      },
    };
    const request =
      url.protocol === 'http:'
        ? httpRequest(url, options)
        : httpsRequest(url, {
            ...options,
            ...(place.ca === undefined ? {} : { ca: place.ca }),
            ...(place.servername === undefined ? {} : { servername: place.servername }),
          });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length > maxAnswerBytes) response.destroy(new Error('the webhook answered too much'));
      });
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.end(body);
  });
}
