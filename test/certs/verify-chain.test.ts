import { X509Certificate } from 'node:crypto';

import { expect } from 'chai';

import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';
import { CaBundle, heldUntil, verifyChain } from '../../src/certs/verify-chain.ts';

const dayMs = 24 * 60 * 60 * 1000;
const nowMs = Date.now();
const day = (offset: number): Date => new Date(nowMs + offset * dayMs);

function x509(...pairs: KeyPairPem[]): X509Certificate[] {
  return pairs.map(({ cert }) => new X509Certificate(cert));
}

function bundle(...pairs: KeyPairPem[]): CaBundle {
  return new CaBundle(pairs.map(({ cert }) => cert).join('\n'));
}

describe('verifyChain', () => {
  let root: KeyPairPem;
  let other: KeyPairPem;
  let twin: KeyPairPem;
  let intermediate: KeyPairPem;
  let alice: KeyPairPem;
  let bob: KeyPairPem;

  before(async () => {
    [root, other, twin] = await Promise.all([
      generateAuthority({ commonName: 'root' }),
      generateAuthority({ commonName: 'other' }),
      generateAuthority({ commonName: 'root' }),
    ]);
    intermediate = await generateAuthority({ commonName: 'intermediate' }, root);
    [alice, bob] = await Promise.all([
      generateClient(root, { commonName: 'alice' }),
      generateClient(intermediate, { commonName: 'bob' }),
    ]);
  });

  const isTrusted = (chain: X509Certificate[], roots: CaBundle, atMs = nowMs): boolean =>
    heldUntil(verifyChain(chain, roots), atMs) !== undefined;

  it('follows the chain to a root of the bundle, directly and by intermediates', () => {
    expect({
      direct: isTrusted(x509(alice), bundle(root)),
      'second root of the bundle': isTrusted(x509(alice), bundle(other, root)),
      'by a sent intermediate': isTrusted(x509(bob, intermediate), bundle(root)),
      'intermediate not sent': isTrusted(x509(bob), bundle(root)),
      'intermediate is the root': isTrusted(x509(bob), bundle(intermediate)),
      'unneeded certificates beside it': isTrusted(x509(alice, other, intermediate), bundle(root)),
    }).to.deep.equal({
      direct: true,
      'second root of the bundle': true,
      'by a sent intermediate': true,
      'intermediate not sent': false,
      'intermediate is the root': true,
      'unneeded certificates beside it': true,
    });
  });

  it('refuses another authority, one of the same name, and a root that the peer brings along', () => {
    expect({
      other: isTrusted(x509(alice), bundle(other)),
      twin: isTrusted(x509(alice), bundle(twin)),
      'own root sent': isTrusted(x509(alice, root), bundle(other)),
      'no certificate': isTrusted([], bundle(root)),
    }).to.deep.equal({ other: false, twin: false, 'own root sent': false, 'no certificate': false });
  });

  it('refuses a leaf that was issued by a leaf', async () => {
    const forged = await generateClient(alice, { commonName: 'admin' });
    expect(verifyChain(x509(forged, alice), bundle(root)).windows).to.deep.equal([]);
  });

  it('wants client authentication in the extended key usage, of the leaf and of issuers that have one', async () => {
    const [server, any, none] = await Promise.all([
      generateClient(root, { commonName: 'x', usages: ['serverAuth'] }),
      generateClient(root, { commonName: 'x', usages: ['serverAuth', 'clientAuth'] }),
      generateClient(root, { commonName: 'x', usages: [] }),
    ]);
    expect([server, any, none].map((pair) => isTrusted(x509(pair), bundle(root)))).to.deep.equal([false, true, true]);
  });

  it('takes a leaf that itself is in the bundle', () => {
    expect(isTrusted(x509(alice), bundle(alice))).to.equal(true);
    expect(isTrusted(x509(alice), bundle(bob))).to.equal(false);
  });

  it('holds only while leaf, intermediates and root are all valid', async () => {
    const shortRoot = await generateAuthority({ commonName: 'short', notBefore: day(-10), notAfter: day(5) });
    const leaf = await generateClient(shortRoot, { commonName: 'x', notBefore: day(-5), notAfter: day(10) });
    const verdict = verifyChain(x509(leaf), bundle(shortRoot));
    expect(
      [-11, -6, 0, 4, 6, 11].map((offset) => heldUntil(verdict, nowMs + offset * dayMs) !== undefined),
    ).to.deep.equal([false, false, true, true, false, false]);
  });

  it('refuses a chain whose authority is expired, though others of the bundle are not', async () => {
    const expired = await generateAuthority({ commonName: 'expired', notBefore: day(-10), notAfter: day(-5) });
    const leaf = await generateClient(expired, { commonName: 'x' });
    expect(isTrusted(x509(leaf), bundle(expired))).to.equal(false);
    expect(isTrusted(x509(leaf, expired), bundle(root, expired, other))).to.equal(false);
  });

  it('refuses chains that are too long or cost too much', async () => {
    let pair = root;
    const chain: KeyPairPem[] = [];
    for (let depth = 0; depth < 8; depth += 1) {
      pair = await generateAuthority({ commonName: `depth ${depth}` }, pair);
      chain.unshift(pair);
    }
    const leaf = await generateClient(pair, { commonName: 'deep' });
    expect(isTrusted(x509(leaf, ...chain), bundle(root))).to.equal(false);
    expect(verifyChain(x509(alice, ...chain, ...chain), bundle(root)).reason).to.match(/more than 10/);
  });

  it('never gets into a loop of cross-signed authorities', async () => {
    const chain = x509(bob, intermediate, intermediate, intermediate);
    expect(isTrusted(chain, bundle(other))).to.equal(false);
  });
});

describe('CaBundle', () => {
  it('refuses a text without a certificate and one with a broken certificate', async () => {
    const { cert } = await generateAuthority({ commonName: 'ca' });
    expect(() => new CaBundle('nothing')).to.throw(/no certificate/);
    expect(() => new CaBundle(`${cert}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`)).to.throw(
      /Cannot read a certificate/,
    );
    expect(new CaBundle(`# comment\n${cert}\n${cert}`).certificates).to.have.length(2);
  });
});
