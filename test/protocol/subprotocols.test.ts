import { expect } from 'chai';
import { codeOf } from '../../src/base/errors.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import {
  negotiateSpdy,
  negotiateWebSocket,
  type StreamKind,
  takeBearerProtocol,
} from '../../src/protocol/subprotocols.ts';
import { readAnswers } from '../support/recordings.ts';

const spdy = (...values: string[]): RawHeaders => [
  ['Host', 'h'],
  ['Connection', 'Upgrade'],
  ...values.map((value) => ['X-Stream-Protocol-Version', value] as const),
];

describe('negotiateSpdy', () => {
  const accepted: [
    what: string,
    kind: 'exec' | 'attach' | 'portforward',
    values: string[],
    protocol: string,
    version: number,
  ][] = [
    [
      'client-go, one line each',
      'exec',
      ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io'],
      'v4.channel.k8s.io',
      4,
    ],
    ['a proxy that joined the lines', 'exec', ['v5.channel.k8s.io, v4.channel.k8s.io'], 'v4.channel.k8s.io', 4],
    ["the client's own order", 'attach', ['v2.channel.k8s.io', 'v4.channel.k8s.io'], 'v2.channel.k8s.io', 2],
    ['v3', 'exec', ['v3.channel.k8s.io'], 'v3.channel.k8s.io', 3],
    ['v1', 'exec', ['channel.k8s.io'], 'channel.k8s.io', 1],
    ['port-forward', 'portforward', ['portforward.k8s.io'], 'portforward.k8s.io', 4],
  ];
  for (const [what, kind, values, protocol, version] of accepted) {
    it(`takes ${what}`, () => {
      expect(negotiateSpdy(kind, spdy(...values))).to.deep.equal({ isAccepted: true, protocol, version });
    });
  }

  it('refuses a missing or empty header with 400 and the count of header names', () => {
    const line = 'unable to upgrade: header X-Stream-Protocol-Version does not exist in request with 1 headers\n';
    expect(negotiateSpdy('exec', spdy())).to.deep.equal({
      isAccepted: false,
      status: 400,
      headers: [
        ['Content-Type', 'text/plain; charset=utf-8'],
        ['X-Content-Type-Options', 'nosniff'],
      ],
      body: line + line,
    });
    expect(negotiateSpdy('exec', spdy(' , ', ''))).to.include({ isAccepted: false, status: 400 });
  });

  it("does not know v5, exec's protocols for port-forward, nor names of the object prototype", () => {
    expect([
      negotiateSpdy('exec', spdy('v5.channel.k8s.io')).isAccepted,
      negotiateSpdy('portforward', spdy('v4.channel.k8s.io')).isAccepted,
      negotiateSpdy('exec', spdy('toString')).isAccepted,
    ]).to.deep.equal([false, false, false]);
  });
});

