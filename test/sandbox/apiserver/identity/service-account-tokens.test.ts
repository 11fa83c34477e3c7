import { expect } from 'chai';

import {
  defaultAudience,
  ServiceAccountTokens,
} from '../../../../src/sandbox/apiserver/identity/service-account-tokens.ts';
import { Store } from '../../../../src/sandbox/apiserver/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function fixture(): { store: Store; clock: FakeClock; tokens: ServiceAccountTokens } {
  const clock = new FakeClock();
  const store = new Store({ clock });
  store.create(
    { group: '', resource: 'serviceaccounts' },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'sa', namespace: 'ns', uid: 'u1' } },
  );
  return { store, clock, tokens: new ServiceAccountTokens({ store, clock }) };
}

describe('sandbox ServiceAccountTokens', () => {
  it('gives the user of its own tokens, with the extras of a bound pod', () => {
    const { store, tokens } = fixture();
    const metadata = { name: 'p', namespace: 'ns', uid: 'u2' };
    store.create({ group: '', resource: 'pods' }, { apiVersion: 'v1', kind: 'Pod', metadata });
    const { token } = tokens.issue('ns', 'sa', {
      bound: { kind: 'Pod', name: 'p', uid: 'u2', node: { name: 'n', uid: 'u3' } },
    });
    const user = tokens.check(token, [defaultAudience])?.user;
    const extra = Object.fromEntries(user?.extra ?? []);
    expect(extra['authentication.kubernetes.io/credential-id']?.[0]).to.match(/^JTI=[0-9a-f-]{36}$/);
    expect({ ...user, extra: { ...extra, 'authentication.kubernetes.io/credential-id': 'JTI' } }).to.deep.equal({
      name: 'system:serviceaccount:ns:sa',
      uid: 'u1',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:ns'],
      extra: {
        'authentication.kubernetes.io/credential-id': 'JTI',
        'authentication.kubernetes.io/node-name': ['n'],
        'authentication.kubernetes.io/node-uid': ['u3'],
        'authentication.kubernetes.io/pod-name': ['p'],
        'authentication.kubernetes.io/pod-uid': ['u2'],
      },
    });
  });

  it('takes a token for its audiences only', () => {
    const { tokens } = fixture();
    const { token } = tokens.issue('ns', 'sa', { audiences: ['a', 'b'] });
    expect([tokens.check(token, ['b', 'c'])?.audiences, tokens.check(token, [defaultAudience])]).to.deep.equal([
      ['b'],
      undefined,
    ]);
  });

  it('forgets a token that has expired', () => {
    const { tokens, clock } = fixture();
    const { token } = tokens.issue('ns', 'sa', { expiresInSeconds: 600 });
    clock.advance(599_000);
    const before = tokens.check(token, [defaultAudience]) !== undefined;
    clock.advance(2000);
    expect([before, tokens.check(token, [defaultAudience])]).to.deep.equal([true, undefined]);
  });

  it('forgets a token whose account was replaced or whose pod is gone', () => {
    const { store, tokens } = fixture();
    const metadata = { name: 'p', namespace: 'ns', uid: 'u2' };
    store.create({ group: '', resource: 'pods' }, { apiVersion: 'v1', kind: 'Pod', metadata });
    const bound = tokens.issue('ns', 'sa', { bound: { kind: 'Pod', name: 'p', uid: 'u2' } }).token;
    const free = tokens.issue('ns', 'sa').token;
    store.delete({ group: '', resource: 'pods', namespace: 'ns', name: 'p' });
    const withoutPod = [bound, free].map((token) => tokens.check(token, [defaultAudience]) !== undefined);
    const account = { group: '', resource: 'serviceaccounts', namespace: 'ns', name: 'sa' };
    store.delete(account);
    store.create(account, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'sa', namespace: 'ns' } });
    expect([withoutPod, tokens.check(free, [defaultAudience])]).to.deep.equal([[false, true], undefined]);
  });

  it('takes no other token for one of its own', () => {
    const { tokens } = fixture();
    const { token } = tokens.issue('ns', 'sa');
    const [head = '', body = '', signature = ''] = token.split('.');
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as object;
    const forged = Buffer.from(JSON.stringify({ ...claims, sub: 'system:serviceaccount:ns:root' })).toString(
      'base64url',
    );
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    const others = [
      `${head}.${forged}.${signature}`,
      `${none}.${body}.`,
      `${head}.${body}`,
      `${token}.x`,
      fixture().tokens.issue('ns', 'sa').token,
      '..',
      '',
    ];
    expect(others.map((other) => tokens.check(other, [defaultAudience]))).to.deep.equal(others.map(() => undefined));
  });
});
