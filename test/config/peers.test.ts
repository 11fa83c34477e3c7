import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/config/load.ts';

async function problemsOf(...argv: string[]): Promise<string> {
  try {
    await loadConfig({ argv, environment: {} });
    return '';
  } catch (error) {
    return error instanceof KexerError ? error.message : String(error);
  }
}

describe('the settings of peers', () => {
  it('are off by default, and taken by flag', async () => {
    const off = await loadConfig({ argv: [], environment: {} });
    const on = await loadConfig({
      argv: ['--peer-service', 'kexec-system/kexer', '--peer-token-file', '/t'],
      environment: { KEXER_PEER_NAME: 'kexer-1' },
    });
    expect([off.peers, on.peers]).to.deep.equal([
      {},
      { service: 'kexec-system/kexer', tokenFile: '/t', name: 'kexer-1' },
    ]);
  });

  const cases: readonly (readonly [argv: readonly string[], problem: string])[] = [
    [['--peer-service', 'a/b'], 'peers.tokenFile with it'],
    [['--peer-token-file', '/t'], 'peers.service with it'],
    [['--peer-ca-file', '/c'], 'peers.service with it'],
    [['--peer-name', 'x'], 'peers.service with it'],
    ...['kexer', 'a/b/c', '/b', 'a/', 'A/b', 'a/b?x', 'a/../b', 'a/1b'].map(
      (service) => [['--peer-service', service, '--peer-token-file', '/t'], 'NAMESPACE/NAME'] as const,
    ),
  ];
  for (const [argv, problem] of cases) {
    it(`refuse ${argv.slice(0, 2).join(' ')}`, async () => {
      expect(await problemsOf(...argv)).to.contain(problem);
    });
  }
});
