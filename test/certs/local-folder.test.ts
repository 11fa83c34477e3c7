// `kexer certs`: what it makes, what it never overwrites, and that TLS takes it.

import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { loadPair } from '../../src/certs/pair.ts';
import { run } from '../../src/cli/run.ts';
import { useTempDir } from '../support/temp-dir.ts';

async function kexer(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(argv, {
    print: (line) => out.push(line),
    complain: (line) => err.push(line),
    environment: {},
    onStopSignal: () => () => {},
  });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

/** The handshake of a client that trusts `ca` alone; the name it verified, or its objection. */
async function handshake(pair: { cert: string; key: string }, ca: string, servername: string): Promise<string> {
  const server = createServer(pair);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  try {
    return await new Promise<string>((resolve) => {
      const { port } = server.address() as AddressInfo;
      const socket = connect({ port, host: '127.0.0.1', ca, servername }, () => {
        socket.end();
        resolve('trusted');
      });
      socket.on('error', (error) => resolve(error.message));
    });
  } finally {
    server.close();
  }
}

describe('kexer certs', () => {
  const dir = useTempDir();
  const read = (name: string): Promise<string> => readFile(join(dir(), 'certs', name), 'utf8');
  const loaded = (): Promise<{ cert: string; key: string }> =>
    loadPair({ certFile: join(dir(), 'certs', 'kexer.crt'), keyFile: join(dir(), 'certs', 'kexer.key') }, Date.now());

  it('makes an authority and a pair that TLS takes, keys for their owner alone, and says what to do with them', async () => {
    const { code, out, err } = await kexer(
      'certs',
      '--dir',
      join(dir(), 'certs'),
      '--cert-extra-sans',
      'k.example.com',
    );
    expect([code, err]).to.deep.equal([0, '']);
    const ca = await read('ca.crt');
    for (const name of ['k.example.com', 'localhost', 'kexer.kexec-system.svc']) {
      expect(await handshake(await loaded(), ca, name)).to.equal('trusted');
    }
    expect(await handshake(await loaded(), ca, 'other.example.com')).to.match(/does not match/);
    const modes = await Promise.all(
      ['ca.key', 'kexer.key', 'ca.crt', 'kexer.crt'].map(async (name) => {
        const { mode } = await stat(join(dir(), 'certs', name));
        return (mode & 0o777).toString(8);
      }),
    );
    expect(modes.slice(0, 2)).to.deep.equal(['600', '600']);
    expect(new X509Certificate(ca).ca).to.equal(true);
    expect(out)
      .to.contain('kexer serve --tls-cert-file')
      .and.to.contain('--certificate-authority')
      .and.to.contain('k.example.com');
    expect(out).not.to.contain('PRIVATE');
  });

  it('renews under the authority that is there', async () => {
    const folder = join(dir(), 'certs');
    await kexer('certs', '--dir', folder, '--names', 'one.example.com');
    const before = [await read('ca.crt'), await read('ca.key'), await read('kexer.crt')];
    const { code, out } = await kexer(
      'certs',
      `--dir=${folder}`,
      '--renew',
      '--names=one.example.com,10.0.0.1',
      '--days',
      '30',
    );
    expect([code, out.split('\n')[0]]).to.deep.equal([
      0,
      'Made a serving certificate under the authority that was there; clients notice nothing:',
    ]);
    const after = [await read('ca.crt'), await read('ca.key'), await read('kexer.crt')];
    expect([after[0] === before[0], after[1] === before[1], after[2] === before[2]]).to.deep.equal([true, true, false]);
    const leaf = new X509Certificate(after[2] ?? '');
    expect(Math.round((leaf.validToDate.getTime() - Date.now()) / 86_400_000)).to.equal(30);
    expect(await handshake(await loaded(), before[0] ?? '', 'one.example.com')).to.equal('trusted');
  });

  it('refuses to overwrite an authority, or half of one', async () => {
    const folder = join(dir(), 'certs');
    await kexer('certs', '--dir', folder);
    const before = await read('ca.crt');
    const { code, err } = await kexer('certs', '--dir', folder);
    expect([code, await read('ca.crt')]).to.deep.equal([1, before]);
    expect(err).to.match(
      /^kexer: Cannot make an authority in ".*": ".*ca\.crt" is there, .* want --renew .* or another --dir$/,
    );
    const half = join(dir(), 'half');
    await mkdir(half);
    await writeFile(join(half, 'ca.key'), 'x');
    expect((await kexer('certs', '--dir', half)).err).to.match(/"[^"]*ca\.key" is there/);
    expect((await kexer('certs', '--dir', half, '--renew')).err).to.match(/Cannot read ".*ca\.crt"/);
  });

  const wrong: readonly (readonly [argv: string[], err: RegExp])[] = [
    [['--renwe'], /Cannot use "--renwe": did you mean --renew\?/],
    [['x'], /Cannot use "x": want --dir, --names, --cert-extra-sans, --days, --renew/],
    [['--dir'], /Cannot use the flag --dir: it has no value, want --dir VALUE/],
    [['--days', '0'], /Cannot use --days: it is "0", want a whole number from 1 to 3650/],
    [['--days=soon'], /Cannot use --days: it is "soon"/],
    [['--names', 'a b'], /Cannot use --names: it has "a b", want DNS names or IP addresses/],
    [['--cert-extra-sans', 'good,10.0.0.999.'], /Cannot use --cert-extra-sans: it has "10\.0\.0\.999\."/],
  ];
  for (const [argv, err] of wrong) {
    it(`refuses ${argv.join(' ')}`, async () => {
      const result = await kexer('certs', ...argv);
      expect([result.code, result.out]).to.deep.equal([1, '']);
      expect(result.err).to.match(err);
    });
  }

  it('says what cannot be renewed or written', async () => {
    expect((await kexer('certs', '--dir', join(dir(), 'none'), '--renew')).err).to.match(
      /Cannot renew in ".*none": there is no authority, want ca\.crt and ca\.key/,
    );
    await writeFile(join(dir(), 'file'), '');
    expect((await kexer('certs', '--dir', join(dir(), 'file'))).err).to.match(
      /Cannot write certificates into ".*file"/,
    );
  });
});
