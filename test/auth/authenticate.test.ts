import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { Authenticator } from '../../src/auth/authenticate.ts';
import type { Caller } from '../../src/auth/caller.ts';
import { type PeerIdentity, peerIdentityOf } from '../../src/auth/peer-identity.ts';
import { TokenAuthenticator, type TokenLimits } from '../../src/auth/token-authenticator.ts';
import { readTrust, type Trust } from '../../src/auth/trust.ts';
import { KexerError } from '../../src/base/errors.ts';
import { generateAuthority, generateClient, generateServing } from '../../src/certs/generate.ts';
import type { TokenAnswer } from '../../src/kube/reviews.ts';
import { failure, StatusError, unauthorized } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { configMapData, peerOf, type Pki, pki } from './pki.ts';

/** One stand: what is trusted, which tokens are good, what the review throws. */
class Stand {
  readonly clock = new FakeClock(Date.now());
  readonly trust: { current: Trust; hasSynced: boolean };
  readonly reviewed: string[] = [];
  readonly authenticator: Authenticator;
  failure: Error | undefined;

  constructor(
    data: Record<string, string>,
    tokens: Record<string, string> = { good: 'alice' },
    limits: Partial<TokenLimits> = {},
  ) {
    this.trust = { current: readTrust(data), hasSynced: true };
    const reviews = {
      reviewToken: (token: string): Promise<TokenAnswer> => {
        this.reviewed.push(token);
        if (this.failure !== undefined) return Promise.reject(this.failure);
        const name = tokens[token];
        return Promise.resolve(
          name === undefined
            ? { isAuthenticated: false, error: 'invalid bearer token' }
            : { isAuthenticated: true, user: makeUser({ name, groups: ['devs'] }) },
        );
      },
    };
    const { clock, trust } = this;
    this.authenticator = new Authenticator({
      trust,
      clock,
      tokens: new TokenAuthenticator({ reviews, clock }, { maxInFlight: 2, ...limits }),
    });
  }

  /** The caller in short, or the error. */
  async try(headers: RawHeaders, peer?: PeerIdentity, source = '192.0.2.1'): Promise<unknown> {
    try {
      return short(await this.authenticator.authenticate({ peer, headers, source }));
    } catch (error) {
      return error instanceof StatusError ? error.status.code : error instanceof KexerError ? error.code : error;
    }
  }
}

function short({ via, user }: Caller): string {
  const extra = [...user.extra].map(([key, values]) => `${key}=${values.join('|')}`);
  return [via, user.name, user.uid, user.groups.join('|'), ...extra].join(' ');
}

const bearer = (token: string): RawHeaders => [['Authorization', `Bearer ${token}`]];
const remoteAdmin: RawHeaders = [
  ['X-Remote-User', 'admin'],
  ['X-Remote-Group', 'system:masters'],
];

