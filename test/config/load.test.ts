// The settings from flags, environment and file: precedence, and every problem at once with its place.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';

describe('loadConfig', () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kexer-config-'));
  });

  after(() => rm(folder, { recursive: true }));

  async function write(text: string): Promise<string> {
    const file = join(folder, 'kexer.yaml');
    await writeFile(file, text);
    return file;
  }

  async function problemsOf(argv: string[], environment: Record<string, string> = {}): Promise<string[]> {
    try {
      await loadConfig({ argv, environment });
    } catch (error) {
      expect(error).to.be.instanceOf(KexerError);
      expect(error).to.have.property('code', 'config');
      return (error as KexerError).message.split('\n').map((line) => line.replaceAll(`${folder}/`, ''));
    }
    throw new Error('no problem was found');
  }

  const defaults: Config = {
    server: {
      bindAddress: '0.0.0.0',
      securePort: 6443,
      certDir: 'apiserver.local.config/certificates',
      shutdownDelay: 15_000,
      shutdownGracePeriod: 14_400_000,
    },
    certificates: { extraNames: [] },
    kubelet: {
      insecureTls: false,
      preferredAddressTypes: ['InternalIP', 'Hostname', 'InternalDNS', 'ExternalIP', 'ExternalDNS'],
      spareConnection: 10_000,
    },
    identity: { impersonation: false, allowPrivileged: false, impersonator: {} },
    apiserver: { http2: true },
    streams: { local: 'kubelet' },
    clusters: { namespaces: [], allowedEndpoints: [], noProxy: [] },
    sessions: { idleTimeout: 0, maxDuration: 0, recheckInterval: 300_000, maxUnverified: 0, endOnExpiry: false },
    limits: {
      sessionsPerUser: 1000,
      sessions: 5000,
      sessionStartsPerUser: 3000,
      sessionStarts: 12_000,
      bytesPerSecondPerUser: 0,
      bytesPerSecond: 0,
      requestsPerUser: 600,
      requests: 3000,
      longRunningPerUser: 2000,
      longRunning: 10_000,
      eventLoopDelay: 1000,
      strangerConnectionsPerSource: 2000,
      strangerRequestsPerSource: 1000,
      headerBytes: 65_536,
      bodyBytes: 16_777_216,
    },
    audit: {
      logMaxSize: 100,
      logMaxBackup: 0,
      logMaxAge: 0,
      webhook: { initialBackoff: 10_000, batchBufferSize: 10_000, batchMaxSize: 400, batchMaxWait: 30_000 },
      strict: false,
      commands: 'redacted',
      redact: [],
    },
    peers: {},
    log: { level: 'info', format: 'json' },
    tracing: { samplingRatePerMillion: 0 },
  };

  it('gives the defaults, deep-frozen, when nothing is set', async () => {
    const config = await loadConfig({ argv: [], environment: {} });
    expect(config).to.deep.equal(defaults);
    expect(Object.isFrozen(config) && Object.isFrozen(config.kubelet.preferredAddressTypes)).to.equal(true);
  });

  it('prefers flags to variables, variables to the file, the file to defaults', async () => {
    const file = await write('server: {securePort: 1, bindAddress: 127.0.0.1, certDir: certs}\nlog: {level: debug}\n');
    const config = await loadConfig({
      argv: ['--config', file, '--secure-port=3', '--kubelet-insecure-tls'],
      environment: { KEXER_SECURE_PORT: '2', KEXER_BIND_ADDRESS: '::1', KEXER_SERVICE_HOST: '10.0.0.1' },
    });
    expect(config).to.deep.equal({
      ...defaults,
      server: { ...defaults.server, bindAddress: '::1', securePort: 3, certDir: join(folder, 'certs') },
      kubelet: { ...defaults.kubelet, insecureTls: true },
      log: { level: 'debug', format: 'json' },
    });
  });

  it('takes standard output for the audit log, and one pattern from a flag or several from the file', async () => {
    const file = await write('audit: {logPath: "-", redact: [a, b], policyFile: policy.yaml}');
    const { audit } = await loadConfig({ argv: ['--config', file], environment: {} });
    expect([audit.logPath, audit.redact, audit.policyFile]).to.deep.equal([
      '-',
      ['a', 'b'],
      join(folder, 'policy.yaml'),
    ]);
    const other = await loadConfig({ argv: ['--config', file, '--audit-redact', 'x{1,2}'], environment: {} });
    expect(other.audit.redact).to.deep.equal(['x{1,2}']);
  });

  it('takes the config file from the environment', async () => {
    const file = await write('log: {level: warn}');
    const config = await loadConfig({ argv: [], environment: { KEXER_CONFIG: file } });
    expect(config.log.level).to.equal('warn');
  });

  it('reads durations as Go does, from flags, variables and the file', async () => {
    const file = await write('server: {shutdownDelay: 0}\nsessions: {idleTimeout: 4h}\n');
    const config = await loadConfig({
      argv: ['--config', file, '--session-max-duration', '1m30s'],
      environment: { KEXER_SHUTDOWN_GRACE_PERIOD: '1.5h' },
    });
    expect(config).to.deep.equal({
      ...defaults,
      server: { ...defaults.server, shutdownDelay: 0, shutdownGracePeriod: 5_400_000 },
      sessions: { ...defaults.sessions, idleTimeout: 14_400_000, maxDuration: 90_000 },
    });
  });

  it('reports everything wrong with a file at once, with lines and the nearest names', async () => {
    const file = await write(
      [
        'server:',
        '  securePrt: 3',
        '  securePort: 70000',
        '  bindAddress: nope',
        'kubelett: {}',
        'kubelet:',
        '  insecureTls: maybe',
        '  preferredAddressTypes: [InternalIP, Nope]',
        '  clientCertificate: a.pem',
        'log: 3',
        'zzzzzz: 1',
      ].join('\n'),
    );
    expect(await problemsOf(['--config', file])).to.deep.equal([
      'kexer.yaml:2: Cannot use the key "securePrt" in "server": there is no such setting, did you mean "securePort"?',
      'kexer.yaml:3: Cannot use "server.securePort": it is 70000, want a port from 0 to 65535',
      'kexer.yaml:4: Cannot use "server.bindAddress": it is "nope", want an IP address',
      'kexer.yaml:5: Cannot use the key "kubelett": there is no such setting, did you mean "kubelet"?',
      'kexer.yaml:7: Cannot use "kubelet.insecureTls": it is "maybe", want true or false',
      'kexer.yaml:8: Cannot use "kubelet.preferredAddressTypes": it is "Nope", want one of InternalIP, Hostname, InternalDNS, ExternalIP, ExternalDNS',
      'kexer.yaml:9: Cannot use "kubelet.clientCertificate": it is "a.pem", want kubelet.clientKey with it',
      'kexer.yaml:10: Cannot use "log": it is 3, want a group of settings (key: value)',
      'kexer.yaml:11: Cannot use the key "zzzzzz": there is no such setting',
    ]);
  });

  const files: readonly (readonly [text: string, problem: RegExp])[] = [
    ['a: [', /^kexer\.yaml:1: this is no YAML: /],
    ['log: {level: info}\nlog: {level: warn}', /^kexer\.yaml:2: this is no YAML: Map keys must be unique/],
    ['- a', /^kexer\.yaml:1: Cannot use the config file: want settings as key: value$/],
    ['log: &a {level: info}\nserver: *a', /^kexer\.yaml:2: Cannot use the alias \*a: want the value itself$/],
  ];
  for (const [text, problem] of files) {
    it(`refuses the file ${JSON.stringify(text)}`, async () => {
      const [first] = await problemsOf(['--config', await write(text)]);
      expect(first).to.match(problem);
    });
  }

  it('takes an empty file for no settings', async () => {
    const file = await write('# nothing\n');
    expect(await loadConfig({ argv: ['--config', file], environment: {} })).to.deep.equal(defaults);
  });

  const flags: readonly (readonly [argv: string[], environment: Record<string, string>, problems: string[]])[] = [
    [
      ['--config', '/nope/kexer.yaml'],
      {},
      ['Cannot read the config file "/nope/kexer.yaml": ENOENT: no such file or directory, open \'/nope/kexer.yaml\''],
    ],
    [
      ['--secure-prt', '4'],
      {},
      ['Cannot use the flag "--secure-prt": there is none of that name, did you mean --secure-port?'],
    ],
    [['--qqqqqqqq=1'], {}, ['Cannot use the flag "--qqqqqqqq": there is none of that name; see kexer help']],
    [['--secure-port'], {}, ['Cannot use the flag --secure-port: it has no value, want --secure-port VALUE']],
    [
      ['--secure-port', '--kubelet-insecure-tls'],
      {},
      ['Cannot use the flag --secure-port: it has no value, want --secure-port VALUE'],
    ],
    [['serve'], {}, ['Cannot use the argument "serve": want only flags, as in --secure-port 6443']],
    [['--kubelet-insecure-tls=yes'], {}, ['Cannot use --kubelet-insecure-tls: it is "yes", want true or false']],
    [
      [],
      { KEXER_LOG_LEVEL: 'loud' },
      ['Cannot use KEXER_LOG_LEVEL: it is "loud", want one of trace, debug, info, warn, error, fatal, silent'],
    ],
    [['--tls-cert-file', 'a'], {}, ['Cannot use --tls-cert-file: it is "a", want server.tlsPrivateKeyFile with it']],
    [
      ['--kubelet-client-key', 'a'],
      {},
      ['Cannot use --kubelet-client-key: it is "a", want kubelet.clientCertificate with it'],
    ],
    [
      ['--kubelet-token-file', 'a', '--kubelet-insecure-tls'],
      {},
      ['Cannot use --kubelet-token-file: it is "a", want no token while kubelet.insecureTls is true'],
    ],
    [
      ['--kubelet-certificate-authority', 'a', '--kubelet-insecure-tls'],
      {},
      ['Cannot use --kubelet-insecure-tls: it is true, want false, since kubelet.certificateAuthority is set'],
    ],
    [
      ['--identity-impersonation'],
      {},
      [
        'Cannot use --identity-impersonation: it is true, want a credential with it: identity.impersonator.serviceAccount, tokenFile, or clientCertificate and clientKey',
      ],
    ],
    [
      [
        '--identity-impersonation',
        '--impersonator-service-account=kexec-system/kexer-impersonator',
        '--impersonator-token-file=t',
        '--impersonator-client-certificate=c',
        '--impersonator-client-key=k',
      ],
      {},
      [
        'Cannot use --impersonator-service-account: it is "kexec-system/kexer-impersonator", want no service account beside identity.impersonator.tokenFile and identity.impersonator.clientCertificate',
        'Cannot use --impersonator-token-file: it is "t", want no token beside identity.impersonator.clientCertificate',
      ],
    ],
    [
      [
        '--kubelet-service-account=a/b',
        '--kubelet-token-file=t',
        '--kubelet-client-certificate=c',
        '--kubelet-client-key=k',
      ],
      {},
      [
        'Cannot use --kubelet-service-account: it is "a/b", want no service account beside kubelet.tokenFile and kubelet.clientCertificate',
        'Cannot use --kubelet-token-file: it is "t", want no token beside kubelet.clientCertificate',
      ],
    ],
    [
      ['--kubelet-service-account=a/b', '--kubelet-insecure-tls'],
      {},
      ['Cannot use --kubelet-service-account: it is "a/b", want no service account while kubelet.insecureTls is true'],
    ],
    [
      ['--identity-impersonation', '--impersonator-service-account=kexec-system/kexer-impersonator'],
      { KEXER_IMPERSONATOR_CLIENT_KEY: 'k' },
      ['Cannot use KEXER_IMPERSONATOR_CLIENT_KEY: it is "k", want identity.impersonator.clientCertificate with it'],
    ],
    ...[
      'kexer-impersonator',
      'kexec-system/',
      '/kexer-impersonator',
      'a/b/c',
      'Kexec/a',
      'a b/c',
      `a/${'b'.repeat(254)}`,
    ].map((account): [string[], Record<string, string>, string[]] => [
      ['--identity-impersonation', `--impersonator-service-account=${account}`],
      {},
      [
        `Cannot use --impersonator-service-account: it is ${JSON.stringify(account)}, want NAMESPACE/NAME of a service account`,
      ],
    ]),
    [
      ['--identity-allow-privileged'],
      {},
      ['Cannot use --identity-allow-privileged: it is true, want false, since identity.impersonation is off'],
    ],
    [
      ['--shutdown-delay-duration', '15', '--session-max-duration=30d', '--streaming-idle-timeout=600h'],
      {},
      [
        'Cannot use --shutdown-delay-duration: it is "15", want a duration such as 15s, 4h or 1m30s, at most 596h',
        'Cannot use --streaming-idle-timeout: it is "600h", want a duration such as 15s, 4h or 1m30s, at most 596h',
        'Cannot use --session-max-duration: it is "30d", want a duration such as 15s, 4h or 1m30s, at most 596h',
      ],
    ],
    [
      ['--max-sessions', 'many', '--max-header-bytes=0', '--session-recheck-interval', '10ms'],
      {},
      [
        'Cannot use --session-recheck-interval: it is "10ms", want a duration of at least 1s, or 0',
        'Cannot use --max-sessions: it is "many", want a whole number, 0 for no limit',
        'Cannot use --max-header-bytes: it is 0, want a whole number from 8192 to 1048576',
      ],
    ],
    [
      ['--session-max-unverified', '4m59s'],
      {},
      [
        'Cannot use --session-max-unverified: it is "4m59s", want at least sessions.recheckInterval, which must not be 0, or 0',
      ],
    ],
    [
      ['--session-max-unverified=1h', '--session-recheck-interval=0'],
      {},
      [
        'Cannot use --session-max-unverified: it is "1h", want at least sessions.recheckInterval, which must not be 0, or 0',
      ],
    ],
    [['--kubeconfig='], {}, ['Cannot use --kubeconfig: it is "", want a file name']],
    [
      ['--bind-address', 'localhost', '--secure-port=-1'],
      {},
      [
        'Cannot use --bind-address: it is "localhost", want an IP address',
        'Cannot use --secure-port: it is "-1", want a port from 0 to 65535',
      ],
    ],
  ];
  for (const [argv, environment, problems] of flags) {
    it(`refuses ${[...argv, ...Object.keys(environment)].join(' ')}`, async () => {
      expect(await problemsOf(argv, environment)).to.deep.equal(problems);
    });
  }
});
