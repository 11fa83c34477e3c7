// kexer's audit log beside kube-apiserver's, with real kubectl: one session found in both by one Audit-ID, refusals, impersonation, the way
// through the aggregation layer, the webhook, and --audit-strict when there is nowhere to write.

import { Buffer } from 'node:buffer';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { auditSettings } from '../../src/config/audit.ts';
import { HttpClient } from '../security/support/http-client.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { Stage } from './support/stage.ts';

interface Event {
  readonly auditID: string;
  readonly stage: string;
  readonly requestURI: string;
  readonly verb: string;
  readonly user: { readonly username?: string };
  readonly impersonatedUser?: { readonly username: string; readonly extra?: Readonly<Record<string, string[]>> };
  readonly sourceIPs?: readonly string[];
  readonly userAgent?: string;
  readonly objectRef?: { readonly name?: string; readonly resource?: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number; readonly message?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

async function eventsIn(file: string): Promise<Event[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Event);
}

/** The first of the events that are there now or come; the test's time limit ends the wait. */
async function awaitEvent(file: string, isWanted: (event: Event) => boolean): Promise<Event> {
  for (;;) {
    const found = (await eventsIn(file)).find(isWanted);
    if (found !== undefined) return found;
  }
}

function annotation(event: Event | undefined, name: string): string | undefined {
  return event?.annotations?.[`backup.cv.io/${name}`];
}

describe('the audit log', function () {
  this.timeout(60_000);
  let dir: string;
  let log: string;
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kexer-audit-'));
    log = join(dir, 'kexer-audit.log');
    stage = await Stage.start({}, ['--audit-log-path', log]);
  });

  after(async () => {
    await stage?.stop();
    if (dir !== undefined) await rm(dir, { recursive: true });
  });

  /** The event of a stage about a command with this word in it. */
  const ofCommand = (word: string, wanted: string): Promise<Event> =>
    awaitEvent(log, ({ stage: name, requestURI }) => name === wanted && requestURI.includes(word));
  const apiserverEvents = (): Promise<Event[]> => eventsIn(stage.sandbox.files.auditLog);

  it('joins with that of kube-apiserver by Audit-ID, and knows how the session went', async () => {
    const script = 'echo joined; cat; MYSQL_PWD=geheim true; exit 3';
    const stdin = Buffer.alloc(10_240, 'x');
    const { code, stdout } = await stage.kubectl(['exec', '-i', 'demo', '--', 'sh', '-c', script], { stdin });
    expect([code, stdout.length]).to.deep.equal([3, 10_247]);
    const started = await ofCommand('joined', 'ResponseStarted');
    const complete = await ofCommand('joined', 'ResponseComplete');
    expect(started.auditID).to.equal(complete.auditID);
    const pod = await stage.kubectl(['get', 'pod', 'demo', '-o', 'jsonpath={.metadata.uid}']);
    expect({
      user: complete.user.username,
      impersonated: complete.impersonatedUser,
      ips: complete.sourceIPs,
      objectRef: complete.objectRef,
      code: complete.responseStatus?.code,
      annotations: { ...complete.annotations, 'backup.cv.io/session': '', 'backup.cv.io/duration-seconds': '' },
    }).to.deep.equal({
      user: 'admin',
      impersonated: undefined,
      ips: ['127.0.0.1'],
      objectRef: { resource: 'pods', namespace: 'default', name: 'demo', apiVersion: 'v1', subresource: 'exec' },
      code: 101,
      annotations: {
        'backup.cv.io/bytes-in': '10240',
        'backup.cv.io/bytes-out': '10247',
        'backup.cv.io/client-protocol': 'websocket v5.channel.k8s.io',
        'backup.cv.io/cluster': 'default/local',
        'backup.cv.io/command': '["sh","-c","echo joined; cat; MYSQL_PWD=[redacted] true; exit 3"]',
        'backup.cv.io/container': 'shell',
        'backup.cv.io/duration-seconds': '',
        'backup.cv.io/end-cause': 'normal',
        'backup.cv.io/end-message': 'the command exited',
        'backup.cv.io/exit-code': '3',
        'backup.cv.io/kubelet-protocol': 'SPDY/3.1 v4.channel.k8s.io',
        'backup.cv.io/node': 'node1',
        'backup.cv.io/pod-uid': pod.stdout.toString(),
        'backup.cv.io/session': '',
        'backup.cv.io/session-kind': 'exec',
      },
    });
    expect(await readFile(log, 'utf8')).not.to.contain('geheim');
    // kexer speaks for admin by impersonation: kube-apiserver's event has both, under the same Audit-ID, and its 400.
    const preflight = (await apiserverEvents()).filter(({ auditID }) => auditID === complete.auditID);
    expect(
      preflight.map((event) => [event.stage, event.impersonatedUser?.username, event.objectRef?.subresource]),
    ).to.deep.include.members([['ResponseComplete', 'admin', 'exec']]);
    expect(preflight.at(-1)?.responseStatus?.code).to.equal(400);
    expect(preflight.at(-1)?.userAgent).to.match(/kexer\/\S+ \(direct \w+\)$/);
  });

