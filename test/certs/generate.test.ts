import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';

import { expect } from 'chai';
import forge from 'node-forge';

import { Scope } from '../../src/base/scope.ts';

import { readBasicConstraints, readCertificate, readExtendedKeyUsage } from '../../src/certs/der.ts';
import {
  generateAuthority,
  generateClient,
  generateServing,
  type KeyPairPem,
  userUidOid,
} from '../../src/certs/generate.ts';
import { useTempDir } from '../support/temp-dir.ts';

const value = (certificate: X509Certificate, oid: string): Buffer =>
  readCertificate(certificate.raw).extensions.find((extension) => extension.oid === oid)?.value ?? Buffer.alloc(0);

describe('generate', () => {
  const tempDir = useTempDir();

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

  it('makes ECDSA keys on P-256, or RSA keys where they are asked for', async () => {
    const kinds = async (keyKind?: 'ecdsa' | 'rsa'): Promise<unknown[]> => {
      const wish = keyKind === undefined ? {} : { keyKind };
      const authority = await generateAuthority({ commonName: 'ca', ...wish });
      const leaf = await generateServing(authority, { commonName: 'kexer', ...wish });
      return [authority, leaf].map((pair) => {
        const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(pair.key);
        const usage = value(new X509Certificate(pair.cert), '2.5.29.15').toString('hex');
        return [asymmetricKeyType, asymmetricKeyDetails?.namedCurve ?? asymmetricKeyDetails?.modulusLength, usage];
      });
    };
    // keyUsage as a BIT STRING: digitalSignature, keyCertSign, cRLSign; digitalSignature, for RSA with keyEncipherment.
    const ecdsa = [
      ['ec', 'prime256v1', '03020186'],
      ['ec', 'prime256v1', '03020780'],
    ];
    expect(await kinds()).to.deep.equal(ecdsa);
    expect(await kinds('ecdsa')).to.deep.equal(ecdsa);
    expect(await kinds('rsa')).to.deep.equal([
      ['rsa', 2048, '03020186'],
      ['rsa', 2048, '030205a0'],
    ]);
  });

  it('makes what openssl verifies and reads, criticality and key identifiers included', async () => {
    const dir = tempDir();
    const authority = await generateAuthority({ commonName: 'kexer-ca' });
    const middle = await generateAuthority({ commonName: 'kexer-middle' }, authority);
    const leaf = await generateServing(middle, { commonName: 'kexer', dnsNames: ['localhost'], ipAddresses: ['::1'] });
    const files = { ca: join(dir, 'ca.crt'), middle: join(dir, 'middle.crt'), leaf: join(dir, 'leaf.crt') };
    writeFileSync(files.ca, authority.cert);
    writeFileSync(files.middle, middle.cert);
    writeFileSync(files.leaf, leaf.cert);
    const openssl = (...words: string[]): string => execFileSync('openssl', words, { encoding: 'utf8' });
    expect(
      openssl(
        'verify',
        '-x509_strict',
        '-purpose',
        'sslserver',
        '-CAfile',
        files.ca,
        '-untrusted',
        files.middle,
        files.leaf,
      ),
    ).to.equal(`${files.leaf}: OK\n`);
    const text = openssl('x509', '-noout', '-text', '-in', files.leaf).replaceAll(/^ +| +$/gm, '');
    for (const wanted of [
      'Version: 3 (0x2)',
      'Signature Algorithm: ecdsa-with-SHA256',
      'Issuer: CN = kexer-middle',
      'ASN1 OID: prime256v1',
      'X509v3 Basic Constraints: critical\nCA:FALSE',
      'X509v3 Key Usage: critical\nDigital Signature\n',
      'X509v3 Extended Key Usage:\nTLS Web Server Authentication\n',
      'X509v3 Subject Alternative Name:\nDNS:localhost, IP Address:0:0:0:0:0:0:0:1',
    ]) {
      expect(text).to.contain(wanted);
    }
    const identifier = (name: string, file: string): string | undefined =>
      new RegExp(`${name} Key Identifier: *\\n *([0-9A-F:]+)`).exec(
        openssl('x509', '-noout', '-text', '-in', file),
      )?.[1];
    const own = [files.ca, files.middle, files.leaf].map((file) => identifier('Subject', file));
    expect(own.map((text) => text?.length)).to.deep.equal([59, 59, 59]); // twenty bytes
    expect([files.ca, files.middle, files.leaf].map((file) => identifier('Authority', file))).to.deep.equal([
      own[0],
      own[0],
      own[1],
    ]);
  });

  it('signs with authorities of every kind whose signatures Go verifies, and with no other', async () => {
    const authorityOf = (type: 'P-256' | 'P-384' | 'P-521' | 'secp256k1' | 'ed25519' | 'ed448' | 'rsa'): KeyPairPem => {
      // Made by openssl, as an operator's own authority may be.
      const key = (
        type === 'rsa'
          ? generateKeyPairSync('rsa', { modulusLength: 2048 })
          : type === 'ed25519'
            ? generateKeyPairSync('ed25519')
            : type === 'ed448'
              ? generateKeyPairSync('ed448')
              : generateKeyPairSync('ec', { namedCurve: type })
      ).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
      const file = join(tempDir(), 'ca.key');
      writeFileSync(file, key);
      const words = ['req', '-x509', '-new', '-key', file, '-subj', '/CN=own/O=us', '-days', '30'];
      return { cert: execFileSync('openssl', words, { encoding: 'utf8' }), key };
    };
    for (const type of ['P-256', 'P-384', 'P-521', 'ed25519', 'rsa'] as const) {
      const authority = authorityOf(type);
      const leaf = new X509Certificate((await generateServing(authority, { commonName: 'kexer' })).cert);
      const ca = new X509Certificate(authority.cert);
      expect([leaf.checkIssued(ca), leaf.verify(ca.publicKey), leaf.issuer], type).to.deep.equal([
        true,
        true,
        ca.subject,
      ]);
    }
    for (const [type, seen] of [
      ['secp256k1', 'secp256k1'],
      ['ed448', 'ed448'],
    ] as const) {
      const problem = await generateServing(authorityOf(type), { commonName: 'kexer' }).catch(
        (error: unknown) => error,
      );
      expect(problem).to.have.property(
        'message',
        `Cannot sign with the authority given: its key is ${seen}, want RSA, ECDSA on P-256, P-384 or P-521, or Ed25519`,
      );
    }
  });

  it('names the issuer byte for byte, whatever string types its name has', async () => {
    const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const key = forge.pki.privateKeyFromPem(pem);
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = forge.pki.setRsaPublicKey(key.n, key.e);
    certificate.serialNumber = '01';
    certificate.validity.notAfter = new Date(Date.now() + 86_400_000);
    // PrintableString, of a kind that this never writes; and no key identifier to go by.
    certificate.setSubject([
      { name: 'countryName', value: 'DE' },
      { name: 'commonName', value: 'old root' },
    ]);
    certificate.setIssuer(certificate.subject.attributes);
    certificate.setExtensions([{ name: 'basicConstraints', cA: true, critical: true }]);
    certificate.sign(key, forge.md.sha256.create());
    const authority = { cert: forge.pki.certificateToPem(certificate), key: pem };
    const leaf = new X509Certificate((await generateServing(authority, { commonName: 'kexer' })).cert);
    const ca = new X509Certificate(authority.cert);
    expect(leaf.raw.includes(readCertificate(ca.raw).subjectDer)).to.equal(true);
    expect([leaf.checkIssued(ca), leaf.verify(ca.publicKey)]).to.deep.equal([true, true]);
    expect(readCertificate(leaf.raw).extensions.map(({ oid }) => oid)).to.not.include('2.5.29.35');
  });

  it('refuses an authority that is none, or whose key is another one', async () => {
    const [one, other] = await Promise.all([
      generateAuthority({ commonName: 'a' }),
      generateAuthority({ commonName: 'b' }),
    ]);
    for (const authority of [
      { cert: one.cert, key: other.key },
      { cert: 'nothing', key: one.key },
      { cert: one.cert, key: 'nothing' },
    ]) {
      const problem = await generateServing(authority, { commonName: 'kexer' }).catch((error: unknown) => error);
      expect(problem).to.have.property(
        'message',
        'Cannot sign with the authority given: want a certificate and its key',
      );
      expect(problem).to.have.property('code', 'config');
    }
  });

  it('writes addresses in every form that there is, and refuses those with a zone', async () => {
    const authority = await generateAuthority({ commonName: 'ca' });
    const addresses = [
      '10.0.0.255',
      '::',
      '::1',
      'fd00::2',
      '2001:DB8:0:0:1::ff',
      '::ffff:192.0.2.1',
      '1:2:3:4:5:6:7:8',
    ];
    const leaf = new X509Certificate(
      (await generateServing(authority, { commonName: 'kexer', ipAddresses: addresses })).cert,
    );
    expect(value(leaf, '2.5.29.17').toString('hex')).to.equal(
      [
        '3072',
        '87040a0000ff',
        '871000000000000000000000000000000000',
        '871000000000000000000000000000000001',
        '8710fd000000000000000000000000000002',
        '871020010db80000000000010000000000ff',
        '871000000000000000000000ffffc0000201',
        '871000010002000300040005000600070008',
      ].join(''),
    );
    for (const ip of ['fe80::1%eth0', 'localhost', '']) {
      const problem = await generateServing(authority, { commonName: 'k', ipAddresses: [ip] }).catch(
        (error: unknown) => error,
      );
      expect(problem, ip).to.have.property(
        'message',
        `Cannot put ${JSON.stringify(ip)} into a certificate: want an IP address without a zone`,
      );
    }
  });

  for (const [version, keyKind] of [
    ['TLSv1.2', 'ecdsa'],
    ['TLSv1.3', 'ecdsa'],
    ['TLSv1.2', 'rsa'],
    ['TLSv1.3', 'rsa'],
  ] as const) {
    it(`serves ${version} with ${keyKind} under an RSA authority, as after an upgrade`, async () => {
      const scope = new Scope();
      const authority = await generateAuthority({ commonName: 'ca', keyKind: 'rsa' });
      const pair = await generateServing(authority, { commonName: 'kexer', dnsNames: ['localhost'], keyKind });
      const server = createServer({ ...pair }, (socket) => socket.on('error', () => {}).end());
      scope.add(() => void server.close());
      const port = await new Promise<number>((resolve) => {
        server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
      });
      const socket = connect({
        port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: authority.cert,
        maxVersion: version,
      });
      scope.add(() => void socket.destroy());
      const seen = await new Promise((resolve, reject) => {
        socket.once('error', reject).once('secureConnect', function onSecure(this: TLSSocket) {
          resolve([this.authorized, this.getProtocol()]);
        });
      });
      await scope.close();
      expect(seen).to.deep.equal([true, version]);
    });
  }
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
