// What a Secret has to say, and what is said of one that does not: the key, never a value.

import { expect } from 'chai';

import { generateAuthority, generateClient } from '../../src/certs/generate.ts';
import { type ClusterSecret, readClusterSecret } from '../../src/clusters/cluster-secret.ts';

describe('readClusterSecret', () => {
  let ca: string;
  let client: { cert: string; key: string };
  let other: { cert: string; key: string };

  before(async () => {
    const authority = await generateAuthority({ commonName: 'far' });
    ca = authority.cert;
    client = await generateClient(authority, { commonName: 'kexer', organizations: [] });
    other = await generateClient(authority, { commonName: 'other', organizations: [] });
  });

  function read(data: Readonly<Record<string, string | undefined>>, metadata: object = {}): ClusterSecret | undefined {
    const all = { endpointUrl: 'https://far.example:6443', token: 'secret-token', identity: 'shared', ...data };
    return readClusterSecret({
      metadata: {
        name: 'far',
        namespace: 'clusters',
        uid: 'u1',
        creationTimestamp: '2026-01-02T03:04:05Z',
        ...metadata,
      },
      type: 'backup.cv.io/cluster',
      data: Object.fromEntries(
        Object.entries(all).flatMap(([key, value]) =>
          value === undefined ? [] : [[key, Buffer.from(value).toString('base64')]],
        ),
      ),
    });
  }

  it('reads all keys, and defaults', () => {
    expect(read({}, { labels: { env: 'prod' }, annotations: { a: 'secret-token' } })).to.deep.equal({
      namespace: 'clusters',
      name: 'far',
      uid: 'u1',
      creationTimestamp: '2026-01-02T03:04:05Z',
      labels: { env: 'prod' },
      shown: { endpoint: 'https://far.example:6443', identity: 'shared', streams: 'apiserver' },
      spec: {
        endpointUrl: 'https://far.example:6443',
        ca: undefined,
        tlsServerName: undefined,
        credential: { kind: 'token', token: 'secret-token' },
        identity: 'shared',
        identityPrefix: '',
        streams: 'apiserver',
      },
    });
    const full = read({
      endpointUrl: 'https://[2001:db8::1]/\n',
      token: undefined,
      caData: ca,
      clientCertificateData: client.cert,
      clientKeyData: client.key,
      identity: ' impersonate\n',
      identityPrefix: 'hub:',
      streams: 'kubelet',
      tlsServerName: 'kubernetes',
    });
    expect(full?.spec).to.deep.include({
      endpointUrl: 'https://[2001:db8::1]',
      ca: ca.trim(),
      tlsServerName: 'kubernetes',
      identity: 'impersonate',
      identityPrefix: 'hub:',
      streams: 'kubelet',
    });
    expect(full?.spec).to.have.nested.property('credential.kind', 'certificate');
  });

  it('takes what was copied from a kubeconfig, which is base64 once more', () => {
    const twice = (text: string): string => Buffer.from(text).toString('base64');
    const parts = { caData: twice(ca), clientCertificateData: twice(client.cert), clientKeyData: twice(client.key) };
    expect(read({ token: undefined, ...parts })?.spec).to.have.property('ca', ca.trim());
  });

  it('is nothing to a Secret of another type', () => {
    expect(readClusterSecret({ metadata: { name: 'x', namespace: 'y' }, type: 'Opaque', data: {} })).to.equal(
      undefined,
    );
  });

  const want = '; want https://HOST[:PORT]';
  const urls: readonly (readonly [url: string | undefined, problem: string])[] = [
    [undefined, 'has no key "endpointUrl"'],
    ['', 'has no key "endpointUrl"'],
    ['http://far.example', `has an "endpointUrl" without TLS${want}`],
    ['far.example', `has an "endpointUrl" that is no https URL${want}`],
    ['ftp://far.example', `has an "endpointUrl" that is no https URL${want}`],
    ['https://far.example/k8s/clusters/x', `has an "endpointUrl" with a path${want}`],
    ['https://far.example\\x', `has an "endpointUrl" with a path${want}`],
    ['https://eve:hunter2@far.example', `has an "endpointUrl" with user information${want}`],
    ['https://far.example?a=hunter2', `has an "endpointUrl" with a query${want}`],
    ['https://far.example#hunter2', `has an "endpointUrl" with a fragment${want}`],
    ['https://far example', `has an "endpointUrl" that is no URL${want}`],
    ['https://far.example:99999', `has an "endpointUrl" that is no URL${want}`],
    ['https://', `has an "endpointUrl" that is no URL${want}`],
    ['https://2130706433', `has an "endpointUrl" whose host is written in an odd way${want}`],
    ['https://0x7f.1', `has an "endpointUrl" whose host is written in an odd way${want}`],
    ['https://１２７.0.0.1', `has an "endpointUrl" whose host is written in an odd way${want}`],
  ];
  for (const [endpointUrl, problem] of urls) {
    it(`refuses the URL ${endpointUrl}`, () => {
      const secret = read({ endpointUrl });
      expect(secret?.spec).to.deep.equal({ problem });
      expect(secret?.shown).to.deep.equal({ endpoint: '', identity: 'shared', streams: 'apiserver' });
      expect(JSON.stringify(secret)).to.not.contain('hunter2').and.not.contain('secret-token');
    });
  }

  const problems: readonly (readonly [
    what: string,
    data: () => Record<string, string | undefined>,
    problem: string,
  ])[] = [
    ['no identity', () => ({ identity: undefined }), 'has no key "identity"; want shared or impersonate'],
    ['another identity', () => ({ identity: 'root' }), 'has another "identity" than shared or impersonate'],
    ['another way of streams', () => ({ streams: 'both' }), 'has another "streams" than apiserver or kubelet'],
    [
      'no credential',
      () => ({ token: undefined }),
      'has no credential; want "token", or "clientCertificateData" and "clientKeyData"',
    ],
    [
      'two credentials',
      () => ({ clientKeyData: client.key }),
      'has a "token" and a client certificate; want one of them',
    ],
    ['a token of two words', () => ({ token: 'secret-token two' }), 'has a "token" that is not one word'],
    [
      'a certificate alone',
      () => ({ token: undefined, clientCertificateData: client.cert }),
      'has no key "clientKeyData" beside "clientCertificateData"',
    ],
    [
      'a key alone',
      () => ({ token: undefined, clientKeyData: client.key }),
      'has no key "clientCertificateData" beside "clientKeyData"',
    ],
    [
      'a bad certificate',
      () => ({ token: undefined, clientCertificateData: 'hunter2', clientKeyData: client.key }),
      'has a "clientCertificateData" that cannot be read',
    ],
    [
      'a bad key',
      () => ({ token: undefined, clientCertificateData: client.cert, clientKeyData: 'hunter2' }),
      'has a "clientKeyData" that cannot be read',
    ],
    [
      "another's key",
      () => ({ token: undefined, clientCertificateData: client.cert, clientKeyData: other.key }),
      'has a "clientKeyData" that is not of its "clientCertificateData"',
    ],
    ['a CA that is none', () => ({ caData: 'hunter2' }), 'has no PEM certificate in "caData"'],
    [
      'a CA that cannot be read',
      () => ({ caData: '-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----' }),
      'has a certificate in "caData" that cannot be read',
    ],
    [
      'a prefix of the system',
      () => ({ identityPrefix: 'system:' }),
      'has an "identityPrefix" that begins with system:',
    ],
    ['a prefix with a space', () => ({ identityPrefix: 'a b' }), 'has an "identityPrefix" with odd characters'],
    ['a server name that is none', () => ({ tlsServerName: 'a/b' }), 'has a "tlsServerName" that is no name'],
  ];
  for (const [what, data, problem] of problems) {
    it(`refuses ${what}`, () => {
      const secret = read(data());
      expect(secret?.spec).to.deep.equal({ problem });
      expect(JSON.stringify(secret)).to.not.contain('hunter2').and.not.contain('secret-token');
    });
  }

  it('refuses data that is no data', () => {
    const metadata = { name: 'far', namespace: 'clusters' };
    for (const data of [undefined, 'x', { endpointUrl: 7 }]) {
      const secret = readClusterSecret({ metadata, type: 'backup.cv.io/cluster', data });
      expect(secret?.spec).to.deep.equal({ problem: 'has no key "endpointUrl"' });
    }
  });
});