  it('is what docs/audit.md shows', async () => {
    const text = await readFile(new URL('../../docs/audit.md', import.meta.url), 'utf8');
    const shown = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json = '']) => JSON.parse(json) as Event);
    const shape = (event: Event | undefined): unknown => [
      Object.keys(event ?? {}),
      Object.keys(event?.objectRef ?? {}),
      Object.keys(event?.annotations ?? {}),
    ];
    await stage.kubectl(['exec', 'demo', '--', 'sh', '-c', 'echo shown; exit 3'], { context: 'kexer-alice' });
    const complete = await ofCommand('shown', 'ResponseComplete');
    const isPreflight = ({ auditID, stage: name }: Event): boolean =>
      auditID === complete.auditID && name === 'ResponseComplete';
    const preflight = (await apiserverEvents()).find(isPreflight);
    expect(shown.map(shape)).to.deep.equal([shape(preflight), shape(complete)]);
    expect(shown[0]?.auditID).to.equal(shown[1]?.auditID);
    const table = text.replaceAll(/ +/g, ' ');
    const missing = auditSettings.filter(({ flag, key }) => !table.includes(`| \`--${flag}\` | \`${key}\` |`));
    expect(missing.map(({ flag }) => flag)).to.deep.equal([]);
  });

  it("takes the client's own Audit-ID, and names of sources only from the verified front proxy", async () => {
    const { sandbox, port } = stage;
    const { servingCaFile, adminCertFile, adminKeyFile } = sandbox.files;
    const [ca, cert, key] = await Promise.all(
      [servingCaFile, adminCertFile, adminKeyFile].map((file) => readFile(file, 'utf8')),
    );
    if (ca === undefined || cert === undefined || key === undefined) throw new Error('no certificates');
    for (const [name, serverPort] of [
      ['direct', port],
      ['aggregated', sandbox.apiserver.port],
    ] as const) {
      const client = new HttpClient({ port: serverPort, ca, basePath: outer }, { certificate: { cert, key } });
      const answer = await client.ask({
        method: 'POST',
        path: '/api/v1/namespaces/default/pods/demo/exec?command=id',
        headers: [
          ['Audit-ID', `mine-${name}`],
          ['X-Forwarded-For', '203.0.113.66'],
        ],
      });
      client.close();
      const event = await awaitEvent(log, ({ auditID }) => auditID === `mine-${name}`);
      expect([name, answer.status, event.responseStatus?.message, event.sourceIPs]).to.deep.equal([
        name,
        400,
        'Upgrade request required',
        ['127.0.0.1'],
      ]);
    }
    const ids = (await apiserverEvents()).map(
      ({ auditID, requestURI }) => `${auditID} ${requestURI.startsWith(outer)}`,
    );
    expect(ids).to.include.members(['mine-direct false', 'mine-aggregated true', 'mine-aggregated false']);
  });

  it('has refusals of kube-apiserver, and of kexer itself', async () => {
    const { code } = await stage.kubectl(['exec', 'demo', '--', 'echo', 'refused'], { context: 'kexer-viewer' });
    const event = await ofCommand('refused', 'ResponseComplete');
    expect([code, event.user.username, event.responseStatus?.code, event.responseStatus?.message]).to.deep.equal([
      1,
      'viewer',
      403,
      'pods "demo" is forbidden: User "viewer" cannot get resource "pods/exec" in API group "" in the namespace "default"',
    ]);
    const client = new HttpClient(
      { port: stage.port, ca: await readFile(stage.sandbox.files.servingCaFile, 'utf8'), basePath: outer },
      { token: 'no-token', headers: [['Audit-ID', 'stranger']] },
    );
    await client.ask({ method: 'GET', path: '/api/v1/pods' });
    await client.ask({ method: 'GET', path: '/api/../v1/pods', headers: [['Audit-ID', 'second']] });
    client.close();
    const stranger = await awaitEvent(log, ({ auditID }) => auditID === 'stranger');
    const crooked = await awaitEvent(log, ({ requestURI }) => requestURI.includes('..'));
    expect(
      [stranger, crooked].map((found) => [found.user, found.responseStatus?.code, annotation(found, 'refused-by')]),
    ).to.deep.equal([
      [{}, 401, 'authenticate'],
      [{}, 400, 'request-info'],
    ]);
  });

  it('has whom a caller became, and who they were', async () => {
    await stage.kubectl(['exec', 'demo', '--as', 'alice', '--', 'echo', 'became']);
    const event = await ofCommand('became', 'ResponseComplete');
    const { username, extra } = event.impersonatedUser ?? {};
    expect([event.user.username, username, extra?.['backup.cv.io/original-user']]).to.deep.equal([
      'admin',
      'alice',
      ['admin'],
    ]);
    const preflight = (await apiserverEvents()).find(
      ({ auditID, stage: name }) => auditID === event.auditID && name === 'ResponseComplete',
    );
    expect(preflight?.impersonatedUser?.username).to.equal('alice');
  });

  it('has logs as sessions, and leaves ordinary calls to kube-apiserver', async () => {
    await stage.kubectl(['logs', 'ticker', '--tail=1']);
    await stage.kubectl(['get', 'configmaps']);
    await stage.kubectl(['get', 'pod', 'nope']);
    const event = await awaitEvent(
      log,
      (found) => annotation(found, 'session-kind') === 'log' && found.stage === 'ResponseComplete',
    );
    expect([event.objectRef?.subresource, event.responseStatus?.code, annotation(event, 'end-message')]).to.deep.equal([
      'log',
      200,
      'the log ended',
    ]);
    const ordinary = (await eventsIn(log)).filter(({ requestURI }) => /configmaps|nope/.test(requestURI));
    expect(ordinary).to.deep.equal([]);
  });
});

