// The settings of the proxy on the way to other clusters: what is taken, and that nothing of a value that is not is ever said.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { readProxyUrl } from '../../src/net/proxy-url.ts';
import { useTempDir } from '../support/temp-dir.ts';

const wanted =
  'want http://HOST[:PORT] or https://HOST[:PORT] and nothing more; user and password are for clusters.proxyCredentialsFile';

async function problemsOf(argv: readonly string[], environment: Record<string, string> = {}): Promise<string> {
  const error: unknown = await loadConfig({ argv, environment }).then(
    () => 'no problem',
    (reason: unknown) => reason,
  );
  if (!(error instanceof KexerError)) throw new Error(String(error));
  return error.message;
}

describe('the settings of a proxy', () => {
  const folder = useTempDir();

  it('are off by default, and taken by flag, variable and file', async () => {
    const off = await loadConfig({ argv: [], environment: {} });
    const file = join(folder(), 'kexer.yaml');
    await writeFile(file, 'clusters: { proxyUrl: "http://p", proxyCredentialsFile: user }\n');
    const on = await loadConfig({
      argv: [
        '--config',
        file,
        '--cluster-proxy-url',
        'HTTPS://Proxy.Example:8443/',
        '--cluster-no-proxy=.example,10.0.0.0/8',
      ],
      environment: { KEXER_CLUSTER_PROXY_CA_FILE: '/ca.pem' },
    });
    expect([off.clusters, on.clusters]).to.deep.equal([
      { namespaces: [], allowedEndpoints: [], noProxy: [] },
      {
        namespaces: [],
        allowedEndpoints: [],
        noProxy: ['.example', '10.0.0.0/8'],
        proxyUrl: 'HTTPS://Proxy.Example:8443/',
        proxyCaFile: '/ca.pem',
        proxyCredentialsFile: join(folder(), 'user'),
      },
    ]);
  });

  it('are no proxy of the environment', async () => {
    const environment = { HTTPS_PROXY: 'http://p:1', https_proxy: 'http://p:1', ALL_PROXY: 'http://p:1' };
    expect((await loadConfig({ argv: [], environment })).clusters).to.not.have.property('proxyUrl');
  });

  const addresses: readonly (readonly [url: string, isTls: boolean, host: string, port: number])[] = [
    ['http://proxy', false, 'proxy', 80],
    ['http://proxy:3128/', false, 'proxy', 3128],
    ['https://Proxy.Example', true, 'proxy.example', 443],
    ['http://192.0.2.1:65535', false, '192.0.2.1', 65_535],
    ['https://[2001:DB8::1]:8443', true, '2001:db8::1', 8443],
  ];
  for (const [url, isTls, host, port] of addresses) {
    it(`read ${url}`, () => {
      expect(readProxyUrl(url)).to.deep.equal({ isTls, host, port });
    });
  }

  const noUrl = 'no URL that begins with http:// or https://';
  const unread = 'no URL that can be read';
  const user = 'a URL with a user or a password';
  const refused: readonly (readonly [url: string, problem: string])[] = [
    ['', noUrl],
    ['hunter2', noUrl],
    ['hunter2:3128', noUrl],
    ['ftp://hunter2:3128', noUrl],
    ['socks5://hunter2:3128', noUrl],
    ['http:hunter2', noUrl],
    ['http:\\\\hunter2', noUrl],
    ['http://hunter 2', noUrl],
    [' http://hunter2', noUrl],
    ['http://hunter2\n', noUrl],
    ['http://', noUrl],
    ['http://:3128', unread],
    ['http://user:hunter2', unread],
    ['http://p:65536', unread],
    ['http://[::1', unread],
    ['http://user:hunter2@p:3128', user],
    ['http://hunter2@p:3128', user],
    ['http://@p:3128', user],
    ['http://user:hun@ter2@p', user],
    ['http://user:hunter2/@p', unread],
    ['http://p:3128/hunter2', 'a URL with a path'],
    ['http://p:3128//', 'a URL with a path'],
    ['http://p:3128?hunter2', 'a URL with a query'],
    ['http://p:3128/?', 'a URL with a query'],
    ['http://p:3128#hunter2', 'a URL with a fragment'],
    ['http://p:0', 'a URL with the port 0'],
  ];
  for (const [url, problem] of refused) {
    it(`refuse ${JSON.stringify(url)}, without a word of it`, async () => {
      const byFlag = await problemsOf([`--cluster-proxy-url=${url}`]);
      const byVariable = await problemsOf([], { KEXER_CLUSTER_PROXY_URL: url });
      expect([byFlag, byVariable]).to.deep.equal([
        `Cannot use --cluster-proxy-url: it is ${problem}, ${wanted}`,
        `Cannot use KEXER_CLUSTER_PROXY_URL: it is ${problem}, ${wanted}`,
      ]);
    });
  }

  it('say nothing of what is in a file either, whatever it is', async () => {
    const file = join(folder(), 'odd.yaml');
    for (const value of ['[http://user:hunter2@p]', '{hunter2: p}', '0', '"http://user:hunter2@p"']) {
      await writeFile(file, `clusters:\n  proxyUrl: ${value}\n`);
      const problems = await problemsOf(['--config', file]);
      expect(problems).to.contain(`${file}:2: Cannot use "clusters.proxyUrl": it is `);
      expect(problems).to.contain(wanted).and.not.contain('hunter2').and.not.contain('"0"');
    }
  });

  it('say nothing of a URL that stands where a flag should', async () => {
    const problems = await problemsOf(['--cluster-proxy-url=', 'http://user:hunter2@p:3128']);
    expect(problems).to.not.contain('hunter2');
    expect(problems).to.contain('Cannot use the argument "http://…@p:3128"');
  });

  const rules: readonly (readonly [argv: readonly string[], problem: string])[] = [
    [['--cluster-no-proxy=a.example'], 'clusters.proxyUrl with it'],
    [['--cluster-proxy-ca-file=/c'], 'clusters.proxyUrl with it'],
    [
      ['--cluster-proxy-url=http://p', '--cluster-no-proxy=https://a.example'],
      'a list, each *, HOST, .DOMAIN, an IP address, each with :PORT or without, or a network such as 10.0.0.0/8',
    ],
    [['--cluster-proxy-credentials-file=/c'], 'clusters.proxyUrl with it'],
    [
      ['--cluster-proxy-ca-file=/c', '--cluster-proxy-url=http://p'],
      'none with a clusters.proxyUrl of http://, where there is no certificate',
    ],
  ];
  for (const [argv, problem] of rules) {
    it(`refuse ${argv.join(' ')}`, async () => {
      expect(await problemsOf(argv)).to.match(/^Cannot use --cluster-(?:proxy-(?:ca|credentials)-file|no-proxy): /);
      expect(await problemsOf(argv)).to.contain(`want ${problem}`);
    });
  }
});
