// Attacks by reading what kexer writes: its log at the most talkative level and in the format for people, its audit log, its traces, its
// metrics. Whoever may read one of these must not find a credential in it, nor the command of a user where commands are not recorded.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { until } from '../integration/support/stage.ts';
import { type Credential, HttpClient, type Server } from './support/http-client.ts';
import { clusterPath, useStage } from './support/stage.ts';

const demo = '/api/v1/namespaces/default/pods/demo';
const hidden = 'hunter2-of-nobody';
const prefix = 'base64url.bearer.authorization.k8s.io.';

const spdy = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
] as const;

describe('what kexer writes', function () {
  this.timeout(60_000);
  const stage = useStage();
  const scope = new Scope();
  /** Bodies of what came to the collector of traces. */
  let traces = '';
  let output = '';
  let server: Server;

  before(async () => {
    const collector = createServer((incoming, response) => {
      incoming.setEncoding('utf8').on('data', (text: string) => (traces += text));
      incoming.on('end', () => response.end('{}'));
    });
    collector.listen(0, '127.0.0.1');
    await once(collector, 'listening');
    scope.add(async () => {
      collector.close();
      collector.closeAllConnections();
      await once(collector, 'close');
    });
    const { files } = stage().sandbox;
    const child = spawn(
      process.execPath,
      [
        join(import.meta.dirname, '../../src/main.ts'),
        'serve',
        `--config=${files.kexerConfig}`,
        '--secure-port=0',
        '--log-level=trace',
        '--log-format=text',
        '--audit-log-path=-',
        '--audit-commands=none',
        '--shutdown-delay-duration=0s',
        '--shutdown-grace-period=0s',
        `--tracing-endpoint=http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
        '--tracing-sampling-rate-per-million=1000000',
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '' } },
    );
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    const ended = once(child, 'close');
    scope.add(async () => {
      child.kill('SIGTERM');
      await ended;
    });
    await until(() => / INFO {2}ready$/m.test(output) || child.exitCode !== null);
    const port = Number(/ serving .*\bport=(\d+)/.exec(output)?.[1]);
    server = { port, ca: stage().ca, basePath: clusterPath };
  });

  after(() => scope.close());

  async function use(credential: Credential): Promise<void> {
    const client = new HttpClient(server, credential);
    try {
      const path = `${demo}/exec?command=echo&command=--password%3D${hidden}&stdout=true`;
      await client.ask({ method: 'GET', path: '/api/v1/namespaces/default/pods' });
      await client.ask({ method: 'GET', path: `${demo}/log?tailLines=1` });
      await client.ask({ method: 'GET', path: '/nothing/here?token=x' });
      await client.ask({ method: 'POST', path: '/api/v1/namespaces/default/secrets', body: `{"data":"${hidden}"}` });
      await client.upgrade({ method: 'POST', path, headers: spdy });
      await client.upgrade({ method: 'POST', path: path.replace('pods/demo', 'pods/nobody'), headers: spdy });
    } finally {
      client.close();
    }
  }

  it('holds no credential of anybody, however they prove who they are, and no command that is not to be recorded', async () => {
    const { token } = await stage().account();
    const { certificate } = await stage().user();
    const wrong = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl';
    const secrets = [token, wrong, 'opaque-token-of-nobody', Buffer.from(token).toString('base64url'), hidden];
    await use({ token });
    await use({ token, headers: [['Impersonate-User', 'somebody']] });
    await use({ certificate });
    await use({ certificate, headers: [['Authorization', `Bearer ${token}`]] });
    await use({ certificate: stage().frontProxy, headers: [['X-Remote-User', 'proxied']] });
    await use({ token: wrong });
    await use({ token: 'opaque-token-of-nobody' });
    await use({ headers: [['Authorization', `Basic ${token}`]] });
    await use({ headers: [['Sec-WebSocket-Protocol', `${prefix}${Buffer.from(token).toString('base64url')}`]] });
    const admin = new HttpClient({ ...server, basePath: '' }, { certificate: stage().admin });
    const metrics = await admin.ask({ method: 'GET', path: '/metrics' });
    admin.close();
    expect(metrics.status).to.equal(200);
    await scope.close(); // the last words, and the last spans
    for (const [name, text] of Object.entries({ output, traces, metrics: metrics.body.toString() })) {
      expect(text.length, name).to.be.above(1000);
      expect(
        secrets.filter((secret) => text.includes(secret)),
        name,
      ).to.deep.equal([]);
      expect(text, name).to.not.match(/eyJ[\w-]+\.|PRIVATE KEY|[Bb]earer [\w-]{8}/);
    }
    // All of it was there to be told.
    expect(output)
      .to.match(/ INFO {2}session started /)
      .and.match(/ session ended /)
      .and.match(/ request refused /);
    expect(output)
      .to.match(/"kind":"Event"/)
      .and.match(/ DEBUG request served /);
    expect(traces).to.contain('"name":"preflight"').and.contain('"name":"session"');
    expect(metrics.body.toString()).to.match(/^authentication_attempts\{result="failure"\} [1-9]/m);
  });
});
