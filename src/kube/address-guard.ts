// Which addresses may be dialled, judged where the connection is made: the name is resolved once, and only what was judged is connected to, so
// that a name that changes its address between check and connect (DNS rebinding) gains nothing.

import { lookup as resolve, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';

export interface AddressGuard {
  /**
   * Why `address` may not be dialled, as the end of a sentence; undefined: it may.
   * @param host the name or address that was asked for.
   * @param address what it stands for.
   */
  problem(host: string, address: string): string | undefined;
}

/** As node:dns has it, `all` set. */
export type Resolver = (
  host: string,
  options: { readonly all: true; readonly family?: number; readonly hints?: number },
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

const systemResolver: Resolver = (host, options, done) => resolve(host, options, done);

/** Gives the allowed addresses of a name; fails with a KexerError badGateway if it has none. For connects to names: Node asks it for no address. */
export function guardedLookup(guard: AddressGuard, resolver: Resolver = systemResolver): LookupFunction {
  return (host, options, done) => {
    const { family, hints } = options;
    const wanted = {
      all: true as const,
      ...(family === undefined ? {} : { family: family === 'IPv4' ? 4 : family === 'IPv6' ? 6 : family }),
      ...(hints === undefined ? {} : { hints }),
    };
    resolver(host, wanted, (error, addresses) => {
      if (error !== null) {
        done(error, []);
        return;
      }
      const allowed = addresses.filter(({ address }) => guard.problem(host, address) === undefined);
      const [first] = allowed;
      if (first === undefined) {
        const [refused] = addresses;
        done(refusal(guard, host, refused?.address ?? ''), []);
      } else if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
}

/** For a host that is an address and so is never looked up. @throws KexerError badGateway */
export function checkLiteral(guard: AddressGuard, host: string): void {
  if (isIP(host) !== 0 && guard.problem(host, host) !== undefined) throw refusal(guard, host, host);
}

function refusal(guard: AddressGuard, host: string, address: string): KexerError {
  const name = host === address ? quote(host) : `${quote(host)} (${address === '' ? 'no address' : address})`;
  return new KexerError(
    'badGateway',
    `Cannot connect to ${name}: ${guard.problem(host, address) ?? 'no address is allowed'}`,
  );
}
