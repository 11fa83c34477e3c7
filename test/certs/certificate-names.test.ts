import { X509Certificate } from 'node:crypto';

import { expect } from 'chai';

import { missingNames, namesIn, servingNames } from '../../src/certs/certificate-names.ts';
import { generateAuthority, generateServing } from '../../src/certs/generate.ts';

const reference = { namespace: 'kexec-system', name: 'kexer' };
const dns = ['kexer.kexec-system.svc', 'kexer', 'kexer.kexec-system', 'kexer.kexec-system.svc.cluster.local'];
const loopback = ['localhost', '127.0.0.1', '::1'];

describe('servingNames', () => {
  const cases: readonly [name: string, service: object, names: readonly string[]][] = [
    [
      'cluster IPs of both families',
      { spec: { clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1', 'fd00::1'] } },
      ['10.0.0.1', 'fd00::1'],
    ],
    ['a headless Service', { spec: { clusterIP: 'None', clusterIPs: ['None'] } }, []],
    ['external IPs', { spec: { externalIPs: ['192.0.2.1'] } }, ['192.0.2.1']],
    [
      'a load balancer by address and by name',
      { status: { loadBalancer: { ingress: [{ ip: '198.51.100.1' }, { hostname: 'Lb.Example.com' }, {}] } } },
      ['198.51.100.1', 'lb.example.com'],
    ],
    [
      'what is no name',
      {
        spec: { clusterIP: 7, externalIPs: ['x', null] },
        status: { loadBalancer: { ingress: [{ hostname: 'a b,DNS:evil' }, 'x'] } },
      },
      [],
    ],
  ];
  for (const [name, service, names] of cases) {
    it(`takes ${name}`, () => {
      const object = { ...service, metadata: reference };
      expect(servingNames(reference, object, [])).to.deep.equal([...dns, ...names, ...loopback]);
    });
  }

  it('takes further names, each once, with or without a Service', () => {
    expect(servingNames(reference, undefined, ['Kexer.Example.com', 'kexer'])).to.deep.equal([
      ...dns,
      'kexer.example.com',
      ...loopback,
    ]);
    expect(servingNames(undefined, undefined, ['*.example.com'])).to.deep.equal(['*.example.com', ...loopback]);
  });
});

describe('missingNames', () => {
  it('finds what a certificate does not carry; a wildcard in it stands for itself alone', async () => {
    const authority = await generateAuthority({ commonName: 'ca' });
    const { cert } = await generateServing(authority, {
      commonName: 'leaf',
      dnsNames: ['*.example.com', 'a.example.org'],
      ipAddresses: ['fd00::1', '10.0.0.1'],
    });
    const certificate = new X509Certificate(cert);
    const wanted = ['b.example.com', '*.example.com', 'A.example.org', 'fd00:0::1', '10.0.0.1', '10.0.0.2', 'leaf'];
    expect(missingNames(certificate, wanted)).to.deep.equal(['b.example.com', '10.0.0.2', 'leaf']);
    expect(namesIn(certificate)).to.deep.equal(['*.example.com', 'a.example.org', 'fd00::1', '10.0.0.1']);
  });
});
