import { X509Certificate } from 'node:crypto';

import { expect } from 'chai';

import { readBasicConstraints, readCertificate, readExtendedKeyUsage } from '../../src/certs/der.ts';
import { generateAuthority, generateClient, generateServing, userUidOid } from '../../src/certs/generate.ts';

const value = (certificate: X509Certificate, oid: string): Buffer =>
  readCertificate(certificate.raw).extensions.find((extension) => extension.oid === oid)?.value ?? Buffer.alloc(0);

describe('generate', () => {
  it('makes an authority, a serving and a client certificate that OpenSSL accepts', async () => {
    const authority = await generateAuthority({ commonName: 'ca' });
    const serving = await generateServing(authority, {
      commonName: 'kexer',
      dnsNames: ['localhost', 'kexer.kexec-system.svc'],
      ipAddresses: ['127.0.0.1', '::1'],
    });
    const client = await generateClient(authority, {
      commonName: 'jöe',
      organizations: ['a,b', 'devs'],
      uids: ['u-1'],
    });
    const [ca, leaf, user] = [authority, serving, client].map(({ cert }) => new X509Certificate(cert));
    expect(ca?.ca).to.equal(true);
    expect(leaf?.ca).to.equal(false);
    expect(leaf?.checkIssued(ca!)).to.equal(true);
    expect(leaf?.verify(ca!.publicKey)).to.equal(true);
    expect(['localhost', '127.0.0.1', '::1'].map((name) => leaf?.checkHost(name) ?? leaf?.checkIP(name))).to.deep.equal(
      ['localhost', '127.0.0.1', '::1'],
    );
    expect(readExtendedKeyUsage(value(leaf!, '2.5.29.37'))).to.deep.equal(['1.3.6.1.5.5.7.3.1']);
    expect(readExtendedKeyUsage(value(user!, '2.5.29.37'))).to.deep.equal(['1.3.6.1.5.5.7.3.2']);
    expect(readBasicConstraints(value(ca!, '2.5.29.19'))).to.deep.equal({ isAuthority: true, pathLength: undefined });
    expect(readCertificate(user!.raw).subject).to.deep.equal([
      { oid: '2.5.4.10', value: 'a,b' },
      { oid: '2.5.4.10', value: 'devs' },
      { oid: '2.5.4.3', value: 'jöe' },
      { oid: userUidOid, value: 'u-1' },
    ]);
  });

  it('keeps the validity it is asked for', async () => {
    const notBefore = new Date(Date.UTC(2020, 0, 1));
    const notAfter = new Date(Date.UTC(2021, 0, 1));
    const certificate = new X509Certificate((await generateAuthority({ commonName: 'old', notBefore, notAfter })).cert);
    expect([certificate.validFromDate, certificate.validToDate]).to.deep.equal([notBefore, notAfter]);
  });
});

describe('readCertificate', () => {
  it('refuses every truncation and never hangs', async () => {
    const { raw } = new X509Certificate((await generateAuthority({ commonName: 'ca' })).cert);
    for (let length = 0; length < raw.length; length += 1) {
      expect(() => readCertificate(raw.subarray(0, length)), `length ${length}`).to.throw(/malformed/);
    }
  });

  it('refuses indefinite lengths, long tags and lengths beyond the end', () => {
    for (const hex of ['3080', '1f0100', '30847fffffff', '3003020101ff', '30', '']) {
      expect(() => readCertificate(Buffer.from(hex, 'hex')), hex).to.throw(/malformed/);
    }
  });
});
