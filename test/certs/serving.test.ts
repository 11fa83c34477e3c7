import { rename, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { loadPair } from '../../src/certs/pair.ts';
import { selfSignedPair } from '../../src/certs/self-signed.ts';
import { watchPair, type WatchedPair } from '../../src/certs/serving.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { useTempDir } from '../support/temp-dir.ts';

let authority: KeyPairPem;
let one: KeyPairPem;
let two: KeyPairPem;

before(async () => {
  authority = await generateAuthority({ commonName: 'ca' });
  [one, two] = await Promise.all([
    generateServing(authority, { commonName: 'one', dnsNames: ['localhost'] }),
    generateServing(authority, { commonName: 'two', dnsNames: ['localhost'] }),
  ]);
});

const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => String(error),
  );

describe('loadPair', () => {
  const dir = useTempDir();
  const files = (): { certFile: string; keyFile: string } => ({
    certFile: join(dir(), 'tls.crt'),
    keyFile: join(dir(), 'tls.key'),
  });

  it('takes a pair that fits, with its chain', async () => {
    await writeFile(files().certFile, one.cert + authority.cert);
    await writeFile(files().keyFile, one.key);
    expect(await loadPair(files(), Date.now())).to.deep.equal({ cert: one.cert + authority.cert, key: one.key });
  });

  it('names the file and what is wrong with it', async () => {
    const late = await generateServing(authority, { commonName: 'late', notAfter: new Date(Date.now() - 1000) });
    const early = await generateServing(authority, { commonName: 'early', notBefore: new Date(Date.now() + 60_000) });
    const cases: [name: string, cert: string | undefined, key: string | undefined, message: RegExp][] = [
      ['no certificate file', undefined, one.key, /Cannot read ".*tls\.crt"/],
      ['no key file', one.cert, undefined, /Cannot read ".*tls\.key"/],
      ['empty', '', one.key, /Cannot use ".*tls\.crt": it holds no PEM certificate/],
      ['half a certificate', one.cert.slice(0, 300), one.key, /tls\.crt": it holds no PEM certificate/],
      [
        'garbage inside PEM',
        one.cert.replace(/\nM.{20}/, '\nAAAA'),
        one.key,
        /tls\.crt": a certificate in it cannot be read/,
      ],
      [
        'half a key',
        one.cert,
        one.key.slice(0, one.key.length / 2),
        /Cannot use the key ".*tls\.key": want a PEM private key/,
      ],
      ['key of another', one.cert, two.key, /it is not the key of the certificate/],
      ['chain in the wrong order', authority.cert + one.cert, one.key, /the certificate of that key is not the first/],
      ['expired', late.cert, late.key, /tls\.crt": it expired at 20/],
      ['not yet valid', early.cert, early.key, /tls\.crt": it is valid from 20/],
      ['encrypted', one.cert, '-----BEGIN ENCRYPTED PRIVATE KEY-----\n', /it is encrypted/],
    ];
    for (const [name, cert, key, message] of cases) {
      await Promise.all([unlink(files().certFile).catch(() => {}), unlink(files().keyFile).catch(() => {})]);
      if (cert !== undefined) await writeFile(files().certFile, cert);
      if (key !== undefined) await writeFile(files().keyFile, key);
      const text = await messageOf(loadPair(files(), Date.now()));
      expect(text, name).to.match(message);
      expect(text, name).not.to.include('PRIVATE');
    }
  });
});

describe('watchPair', () => {
  const dir = useTempDir();
  let watched: WatchedPair;
  let clock: FakeClock;
  let changed: () => void;
  const errors: unknown[] = [];
  const pairs: KeyPairPem[] = [];

  beforeEach(async () => {
    errors.length = 0;
    pairs.length = 0;
    clock = new FakeClock(Date.now());
    await writeFile(join(dir(), 'tls.crt'), one.cert);
    await writeFile(join(dir(), 'tls.key'), one.key);
    watched = await watchPair(
      {
        clock,
        onError: (error) => errors.push(error),
        watchFolder: (_folder, onChange) => {
          changed = onChange;
          return { close: () => {} };
        },
      },
      { certFile: join(dir(), 'tls.crt'), keyFile: join(dir(), 'tls.key') },
    );
    watched.onChange((pair) => pairs.push(pair));
  });
  afterEach(() => watched.close());

  /** Lets the look that the clock started come to its end: the next timer is set by then. */
  async function look(): Promise<void> {
    changed();
    clock.advance(200);
    while (clock.pendingCount === 0) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  it('takes a new pair', async () => {
    await writeFile(join(dir(), 'tls.crt'), two.cert);
    await writeFile(join(dir(), 'tls.key'), two.key);
    await look();
    expect([pairs, watched.current, errors]).to.deep.equal([[two], two, []]);
  });

  it('keeps the last good pair while the new one is half-written, reports once, and takes it when it is whole', async () => {
    await writeFile(join(dir(), 'tls.crt'), two.cert.slice(0, 100));
    await look();
    await look();
    await writeFile(join(dir(), 'tls.crt'), two.cert);
    await look();
    expect([watched.current, pairs]).to.deep.equal([one, []]);
    expect(errors.map(String)).to.have.length(2);
    expect(String(errors[0])).to.match(/holds no PEM certificate/);
    expect(String(errors[1])).to.match(/not the key of the certificate/);
    await writeFile(join(dir(), 'tls.key'), two.key);
    await look();
    expect([watched.current, pairs]).to.deep.equal([two, [two]]);
  });

  it('keeps the last good pair while a file is gone', async () => {
    await unlink(join(dir(), 'tls.key'));
    await look();
    expect(watched.current).to.deep.equal(one);
    await writeFile(join(dir(), 'tls.key'), one.key);
    await look();
    expect([watched.current, pairs]).to.deep.equal([one, []]);
  });

  it('finds a change without any event within a minute', async () => {
    await writeFile(join(dir(), 'tls.crt'), two.cert);
    await writeFile(join(dir(), 'tls.key'), two.key);
    clock.advance(60_000);
    while (pairs.length === 0) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(watched.current).to.deep.equal(two);
  });

  it('follows a mounted Secret, whose files are links through a swapped folder', async () => {
    await Promise.all([unlink(join(dir(), 'tls.crt')), unlink(join(dir(), 'tls.key'))]);
    await writeFile(join(dir(), 'two.crt'), two.cert);
    await writeFile(join(dir(), 'two.key'), two.key);
    await symlink('two.crt', join(dir(), '..crt'));
    await symlink('two.key', join(dir(), '..key'));
    await rename(join(dir(), '..crt'), join(dir(), 'tls.crt'));
    await rename(join(dir(), '..key'), join(dir(), 'tls.key'));
    await look();
    expect(watched.current).to.deep.equal(two);
  });

  it('works with the real folder watch, and leaves nothing open', async () => {
    const real = await watchPair({ clock }, { certFile: join(dir(), 'tls.crt'), keyFile: join(dir(), 'tls.key') });
    expect(real.current).to.deep.equal(one);
    await real.close();
  });
});

describe('selfSignedPair', () => {
  const dir = useTempDir();
  const clock = new FakeClock(Date.now());

  it('makes a pair, keeps it while it is good, and makes another for another name or near its end', async () => {
    const folder = join(dir(), 'certs');
    const first = await selfSignedPair({ clock }, { dir: folder, names: ['localhost', '127.0.0.1'] });
    const again = await selfSignedPair({ clock }, { dir: folder, names: ['127.0.0.1'] });
    const other = await selfSignedPair({ clock }, { dir: folder, names: ['kexer.example'] });
    const later = new FakeClock(Date.now() + 340 * 24 * 60 * 60 * 1000);
    const renewed = await selfSignedPair({ clock: later }, { dir: folder, names: ['kexer.example'] });
    expect([again.cert === first.cert, again.ca.trim() === first.ca.trim()]).to.deep.equal([true, true]);
    expect(other.cert).not.to.equal(first.cert);
    expect(renewed.cert).not.to.equal(other.cert);
    expect((await loadPair(first.files, Date.now())).key).to.equal(renewed.key);
  });

  it('says which folder cannot be written', async () => {
    await writeFile(join(dir(), 'file'), '');
    const text = await messageOf(selfSignedPair({ clock }, { dir: join(dir(), 'file'), names: ['localhost'] }));
    expect(text).to.match(/Cannot keep the serving certificate in ".*file"/);
  });
});
