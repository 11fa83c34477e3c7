// Certificates that src/certs/generate.ts never makes: path lengths, name constraints, unknown critical extensions, weak signatures,
// one authority under two roots. Each is a way in which a chain may look right and must not count, or look broken and must.

import { generateKeyPairSync, X509Certificate } from 'node:crypto';

import { expect } from 'chai';
import forge from 'node-forge';

import { readCertificate } from '../../src/certs/der.ts';
import { CaBundle, heldUntil, verifyChain } from '../../src/certs/verify-chain.ts';

interface Made {
  readonly name: string;
  readonly certificate: forge.pki.Certificate;
  readonly key: forge.pki.rsa.PrivateKey;
}

interface Options {
  readonly isAuthority?: boolean;
  readonly issuer?: Made;
  /** Whose key the certificate is about; default a new one. */
  readonly sameKeyAs?: Made;
  readonly extensions?: readonly object[];
  readonly digest?: 'sha1' | 'sha256';
  readonly notAfter?: Date;
}

const dayMs = 24 * 60 * 60 * 1000;
const nowMs = Date.now();

function make(name: string, options: Options = {}): Made {
  const { isAuthority = false, issuer, sameKeyAs } = options;
  const keys = generateKeyPairSync('rsa', {
    modulusLength: 1024,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const key = sameKeyAs?.key ?? forge.pki.privateKeyFromPem(keys.privateKey);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.setRsaPublicKey(key.n, key.e);
  certificate.serialNumber = `0${Math.floor(Math.random() * 1e9).toString(16)}`;
  certificate.validity.notBefore = new Date(nowMs - dayMs);
  certificate.validity.notAfter = options.notAfter ?? new Date(nowMs + dayMs);
  certificate.setSubject([{ name: 'commonName', value: name }]);
  certificate.setIssuer([{ name: 'commonName', value: issuer?.name ?? name }]);
  certificate.setExtensions([
    ...(isAuthority ? [{ name: 'basicConstraints', cA: true, critical: true }] : []),
    ...(options.extensions ?? []),
  ]);
  certificate.sign(issuer?.key ?? key, forge.md[options.digest ?? 'sha256'].create());
  return { name, certificate, key };
}

function x509({ certificate }: Made): X509Certificate {
  return new X509Certificate(forge.pki.certificateToPem(certificate));
}

function trust(chain: readonly Made[], ...roots: Made[]): string {
  const bundle = new CaBundle(roots.map(({ certificate }) => forge.pki.certificateToPem(certificate)).join(''));
  const verdict = verifyChain(chain.map(x509), bundle);
  return heldUntil(verdict, nowMs) === undefined ? verdict.reason : 'trusted';
}

const pathLength = (length: number): object => ({
  name: 'basicConstraints',
  cA: true,
  critical: true,
  pathLenConstraint: length,
});

describe('verifyChain of unusual certificates', () => {
  const root = make('root', { isAuthority: true });

  it('honours path lengths', () => {
    const narrow = make('narrow', { issuer: root, extensions: [pathLength(0)] });
    const below = make('below', { issuer: narrow, isAuthority: true });
    const leaf = make('leaf', { issuer: narrow });
    const deep = make('deep', { issuer: below });
    const narrowRoot = make('narrow root', { extensions: [pathLength(0)] });
    const middle = make('middle', { issuer: narrowRoot, isAuthority: true });
    expect([
      trust([leaf, narrow], root),
      trust([deep, below, narrow], root),
      trust([make('x', { issuer: middle }), middle], narrowRoot),
      trust([make('x', { issuer: narrowRoot })], narrowRoot),
    ]).to.deep.equal([
      'trusted',
      'its chain is longer than an issuer allows',
      'its chain is longer than an issuer allows',
      'trusted',
    ]);
  });

  it('refuses critical extensions that it does not know, in leaf and issuer, and ignores others', () => {
    const unknown = (critical: boolean): object => ({ id: '1.2.3.4', critical, value: '\x05\x00' });
    const strangeRoot = make('strange root', { isAuthority: true, extensions: [unknown(true)] });
    expect([
      trust([make('x', { issuer: root, extensions: [unknown(true)] })], root),
      trust([make('x', { issuer: root, extensions: [unknown(false)] })], root),
      trust([make('x', { issuer: strangeRoot })], strangeRoot),
    ]).to.deep.equal([
      'it has the critical extension 1.2.3.4',
      'trusted',
      'of an issuer: it has the critical extension 1.2.3.4',
    ]);
  });

  it('refuses an extension that stands twice', () => {
    const usage = (clientAuth: boolean): object => ({ name: 'extKeyUsage', clientAuth, serverAuth: !clientAuth });
    expect(trust([make('x', { issuer: root, extensions: [usage(true), usage(false)] })], root)).to.equal(
      'it has an extension twice',
    );
  });

  it('refuses alternative names below an issuer that constrains names', () => {
    // permittedSubtrees { dNSName "ok" }
    const constraints = { id: '2.5.29.30', critical: true, value: '\x30\x08\xa0\x06\x30\x04\x82\x02ok' };
    const narrow = make('narrow names', { isAuthority: true, extensions: [constraints] });
    const named = { name: 'subjectAltName', altNames: [{ type: 2, value: 'ok' }] };
    expect([
      trust([make('x', { issuer: narrow })], narrow),
      trust([make('x', { issuer: narrow, extensions: [named] })], narrow),
    ]).to.deep.equal(['trusted', 'an issuer constrains names and it has alternative names']);
  });

  it('refuses SHA-1 signatures, but not a root that signed itself so', () => {
    const oldRoot = make('old root', { isAuthority: true, digest: 'sha1' });
    expect([
      trust([make('x', { issuer: root, digest: 'sha1' })], root),
      trust([make('x', { issuer: oldRoot })], oldRoot),
    ]).to.deep.equal(['it is signed with sha1WithRSAEncryption', 'trusted']);
  });

  it('refuses issuers without the right to sign, and an issuer for servers only', () => {
    const noAuthority = make('no authority', { issuer: root });
    const noSigning = make('no signing', {
      issuer: root,
      isAuthority: true,
      extensions: [{ name: 'keyUsage', digitalSignature: true }],
    });
    const servers = make('servers', {
      issuer: root,
      isAuthority: true,
      extensions: [{ name: 'extKeyUsage', serverAuth: true }],
    });
    expect(
      [noAuthority, noSigning, servers].map((issuer) => trust([make('x', { issuer }), issuer], root)),
    ).to.deep.equal([
      'its issuer is not an authority',
      'no authority of the bundle issued it',
      'an issuer does not allow client authentication',
    ]);
  });

  it('finds the other path when an authority was renewed with the same key', () => {
    const old = make('renewed', { isAuthority: true, notAfter: new Date(nowMs - 1000) });
    const renewed = make('renewed', { isAuthority: true, sameKeyAs: old });
    const leaf = make('x', { issuer: old });
    expect([trust([leaf], old), trust([leaf], renewed), trust([leaf], old, renewed)]).to.deep.equal([
      '',
      'trusted',
      'trusted',
    ]);
  });

  it('finds the way of a cross-signed authority to either root, and does not run in circles', () => {
    const other = make('other', { isAuthority: true });
    const middle = make('middle', { isAuthority: true, issuer: root });
    const crossed = make('middle', { isAuthority: true, issuer: other, sameKeyAs: middle });
    const circle = make('root', { isAuthority: true, issuer: middle, sameKeyAs: root });
    const leaf = make('x', { issuer: middle });
    const stranger = make('stranger', { isAuthority: true });
    expect([
      trust([leaf, middle, crossed], root),
      trust([leaf, middle, crossed], other),
      trust([leaf, middle, crossed, circle], stranger),
    ]).to.deep.equal(['trusted', 'trusted', 'no authority of the bundle issued it']);
  });

  it('does not let many look-alike issuers cost many signature checks', () => {
    const impostors = Array.from({ length: 9 }, () => make('root', { isAuthority: true }));
    const roots = Array.from({ length: 80 }, () => impostors)
      .flat()
      .slice(0, 80);
    expect(trust([make('x', { issuer: root }), ...impostors], ...roots)).to.match(
      /too many signature checks|not of the authority/,
    );
  });

  it('reads or refuses a certificate with any byte changed, and never breaks', () => {
    const { raw } = x509(make('x', { issuer: root, extensions: [{ name: 'extKeyUsage', clientAuth: true }] }));
    for (let at = 0; at < raw.length; at += 1) {
      for (const value of [0, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(raw);
        changed[at] = value;
        try {
          readCertificate(changed);
        } catch (error) {
          expect(String(error)).to.match(/its DER is malformed/);
        }
      }
    }
  });
});
