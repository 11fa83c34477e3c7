// An HTTP proxy on the way to a peer: CONNECT, and from then on the connection is the peer's. The proxy is told an address that the guard has
// allowed, never a name, which it would resolve for itself to whatever it likes; and it sees TLS only, so it can neither read nor change what
// passes. Whatever the proxy does wrong is told in a sentence that names it, and never with the credentials that it is shown.

import { Buffer } from 'node:buffer';
import { lookup, type LookupAddress } from 'node:dns';
import { isIP, type Socket } from 'node:net';

import { type Clock, systemClock } from '../base/clock.ts';
import { describeError, type ErrorCode, KexerError } from '../base/errors.ts';
import { STATUS_CODES } from '../base/node-http.ts';
import { type AddressGuard, checkLiteral, guardedLookup, type Resolver } from '../kube/address-guard.ts';
import type { TunnelProxy, TunnelTarget } from '../kube/tunnel.ts';
import type { RawHeader } from '../protocol/raw-headers.ts';
import { addressText, DialError, dialTcp, dialTls } from './dial.ts';
import type { ProxyAddress } from './proxy-url.ts';
import { TlsMemory } from './tls-memory.ts';
import { requestUpgrade, type UpgradeAnswer } from './upgrade.ts';

/** Of a name; each that the proxy cannot reach costs a connection to it. */
const maxAddresses = 4;

export interface HttpProxyDeps {
  readonly clock?: Clock;
  /** Of the names of peers; default: the system's. */
  readonly resolver?: Resolver;
}

export interface HttpProxyOptions {
  readonly address: ProxyAddress;
  readonly userAgent: string;
  /** PEM certificates that alone are trusted for a proxy with TLS; undefined: the system's. */
  readonly ca?: () => string | undefined;
  /** `USER:PASSWORD` as it is now. @throws KexerError badGateway if there is something else. */
  readonly credentials?: () => string;
}

export class HttpProxy implements TunnelProxy {
  readonly name: string;
  readonly #clock: Clock;
  readonly #resolver: Resolver | undefined;
  readonly #options: HttpProxyOptions;
  /** Of TLS with the proxy itself. */
  readonly #memory: TlsMemory;

  constructor(deps: HttpProxyDeps, options: HttpProxyOptions) {
    this.name = addressText(options.address);
    this.#clock = deps.clock ?? systemClock;
    this.#resolver = deps.resolver;
    this.#options = options;
    this.#memory = new TlsMemory({ clock: this.#clock });
  }

  async open(target: TunnelTarget): Promise<Socket> {
    const deadlineMs = this.#clock.monotonic() + target.timeoutMs;
    const addresses = await this.#addressesOf(target);
    let first: DialError | undefined;
    for (const address of addresses) {
      const leftMs = deadlineMs - this.#clock.monotonic();
      if (leftMs <= 0) break;
      try {
        return await this.#tunnelTo(address, { ...target, timeoutMs: leftMs }, target);
      } catch (error) {
        if (!(error instanceof AddressFailure)) throw error;
        // Told of the first, which the system prefers.
        first ??= error;
      }
    }
    throw first ?? this.#silent(target);
  }

  /** The allowed ones of the host, at least one. @throws KexerError badGateway, unreachable, clientGone */
  async #addressesOf(target: TunnelTarget): Promise<string[]> {
    const { host, guard = anyAddress, signal, timeoutMs } = target;
    if (isIP(host) !== 0) {
      checkLiteral(guard, host);
      return [host];
    }
    const look = guardedLookup(guard, this.#resolver ?? lookup);
    // Nothing ends a look-up but its own answer: it is left behind.
    return new Promise((resolve, reject) => {
      const settle = (run: () => void): void => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        run();
      };
      const onAbort = (): void => settle(() => reject(cancelled(target)));
      const timer = this.#clock.after(timeoutMs, () =>
        settle(() => reject(this.#unresolved(target, new Error(`its name was not resolved within ${timeoutMs} ms`)))),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      look(host, { all: true }, (error, found) => {
        settle(() => {
          if (error instanceof KexerError) reject(error);
          else if (error !== null || typeof found === 'string') reject(this.#unresolved(target, error));
          else resolve(bothFamilies(found).slice(0, maxAddresses));
        });
      });
    });
  }

