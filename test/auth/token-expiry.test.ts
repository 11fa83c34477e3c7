// When a token expires, read from what it says.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { tokenExpiryMs } from '../../src/auth/token-expiry.ts';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = (claims: unknown): string => `${encode({ alg: 'RS256' })}.${encode(claims)}.c2lnbmF0dXJl`;

describe('tokenExpiryMs', () => {
  it('reads exp of a JSON Web Token', () => {
    expect(tokenExpiryMs(jwt({ sub: 'system:serviceaccount:a:b', exp: 1_800_000_000 }))).to.equal(1_800_000_000_000);
  });

  const silent: readonly (readonly [what: string, token: string])[] = [
    ['an opaque token', 'alice-token'],
    ['a bootstrap token', '07401b.f395accd246ae52d'],
    ['a JWT without exp', jwt({ sub: 'x' })],
    ['exp that is no number', jwt({ exp: '2027-01-01' })],
    ['claims that are no object', jwt(null)],
    ['three words with dots', 'a.b.c'],
    ['five parts (an encrypted token)', 'a.b.c.d.e'],
    ['an endless payload', `a.${'A'.repeat(70_000)}.b`],
  ];
  for (const [what, token] of silent) {
    it(`knows nothing of ${what}`, () => {
      expect(tokenExpiryMs(token)).to.equal(undefined);
    });
  }
});
