// The events of one request, from what filters and the serving code told its record: sessions, refusals, ordinary calls under a policy; whom
// they name, where they say it came from, and what --audit-strict refuses.

import { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';

import { expect } from 'chai';

import { AccessRefused } from '../../src/auth/authorize.ts';
import type { Caller } from '../../src/auth/caller.ts';
import { KexerError } from '../../src/base/errors.ts';
import { encodeStatus, failure, StatusError, unauthorized } from '../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import { AuditLog } from '../../src/observe/audit/audit-log.ts';
import type { SessionFacts } from '../../src/observe/audit/call-audit.ts';
import { type AuditPolicy, defaultPolicy, documentPolicy } from '../../src/observe/audit/policy.ts';
import type { AuditSink } from '../../src/observe/audit/sink.ts';
import { Redactor } from '../../src/observe/redact.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { RequestAudits } from '../../src/server/request-audit.ts';
import { RequestContext, type Exchange } from '../../src/server/request-context.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import { FakeClock } from '../support/fake-clock.ts';

type Event = Readonly<Record<string, unknown>> & { readonly annotations?: Readonly<Record<string, string>> };

const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const execTarget = `${outer}/api/v1/namespaces/shop/pods/db/exec?command=mysql&command=-pgeheim`;

const facts: SessionFacts = {
  id: 's1',
  kind: 'exec',
  podUid: 'uid-1',
  node: 'node1',
  container: 'main',
  command: ['mysql', '-pgeheim'],
  clientProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  kubeletProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  code: 101,
};

const everything: AuditPolicy = documentPolicy({
  omitStages: [],
  rules: [
    {
      level: 'Metadata',
      users: [],
      userGroups: [],
      verbs: [],
      resources: [],
      namespaces: [],
      nonResourceURLs: [],
      omitStages: [],
    },
  ],
});

class FakeSink implements AuditSink {
  readonly name = 'log';
  readonly counts = { written: 0, dropped: 0 };
  readonly events: Event[] = [];
  safely: () => Promise<void> = async () => {};

  write(event: string): void {
    this.events.push(JSON.parse(event) as Event);
  }

  async writeSafely(event: string): Promise<void> {
    this.write(event);
    await this.safely();
  }

  async close(): Promise<void> {}
}

describe('RequestAudit', () => {
  const clock = new FakeClock();
  let sink: FakeSink;
  let refused: unknown[];
  let response: EventEmitter & { headersSent: boolean; statusCode: number };
  let client: AbortController;

  beforeEach(() => {
    sink = new FakeSink();
    refused = [];
    client = new AbortController();
    response = Object.assign(new EventEmitter(), { headersSent: false, statusCode: 200 });
  });

  function begin(
    options: {
      target?: string;
      method?: string;
      kind?: 'request' | 'upgrade';
      headers?: RawHeaders;
      caller?: Caller;
      effective?: { user: UserInfo; isProven: boolean };
      policy?: AuditPolicy;
      isStrict?: boolean;
    } = {},
  ): RequestContext {
    const { target = execTarget, method = 'POST', kind = 'upgrade', caller, effective } = options;
    const exchange = { kind, request: {}, response, socket: {}, head: Buffer.alloc(0) } as unknown as Exchange;
    const context = new RequestContext(
      {
        id: 'c1',
        method,
        rawTarget: target,
        headers: [['User-Agent', 'kubectl/1'], ...(options.headers ?? [])],
        httpVersion: '1.1',
        isUpgrade: kind === 'upgrade',
        remoteAddress: '192.0.2.7',
        peer: undefined,
        auditId: 'audit-1',
        signal: client.signal,
        receivedAtMs: 0,
        markKnown: () => {},
      },
      exchange,
    );
    const log = new AuditLog(
      {
        sinks: [sink],
        policy: options.policy ?? defaultPolicy,
        redactor: new Redactor({ commands: 'redacted', patterns: [] }),
        onRefused: (error) => refused.push(error),
      },
      { isStrict: options.isStrict ?? false },
    );
    context.path = parseRequestPath(method, target);
    new RequestAudits({ clock, log }).begin(context);
    if (caller !== undefined) context.caller = caller;
    if (effective !== undefined) {
      context.identity = {
        headers: [],
        credential: 'none',
        effectiveUser: effective.user,
        isEffectiveProven: effective.isProven,
      };
    }
    return context;
  }

  const alice: Caller = { via: 'token', user: makeUser({ name: 'alice', groups: ['dev'] }), token: 't' };
  const column = (...names: string[]): unknown[][] => sink.events.map((event) => names.map((name) => event[name]));

  it('writes the start and the end of a session', async () => {
    const context = begin({ caller: alice });
    const record = await context.audit?.sessionStarting(facts);
    clock.advance(2500);
    const end = { cause: 'normal', message: 'the command exited', exitCode: 3 };
    record?.ended({ ...end, bytesIn: 10, bytesOut: 20, durationMs: 2500.4 });
    const start = {
      'backup.cv.io/client-protocol': 'SPDY/3.1 v4.channel.k8s.io',
      'backup.cv.io/cluster': 'default/local',
      'backup.cv.io/command': '["mysql","-p[redacted]"]',
      'backup.cv.io/container': 'main',
      'backup.cv.io/kubelet-protocol': 'SPDY/3.1 v4.channel.k8s.io',
      'backup.cv.io/node': 'node1',
      'backup.cv.io/pod-uid': 'uid-1',
      'backup.cv.io/session': 's1',
      'backup.cv.io/session-kind': 'exec',
    };
    const common = {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: 'Metadata',
      auditID: 'audit-1',
      requestURI: `${outer}/api/v1/namespaces/shop/pods/db/exec?command=mysql&command=-p%5Bredacted%5D`,
      verb: 'create',
      user: { username: 'alice', groups: ['dev'] },
      sourceIPs: ['192.0.2.7'],
      userAgent: 'kubectl/1',
      objectRef: { resource: 'pods', namespace: 'shop', name: 'db', apiVersion: 'v1', subresource: 'exec' },
      responseStatus: { metadata: {}, code: 101 },
      requestReceivedTimestamp: '2026-11-20T00:00:00.000000Z',
    };
    expect(sink.events).to.deep.equal([
      {
        ...common,
        stage: 'ResponseStarted',
        stageTimestamp: '2026-11-20T00:00:00.000000Z',
        annotations: start,
      },
      {
        ...common,
        stage: 'ResponseComplete',
        stageTimestamp: '2026-11-20T00:00:02.500000Z',
        annotations: {
          ...start,
          'backup.cv.io/bytes-in': '10',
          'backup.cv.io/bytes-out': '20',
          'backup.cv.io/duration-seconds': '2.500',
          'backup.cv.io/end-cause': 'normal',
          'backup.cv.io/end-message': 'the command exited',
          'backup.cv.io/exit-code': '3',
        },
      },
    ]);
  });

  it('writes a log session once, though its response closes too', async () => {
    const context = begin({ kind: 'request', method: 'GET', caller: alice });
    const record = await context.audit?.sessionStarting({ ...facts, kind: 'log', command: [], code: 200 });
    response.headersSent = true;
    response.emit('close');
    record?.ended({ cause: 'normal', message: 'the log ended', bytesIn: 0, bytesOut: 5, durationMs: 1 });
    expect(column('stage')).to.deep.equal([['ResponseStarted'], ['ResponseComplete']]);
  });

  it('writes one event of a refused upgrade: by whom, and why', () => {
    const context = begin({ caller: alice });
    context.stage = 'authorize';
    const question = { ...context.path.info, isResourceRequest: true };
    context.audit?.failed(new AccessRefused(alice.user, question, 'no rule allows it'));
    context.audit?.failed(new Error('again'));
    expect(
      sink.events.map(({ stage, responseStatus, annotations }) => ({ stage, responseStatus, annotations })),
    ).to.deep.equal([
      {
        stage: 'ResponseComplete',
        responseStatus: {
          metadata: {},
          status: 'Failure',
          message:
            'clusters.backup.cv.io "local" is forbidden: User "alice" cannot create resource "clusters/exec" in API group "backup.cv.io" in the namespace "default": no rule allows it',
          reason: 'Forbidden',
          details: { name: 'local', group: 'backup.cv.io', kind: 'clusters' },
          code: 403,
        },
        annotations: {
          'authorization.k8s.io/decision': 'forbid',
          'authorization.k8s.io/reason': 'no rule allows it',
          'backup.cv.io/cluster': 'default/local',
          'backup.cv.io/refused-by': 'authorize',
        },
      },
    ]);
  });

  it('writes refused requests when their answer is out, strangers without a user', () => {
    const context = begin({ kind: 'request', method: 'GET' });
    context.stage = 'authenticate';
    context.audit?.failed(new StatusError(unauthorized()));
    expect(sink.events).to.deep.equal([]);
    response.emit('close');
    expect(column('stage', 'user', 'verb')).to.deep.equal([['ResponseComplete', {}, 'get']]);
  });

  it("writes kube-apiserver's refusals, without the command they quote", () => {
    const context = begin({ caller: alice });
    const status = failure(403, 'Forbidden', 'policy: command [mysql -pgeheim] is not allowed', {
      causes: [{ message: 'bad --password=geheim' }],
    });
    context.audit?.answered({ status: 403, body: encodeStatus(status) });
    expect(column('responseStatus')).to.deep.equal([
      [
        {
          metadata: {},
          status: 'Failure',
          message: 'policy: command [mysql -p[redacted] is not allowed',
          reason: 'Forbidden',
          details: { causes: [{ message: 'bad --password=[redacted]' }] },
          code: 403,
        },
      ],
    ]);
  });

  it('writes nothing of what was answered in good order, and nothing of clients that left', () => {
    begin({ caller: alice }).audit?.answered({ status: 204, body: Buffer.alloc(0) });
    begin({ kind: 'request', caller: alice });
    response.emit('close');
    const gone = begin({ caller: alice });
    client.abort();
    gone.audit?.failed(new KexerError('clientGone', 'left'));
    expect(sink.events).to.deep.equal([]);
  });

  it('writes ordinary calls where a policy wants them', () => {
    const target = `${outer}/api/v1/namespaces/shop/pods?watch=1`;
    const context = begin({ target, kind: 'request', method: 'GET', caller: alice, policy: everything });
    context.audit?.received();
    response.headersSent = true;
    response.statusCode = 404;
    response.emit('close');
    begin({ target, kind: 'request', method: 'GET', policy: everything });
    response.headersSent = false;
    response.emit('close');
    expect(column('stage', 'verb', 'responseStatus')).to.deep.equal([
      ['RequestReceived', 'watch', undefined],
      ['ResponseComplete', 'watch', { metadata: {}, code: 404 }],
      ['ResponseComplete', 'watch', { metadata: {}, code: 499 }],
    ]);
  });

  it('leaves out stages that the policy omits', async () => {
    const policy: AuditPolicy = {
      decide: () => ({ isRecorded: true, omitStages: new Set(['RequestReceived', 'ResponseStarted']) }),
    };
    const context = begin({ caller: alice, policy });
    context.audit?.received();
    const record = await context.audit?.sessionStarting(facts);
    record?.ended({ cause: 'normal', message: '', bytesIn: 0, bytesOut: 0, durationMs: 0 });
    expect(column('stage')).to.deep.equal([['ResponseComplete']]);
  });

  describe('sourceIPs', () => {
    const proxied: Caller = { via: 'frontProxy', user: alice.user };
    const cases: readonly (readonly [headers: RawHeaders, caller: Caller, ips: readonly string[]])[] = [
      [[['X-Forwarded-For', '203.0.113.9']], alice, ['192.0.2.7']],
      [[['X-Forwarded-For', '203.0.113.9']], proxied, ['203.0.113.9', '192.0.2.7']],
      [[['X-Forwarded-For', '10.0.0.1, 203.0.113.9']], proxied, ['203.0.113.9', '192.0.2.7']],
      [
        [
          ['X-Forwarded-For', '10.0.0.1'],
          ['x-forwarded-for', '2001:db8::1'],
        ],
        proxied,
        ['2001:db8::1', '192.0.2.7'],
      ],
      [[['X-Forwarded-For', 'evil']], proxied, ['192.0.2.7']],
      [[['X-Real-Ip', '203.0.113.9']], proxied, ['192.0.2.7']],
    ];
    for (const [headers, caller, ips] of cases) {
      it(`are ${ips.join(', ')} for ${caller.via} with ${headers.flat().join(' ')}`, () => {
        begin({ headers, caller }).audit?.answered({ status: 403, body: Buffer.alloc(0) });
        expect(column('sourceIPs')).to.deep.equal([[ips]]);
      });
    }
  });

  describe('impersonatedUser', () => {
    const bob = makeUser({ name: 'bob', groups: ['system:authenticated'] });
    const users = (): unknown[] =>
      sink.events.map(({ impersonatedUser, annotations }) => [
        impersonatedUser,
        annotations?.['backup.cv.io/requested-user'],
      ]);
    const bobJson = { username: 'bob', groups: ['system:authenticated'] };

    it('is whom a caller acts as on a path of kexer’s own, and only asked for until reviews have allowed it', () => {
      const target = '/apis/backup.cv.io/v1/namespaces/default/sessions/s1';
      for (const isProven of [true, false]) {
        const context = begin({ caller: alice, target, method: 'DELETE', kind: 'request' });
        context.acting = { user: bob, isProven };
        context.audit?.failed(new StatusError(failure(403, 'Forbidden', 'no')));
        response.emit('close');
      }
      expect(column('user')).to.deep.equal([
        [{ username: 'alice', groups: ['dev'] }],
        [{ username: 'alice', groups: ['dev'] }],
      ]);
      expect(users()).to.deep.equal([
        [bobJson, undefined],
        [undefined, 'bob'],
      ]);
    });

    it('is whom kexer itself impersonates, also when refused', () => {
      const context = begin({ caller: alice, effective: { user: bob, isProven: true } });
      context.audit?.answered({ status: 403, body: Buffer.alloc(0) });
      expect(users()).to.deep.equal([[bobJson, undefined]]);
    });

    it("is whom a token's caller asks for only once kube-apiserver has taken the call", async () => {
      const effective = { user: bob, isProven: false };
      begin({ caller: alice, effective }).audit?.answered({ status: 403, body: Buffer.alloc(0) });
      await begin({ caller: alice, effective }).audit?.sessionStarting(facts);
      expect(users()).to.deep.equal([
        [undefined, 'bob'],
        [bobJson, undefined],
      ]);
    });

    it('is nobody for a caller as such', () => {
      const context = begin({ caller: alice, effective: { user: alice.user, isProven: true } });
      context.audit?.answered({ status: 403, body: Buffer.alloc(0) });
      expect(users()).to.deep.equal([[undefined, undefined]]);
    });
  });

  describe('with --audit-strict', () => {
    it('begins no session without a record that is safe, and records the refusal', async () => {
      const context = begin({ caller: alice, isStrict: true });
      context.stage = 'call';
      sink.safely = () => Promise.reject(new KexerError('timeout', 'the disk stands still'));
      const error = await context.audit?.sessionStarting(facts).catch((reason: unknown) => reason);
      if (!(error instanceof StatusError)) throw new Error('want a StatusError');
      context.audit?.failed(error);
      const { code, reason, message, details } = error.status;
      expect({ code, reason, message, details }).to.deep.equal({
        code: 503,
        reason: 'ServiceUnavailable',
        message: 'kexer cannot write the audit record of this session now, and no session may begin without one',
        details: undefined,
      });
      expect(refused.length).to.equal(1);
      expect(sink.events.map(({ stage, responseStatus }) => [stage, responseStatus])).to.deep.equal([
        ['ResponseStarted', { metadata: {}, code: 101 }],
        [
          'ResponseComplete',
          {
            metadata: {},
            status: 'Failure',
            message,
            reason: 'ServiceUnavailable',
            code: 503,
          },
        ],
      ]);
    });

    it('waits for the record, even if the policy omits the start', async () => {
      const policy: AuditPolicy = { decide: () => ({ isRecorded: true, omitStages: new Set(['ResponseStarted']) }) };
      const context = begin({ caller: alice, isStrict: true, policy });
      const { promise, resolve } = Promise.withResolvers<void>();
      sink.safely = () => promise;
      let hasBegun = false;
      const begun = context.audit?.sessionStarting(facts).then(() => (hasBegun = true));
      await Promise.resolve();
      expect([hasBegun, column('stage')]).to.deep.equal([false, [['ResponseStarted']]]);
      resolve();
      await begun;
      expect(hasBegun).to.equal(true);
    });

    it('needs none where the policy wants none', async () => {
      const policy: AuditPolicy = { decide: () => ({ isRecorded: false, omitStages: new Set() }) };
      const context = begin({ caller: alice, isStrict: true, policy });
      sink.safely = () => Promise.reject(new Error('unused'));
      await context.audit?.sessionStarting(facts);
      expect(sink.events).to.deep.equal([]);
    });
  });

  it('is none when nothing is recorded at all', () => {
    const context = begin();
    const log = new AuditLog(
      {
        sinks: [],
        policy: defaultPolicy,
        redactor: new Redactor({ commands: 'redacted', patterns: [] }),
        onRefused: () => {},
      },
      { isStrict: false },
    );
    const other = new RequestContext(context.arrival, context.exchange);
    new RequestAudits({ clock, log }).begin(other);
    expect(other.audit).to.equal(undefined);
  });
});