describe('the audit log of a kexer', function () {
  this.timeout(60_000);
  let dir: string;
  let stage: Stage;
  let receiver: Server | undefined;
  let kexer: KexerProcess | undefined;

  before(needsKubectl);
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kexer-audit-'));
    stage = await Stage.start();
  });

  afterEach(async () => {
    await kexer?.stop();
    kexer = undefined;
    receiver?.closeAllConnections();
    await new Promise((resolve) => (receiver === undefined ? resolve(undefined) : receiver.close(resolve)));
    receiver = undefined;
  });

  after(async () => {
    await stage?.stop();
    if (dir !== undefined) await rm(dir, { recursive: true });
  });

  async function webhookConfig(server: string): Promise<string> {
    const file = join(dir, 'webhook.yaml');
    await writeFile(
      file,
      JSON.stringify({
        clusters: [{ name: 'receiver', cluster: { server } }],
        contexts: [{ name: 'receiver', context: { cluster: 'receiver', user: '' } }],
        'current-context': 'receiver',
      }),
    );
    return file;
  }

  const quick = ['--shutdown-delay-duration', '0s', '--shutdown-grace-period', '0s'];

  it('reaches a webhook before a session may begin, when it has to', async () => {
    const bodies: { url: string | undefined; events: Event[] }[] = [];
    receiver = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { items } = JSON.parse(Buffer.concat(chunks).toString()) as { items: Event[] };
        // Strangers that came before kexer knew anybody are in it, too.
        const events = items.filter((event) => annotation(event, 'session') !== undefined);
        bodies.push({ url: request.url, events });
        response.end();
      });
    });
    await new Promise<void>((resolve) => {
      receiver?.listen(0, '127.0.0.1', resolve);
    });
    const { port } = receiver.address() as AddressInfo;
    const config = await webhookConfig(`http://127.0.0.1:${port}/k8s-audit`);
    kexer = await KexerProcess.start(stage.sandbox, [
      ...quick,
      '--audit-webhook-config-file',
      config,
      '--audit-strict',
    ]);
    const { code, stdout } = await stage.kubectl(['exec', 'demo', '--', 'echo', 'strict']);
    expect([code, stdout.toString()]).to.deep.equal([0, 'strict\n']);
    const first = bodies.find(({ events }) => events.length > 0);
    expect([first?.url, first?.events.map(({ stage: name }) => name)]).to.deep.equal([
      '/k8s-audit',
      ['ResponseStarted'],
    ]);
    // The end is delivered with the end of kexer at the latest.
    await kexer.stop();
    expect(
      bodies.flatMap(({ events }) => events).map((event) => [event.stage, annotation(event, 'exit-code')]),
    ).to.deep.equal([
      ['ResponseStarted', undefined],
      ['ResponseComplete', '0'],
    ]);
  });

  for (const [name, flags] of [
    ['a webhook that is away', async () => ['--audit-webhook-config-file', await webhookConfig('http://127.0.0.1:9')]],
    ['a full disk', async () => ['--audit-log-path', '/dev/full']],
  ] as const) {
    it(`lets no session begin with --audit-strict and ${name}, and says so; ordinary calls go on`, async () => {
      kexer = await KexerProcess.start(stage.sandbox, [...quick, ...(await flags()), '--audit-strict']);
      const exec = await stage.kubectl(['exec', 'demo', '--', 'touch', '/tmp/must-not-be']);
      const logs = await stage.kubectl(['logs', 'ticker']);
      const get = await stage.kubectl(['get', 'pods']);
      const wanted = 'kexer cannot write the audit record of this session now, and no session may begin without one';
      expect([
        exec.code,
        exec.stderr.includes(wanted),
        logs.code,
        logs.stderr.includes(wanted),
        get.code,
      ]).to.deep.equal([1, true, 1, true, 0]);
      await kexer.untilLogged('session refused: its audit record cannot be written');
      await kexer.untilLogged('cannot deliver audit events');
      const left = await stage.kubectl(['exec', 'demo', '--', 'ls', '/tmp/must-not-be'], { context: 'cluster' });
      expect(left.code).not.to.equal(0);
    });
  }

  it('does not end a running session when it can no longer be written', async () => {
    let status = 200;
    receiver = createServer((request, response) => {
      request.resume();
      request.on('end', () => {
        response.statusCode = status;
        response.end();
      });
    });
    await new Promise<void>((resolve) => {
      receiver?.listen(0, '127.0.0.1', resolve);
    });
    const config = await webhookConfig(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`);
    kexer = await KexerProcess.start(stage.sandbox, [
      ...quick,
      '--audit-webhook-config-file',
      config,
      '--audit-strict',
    ]);
    const child = stage.spawnKubectl(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo on; cat; exit 4']);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    status = 403;
    child.stdin.end('more');
    const code = await new Promise((resolve) => {
      child.once('close', resolve);
    });
    expect(code).to.equal(4);
    const process = kexer;
    await process.stop();
    expect(process.log.find(({ msg }) => msg === 'audit events dropped')).to.include({
      sink: 'webhook',
      reason: 'the audit webhook did not take them',
    });
  });

  it('does not start with a policy that has mistakes, a path that cannot be opened, or strictness without a place', async () => {
    const policy = join(dir, 'policy.yaml');
    await writeFile(policy, 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Al\n- {}\n');
    const complaintsOf = async (flags: readonly string[]): Promise<string> => {
      const failing = new KexerProcess(['--config', stage.sandbox.files.kexerConfig, '--secure-port', '0', ...flags]);
      expect(await failing.exit()).to.equal(1);
      return failing.complaints.join('\n').replaceAll(`${dir}/`, '');
    };
    const complaints = await Promise.all([
      complaintsOf(['--audit-log-path', join(dir, 'x.log'), '--audit-policy-file', policy]),
      complaintsOf(['--audit-log-path', '/dev/null/x']),
      complaintsOf(['--audit-strict', '--audit-policy-file', policy]),
      complaintsOf(['--audit-log-path', join(dir, 'x.log'), '--audit-redact', '(']),
    ]);
    expect(complaints.map((text) => text.split('\n').map((line) => line.replace(/^kexer: /, '')))).to.deep.equal([
      [
        'policy.yaml:4: Cannot use rules[0].level: want one of None, Metadata, Request, RequestResponse',
        'policy.yaml:5: Cannot use rules[1].level: want one of None, Metadata, Request, RequestResponse',
      ],
      ['Cannot open --audit-log-path "/dev/null/x": EEXIST: file already exists, mkdir \'/dev/null\''],
      [
        'Cannot use --audit-strict: it is true, want audit.logPath or audit.webhook.configFile with it',
        'Cannot use --audit-policy-file: it is "policy.yaml", want audit.logPath or audit.webhook.configFile with it',
      ],
      [
        'Cannot use --audit-redact: it is "(", want a list of regular expressions of JavaScript that do not match the empty text',
      ],
    ]);
  });
});
