// The apiserver's own connections to kubelets: with its client certificate, verified against the kubelets' CA, and with the error
// texts that Go's dialer would give, since users get to read them.

import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../../../base/clock.ts';
import { describeError } from '../../../base/errors.ts';
import { DialError, dialTls } from '../../../net/dial.ts';
import type { KubeletAddress } from './pod-target.ts';

export interface KubeletClientOptions {
  readonly kubeletCa: string;
  readonly certificate: { readonly cert: string; readonly key: string };
}

const dialTimeoutMs = 30_000;

export class KubeletClient {
  readonly #clock: Clock;
  readonly #options: KubeletClientOptions;
  readonly #verified: Agent;
  readonly #unverified: Agent;

  constructor(deps: { clock: Clock }, options: KubeletClientOptions) {
    this.#clock = deps.clock;
    this.#options = options;
    const shared = { keepAlive: true, ca: options.kubeletCa, ...options.certificate };
    this.#verified = new Agent(shared);
    this.#unverified = new Agent({ ...shared, rejectUnauthorized: false });
  }

  /** A connection of its own for one stream. @throws DialError */
  dial(address: KubeletAddress, signal: AbortSignal): Promise<TLSSocket> {
    return dialTls({
      host: address.host,
      port: address.port,
      ca: [this.#options.kubeletCa],
      certificate: this.#options.certificate,
      isVerified: true,
      alpn: ['http/1.1'],
      timeoutMs: dialTimeoutMs,
      signal,
      clock: this.#clock,
    });
  }

  /** A GET with a streamed answer. Rejects with Node's error if no answer comes. */
  get(
    address: KubeletAddress,
    target: string,
    options: { isVerified: boolean; signal: AbortSignal },
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        {
          host: address.host,
          port: address.port,
          path: target,
          agent: options.isVerified ? this.#verified : this.#unverified,
          headers: { 'User-Agent': 'Go-http-client/1.1' },
          signal: options.signal,
        },
        (response) => {
          response.on('error', () => {}); // whoever reads it sees the same at 'close'
          resolve(response);
        },
      );
      request.on('error', reject);
      request.end();
    });
  }

  close(): void {
    this.#verified.destroy();
    this.#unverified.destroy();
  }
}

/** What Go says about the same failure: `dial tcp HOST:PORT: connect: connection refused`. */
export function goNetworkError(error: unknown, { host, port }: { host: string; port: number }): string {
  const code = systemCode(error);
  const address = `${host}:${port}`;
  switch (code) {
    case 'ECONNREFUSED':
      return `dial tcp ${address}: connect: connection refused`;
    case 'ECONNRESET':
      return `read tcp ${address}: read: connection reset by peer`;
    case 'ENOTFOUND':
      return `dial tcp: lookup ${host}: no such host`;
    case 'ETIMEDOUT':
      return `dial tcp ${address}: connect: connection timed out`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `tls: failed to verify certificate: x509: certificate is not valid for ${host}`;
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return 'tls: failed to verify certificate: x509: certificate signed by unknown authority';
    default:
      return error instanceof DialError && error.code === 'timeout'
        ? `dial tcp ${address}: i/o timeout`
        : describeError(error);
  }
}

function systemCode(error: unknown): string | undefined {
  if (error instanceof DialError) return error.systemCode;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
