// The search that the suite-wide look for secrets stands on: in every form, at every place, in any pieces; and nothing where nothing is.

import { randomBytes } from 'node:crypto';

import { expect } from 'chai';

import { generateAuthority, generateClient } from '../../src/certs/generate.ts';
import { type Finding, SecretSearch } from './secret-search.ts';

const token = 'alice-0123456789abcdef0123456789abcdef';
const jwt = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.${Buffer.alloc(48, 'kexer+signature').toString('base64url')}`;
const password = 'p/ss w0rd & more?';

function searched(secret: string, text: string | Buffer): string[] {
  const search = new SecretSearch();
  search.add('it', secret);
  search.stream('a text')(Buffer.from(text));
  return search.findings.map(({ form }) => form);
}

describe('SecretSearch', () => {
  it('tells kind, form, place and test, and no value', () => {
    const search = new SecretSearch();
    search.add('the token of alice', token);
    search.during = 'some test';
    search.stream('stderr of kubectl')(Buffer.from(`Authorization: Bearer ${token}\n`));
    const findings: readonly Finding[] = search.findings;
    expect(findings).to.deep.equal([
      { kind: 'the token of alice', form: 'raw', source: 'stderr of kubectl', during: 'some test' },
    ]);
    expect(JSON.stringify(findings)).to.not.contain(token.slice(0, 12));
  });

  const forms: readonly (readonly [string, string, (secret: string) => string])[] = [
    ['raw', token, (secret) => secret],
    ['raw', jwt, (secret) => secret],
    ['raw', 'quoted "and" \\ more', (secret) => JSON.stringify(secret)],
    ['base64', token, (secret) => Buffer.from(secret).toString('base64')],
    ['base64', jwt, (secret) => Buffer.from(`a${secret}`).toString('base64')],
    ['base64', token, (secret) => Buffer.from(`ab${secret}`).toString('base64url')],
    ['base64url', '????>>>>~~~~????', (secret) => Buffer.from(secret).toString('base64url')],
    ['percent-encoded', password, (secret) => encodeURIComponent(secret)],
    ['percent-encoded', '????>>>>~~~~????', (secret) => encodeURIComponent(Buffer.from(secret).toString('base64'))],
  ];
  for (const [form, secret, write] of forms) {
    it(`finds ${secret.slice(0, 5)}… written ${form}, wherever it begins`, () => {
      for (let before = 0; before < 20; before += 1) {
        expect(searched(secret, `${' '.repeat(before)}${write(secret)} and more`), String(before)).to.include(form);
      }
    });
  }

  it('overlooks a secret where it was put on purpose, and nowhere else', () => {
    const search = new SecretSearch();
    search.add('it', token);
    search.add('another', password);
    search.ignore(token, 'here');
    for (const source of ['here', 'there']) search.stream(source)(Buffer.from(`${token} ${password} ${btoa(token)}`));
    expect(search.findings.map(({ kind, form, source }) => `${kind} ${form} ${source}`)).to.deep.equal([
      'another raw here',
      'it raw there',
      'another raw there',
      'it base64 there',
    ]);
  });

  it('finds what is cut in two or in many', () => {
    const text = Buffer.from(`Authorization: Bearer ${token}, and what follows`);
    for (let cut = 0; cut <= text.length; cut += 1) {
      const search = new SecretSearch();
      search.add('it', token);
      const accept = search.stream('a text');
      accept(text.subarray(0, cut));
      accept(text.subarray(cut));
      expect(search.findings.length, String(cut)).to.equal(1);
    }
    const search = new SecretSearch();
    search.add('it', token);
    const accept = search.stream('a text');
    const piece = Buffer.alloc(1);
    for (const byte of text) {
      piece[0] = byte; // the same buffer each time, as a reader may have it
      accept(piece);
    }
    expect(search.findings.length).to.equal(1);
  });

  it('finds private keys of both kinds, as they stand in PEM and in kubeconfigs, and takes no certificate for one', async () => {
    const authority = await generateAuthority({ commonName: 'ca' });
    const { cert, key } = await generateClient(authority, { commonName: 'alice' });
    for (const pem of [authority.key, key, ecKey]) {
      expect(searched(pem, pem)).to.deep.equal(['raw']);
      expect(searched(pem, JSON.stringify({ pem }))).to.deep.equal(['raw']);
      expect(searched(pem, `client-key-data: ${Buffer.from(pem).toString('base64')}`)).to.deep.equal(['base64']);
    }
    expect(searched(key, cert)).to.deep.equal([]);
    expect(searched(ecKey, ecPublicKey)).to.deep.equal([]);
  });

  it('finds nothing in noise, in parts of a secret, or of secrets that are words', () => {
    expect(searched(token, randomBytes(1 << 20))).to.deep.equal([]);
    expect(searched(token, token.slice(0, 31))).to.deep.equal([]);
    expect(searched(jwt, jwt.slice(0, jwt.lastIndexOf('.') + 20))).to.deep.equal([]);
    expect(searched('password', 'the password')).to.deep.equal([]);
    expect(searched('', '')).to.deep.equal([]);
  });
});

const ecKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
`;
const ecPublicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
`;
