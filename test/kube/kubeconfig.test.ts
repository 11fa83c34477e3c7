import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';
import type { Credential } from '../../src/kube/credential.ts';
import { loadInCluster } from '../../src/kube/in-cluster.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { fileCertificate, fileToken } from '../../src/kube/sources.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { useTempDir } from '../support/temp-dir.ts';

let authority: KeyPairPem;
let client: KeyPairPem;
let stranger: KeyPairPem;

before(async () => {
  authority = await generateAuthority({ commonName: 'ca' });
  [client, stranger] = await Promise.all([
    generateClient(authority, { commonName: 'admin' }),
    generateClient(authority, { commonName: 'stranger' }),
  ]);
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const errorOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => String(error),
  );

/** What a credential gives now. */
async function shown(credential: Credential): Promise<unknown> {
  const token =
    credential.kind === 'token' || credential.kind === 'both' ? { token: await credential.token.read() } : {};
  if (credential.kind !== 'certificate' && credential.kind !== 'both') return token;
  const { cert, key } = await credential.certificate.read();
  return { ...token, cert, key };
}

describe('loadKubeconfig', () => {
  const dir = useTempDir();
  const file = (): string => join(dir(), 'config');

  async function load(
    cluster: object,
    user: object,
    more: object = {},
  ): Promise<Awaited<ReturnType<typeof loadKubeconfig>>> {
    const document = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'main',
      contexts: [{ name: 'main', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user }],
      ...more,
    };
    await writeFile(file(), JSON.stringify(document));
    return loadKubeconfig({ clock: systemClock }, { file: file(), environment: { PATH: process.env['PATH'] } });
  }

  const server = { server: 'https://api.example:6443' };

  it('reads inline data, a server name and a namespace', async () => {
    const access = await load(
      {
        server: 'https://api.example/prefix/',
        'certificate-authority-data': base64(authority.cert),
        'tls-server-name': 'kubernetes',
      },
      { 'client-certificate-data': base64(client.cert), 'client-key-data': base64(client.key) },
      { contexts: [{ name: 'main', context: { cluster: 'c', user: 'u', namespace: 'prod' } }] },
    );
    expect([access.endpoint, access.namespace, await shown(access.credential)]).to.deep.equal([
      { url: 'https://api.example/prefix', ca: authority.cert, isVerified: true, servername: 'kubernetes' },
      'prod',
      client,
    ]);
  });

  it('reads files relative to its own', async () => {
    await mkdir(join(dir(), 'pki'));
    await Promise.all([
      writeFile(join(dir(), 'pki/ca.crt'), authority.cert),
      writeFile(join(dir(), 'pki/user.crt'), client.cert),
      writeFile(join(dir(), 'pki/user.key'), client.key),
      writeFile(join(dir(), 'token'), 'secret\n'),
    ]);
    const cluster = { ...server, 'certificate-authority': 'pki/ca.crt' };
    const certificate = await load(cluster, { 'client-certificate': 'pki/user.crt', 'client-key': 'pki/user.key' });
    const token = await load(cluster, { tokenFile: 'token', token: 'ignored' });
    const both = await load(cluster, {
      token: 't',
      'client-certificate': 'pki/user.crt',
      'client-key': 'pki/user.key',
    });
    expect([
      certificate.endpoint.ca,
      await shown(certificate.credential),
      await shown(token.credential),
      await shown(both.credential),
    ]).to.deep.equal([authority.cert, client, { token: 'secret' }, { token: 't', ...client }]);
  });

  it('reads YAML, takes the context it is told, and data before files', async () => {
    await writeFile(
      file(),
      `apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: c, user: one}}
- {name: two, context: {cluster: c, user: two}}
clusters:
- name: c
  cluster:
    server: https://api.example
    insecure-skip-tls-verify: true
users:
- {name: one, user: {token: first}}
- {name: two, user: {token: second}}
`,
    );
    const two = await loadKubeconfig({ clock: systemClock }, { file: file(), context: 'two' });
    expect([two.endpoint.isVerified, await shown(two.credential)]).to.deep.equal([false, { token: 'second' }]);
  });

  it('takes an endpoint without a credential only where it is told to', async () => {
    const contexts = [{ name: 'main', context: { cluster: 'c' } }];
    await load({ server: 'https://x' }, {}, { contexts }).catch(() => {});
    const { credential } = await loadKubeconfig({ clock: systemClock }, { file: file(), isCredentialOptional: true });
    expect(credential).to.deep.equal({ kind: 'none' });
    expect(await errorOf(loadKubeconfig({ clock: systemClock }, { file: file() }))).to.contain('it has no user ""');
  });

  it('reports everything that is wrong at once, and no secret', async () => {
    const text = await errorOf(
      load(
        {
          server: 'ftp://api.example',
          'proxy-url': 'http://proxy',
          'insecure-skip-tls-verify': true,
          'certificate-authority-data': base64('no certificate'),
        },
        { username: 'u', password: 'hunter2', 'client-key-data': base64(client.key), tokenFile: 'nowhere' },
      ),
    );
    for (const problem of [
      /^KexerError: Cannot use the kubeconfig ".*config": /,
      /the server of cluster "c" is no http or https URL/,
      /cluster "c" has a proxy-url, which is not supported/,
      /both a certificate-authority and insecure-skip-tls-verify/,
      /holds no PEM certificate/,
      /user "u" has username, which is not supported/,
      /user "u" has password, which is not supported/,
      /Cannot read ".*nowhere"/,
      /a client key without its certificate/,
    ]) {
      expect(text).to.match(problem);
    }
    expect(text).not.to.match(/hunter2|PRIVATE KEY/);
  });

  const wrong: [name: string, cluster: () => object, user: () => object, more: object, message: RegExp][] = [
    [
      'no current-context',
      () => server,
      () => ({ token: 't' }),
      { 'current-context': '' },
      /it has no current-context/,
    ],
    ['an unknown context', () => server, () => ({ token: 't' }), { 'current-context': 'x' }, /it has no context "x"/],
    ['an unknown cluster', () => server, () => ({ token: 't' }), { clusters: [] }, /it has no cluster "c"/],
    ['an unknown user', () => server, () => ({ token: 't' }), { users: null }, /it has no user "u"/],
    ['lists that are none', () => server, () => ({ token: 't' }), { users: {} }, /users is no list/],
    ['no server', () => ({}), () => ({ token: 't' }), {}, /cluster "c" has no server/],
    [
      'a server with a password',
      () => ({ server: 'https://a:b@c' }),
      () => ({ token: 't' }),
      {},
      /more than scheme, host/,
    ],
    ['no credential', () => server, () => ({}), {}, /user "u" has no credential/],
    ['impersonation', () => server, () => ({ token: 't', as: 'admin' }), {}, /user "u" has as, which is not supported/],
    ['auth-provider', () => server, () => ({ 'auth-provider': { name: 'gcp' } }), {}, /auth-provider, which is not/],
    [
      'bad base64',
      () => ({ ...server, 'certificate-authority-data': '!!' }),
      () => ({ token: 't' }),
      {},
      /is no base64/,
    ],
    ['a number for a token', () => server, () => ({ token: 1 }), {}, /token of user "u" is no string/],
    [
      'a key of another',
      () => server,
      () => ({ 'client-certificate-data': base64(client.cert), 'client-key-data': base64(stranger.key) }),
      {},
      /it is not the one of/,
    ],
    [
      'a plugin of an old version',
      () => server,
      () => ({ exec: { apiVersion: 'v1', command: 'x' } }),
      {},
      /want client\.auth/,
    ],
    [
      'a plugin that needs a terminal',
      () => server,
      () => ({ exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'x', interactiveMode: 'Always' } }),
      {},
      /wants a terminal/,
    ],
  ];
  for (const [name, cluster, user, more, message] of wrong) {
    it(`refuses ${name}`, async () => {
      expect(await errorOf(load(cluster(), user(), more))).to.match(message);
    });
  }

  it('names the file and the place when it is no YAML or no mapping', async () => {
    await writeFile(file(), 'users:\n- token: {secret\n');
    const text = await errorOf(loadKubeconfig({ clock: systemClock }, { file: file() }));
    expect(text).to.match(/Cannot parse the kubeconfig ".*config": .*line \d/);
    expect(text).not.to.include('secret');
    // What begins like JSON, and is YAML with a mistake.
    await writeFile(file(), '{users: [}');
    expect(await errorOf(loadKubeconfig({ clock: systemClock }, { file: file() }))).to.match(/Cannot parse .* line 1/);
    await writeFile(file(), '{users: []}');
    expect(await errorOf(loadKubeconfig({ clock: systemClock }, { file: file() }))).to.match(
      /it has no current-context/,
    );
    await writeFile(file(), '- a');
    expect(await errorOf(loadKubeconfig({ clock: systemClock }, { file: file() }))).to.match(/want a mapping/);
    const missing = errorOf(loadKubeconfig({ clock: systemClock }, { file: `${file()}x` }));
    expect(await missing).to.match(/Cannot read the kubeconfig ".*configx"/);
  });

  describe('with an exec plugin', () => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin', args: ['a b'] };

    async function plugin(script: string): Promise<void> {
      await writeFile(join(dir(), 'plugin'), `#!/bin/sh\n${script}\n`);
      await chmod(join(dir(), 'plugin'), 0o755);
    }

    const print = (status: object): string =>
      `cat <<'END'\n${JSON.stringify({ apiVersion: exec.apiVersion, kind: 'ExecCredential', status })}\nEND`;

    it('runs it once, and again when its credential is refused', async () => {
      await plugin(
        `echo "$1 $EXTRA $KUBERNETES_EXEC_INFO" >> "$(dirname "$0")/runs"; ${print({ token: 'from-plugin' })}`,
      );
      const access = await load(server, {
        exec: { ...exec, env: [{ name: 'EXTRA', value: 'more' }], provideClusterInfo: true },
      });
      const { credential } = access;
      if (credential.kind !== 'both') throw new Error(`want both, got ${credential.kind}`);
      const reads = await Promise.all([
        credential.token.read(),
        credential.token.read(),
        credential.certificate.read(),
      ]);
      expect(reads.slice(0, 2)).to.deep.equal(['from-plugin', 'from-plugin']);
      expect(reads[2]).to.deep.include({ cert: '', key: '' });
      credential.token.invalidate();
      await credential.token.read();
      const [run = '', ...others] = (await readFile(join(dir(), 'runs'), 'utf8')).trim().split('\n');
      expect(others).to.have.length(1);
      expect(run).to.match(/^a b more \{/);
      expect(JSON.parse(run.slice('a b more '.length))).to.deep.equal({
        apiVersion: exec.apiVersion,
        kind: 'ExecCredential',
        spec: { cluster: { server: 'https://api.example:6443' }, interactive: false },
      });
    });

    it('runs it again when its credential has expired, and takes certificates', async () => {
      const expires = new Date(Date.now() - 1000).toISOString();
      await plugin(
        `echo >> "$(dirname "$0")/runs"; ${print({ clientCertificateData: client.cert, clientKeyData: client.key, expirationTimestamp: expires })}`,
      );
      const { credential } = await load(server, { exec });
      expect(await shown(credential)).to.deep.equal({ token: '', ...client });
      expect(await readFile(join(dir(), 'runs'), 'utf8')).to.equal('\n\n');
    });

    const failing: [name: string, script: string, message: RegExp][] = [
      ['fails', 'exit 3', /plugin "\.\/plugin": it exited with code 3 \(install it so\)/],
      ['is killed', 'kill -9 $$', /it was ended by SIGKILL/],
      ['prints no JSON', 'echo secret', /want JSON$/],
      ['prints something else', "echo '{}'", /want an ExecCredential/],
      ['prints another version', `echo '{"kind":"ExecCredential","apiVersion":"x"}'`, /want the apiVersion client\./],
      ['prints nothing of use', print({}), /neither a token nor a certificate/],
      ['prints half a pair', print({ clientCertificateData: 'x' }), /want both or neither/],
      ['prints too much', 'head -c 2000000 /dev/zero', /printed more than 1048576 bytes/],
    ];
    for (const [name, script, message] of failing) {
      it(`says so when it ${name}`, async () => {
        await plugin(script);
        const { credential } = await load(server, { exec: { ...exec, installHint: 'install it so' } });
        const text = await errorOf(shown(credential));
        expect(text).to.match(message);
        expect(text).not.to.include('secret');
      });
    }

    it('says so when there is no such command, and waits for nothing', async () => {
      const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
      const { credential } = await load(server, { exec: { ...exec, command: 'no-such-plugin-at-all' } });
      const before = timers(); // mocha's own is there by now
      expect(await errorOf(shown(credential))).to.match(/"no-such-plugin-at-all": it could not be run/);
      expect(timers()).to.equal(before);
    });
  });
});