  /** @param told the target as it was asked for, with its whole time. */
  async #tunnelTo(address: string, target: TunnelTarget, told: TunnelTarget): Promise<Socket> {
    const startedMs = this.#clock.monotonic();
    // First: without them there is nothing to ask the proxy for.
    const credentials = this.#options.credentials?.();
    const socket = await this.#dial(target, told);
    const authority = addressText({ host: address, port: target.port });
    const headers: RawHeader[] = [
      ['Host', authority],
      ['User-Agent', this.#options.userAgent],
    ];
    if (credentials !== undefined) {
      headers.push(['Proxy-Authorization', `Basic ${Buffer.from(credentials, 'utf8').toString('base64')}`]);
    }
    const leftMs = Math.max(1, target.timeoutMs - (this.#clock.monotonic() - startedMs));
    let answer: UpgradeAnswer;
    try {
      answer = await requestUpgrade(
        socket,
        { method: 'CONNECT', target: authority, headers },
        { timeoutMs: leftMs, signal: target.signal, clock: this.#clock },
      );
    } catch (error) {
      throw this.#unanswered(error, told);
    }
    const { status } = answer.head;
    if (status < 200 || status > 299) {
      socket.destroy();
      throw this.#refused(status, authority, told);
    }
    // A peer may speak first; as a rule nothing is here.
    if (answer.rest.length > 0) socket.unshift(answer.rest);
    return socket;
  }

  async #dial({ timeoutMs, signal }: TunnelTarget, told: TunnelTarget): Promise<Socket> {
    const { host, port, isTls } = this.#options.address;
    const common = { host, port, timeoutMs, signal, clock: this.#clock };
    try {
      if (!isTls) return await dialTcp(common);
      const ca = this.#options.ca?.();
      return await dialTls({
        ...common,
        isVerified: true,
        alpn: ['http/1.1'],
        memory: this.#memory,
        ...(ca === undefined ? {} : { ca: [ca] }),
      });
    } catch (error) {
      throw this.#undialled(error, told);
    }
  }

  #undialled(error: unknown, told: TunnelTarget): unknown {
    if (!(error instanceof DialError)) return error;
    // Node adds advice about itself behind a semicolon.
    const [why = ''] = describeError(error.cause ?? error).split('; ', 1);
    switch (error.code) {
      case 'clientGone':
        return cancelled(told);
      case 'timeout':
        return this.#silent(told);
      case 'tls':
        // No certificate was seen: OpenSSL's own text is of several lines, its code says the same.
        if (error.subjectAltName === undefined) {
          return this.#failure('badGateway', told, `speaks no TLS that is understood: ${error.systemCode ?? why}`);
        }
        return this.#failure('badGateway', told, `cannot be trusted: ${why}; see clusters.proxyCaFile`);
      default:
        return this.#failure('unreachable', told, `cannot be reached: ${why}`, error.systemCode);
    }
  }

  /** Nothing of what the proxy sent is shown: it may send back what it was sent. */
  #unanswered(error: unknown, told: TunnelTarget): unknown {
    if (!(error instanceof KexerError)) return error;
    switch (error.code) {
      case 'clientGone':
        return cancelled(told);
      case 'timeout':
        return this.#silent(told);
      case 'tls':
        return this.#failure('badGateway', told, `does not accept the TLS connection`);
      case 'unreachable':
        return this.#failure('unreachable', told, 'closed the connection before it answered');
      case 'badGateway':
        return this.#failure('badGateway', told, 'gave an answer that is no whole head of HTTP/1.1');
      default:
        return error;
    }
  }

  #refused(status: number, authority: string, told: TunnelTarget): DialError {
    const phrase = STATUS_CODES[status];
    const hint = status === 407 ? `; ${this.#credentialsHint()}` : '';
    const what = `answered ${status}${phrase === undefined ? '' : ` ${phrase}`} to CONNECT ${authority}${hint}`;
    const failure = this.#failure('badGateway', told, what);
    // It could not get there, but perhaps elsewhere.
    return status >= 500 ? new AddressFailure(failure) : failure;
  }

  #credentialsHint(): string {
    return this.#options.credentials === undefined
      ? 'it wants a user and a password: set clusters.proxyCredentialsFile'
      : 'it wants another user or password than those of clusters.proxyCredentialsFile';
  }

  #silent(told: TunnelTarget): DialError {
    return this.#failure('unreachable', told, `did not answer within ${told.timeoutMs} ms`);
  }

  #unresolved(told: TunnelTarget, error: Error | null): DialError {
    const address = addressText(told);
    const why = `${error === null ? 'no address' : describeError(error)} (names are resolved here, not by the proxy)`;
    const systemCode = error !== null && 'code' in error ? String(error.code) : undefined;
    return new DialError('unreachable', `Cannot connect to ${address}: ${why}`, {
      address,
      servername: told.host,
      systemCode,
    });
  }

  /** @param what the end of the sentence "the proxy HOST:PORT …". No cause: by one it would be judged as the peer's own failure. */
  #failure(code: ErrorCode, told: TunnelTarget, what: string, systemCode?: string): DialError {
    const address = addressText(told);
    const proxyProblem = `the proxy ${this.name} ${what}`;
    const details = { address, servername: told.host, systemCode, proxyProblem };
    return new DialError(code, `Cannot connect to ${address}: ${proxyProblem}`, details);
  }
}

/** The proxy could not reach this address. */
class AddressFailure extends DialError {
  constructor(failure: DialError) {
    super(failure.code, failure.message, failure);
  }
}

const anyAddress: AddressGuard = { problem: () => undefined };

/** Each family in turn, beginning with the first: a proxy may have a way to one of them alone. */
function bothFamilies(found: readonly LookupAddress[]): string[] {
  const [first] = found;
  const ours = found.filter(({ family }) => family === first?.family);
  const others = found.filter(({ family }) => family !== first?.family);
  return ours
    .flatMap((one, index) => [one, ...others.slice(index, index + 1)])
    .concat(others.slice(ours.length))
    .map(({ address }) => address);
}

function cancelled(target: TunnelTarget): DialError {
  const address = addressText(target);
  return new DialError('clientGone', `Cannot connect to ${address}: cancelled`, { address, servername: target.host });
}
