// What is judged is what is connected to: one resolution, and only allowed addresses of it.

import { connect, createServer, type AddressInfo } from 'node:net';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { type AddressGuard, checkLiteral, guardedLookup, type Resolver } from '../../src/kube/address-guard.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { dialTcp } from '../../src/net/dial.ts';
import { FakeClock } from '../support/fake-clock.ts';

const only: (address: string) => AddressGuard = (allowed) => ({
  problem: (_host, address) => (address === allowed ? undefined : 'it is not the one'),
});

function resolverOf(...answers: readonly (readonly string[])[]): { resolver: Resolver; count: () => number } {
  let count = 0;
  return {
    count: () => count,
    resolver: (_host, _options, done) => {
      const addresses = answers[count] ?? [];
      count += 1;
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    },
  };
}

function look(
  guard: AddressGuard,
  resolver: Resolver,
  all: boolean,
): Promise<{ error: Error | null; address: unknown }> {
  return new Promise((resolve) => {
    guardedLookup(guard, resolver)('far.example', { all }, (error, address) => resolve({ error, address }));
  });
}

describe('guardedLookup', () => {
  it('gives the allowed addresses alone', async () => {
    const guard = only('192.0.2.1');
    expect(await look(guard, resolverOf(['10.0.0.1', '192.0.2.1']).resolver, true)).to.deep.equal({
      error: null,
      address: [{ address: '192.0.2.1', family: 4 }],
    });
    expect(await look(guard, resolverOf(['10.0.0.1', '192.0.2.1']).resolver, false)).to.deep.equal({
      error: null,
      address: '192.0.2.1',
    });
  });

  it('names the host, an address and what is wrong with it', async () => {
    const { error } = await look(only('192.0.2.1'), resolverOf(['10.0.0.1']).resolver, true);
    expect(error).to.be.instanceOf(KexerError).with.property('code', 'badGateway');
    expect(error?.message).to.equal('Cannot connect to "far.example" (10.0.0.1): it is not the one');
  });

  it('resolves once, so that a name cannot change between check and connect', async () => {
    const scope = new Scope();
    try {
      const server = createServer((socket) => socket.end());
      await new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', resolve);
      });
      scope.add(() => new Promise<void>((resolve) => void server.close(() => resolve())));
      const { port } = server.address() as AddressInfo;
      // The second answer would be another machine.
      const { resolver, count } = resolverOf(['127.0.0.1'], ['192.0.2.99']);
      const socket = connect({ host: 'far.example', port, lookup: guardedLookup(only('127.0.0.1'), resolver) });
      scope.add(() => void socket.destroy());
      await new Promise((resolve) => {
        socket.once('connect', resolve);
      });
      expect([socket.remoteAddress, count()]).to.deep.equal(['127.0.0.1', 1]);
    } finally {
      await scope.close();
    }
  });
});

describe('an endpoint with a guard', () => {
  const clock = new FakeClock();

  for (const host of ['localhost', '127.0.0.1', '[::1]']) {
    it(`is not dialled at ${host} if the guard refuses`, async () => {
      const endpoint = {
        url: `https://${host}:1`,
        ca: undefined,
        isVerified: true,
        servername: undefined,
        guard: only('192.0.2.1'),
      };
      const client = new KubeClient({ clock }, { endpoint, credential: { kind: 'none' }, userAgent: 'test' });
      const failed = await client.json({ target: '/version' }).catch((error: unknown) => error);
      await client.close();
      expect(failed).to.be.instanceOf(KexerError).with.property('code', 'badGateway');
      expect((failed as Error).message).to.match(
        /^Cannot connect to "(?:localhost" \(.*\)|127\.0\.0\.1"|::1"): it is not the one$/,
      );
      const dialled = await dialTcp({
        host: host.replaceAll(/[[\]]/g, ''),
        port: 1,
        timeoutMs: 10_000,
        guard: endpoint.guard,
      }).catch((error: unknown) => error);
      expect(dialled).to.be.instanceOf(KexerError).with.property('code', 'badGateway');
    });
  }

  it('judges addresses that are never looked up', () => {
    expect(() => checkLiteral(only('192.0.2.1'), '192.0.2.1')).to.not.throw();
    expect(() => checkLiteral(only('192.0.2.1'), '192.0.2.2')).to.throw('Cannot connect to "192.0.2.2"');
    expect(() => checkLiteral(only('192.0.2.1'), 'name.example')).to.not.throw();
  });
});