describe('Authenticator', () => {
  let made: Pki;
  let stand: Stand;
  before(async () => {
    made = await pki();
  });
  beforeEach(() => {
    stand = new Stand(configMapData(made));
  });

  describe('front proxy', () => {
    it('takes the user from the headers, every group and extra apart', async () => {
      const headers: RawHeaders = [
        ['x-remote-user', 'j\u00c3\u00b6e'],
        ['X-Remote-User', 'second'],
        ['X-Remote-Uid', 'u-1'],
        ['X-Remote-Group', 'a,b'],
        ['X-REMOTE-GROUP', 'c'],
        ['X-Remote-Group', ''],
        ['X-Remote-Extra-Example.com%2FKey', 'v1, v2'],
        ['x-remote-extra-example.com%2fkey', 'v3'],
        ['X-Remote-Extra-Bad%zz', 'raw'],
      ];
      expect(await stand.try(headers, peerOf(made.proxy))).to.equal(
        'frontProxy jöe u-1 a,b|c|system:authenticated example.com/key=v1, v2|v3 bad%zz=raw',
      );
    });

    it('goes before a certificate and a token', async () => {
      const headers = [...remoteAdmin, ...bearer('good')];
      expect(await stand.try(headers, peerOf(made.proxy))).to.match(/^frontProxy admin/);
      expect(stand.reviewed).to.deep.equal([]);
    });

    it('reads the UID only where it is configured, and configured names instead of the usual ones', async () => {
      const data = {
        ...configMapData(made),
        'requestheader-uid-headers': '',
        'requestheader-username-headers': '["X-Missing", "X-Whom"]',
      };
      const headers: RawHeaders = [
        ['X-Remote-User', 'admin'],
        ['X-Whom', 'bob'],
        ['X-Remote-Uid', 'forged'],
      ];
      expect(await new Stand(data).try(headers, peerOf(made.proxy))).to.equal('frontProxy bob  system:authenticated');
    });

    it('takes any name under the CA when no names are listed', async () => {
      const { cert, key } = await generateClient(made.proxyCa, { commonName: 'somebody' });
      const data = { ...configMapData(made), 'requestheader-allowed-names': '[]' };
      expect(await new Stand(data).try(remoteAdmin, peerOf({ cert, key }))).to.match(/^frontProxy admin/);
      expect(await stand.try(remoteAdmin, peerOf({ cert, key }))).to.equal(401);
    });

    it('refuses values that are no text, and an anonymous user', async () => {
      expect(await stand.try([['X-Remote-User', 'a\u00ff']], peerOf(made.proxy))).to.equal(401);
      const anonymous: RawHeaders = [
        ['X-Remote-User', 'system:anonymous'],
        ['X-Remote-Group', 'system:unauthenticated'],
      ];
      expect(await stand.try(anonymous, peerOf(made.proxy))).to.equal(401);
    });
  });

  describe('client certificate', () => {
    it('takes CN, every O, UID and digest', async () => {
      const pair = await generateClient(made.clientCa, {
        commonName: 'bob',
        organizations: ['a,b', 'devs'],
        uids: ['u-2'],
      });
      const caller = await stand.authenticator.authenticate({ peer: peerOf(pair), headers: [], source: '192.0.2.1' });
      expect(caller.user.extra.get('authentication.kubernetes.io/credential-id')?.[0]).to.match(
        /^X509SHA256=[0-9a-f]{64}$/,
      );
      expect({ ...caller, user: { ...caller.user, extra: null } }).to.deep.equal({
        via: 'certificate',
        user: { name: 'bob', uid: 'u-2', groups: ['a,b', 'devs', 'system:authenticated'], extra: null },
        expiresAtMs: Date.parse(new X509Certificate(pair.cert).validTo),
      });
    });

    it('goes before a token, and a token stands in for a bad certificate', async () => {
      expect(await stand.try(bearer('good'), peerOf(made.admin))).to.match(/^certificate admin/);
      const forged = await generateClient(made.strangerCa, { commonName: 'admin' });
      expect(await stand.try(bearer('good'), peerOf(forged))).to.match(/^token alice/);
    });

    it('names nobody without a common name, and refuses two UIDs or an empty one', async () => {
      const nobody = await generateClient(made.clientCa, { commonName: '', organizations: ['system:masters'] });
      const twoIds = await generateClient(made.clientCa, { commonName: 'x', uids: ['1', '2'] });
      const emptyId = await generateClient(made.clientCa, { commonName: 'x', uids: [''] });
      const anonymous = await generateClient(made.clientCa, { commonName: 'system:anonymous' });
      const outcomes: unknown[] = [];
      for (const pair of [nobody, twoIds, emptyId, anonymous]) outcomes.push(await stand.try([], peerOf(pair)));
      expect(outcomes).to.deep.equal([401, 401, 401, 401]);
    });
  });

  describe('bearer token', () => {
    it('asks once, for concurrent and for later requests, and remembers a refusal too', async () => {
      const both = await Promise.all([stand.try(bearer('good')), stand.try(bearer('good'))]);
      await stand.try(bearer('bad'));
      stand.clock.advance(9999);
      expect([...both, await stand.try(bearer('good')), await stand.try(bearer('bad'))]).to.deep.equal([
        ...Array.from({ length: 3 }, () => 'token alice  devs|system:authenticated'),
        401,
      ]);
      expect(stand.reviewed).to.deep.equal(['good', 'bad']);
      stand.clock.advance(1);
      await stand.try(bearer('good'));
      expect(stand.reviewed).to.deep.equal(['good', 'bad', 'good']);
    });

    it('does not take the absence of an answer for a refusal, and forgets it', async () => {
      const outcomes: unknown[] = [];
      for (const error of [
        new KexerError('unreachable', 'away'),
        new KexerError('timeout', 'late'),
        new StatusError(failure(500, 'InternalError', 'x')),
        new StatusError(failure(403, 'Forbidden', 'system:serviceaccount:kexec-system:kexer may not')),
      ]) {
        stand.failure = error;
        outcomes.push(await stand.try(bearer('good')));
      }
      stand.failure = undefined;
      outcomes.push(await stand.try(bearer('good')));
      expect(outcomes).to.deep.equal([
        'unreachable',
        'timeout',
        'unreachable',
        401,
        'token alice  devs|system:authenticated',
      ]);
    });

    it('bounds the reviews under way', async () => {
      const outcomes = await Promise.all(['a', 'b', 'c', 'a'].map((token) => stand.try(bearer(token))));
      expect(outcomes).to.deep.equal([401, 401, 429, 401]);
    });

    it('leaves reviews to others when one address tries tokens in bulk', async () => {
      const crowded = new Stand(configMapData(made), { good: 'alice' }, { maxInFlight: 10, maxInFlightPerSource: 2 });
      const guesses = ['a', 'b', 'c', 'd'].map((token) => crowded.try(bearer(token), undefined, '192.0.2.66'));
      const honest = crowded.try(bearer('good'), undefined, '192.0.2.1');
      expect(await Promise.all([...guesses, honest])).to.deep.equal([
        401,
        401,
        429,
        429,
        'token alice  devs|system:authenticated',
      ]);
      expect(crowded.reviewed).to.deep.equal(['a', 'b', 'good']);
      // Its reviews are over, so it may ask again; what is remembered needs no review.
      expect(await crowded.try(bearer('c'), undefined, '192.0.2.66')).to.equal(401);
    });

    it('bounds the requests of one address that wait for a review, those that join one too', async () => {
      const crowded = new Stand(configMapData(made), { good: 'alice' }, { maxInFlight: 10, maxWaitingPerSource: 2 });
      const waiting = [1, 2, 3].map(() => crowded.try(bearer('good'), undefined, '192.0.2.66'));
      const other = crowded.try(bearer('good'), undefined, '192.0.2.1');
      const alice = 'token alice  devs|system:authenticated';
      expect(await Promise.all([...waiting, other])).to.deep.equal([alice, alice, 429, alice]);
      expect(await crowded.try(bearer('good'), undefined, '192.0.2.66')).to.equal(alice);
    });

    it('keeps the token for the way out', async () => {
      expect(
        await stand.authenticator.authenticate({ peer: undefined, headers: bearer('good'), source: '192.0.2.1' }),
      ).to.deep.include({
        token: 'good',
      });
    });
  });

  describe('attacks', () => {
    it('refuses forged identity headers from anybody but the front proxy', async () => {
      const asMasters = await generateClient(made.clientCa, { commonName: 'front-proxy-client' });
      const cases: [name: string, peer: PeerIdentity | undefined, want: unknown][] = [
        ['no certificate', undefined, 401],
        ['a user certificate', peerOf(made.admin), /^certificate admin .*system:masters/],
        [
          'the client CA and the name of the front proxy',
          peerOf(asMasters),
          /^certificate front-proxy-client  system:auth/,
        ],
        [
          'a stranger with that name',
          peerOf(await generateClient(made.strangerCa, { commonName: 'front-proxy-client' })),
          401,
        ],
        ['the CA of the front proxy itself', peerOf(made.proxyCa), 401],
        [
          'the server certificate',
          peerOf(await generateServing(made.proxyCa, { commonName: 'front-proxy-client' })),
          401,
        ],
        [
          'the right name without client authentication',
          peerOf(await generateClient(made.proxyCa, { commonName: 'front-proxy-client', usages: ['serverAuth'] })),
          401,
        ],
        [
          'an expired certificate',
          peerOf(
            await generateClient(made.proxyCa, {
              commonName: 'front-proxy-client',
              notAfter: new Date(Date.now() - 60_000),
            }),
          ),
          401,
        ],
        [
          'one that is not valid yet',
          peerOf(
            await generateClient(made.proxyCa, {
              commonName: 'front-proxy-client',
              notBefore: new Date(Date.now() + 60_000),
            }),
          ),
          401,
        ],
        [
          'a certificate signed by the proxy as if it were a CA',
          peerOf(await generateClient(made.proxy, { commonName: 'front-proxy-client' }), made.proxy),
          401,
        ],
      ];
      for (const [name, peer, want] of cases) {
        const outcome = await stand.try(remoteAdmin, peer);
        if (want instanceof RegExp) expect(outcome, name).to.match(want);
        else expect(outcome, name).to.equal(want);
      }
      // The forged groups reached nobody.
      expect(await stand.try(remoteAdmin, peerOf(asMasters))).not.to.match(/system:masters/);
    });

    it('never lets a front-proxy certificate be a user, nor act for nobody', async () => {
      expect(await stand.try([], peerOf(made.proxy))).to.equal(401);
      expect(await stand.try([['X-Remote-User', '']], peerOf(made.proxy))).to.equal(401);
      expect(await stand.try([['X-Remote-Group', 'system:masters']], peerOf(made.proxy))).to.equal(401);
      // One CA for both: the certificate would pass as the user front-proxy-client.
      const shared = new Stand(configMapData({ clientCa: made.proxyCa, proxyCa: made.proxyCa }));
      expect(await shared.try([], peerOf(made.proxy))).to.equal(401);
      expect(await shared.try(remoteAdmin, peerOf(made.proxy))).to.match(/^frontProxy admin/);
    });

    it('judges each request anew: a removed CA and an expired certificate end a kept-alive connection', async () => {
      const peer = peerOf(made.admin);
      const outcomes = [await stand.try([], peer)];
      stand.trust.current = readTrust({ ...configMapData(made), 'client-ca-file': made.strangerCa.cert });
      outcomes.push(await stand.try([], peer));
      stand.trust.current = readTrust(configMapData(made));
      outcomes.push(await stand.try([], peer));
      stand.clock.advance(366 * 24 * 60 * 60 * 1000);
      outcomes.push(await stand.try([], peer));
      expect(outcomes.map((outcome) => String(outcome).split(' ')[0])).to.deep.equal([
        'certificate',
        '401',
        'certificate',
        '401',
      ]);
    });

    it('trusts no certificate before the ConfigMap was read', async () => {
      const empty = new Stand({});
      expect([await empty.try(remoteAdmin, peerOf(made.proxy)), await empty.try([], peerOf(made.admin))]).to.deep.equal(
        [401, 401],
      );
      expect(await empty.try(bearer('good'))).to.match(/^token/);
    });

    it('answers 401 with kube-apiserver’s Status and keeps the reasons for the log', async () => {
      const stranger = peerOf(await generateClient(made.strangerCa, { commonName: 'x' }));
      const error = await stand.authenticator
        .authenticate({ peer: stranger, headers: bearer('bad'), source: '192.0.2.1' })
        .catch((thrown: unknown) => thrown);
      expect((error as StatusError).status).to.deep.equal(unauthorized());
      const reasons = ((error as StatusError).cause as AggregateError).errors.map(String);
      expect(reasons.join('\n')).to.match(
        /front proxy: no authority.*\n.*client certificate: no authority.*\n.*invalid bearer/,
      );
      expect(reasons.join()).not.to.include('bad');
    });

    const headers: [name: string, headers: RawHeaders, want: unknown][] = [
      ['nothing', [], 401],
      ['an empty Authorization', [['Authorization', '']], 401],
      ['Basic', [['Authorization', 'Basic Z29vZDo=']], 401],
      ['Bearer alone', [['Authorization', 'Bearer']], 401],
      ['Bearer and no token', [['Authorization', 'Bearer  good']], 401],
      ['two tokens in one', [['Authorization', 'Bearer good x']], 401],
      ['two Authorization headers', [...bearer('good'), ...bearer('good')], 401],
      ['Basic before Bearer', [['Authorization', 'Basic x'], ...bearer('good')], 401],
      ['a comma-joined one', [['Authorization', 'Bearer bad, Bearer good']], 401],
      ['bytes above ASCII', [['Authorization', 'Bearer g\u00f6od']], 401],
      ['another case', [['AUTHORIZATION', '  bEARER good\t']], /^token alice/],
    ];
    for (const [name, raw, want] of headers) {
      it(`reads the Authorization header strictly: ${name}`, async () => {
        const outcome = await stand.try(raw);
        if (want instanceof RegExp) expect(outcome).to.match(want);
        else expect(outcome).to.equal(want);
      });
    }

    const upgrade: RawHeaders = [
      ['Connection', 'keep-alive, Upgrade'],
      ['Upgrade', 'websocket'],
    ];
    const item = (token: string): string =>
      `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString('base64url')}`;
    const sockets: [name: string, headers: RawHeaders, want: unknown][] = [
      [
        'beside a protocol',
        [...upgrade, ['Sec-WebSocket-Protocol', `v5.channel.k8s.io, ${item('good')}`]],
        /^token alice/,
      ],
      [
        'on a line of its own',
        [...upgrade, ['Sec-WebSocket-Protocol', item('good')], ['sec-websocket-protocol', 'v4.channel.k8s.io']],
        /^token alice/,
      ],
      ['without an upgrade', [['Sec-WebSocket-Protocol', `v5.channel.k8s.io, ${item('good')}`]], 401],
      [
        'for an upgrade to SPDY',
        [
          ['Connection', 'Upgrade'],
          ['Upgrade', 'SPDY/3.1'],
          ['Sec-WebSocket-Protocol', `a, ${item('good')}`],
        ],
        401,
      ],
      ['alone', [...upgrade, ['Sec-WebSocket-Protocol', item('good')]], 401],
      ['twice', [...upgrade, ['Sec-WebSocket-Protocol', `a, ${item('good')}, ${item('good')}`]], 401],
      ['empty', [...upgrade, ['Sec-WebSocket-Protocol', `a, ${item('')}`]], 401],
      ['padded', [...upgrade, ['Sec-WebSocket-Protocol', `a, ${item('good')}==`]], 401],
      ['with a line break inside', [...upgrade, ['Sec-WebSocket-Protocol', `a, ${item('good\r\nX: y')}`]], 401],
    ];
    for (const [name, raw, want] of sockets) {
      it(`takes a token from the WebSocket protocols: ${name}`, async () => {
        const outcome = await stand.try(raw);
        if (want instanceof RegExp) expect(outcome).to.match(want);
        else expect(outcome).to.equal(want);
      });
    }
  });
});

