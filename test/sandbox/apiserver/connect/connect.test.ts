// The sandbox's own way of a stream, through its apiserver to its kubelets: what kexer is compared with.

import { readFileSync } from 'node:fs';
import { expect } from 'chai';

import { Scope } from '../../../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import {
  connectSpdy,
  execSpdy,
  type SpdyClientTarget,
  UpgradeRefused as SpdyRefused,
} from '../../../support/spdy-client.ts';
import { openWebSocket, type UpgradeRefused, type WebSocketClient } from '../../../support/websocket-client.ts';
import { ask, lines, refusal } from '../support/ask.ts';

/** node1 takes WebSockets itself, node2 does not. */
const places = [
  { pod: 'demo', node: 'node1', v5Mode: 'raw' },
  { pod: 'db', node: 'node2', v5Mode: 'translate' },
] as const;

const script = 'cat; echo err >&2; exit 3';

describe('sandbox apiserver: streams to kubelets', function () {
  this.timeout(20_000);
  let sandbox: Sandbox;
  let ca: string;
  const scope = new Scope();

  before(async () => {
    sandbox = await startSandbox();
    await sandbox.ready();
    ca = readFileSync(sandbox.files.servingCaFile, 'utf8');
  });

  after(async () => {
    await scope.close();
    await sandbox.stop();
  });

  function url(pod: string, what: string, query: readonly string[][]): string {
    return `${sandbox.apiserver.url}/api/v1/namespaces/default/pods/${pod}/${what}?${new URLSearchParams(query as [string, string][]).toString()}`;
  }

  const exec = (pod: string, command: readonly string[], more: readonly string[][] = []): string =>
    url(pod, 'exec', [
      ...command.map((word) => ['command', word]),
      ['stdin', 'true'],
      ['stdout', 'true'],
      ['stderr', 'true'],
      ...more,
    ]);

  const spdy = (target: string): SpdyClientTarget => ({ url: target, ca, token: sandbox.tokens.alice });

  const webSocket = (target: string, protocols: readonly string[]): Promise<WebSocketClient> =>
    openWebSocket(scope, { url: target, ca, token: sandbox.tokens.alice, protocols });

  /** The last stream that the apiserver says it carried. */
  const lastCarried = () => lines(sandbox.files.connectionLog).findLast(({ event }) => event === 'open');

  for (const { pod, node, v5Mode } of places) {
    it(`relays SPDY to ${node}`, async () => {
      const result = await execSpdy(spdy(exec(pod, ['sh', '-c', script])), { stdin: 'in' });
      expect([result.stdout.toString(), result.stderr.toString(), result.exit]).to.deep.equal([
        'in',
        'err\n',
        { code: 3 },
      ]);
      expect(lastCarried()).to.deep.include({ mode: 'raw', node, subresource: 'exec', user: 'alice', method: 'POST' });
    });

    it(`speaks WebSocket v5 for ${node}, with half-close: ${v5Mode}`, async () => {
      const client = await webSocket(exec(pod, ['sh', '-c', script]), ['v5.channel.k8s.io']);
      client.send(0, 'in');
      client.halfClose();
      expect(await client.ended).to.deep.equal({ how: 'close', code: 1000, reason: '' });
      expect([client.stdout, client.stderr]).to.deep.equal(['in', 'err\n']);
      expect(client.status).to.deep.include({ kind: 'exit', exitCode: 3 });
      expect(client.emptyMessages).to.deep.equal([1]);
      expect(lastCarried()).to.deep.include({ mode: v5Mode, node, method: 'GET' });
    });

    it(`relays WebSocket v4 to ${node}`, async () => {
      const client = await webSocket(exec(pod, ['sh', '-c', 'echo out; exit 4']), ['v4.channel.k8s.io']);
      await client.ended;
      expect(client.stdout).to.equal('out\n');
      expect(client.status).to.deep.include({ kind: 'exit', exitCode: 4 });
      expect(lastCarried()).to.deep.include({ mode: 'raw', node });
    });

    it(`tells a command that does not exist on ${node}`, async () => {
      const client = await webSocket(exec(pod, ['nosuchcommand']), ['v5.channel.k8s.io']);
      await client.ended;
      expect(client.status).to.have.property('kind', 'failure');
      expect(client.channel(3).toString()).to.include('executable file not found in $PATH');
    });
  }

  it('carries 8 MiB from node2 through the translator', async () => {
    const client = await webSocket(exec('db', ['dump', '8']), ['v5.channel.k8s.io']);
    await client.ended;
    expect(client.status).to.deep.equal({ kind: 'success' });
    expect(client.channel(1).length).to.be.greaterThan(8 * 1024 * 1024);
  });

  it('opens a tunnel for port-forward to node2', async () => {
    const client = await webSocket(url('db', 'portforward', []), ['SPDY/3.1+portforward.k8s.io']);
    expect(client.protocol).to.equal('SPDY/3.1+portforward.k8s.io');
    expect(lastCarried()).to.deep.include({ mode: 'tunnel', node: 'node2', subresource: 'portforward' });
    client.destroy();
  });

  it('gives an SPDY client the raw refusal of the kubelet, a WebSocket v5 client a Status after the 101', async () => {
    const nothing = url('db', 'exec', [['command', 'id']]);
    const refused = await connectSpdy(spdy(nothing)).catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(SpdyRefused);
    const { status, body } = refused as SpdyRefused;
    expect([status, body]).to.deep.equal([400, 'you must specify at least 1 of stdin, stdout, stderr']);
    const client = await webSocket(nothing, ['v5.channel.k8s.io']);
    await client.ended;
    expect(client.status).to.deep.include({
      kind: 'failure',
      message:
        'Internal error occurred: unable to upgrade connection: you must specify at least 1 of stdin, stdout, stderr',
    });
  });

  it('wants the right to create besides the one to get', async () => {
    const group = 'rbac.authorization.k8s.io';
    const { store } = sandbox;
    const metadata = { name: 'only-get', namespace: 'default' };
    store.create(
      { group, resource: 'roles' },
      {
        apiVersion: `${group}/v1`,
        kind: 'Role',
        metadata,
        rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods/exec'] }],
      },
    );
    store.create(
      { group, resource: 'rolebindings' },
      {
        apiVersion: `${group}/v1`,
        kind: 'RoleBinding',
        metadata,
        roleRef: { apiGroup: group, kind: 'Role', name: 'only-get' },
        subjects: [{ apiGroup: group, kind: 'User', name: 'getter' }],
      },
    );
    const as = await sandbox.clientCertificate({ name: 'getter' });
    const path = '/api/v1/namespaces/default/pods/demo/exec?command=id&stdout=true';
    expect([
      refusal(await ask(sandbox, { path, as })),
      refusal(await ask(sandbox, { path, as, method: 'POST' })),
    ]).to.deep.equal([
      '403 pods "demo" is forbidden: ',
      '403 pods "demo" is forbidden: User "getter" cannot create resource "pods/exec" in API group "" in the namespace "default"',
    ]);
  });

  it('takes a bearer token from the WebSocket subprotocol and hides it from the kubelet', async () => {
    const bearer = `base64url.bearer.authorization.k8s.io.${Buffer.from(sandbox.tokens.alice).toString('base64url')}`;
    const open = (protocols: readonly string[]) => openWebSocket(scope, { url: exec('demo', ['true']), ca, protocols });
    const client = await open([bearer, 'v5.channel.k8s.io']);
    expect(client.protocol).to.equal('v5.channel.k8s.io');
    await client.ended;
    const alone = await open([bearer]).catch((error: unknown) => error);
    expect((alone as UpgradeRefused).status).to.equal(401);
  });

  it('reads logs, and repeats the kubelet in its own words', async () => {
    const log = (query: string) => ask(sandbox, { path: `/api/v1/namespaces/default/pods/multi/log?${query}` });
    const answers = await Promise.all([
      log('container=one'),
      log('container=setup'),
      log('container=one&previous=true'),
    ]);
    expect([answers[0].text, answers[0].headers['content-type'], answers[1].text, refusal(answers[2])]).to.deep.equal([
      'one runs\n',
      'text/plain',
      'set up\n',
      '400 previous terminated container "one" in pod "multi" not found',
    ]);
  });

  describe('when a kubelet dies', () => {
    it('translates a dead leg into success, as kube-apiserver does', async () => {
      const client = await webSocket(exec('db', ['sh', '-c', 'echo begun; sleep 100']), ['v5.channel.k8s.io']);
      await client.waitFor(() => client.stdout === 'begun\n');
      await sandbox.kubelets.get('node2')?.kill();
      expect(await client.ended).to.deep.equal({ how: 'close', code: 1000, reason: '' });
      expect(client.status).to.deep.equal({ kind: 'success' });
    });

    it('says in the words of Go that it cannot be dialled', async () => {
      const port = sandbox.kubelets.get('node2')?.port;
      const refused = await connectSpdy(spdy(exec('db', ['id']))).catch((error: unknown) => error);
      const { status, body } = refused as SpdyRefused;
      const dial = `dial tcp 127.0.0.1:${port}: connect: connection refused`;
      expect([status, JSON.parse(body)]).to.deep.equal([
        500,
        {
          kind: 'Status',
          apiVersion: 'v1',
          metadata: {},
          status: 'Failure',
          message: `error dialing backend: ${dial}`,
          code: 500,
        },
      ]);
      const logs = await ask(sandbox, { path: '/api/v1/namespaces/default/pods/db/log?tailLines=1' });
      expect(refusal(logs)).to.equal(
        `500 Get "https://127.0.0.1:${port}/containerLogs/default/db/db?tailLines=1": ${dial}`,
      );
      await sandbox.kubelets.get('node2')?.revive();
      expect((await execSpdy(spdy(exec('db', ['sh', '-c', 'exit 7'])), { stdin: '' })).exit).to.deep.equal({ code: 7 });
    });

    it('cuts an SPDY session without a status, which client-go takes for success', async () => {
      const result = await execSpdy(spdy(exec('demo', ['sh', '-c', 'echo begun; sleep 100'])), {
        stdin: '',
        onOpen: (client) => {
          const stdout = client.streams.get('stdout');
          if (stdout !== undefined) stdout.onData = () => void sandbox.kubelets.get('node1')?.kill();
        },
      });
      await sandbox.kubelets.get('node1')?.revive();
      expect([result.error, result.exit]).to.deep.equal(['', { code: 0 }]);
      expect(result.connectionEnd.how).to.not.equal('goaway');
    });
  });

  it('has closed every stream it carried', () => {
    const carried = lines(sandbox.files.connectionLog);
    const open = new Set(carried.filter(({ event }) => event === 'open').map(({ id }) => id));
    for (const { event, id } of carried) if (event === 'close') open.delete(id);
    expect([[...open], sandbox.apiserver.openStreams]).to.deep.equal([[], 0]);
  });
});
