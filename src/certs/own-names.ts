// What a client may call this machine: for certificates of a kexer that runs outside a cluster.

import { hostname, networkInterfaces } from 'node:os';

/** Each once. */
export function ownNames(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) =>
    // A link-local address has a zone, which no certificate can name.
    (list ?? []).filter((entry) => !entry.address.startsWith('fe80:')).map((entry) => entry.address),
  );
  return [...new Set(['localhost', hostname().toLowerCase(), ...addresses])];
}
