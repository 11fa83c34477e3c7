import { expect } from 'chai';

import { loadConfig } from '../../src/config/load.ts';

describe('the setting of HTTP/2 towards kube-apiserver', () => {
  it('is on by default, and switched off by flag, variable and file alike', async () => {
    const by = async (argv: string[], environment: Record<string, string> = {}): Promise<boolean> =>
      (await loadConfig({ argv, environment })).apiserver.http2;
    expect([
      await by([]),
      await by(['--apiserver-http2']),
      await by(['--apiserver-http2=false']),
      await by([], { KEXER_APISERVER_HTTP2: 'false' }),
      await by(['--apiserver-http2=true'], { KEXER_APISERVER_HTTP2: 'false' }),
    ]).to.deep.equal([true, true, false, false, true]);
  });

  it('takes nothing but true and false', async () => {
    const message = await loadConfig({ argv: ['--apiserver-http2=1.1'], environment: {} }).then(
      () => '',
      (error: unknown) => String(error),
    );
    expect(message).to.contain('Cannot use --apiserver-http2: it is "1.1", want true or false');
  });
});
