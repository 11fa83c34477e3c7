// A mutating admission webhook as a cluster would have one: an HTTPS server that answers AdmissionReviews of CONNECT, and the configuration that
// makes kube-apiserver call it.

import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { servingPair } from '../../support/serving-pair.ts';

/** The object of a review, as far as the tests read it. */
export interface ReviewedOptions {
  readonly kind: string;
  readonly command?: readonly string[];
  readonly container?: string;
}

/** What a webhook says to one review: a new command, a denial, or undefined to let it pass as it is. */
export type Verdict = { readonly command: readonly string[] } | { readonly denial: string } | undefined;

export class Rewriter {
  /** Every review's object, in order. */
  readonly seen: ReviewedOptions[];
  judge: (options: ReviewedOptions) => Verdict;
  readonly #server: Server;
  readonly #ca: string;

  constructor(server: Server, ca: string) {
    this.seen = [];
    this.judge = () => undefined;
    this.#server = server;
    this.#ca = ca;
  }

  static async start(): Promise<Rewriter> {
    const { cert, key, ca } = await servingPair();
    const server = createServer({ cert, key });
    const rewriter = new Rewriter(server, ca);
    server.on('request', (request, response) => void rewriter.#answer(request, response));
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    return rewriter;
  }

  /** A MutatingWebhookConfiguration that sends it CONNECT of these resources. */
  configuration(name: string, resources: readonly string[]): object {
    const { port } = this.#server.address() as AddressInfo;
    return {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name },
      webhooks: [
        {
          name: 'rewrite.example.com',
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          clientConfig: { url: `https://127.0.0.1:${port}/`, caBundle: Buffer.from(this.#ca).toString('base64') },
          rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources }],
        },
      ],
    };
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const review = JSON.parse(Buffer.concat(chunks).toString()) as {
      request: { uid: string; object: ReviewedOptions };
    };
    const { uid, object } = review.request;
    this.seen.push(object);
    const verdict = this.judge(object);
    const body = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid, ...responseOf(verdict) },
    };
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  }
}

function responseOf(verdict: Verdict): object {
  if (verdict === undefined) return { allowed: true };
  if ('denial' in verdict) return { allowed: false, status: { code: 403, message: verdict.denial } };
  const patch = [{ op: 'replace', path: '/command', value: verdict.command }];
  return { allowed: true, patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') };
}
