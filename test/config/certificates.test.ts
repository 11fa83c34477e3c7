// The settings of certificates that kexer makes itself: what names may be, and what makes no sense together.

import { expect } from 'chai';

import { loadConfig } from '../../src/config/load.ts';

const load = (...argv: string[]): Promise<unknown> =>
  loadConfig({ argv, environment: {} }).then(
    ({ certificates }) => certificates,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

describe('certificates', () => {
  it('have names of a namespace or of none, and may be turned off', async () => {
    const flags = ['--serving-cert-secret', 'kexer-cert', '--serving-service=ns/kexer.v2', '--api-service', 'none'];
    expect(await load(...flags, '--cert-extra-sans', 'a.example.com, *.example.org,10.0.0.1,fd00::1')).to.deep.equal({
      servingSecret: 'kexer-cert',
      servingService: 'ns/kexer.v2',
      apiService: 'none',
      extraNames: ['a.example.com', '*.example.org', '10.0.0.1', 'fd00::1'],
    });
    expect(await load()).to.deep.equal({ extraNames: [] });
  });

  const wrong: readonly (readonly [flag: string, value: string, wanted: string])[] = [
    ['--serving-cert-secret', 'a/b/c', 'NAME or NAMESPACE/NAME of a Secret, or none'],
    ['--serving-cert-secret', '', 'NAME or NAMESPACE/NAME of a Secret, or none'],
    ['--serving-cert-secret', '../x', 'NAME or NAMESPACE/NAME of a Secret, or none'],
    ['--serving-service', 'Kexer', 'NAME or NAMESPACE/NAME of a Service, or none'],
    ['--api-service', 'a/b', 'VERSION.GROUP of an APIService, or none'],
    ['--cert-extra-sans', 'a b', 'DNS names or IP addresses'],
    ['--cert-extra-sans', 'a.*.b', 'DNS names or IP addresses'],
    ['--cert-extra-sans', 'a,DNS:evil', 'DNS names or IP addresses'],
  ];
  for (const [flag, value, wanted] of wrong) {
    it(`refuse ${flag} ${JSON.stringify(value)}`, async () => {
      const message = await load(`${flag}=${value}`);
      expect(message)
        .to.match(/^Cannot use /)
        .and.to.contain(`want ${wanted}`);
    });
  }

  it('say which settings exclude each other', async () => {
    const files = ['--tls-cert-file', '/a', '--tls-private-key-file', '/b'];
    const both = await load(...files, '--serving-cert-secret', 'x', '--cert-extra-sans', 'y');
    expect(String(both).split('\n')).to.deep.equal([
      'Cannot use --serving-cert-secret: it is "x", want nothing beside server.tlsCertFile',
      'Cannot use --cert-extra-sans: it is ["y"], want nothing beside server.tlsCertFile',
    ]);
    expect(await load(...files, '--serving-cert-secret', 'none')).to.deep.equal({
      servingSecret: 'none',
      extraNames: [],
    });
  });
});