describe('negotiateWebSocket', () => {
  const channels = { form: 'channels', isBase64: false } as const;
  const cases: [kind: StreamKind, offered: string[], generation: '1.35' | '1.36', want: object | 403][] = [
    ['exec', ['v5.channel.k8s.io'], '1.36', { ...channels, protocol: 'v5.channel.k8s.io', version: 5 }],
    [
      'exec',
      ['v4.channel.k8s.io', 'v5.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'v5.channel.k8s.io', version: 5 },
    ],
    [
      'exec',
      ['v5.channel.k8s.io', 'v4.channel.k8s.io'],
      '1.35',
      { ...channels, protocol: 'v4.channel.k8s.io', version: 4 },
    ],
    ['exec', ['v5.channel.k8s.io'], '1.35', 403],
    ['attach', ['v4.channel.k8s.io'], '1.36', { ...channels, protocol: 'v4.channel.k8s.io', version: 4 }],
    [
      'attach',
      ['channel.k8s.io', 'v4.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'channel.k8s.io', version: 1 },
    ],
    [
      'exec',
      ['v4.base64.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'v4.base64.channel.k8s.io', version: 4, isBase64: true },
    ],
    [
      'exec',
      ['base64.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'base64.channel.k8s.io', version: 1, isBase64: true },
    ],
    ['exec', [], '1.36', { ...channels, protocol: '', version: 1 }],
    ['exec', ['v3.channel.k8s.io'], '1.36', 403],
    ['exec', ['nonsense', 'toString', '__proto__'], '1.36', 403],
    [
      'portforward',
      ['SPDY/3.1+portforward.k8s.io'],
      '1.36',
      { form: 'tunnel', protocol: 'SPDY/3.1+portforward.k8s.io', version: 4, isBase64: false },
    ],
    [
      'portforward',
      ['v4.channel.k8s.io', 'SPDY/3.1+portforward.k8s.io'],
      '1.36',
      { form: 'tunnel', protocol: 'SPDY/3.1+portforward.k8s.io', version: 4, isBase64: false },
    ],
    ['portforward', ['SPDY/3.1+portforward.k8s.io'], '1.35', 403],
    [
      'portforward',
      ['v5.channel.k8s.io', 'v4.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'v4.channel.k8s.io', version: 4 },
    ],
    [
      'portforward',
      ['v4.base64.channel.k8s.io'],
      '1.36',
      { ...channels, protocol: 'v4.base64.channel.k8s.io', version: 4, isBase64: true },
    ],
    ['portforward', [], '1.36', { ...channels, protocol: '', version: 4 }],
    ['portforward', ['channel.k8s.io'], '1.36', 403],
    ['log', [], '1.36', { form: 'bytes', protocol: '', version: 1, isBase64: false }],
    ['log', ['binary.k8s.io'], '1.36', { form: 'bytes', protocol: 'binary.k8s.io', version: 1, isBase64: false }],
    [
      'log',
      ['base64.binary.k8s.io'],
      '1.36',
      { form: 'bytes', protocol: 'base64.binary.k8s.io', version: 1, isBase64: true },
    ],
    ['log', ['v5.channel.k8s.io'], '1.36', 403],
  ];
  for (const [kind, offered, generation, want] of cases) {
    it(`${kind} of ${generation} offered [${offered.join(', ')}]`, () => {
      expect(negotiateWebSocket(kind, offered, { generation })).to.deep.equal(
        want === 403
          ? { isAccepted: false, status: 403, headers: [['Connection', 'close']], body: '' }
          : { isAccepted: true, ...want },
      );
    });
  }

  it('refuses a tunnel of another protocol as the SPDY negotiation behind it does', () => {
    expect(negotiateWebSocket('portforward', ['SPDY/3.1+other.k8s.io'])).to.deep.equal(
      negotiateSpdy('portforward', spdy('other.k8s.io')),
    );
  });
});

describe('answers of a recorded kubelet', () => {
  const negotiations = [
    ...readAnswers('kubelet-answers').map((answer) => ({ ...answer, generation: '1.36' as const })),
    ...readAnswers('kubelet-answers-before-1.36').map((answer) => ({ ...answer, generation: '1.35' as const })),
  ].filter(
    ({ request, response }) =>
      request.headers['Upgrade'] !== undefined &&
      (response.status === 101 || /^$|negotiate|header X/.test(response.body)),
  );

  it('are there', () => {
    expect(negotiations.length).to.be.greaterThan(20);
  });

  for (const { name, generation, request, response } of negotiations) {
    const kind = request.path.startsWith('/portForward')
      ? 'portforward'
      : request.path.startsWith('/attach')
        ? 'attach'
        : 'exec';
    it(`${name} (${generation})`, () => {
      const protocolHeader = request.headers['Sec-WebSocket-Protocol'];
      const offered = protocolHeader === undefined ? [] : protocolHeader.split(',').map((item) => item.trim());
      const isSpdy = request.headers['Upgrade'] === 'SPDY/3.1';
      const choice = isSpdy
        ? // The recorder's own client and the kubelet's proxy added three headers to what it lists.
          negotiateSpdy(kind, [
            ...Object.entries(request.headers),
            ['User-Agent', ''],
            ['X-Forwarded-For', ''],
            ['Accept-Encoding', ''],
          ])
        : negotiateWebSocket(kind, offered, { generation });
      const chosen = response.headers.find(
        ([key]) => key === (isSpdy ? 'X-Stream-Protocol-Version' : 'Sec-WebSocket-Protocol'),
      );
      if (choice.isAccepted) {
        expect({ status: 101, protocol: choice.protocol }).to.deep.equal({
          status: response.status,
          protocol: chosen?.[1],
        });
        return;
      }
      expect({
        status: choice.status,
        headers: choice.headers,
        body: choice.body,
      }).to.deep.equal({
        status: response.status,
        headers: response.headers.filter(([key]) => key !== 'Content-Length'),
        body: response.body,
      });
    });
  }
});

describe('takeBearerProtocol', () => {
  const item = (token: string): string =>
    `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString('base64url')}`;

  it('takes the token out and leaves the other protocols in order', () => {
    const headers: RawHeaders = [
      ['Host', 'h'],
      ['Sec-WebSocket-Protocol', `v5.channel.k8s.io, ${item('s3cret')}`],
      ['sec-websocket-protocol', 'v4.channel.k8s.io'],
    ];
    expect(takeBearerProtocol(headers)).to.deep.equal({
      token: 's3cret',
      headers: [
        ['Host', 'h'],
        ['Sec-WebSocket-Protocol', 'v5.channel.k8s.io,v4.channel.k8s.io'],
      ],
    });
  });

  it('changes nothing without a token', () => {
    for (const value of ['v4.channel.k8s.io', `x${item('a')}`]) {
      const headers: RawHeaders = [['Sec-WebSocket-Protocol', value]];
      const taken = takeBearerProtocol(headers);
      expect([taken.token, taken.headers === headers]).to.deep.equal([undefined, true]);
    }
    expect(takeBearerProtocol([]).token).to.equal(undefined);
  });

  for (const [what, value] of [
    ['alone', item('a')],
    ['twice', `${item('a')},${item('b')},v4.channel.k8s.io`],
    ['empty', 'base64url.bearer.authorization.k8s.io.,v4.channel.k8s.io'],
    ['padded', `${item('a')}==,v4.channel.k8s.io`],
    ['of a length base64 does not have', `base64url.bearer.authorization.k8s.io.abcde,v4.channel.k8s.io`],
    ['in the standard alphabet', 'base64url.bearer.authorization.k8s.io.ab+/,v4.channel.k8s.io'],
    [
      'that is no UTF-8',
      `base64url.bearer.authorization.k8s.io.${Buffer.of(0xff).toString('base64url')},v4.channel.k8s.io`,
    ],
  ] as const) {
    it(`refuses a token ${what}`, () => {
      let code = 'nothing thrown';
      try {
        takeBearerProtocol([['Sec-WebSocket-Protocol', value]]);
      } catch (error) {
        code = codeOf(error);
      }
      expect(code).to.equal('unauthenticated');
    });
  }
});
