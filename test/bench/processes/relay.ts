// The peer that Node itself is: TLS to TLS by two `pipeline`s, nothing read and nothing checked.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';
import { connect, createServer } from 'node:tls';

import { offer } from '../support/child.ts';

const offers = {
  /** Gives the port. */
  async listen({ cert, key, to }: { cert: string; key: string; to: number }): Promise<number> {
    const server = createServer({ cert, key, noDelay: true }, (client) => {
      const backend = connect({ host: '127.0.0.1', port: to, rejectUnauthorized: false });
      backend.setNoDelay(true);
      pipeline(client, backend, () => {});
      pipeline(backend, client, () => {});
    });
    server.on('tlsClientError', () => {});
    server.listen({ host: '127.0.0.1', port: 0, backlog: 8192 });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  },
};

export type RelayOffers = typeof offers;

offer(offers);
