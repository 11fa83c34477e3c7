// The proxy of the settings, with its files: what stops a start, and what a changed file does.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { describeError, KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { composeClusterProxy } from '../../src/cli/compose-cluster-proxy.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { ProxyChoice } from '../../src/kube/tunnel.ts';
import { ConnectProxy } from '../support/connect-proxy.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { servingPair } from '../support/serving-pair.ts';
import { useTempDir } from '../support/temp-dir.ts';

describe('composeClusterProxy', () => {
  const folder = useTempDir();
  let scope: Scope;
  let clock: FakeClock;

  beforeEach(() => {
    scope = new Scope();
    clock = new FakeClock();
  });
  afterEach(() => scope.close());

  async function compose(...argv: string[]): Promise<ProxyChoice | undefined> {
    const { clusters } = await loadConfig({ argv, environment: {} });
    return composeClusterProxy({ clock, version: '1.2.3' }, clusters);
  }

  async function write(name: string, text: string): Promise<string> {
    const file = join(folder(), name);
    await writeFile(file, text);
    return file;
  }

  async function problemOf(promise: Promise<unknown>): Promise<[string, string]> {
    const error: unknown = await promise.then(
      () => 'no problem',
      (reason: unknown) => reason,
    );
    if (!(error instanceof KexerError)) throw new Error(String(error));
    return [error.code, describeError(error)];
  }

  it('makes none where none is set', async () => {
    expect(await compose()).to.equal(undefined);
  });

  it('leads nowhere that is named in clusters.noProxy', async () => {
    const choose = await compose('--cluster-proxy-url=http://p:3128', '--cluster-no-proxy=a.example:6443,10.0.0.0/8');
    const proxied = [['a.example', 6443] as const, ['a.example', 443] as const, ['10.1.2.3', 10_250] as const].map(
      ([host, port]) => choose?.(host, port)?.name,
    );
    expect(proxied).to.deep.equal([undefined, 'p:3128', undefined]);
  });

  it('takes its files anew when they change', async () => {
    const pair = await servingPair();
    const proxy = await ConnectProxy.start(scope, {
      tls: pair,
      answer: ({ socket }) => void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'),
    });
    const ca = await write('ca.pem', pair.ca);
    const credentials = await write('credentials', 'user:hunter2\n');
    const tunnel = await compose(
      `--cluster-proxy-url=${proxy.url}`,
      `--cluster-proxy-ca-file=${ca}`,
      `--cluster-proxy-credentials-file=${credentials}`,
    );
    const ask = async (): Promise<[string, string]> =>
      problemOf(Promise.resolve(tunnel?.('192.0.2.1', 443)?.open({ host: '192.0.2.1', port: 443, timeoutMs: 5000 })));
    const refusal = `Cannot connect to 192.0.2.1:443: the proxy 127.0.0.1:${proxy.port} answered 403 Forbidden to CONNECT 192.0.2.1:443`;
    expect(await ask()).to.deep.equal(['badGateway', refusal]);
    await write('credentials', 'user:another');
    clock.advance(60_000);
    expect(await ask()).to.deep.equal(['badGateway', refusal]);
    // Half a file is nobody's credentials: nothing is asked of the proxy.
    await write('credentials', 'hunter2');
    clock.advance(60_000);
    expect(await ask()).to.deep.equal([
      'badGateway',
      'Cannot use the file of clusters.proxyCredentialsFile: want one line USER:PASSWORD in it',
    ]);
    expect(
      proxy.heads.map((head) =>
        Buffer.from(/^Proxy-Authorization: Basic (.*)\r$/m.exec(head)?.[1] ?? '', 'base64').toString(),
      ),
    ).to.deep.equal(['user:hunter2', 'user:another']);
    expect(proxy.heads[0]).to.contain('\r\nUser-Agent: kexer/1.2.3\r\n');
  });

  it('stops a start with files that cannot be used, without a word of what is in them', async () => {
    const url = '--cluster-proxy-url=https://p';
    expect(await problemOf(compose(url, '--cluster-proxy-ca-file=/nowhere'))).to.deep.equal([
      'config',
      'Cannot read --cluster-proxy-ca-file "/nowhere": ENOENT: no such file or directory, stat \'/nowhere\'',
    ]);
    for (const text of ['', 'hunter2', '-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n']) {
      const noPem = await write('no.pem', text);
      expect(await problemOf(compose(url, `--cluster-proxy-ca-file=${noPem}`))).to.deep.equal([
        'config',
        `Cannot use --cluster-proxy-ca-file ${JSON.stringify(noPem)}: it has no PEM certificate`,
      ]);
    }
    expect((await problemOf(compose(url, '--cluster-proxy-credentials-file=/nowhere')))[1]).to.match(
      /^Cannot read --cluster-proxy-credentials-file "\/nowhere": ENOENT/,
    );
    for (const text of ['', '\n', 'hunter2', 'user:hunter2\nX: y', 'user:hun\rter2', 'user:\0hunter2']) {
      const file = await write('odd', text);
      expect(await problemOf(compose(url, `--cluster-proxy-credentials-file=${file}`)), text).to.deep.equal([
        'config',
        'Cannot use the file of clusters.proxyCredentialsFile: want one line USER:PASSWORD in it',
      ]);
    }
  });
});
