// The whole server with its filters and route around stand-ins for everybody else: who is asked what, in which order, and what comes back.

import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';

import { expect } from 'chai';

import type { AuthenticationInput } from '../../src/auth/authenticate.ts';
import type { Caller } from '../../src/auth/caller.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import type { Call } from '../../src/clusters/call.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { ClusterDirectory } from '../../src/clusters/directory.ts';
import { forbiddenAction, StatusError, unauthorized } from '../../src/kube/status.ts';
import type { AccessQuestion } from '../../src/kube/reviews.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { ClustersResource } from '../../src/server/clusters-resource.ts';
import { createFilters } from '../../src/server/filters.ts';
import { Health } from '../../src/server/health.ts';
import { createRoute } from '../../src/server/router.ts';
import { Server } from '../../src/server/server.ts';
import { Shutdown } from '../../src/server/shutdown.ts';
import { VersionInfo } from '../../src/server/version-info.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import { Writable } from 'node:stream';
import { servingPair } from '../support/serving-pair.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

describe('Server', () => {
  let scope: Scope;
  let server: Server;
  let port: number;
  let asked: string[];
  let calls: Call[];
  let logged: Record<string, unknown>[];
  let refusedVerbs: Set<string>;
  let authenticate: (input: AuthenticationInput) => Promise<Caller>;
  let onCall: (call: Call) => void;

  beforeEach(async () => {
    scope = new Scope();
    asked = [];
    calls = [];
    logged = [];
    refusedVerbs = new Set();
    onCall = () => {};
    authenticate = async ({ headers }) => {
      const token = headers.find(([name]) => name === 'Authorization')?.[1];
      if (token === undefined) throw new StatusError(unauthorized(), { cause: new Error('no credential') });
      return { via: 'token', user: makeUser({ name: token.replace('Bearer ', '') }), token };
    };
    const authorizer = {
      authorize: async (user: UserInfo, question: AccessQuestion) => {
        asked.push(
          `${question.verb} ${question.resource}/${question.subresource} ${question.namespace}/${question.name}`,
        );
        if (refusedVerbs.has(question.verb)) throw new StatusError(forbiddenAction(user, question));
      },
    };
    const cluster = {
      name: 'local',
      readVersion: async () => ({ major: 1, minor: 36, gitVersion: 'v1.36.0' }),
      identify: async (caller: Caller) => ({
        headers: [],
        credential: 'none',
        effectiveUser: caller.user,
        isEffectiveProven: true,
      }),
    } as unknown as Cluster;
    const clock = systemClock;
    const sessions = new SessionRegistry({ clock, observer: { sessionStarted: () => {}, sessionEnded: () => {} } });
    const directory = new ClusterDirectory({ local: cluster });
    const log = createLogger({
      level: 'debug',
      destination: new Writable({
        write(chunk: Buffer, _encoding, done) {
          logged.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
          done();
        },
      }),
    });
    const shutdown = new Shutdown();
    const health = new Health({ shutdown }, []);
    server = new Server(
      {
        clock,
        log,
        sessions,
        shutdown,
        audit: { begin: () => {} },
        filters: createFilters({
          authenticator: { authenticate: (input) => authenticate(input) },
          authorizer,
          limits: { admit: () => {} },
          acting: { wanted: () => undefined, become: async (requestor) => requestor },
          audit: { begin: () => {} },
          shutdown,
        }),
        route: createRoute({
          clock,
          directory,
          streams: {
            sessions,
            handles: () => true,
            handleUpgrade: async (call, _request, socket) => {
              calls.push(call);
              socket.end('HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n', () => socket.destroy());
            },
            handleRequest: async (call, _request, response) => {
              calls.push(call);
              onCall(call);
              response.end('streamed');
            },
          },
          resources: new Map([
            [
              'clusters',
              new ClustersResource(
                { clock, directory, sessions: { countIn: () => 0, refresh: async () => [] } },
                { endpoint: 'https://apiserver', streams: 'kubelet' },
              ),
            ],
          ]),
          health,
          version: new VersionInfo('0.0.0'),
          maxBodyBytes: 0,
        }),
      },
      { pair: await servingPair(), drain: { delayMs: 0, gracePeriodMs: 0 } },
    );
    port = await server.listen({ host: '127.0.0.1', port: 0 });
    scope.add(() => server.stop());
  });

  afterEach(() => scope.close());

  async function ask(
    target: string,
    headers: readonly string[] = [],
    method = 'GET',
  ): Promise<{ status: number; head: string; body: string }> {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
    const isUpgrade = headers.some((header) => header.startsWith('Upgrade:'));
    const connection = `Connection: ${isUpgrade ? 'Upgrade' : 'close'}`;
    socket.write([`${method} ${target} HTTP/1.1`, 'Host: kexer', connection, ...headers, '', ''].join('\r\n'));
    await once(socket, 'close');
    const [head = '', body = ''] = text.split('\r\n\r\n');
    return { status: Number(head.slice(9, 12)), head, body };
  }

  const alice = ['Authorization: Bearer alice'];

  for (const path of ['/livez', '/readyz', '/healthz', '/version', '/livez?verbose']) {
    it(`opens ${path} to everybody`, async () => {
      expect((await ask(path)).status).to.equal(200);
      expect(asked).to.deep.equal([]);
    });
  }

  for (const path of ['/', '/livez/ping', '/apis', '/apis/backup.cv.io/v1', '/openapi/v2', '/metrics', outer]) {
    it(`wants an identity for ${path}`, async () => {
      expect((await ask(path)).status).to.equal(401);
    });
  }

  for (const [path, status] of [
    ['/', 404],
    ['/apis', 200],
    ['/apis/backup.cv.io', 200],
    ['/apis/backup.cv.io/v1', 200],
    ['/openapi/v2', 404],
    ['/openapi/v3', 404],
    ['/api/v1/pods', 404],
    ['/apis/apps/v1/deployments', 404],
  ] as const) {
    it(`answers ${path} to any user without asking for rights`, async () => {
      expect((await ask(path, alice)).status).to.equal(status);
      expect(asked).to.deep.equal([]);
    });
  }

  const questions: readonly (readonly [method: string, path: string, headers: string[], asked: string[]])[] = [
    ['GET', `${outer}/api`, [], ['get clusters/exec default/local']],
    ['DELETE', `${outer}/api/v1/namespaces/x/pods/y`, [], ['delete clusters/exec default/local']],
    ['PATCH', `${outer}/api/v1/namespaces/x/pods/y`, [], ['patch clusters/exec default/local']],
    ['GET', `${outer}/api/v1/pods?watch=1`, [], ['get clusters/exec default/local']],
    ['GET', `${outer}/api/v1/namespaces/x/pods/y/log`, [], ['get clusters/exec default/local']],
    ['POST', `${outer}/api/v1/namespaces/x/pods/y/exec`, [], ['create clusters/exec default/local']],
    [
      'GET',
      `${outer}/api/v1/namespaces/x/pods/y/exec`,
      [],
      ['get clusters/exec default/local', 'create clusters/exec default/local'],
    ],
    [
      'GET',
      `${outer}/api/v1/namespaces/x/pods/y/attach`,
      [],
      ['get clusters/exec default/local', 'create clusters/exec default/local'],
    ],
    [
      'GET',
      `${outer}/api/v1/namespaces/x/pods/y/portforward`,
      [],
      ['get clusters/exec default/local', 'create clusters/exec default/local'],
    ],
    [
      'GET',
      `${outer}/api/v1/namespaces/x/pods/y/log`,
      ['Upgrade: websocket'],
      ['get clusters/exec default/local', 'create clusters/exec default/local'],
    ],
    [
      'GET',
      `${outer}/api/v1/pods?watch=1`,
      ['Upgrade: websocket'],
      ['get clusters/exec default/local', 'create clusters/exec default/local'],
    ],
    ['GET', '/apis/backup.cv.io/v1/namespaces/default/clusters', [], ['list clusters/ default/']],
    ['GET', '/apis/backup.cv.io/v1/namespaces/default/clusters/local', [], ['get clusters/ default/local']],
    ['GET', '/apis/backup.cv.io/v1/namespaces/default/clusters/%6Cocal', [], ['get clusters/ default/local']],
  ];
  for (const [method, path, headers, wanted] of questions) {
    it(`asks ${wanted.join(' and ')} for ${method} ${path}${headers.length > 0 ? ' with an upgrade' : ''}`, async () => {
      await ask(path, [...alice, ...headers], method);
      expect(asked).to.deep.equal(wanted);
    });
  }

  it('refuses a stream to who may get but not create, an upgrade on its socket', async () => {
    refusedVerbs.add('create');
    const path = `${outer}/api/v1/namespaces/x/pods/y/exec`;
    const message =
      'clusters.backup.cv.io \\"local\\" is forbidden: User \\"alice\\" cannot create resource \\"clusters/exec\\" in API group \\"backup.cv.io\\" in the namespace \\"default\\"';
    for (const headers of [[], ['Upgrade: websocket']]) {
      const answer = await ask(path, [...alice, ...headers]);
      expect(answer.status).to.equal(403);
      expect(answer.body).to.contain(message);
    }
    expect(calls).to.have.length(0);
  });

  it('tells of an unknown cluster only who may reach it', async () => {
    const path = outer.replace('local', 'x');
    expect((await ask(path, alice)).body).to.contain('"message":"clusters.backup.cv.io \\"x\\" not found"');
    refusedVerbs.add('get');
    expect((await ask(path, alice)).status).to.equal(403);
  });

  it('passes the Audit-ID of the client on and back, or makes one', async () => {
    const given = await ask(`${outer}/api`, [...alice, 'Audit-ID: my-id']);
    expect(given.status).to.equal(200);
    expect((await ask('/livez', ['Audit-ID: my-id'])).head).to.match(/\r\nAudit-Id: my-id\r\n/);
    expect((await ask('/livez', [`Audit-ID: ${'x'.repeat(65)}`])).head).to.match(/\r\nAudit-Id: [0-9a-f-]{36}\r\n/);
    await ask(`${outer}/api`, alice);
    expect(calls.map(({ auditId }) => auditId.replace(/^[0-9a-f-]{36}$/, 'new'))).to.deep.equal(['my-id', 'new']);
  });

  it('gives a call everything it needs, and its signal when the client leaves', async () => {
    const left = new Promise<void>((resolve) => {
      onCall = (call) => call.signal.addEventListener('abort', () => resolve());
    });
    await ask(`${outer}/api/v1/pods?limit=1`, [...alice, 'X: 1', 'X: 2']);
    await left;
    const [call] = calls;
    expect(call).to.deep.include({
      method: 'GET',
      httpVersion: '1.1',
      isUpgrade: false,
      remoteAddress: '127.0.0.1',
      clusterNamespace: 'default',
    });
    expect(call?.inner.target).to.equal('/api/v1/pods?limit=1');
    expect(call?.headers.filter(([name]) => name === 'X')).to.deep.equal([
      ['X', '1'],
      ['X', '2'],
    ]);
  });

  it('withholds what an internal error says, and logs it without the query', async () => {
    authenticate = () => Promise.reject(new Error('secret detail'));
    const answer = await ask(`${outer}/api?command=password`, alice);
    expect(answer.status).to.equal(500);
    expect(answer.body).to.not.contain('secret detail');
    const line = logged.find(({ msg }) => msg === 'request failed');
    expect(line).to.deep.include({
      level: 'error',
      status: 500,
      method: 'GET',
      path: `${outer}/api`,
      err: 'secret detail',
    });
    expect(JSON.stringify(logged)).to.not.contain('password');
  });

  it('logs refusals as information and what went well only for debugging', async () => {
    await ask('/nope');
    await ask('/nope', alice);
    await ask('/livez');
    await ask(`${outer}/api/v1/namespaces/x/pods/y/exec`, ['Upgrade: websocket']);
    const lines = logged.filter(({ msg }) => String(msg).startsWith('request '));
    expect(lines.map(({ level, status, user, msg }) => ({ level, status, user, msg }))).to.deep.equal([
      { level: 'info', status: 401, user: undefined, msg: 'request refused' },
      { level: 'info', status: 404, user: 'alice', msg: 'request refused' },
      { level: 'debug', status: 200, user: undefined, msg: 'request served' },
      { level: 'info', status: 401, user: undefined, msg: 'request refused' },
    ]);
  });

  it('answers HEAD without a body', async () => {
    expect(await ask('/version', [], 'HEAD')).to.deep.include({ status: 200, body: '' });
  });

  it('says that a method is not allowed, as kube-apiserver does', async () => {
    const answer = await ask('/apis', alice, 'POST');
    expect(answer.body).to.equal(
      '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}\n',
    );
  });
});