describe('loadInCluster', () => {
  const dir = useTempDir();

  it('reads the environment and the mount', async () => {
    await Promise.all([
      writeFile(join(dir(), 'token'), 'sa-token'),
      writeFile(join(dir(), 'ca.crt'), authority.cert),
      writeFile(join(dir(), 'namespace'), 'kexec-system'),
    ]);
    const access = await loadInCluster(
      { clock: systemClock },
      { environment: { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }, mount: dir() },
    );
    expect([access.endpoint, access.namespace, await shown(access.credential)]).to.deep.equal([
      { url: 'https://[fd00::1]:443', ca: authority.cert, isVerified: true, servername: undefined },
      'kexec-system',
      { token: 'sa-token' },
    ]);
  });

  it('says all that is missing outside a pod', async () => {
    const text = await errorOf(loadInCluster({ clock: systemClock }, { environment: {}, mount: dir() }));
    expect(text).to.match(/outside a pod, give a kubeconfig/);
    expect(text).to.match(/KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set/);
    expect(text).to.match(/ca\.crt/);
    expect(text).to.match(/token/);
  });
});

describe('fileToken', () => {
  const dir = useTempDir();

  it('reads again after a minute or a refusal, and keeps the last good token', async () => {
    const clock = new FakeClock();
    const file = join(dir(), 'token');
    await writeFile(file, ' one\n');
    const token = fileToken({ clock }, file);
    const seen = [await token.read()];
    await writeFile(file, 'two');
    seen.push(await token.read());
    clock.advance(60_000);
    seen.push(await token.read());
    await writeFile(file, '');
    clock.advance(60_000);
    seen.push(await token.read());
    await writeFile(file, 'three');
    token.invalidate();
    seen.push(await token.read());
    expect(seen).to.deep.equal(['one', 'one', 'two', 'two', 'three']);
  });

  it('refuses an empty file, one with two words, and a missing one, when there was no good token', async () => {
    const clock = new FakeClock();
    const file = join(dir(), 'token');
    expect(await errorOf(fileToken({ clock }, file).read())).to.match(/Cannot read ".*token"/);
    for (const text of ['', 'a b', 'a\nb']) {
      await writeFile(file, text);
      expect(await errorOf(fileToken({ clock }, file).read())).to.match(/want one word of printable characters/);
    }
  });
});

describe('fileCertificate', () => {
  const dir = useTempDir();

  it('keeps the last good pair while a half of the new one is written', async () => {
    const clock = new FakeClock();
    const files = { certFile: join(dir(), 'crt'), keyFile: join(dir(), 'key') };
    await Promise.all([writeFile(files.certFile, client.cert), writeFile(files.keyFile, client.key)]);
    const source = fileCertificate({ clock }, files);
    const first = await source.read();
    await writeFile(files.certFile, stranger.cert);
    clock.advance(60_000);
    const second = await source.read();
    await writeFile(files.keyFile, stranger.key);
    clock.advance(60_000);
    const third = await source.read();
    expect([first.cert, second, third.cert]).to.deep.equal([client.cert, first, stranger.cert]);
    expect(third.version).not.to.equal(first.version);
  });
});
