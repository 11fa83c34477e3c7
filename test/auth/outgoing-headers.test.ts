import { expect } from 'chai';
import fc from 'fast-check';

import { outgoingHeaders } from '../../src/auth/outgoing-headers.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';

const identity: RawHeaders = [
  ['Impersonate-User', 'alice'],
  ['Impersonate-Group', 'devs'],
];

/** What is left of the client's own headers. */
function kept(...inbound: [name: string, value: string][]): RawHeaders {
  return outgoingHeaders(inbound, []);
}

describe('outgoingHeaders', () => {
  it('keeps end-to-end headers in order, case and number, and adds the identity last', () => {
    const inbound: RawHeaders = [
      ['Accept', 'application/json'],
      ['X-Custom', 'a'],
      ['x-custom', 'b, c'],
      ['User-Agent', 'kubectl'],
      ['Kubectl-Command', 'kubectl get'],
      ['Content-Type', 'application/json'],
      ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
    ];
    expect(outgoingHeaders(inbound, identity)).to.deep.equal([...inbound, ...identity]);
  });

  const stripped: [name: string, value: string][] = [
    ['Authorization', 'Bearer x'],
    ['AUTHORIZATION', 'Bearer x'],
    ['Proxy-Authorization', 'x'],
    ['Cookie', 'x'],
    ['Impersonate-User', 'admin'],
    ['impersonate-user', 'admin'],
    ['IMPERSONATE-GROUP', 'system:masters'],
    ['Impersonate-Uid', '1'],
    ['Impersonate-Extra-Scopes', 'x'],
    ['Impersonate-Anything', 'x'],
    ['X-Remote-User', 'admin'],
    ['x-remote-group', 'system:masters'],
    ['X-Remote-Uid', '1'],
    ['X-Remote-Extra-Scopes', 'x'],
    ['X-REMOTE-FUTURE', 'x'],
    ['Connection', 'close'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'x'],
    ['TE', 'trailers'],
    ['Trailer', 'X-A'],
    ['Transfer-Encoding', 'chunked'],
    ['Upgrade', 'websocket'],
    ['HTTP2-Settings', 'x'],
    ['Host', 'evil.example'],
    ['Content-Length', '5'],
    ['Expect', '100-continue'],
    ['X-Forwarded-For', '10.0.0.1'],
    ['X-Forwarded-Proto', 'http'],
    ['X-Real-Ip', '10.0.0.1'],
    ['Forwarded', 'for=10.0.0.1'],
    ['Audit-ID', 'mine'],
  ];
  for (const [name, value] of stripped) {
    it(`strips ${name}`, () => {
      expect(kept([name, value], ['Accept', '*/*'])).to.deep.equal([['Accept', '*/*']]);
    });
  }

  it('strips the configured names and prefixes of the front proxy besides', () => {
    const inbound: RawHeaders = [
      ['x-whom', 'admin'],
      ['X-Extra-Scopes', 'x'],
      ['X-Remote-User', 'admin'],
      ['X-Whomever', 'kept'],
    ];
    expect(outgoingHeaders(inbound, [], { names: ['X-Whom'], prefixes: ['X-Extra-'] })).to.deep.equal([
      ['X-Whomever', 'kept'],
    ]);
  });

  it('strips what Connection nominates, in any case and over several lines', () => {
    expect(
      kept(
        ['Connection', 'close, X-Private'],
        ['x-private', '1'],
        ['connection', 'X-OTHER'],
        ['X-Other', '2'],
        ['X-Kept', '3'],
      ),
    ).to.deep.equal([['X-Kept', '3']]);
  });

  it('lets no nomination remove the outgoing identity', () => {
    const inbound: RawHeaders = [['Connection', 'Impersonate-User, Impersonate-Group, Authorization, X-Remote-User']];
    expect(outgoingHeaders(inbound, identity)).to.deep.equal(identity);
  });

  it('takes the bearer token out of the WebSocket protocols and leaves the others', () => {
    const token = 'base64url.bearer.authorization.k8s.io.Z29vZA';
    expect(
      kept(
        ['Sec-WebSocket-Protocol', `v5.channel.k8s.io, ${token}`],
        ['sec-websocket-protocol', token],
        ['Sec-WebSocket-Protocol', `${token.toUpperCase()},v4.channel.k8s.io,  ${token}`],
        ['Sec-WebSocket-Protocol', 'a,b'],
      ),
    ).to.deep.equal([
      ['Sec-WebSocket-Protocol', 'v5.channel.k8s.io'],
      ['Sec-WebSocket-Protocol', 'v4.channel.k8s.io'],
      ['Sec-WebSocket-Protocol', 'a,b'],
    ]);
  });

  it('never lets a forged identity through, whatever the case and company', () => {
    const forged = fc.constantFrom(
      'Impersonate-User',
      'X-Remote-Group',
      'Authorization',
      'Impersonate-Extra-a',
      'Cookie',
    );
    const anyCase = fc
      .tuple(forged, fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }))
      .map(([name, upper]) =>
        Array.from(name, (char, at) => (upper[at] === true ? char.toUpperCase() : char.toLowerCase())).join(''),
      );
    const other = fc.constantFrom('Accept', 'Connection', 'X-A', 'Sec-WebSocket-Protocol');
    const header = fc.tuple(fc.oneof(anyCase, other), fc.constantFrom('x', 'a, b', 'Impersonate-User', ''));
    fc.assert(
      fc.property(fc.array(header, { maxLength: 12 }), (inbound) => {
        const names = outgoingHeaders(inbound, []).map(([name]) => name.toLowerCase());
        return names.every((name) => ['accept', 'x-a', 'sec-websocket-protocol'].includes(name));
      }),
      { numRuns: 200 },
    );
  });
});