describe('peerIdentityOf', () => {
  it('collects what the client of a TLS connection showed, intermediates included, trusted or not', async () => {
    const made = await pki();
    const intermediate = await generateAuthority({ commonName: 'intermediate' }, made.clientCa);
    const client = await generateClient(intermediate, { commonName: 'bob' });
    const serving = await generateServing(made.strangerCa, { commonName: 'x', ipAddresses: ['127.0.0.1'] });
    const server = createServer({ cert: serving.cert, key: serving.key, requestCert: true, rejectUnauthorized: false });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const show = async (options: { cert?: string; key?: string }): Promise<PeerIdentity | undefined> => {
      const accepted = once(server, 'secureConnection');
      const socket = connect({ port, host: '127.0.0.1', ca: made.strangerCa.cert, ...options });
      const [peer] = (await accepted) as [TLSSocket];
      const identity = peerIdentityOf(peer);
      const closed = once(peer, 'close');
      peer.destroy();
      socket.destroy();
      await closed;
      return identity;
    };
    const shown = await show({ cert: client.cert + intermediate.cert, key: client.key });
    expect(shown?.chain.map(({ subject }) => subject)).to.deep.equal(['CN=bob', 'CN=intermediate']);
    expect(await show({})).to.equal(undefined);
    const stand = new Stand(configMapData(made));
    expect(await stand.try([], shown)).to.match(/^certificate bob/);
    server.close();
    await once(server, 'close');
  });
});
