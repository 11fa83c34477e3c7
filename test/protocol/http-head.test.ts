import { expect } from 'chai';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.ts';
import {
  encodeRequestHead,
  encodeResponseHead,
  HeadCollector,
  parseRequestHead,
  parseResponseHead,
} from '../../src/protocol/http-head.ts';
import type { RawHeader } from '../../src/protocol/raw-headers.ts';

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function codeOfThrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing thrown';
}

describe('parseRequestHead', () => {
  it('keeps order, case, repetition and latin1 bytes', () => {
    const raw = bytes('GET /a?b=\xff HTTP/1.1\r\nhost: h\r\nX-A:1\r\nx-a:\t 2 \t\r\nX-B:\r\nX-C: a:b\xe9\r\n\r\n');
    expect(parseRequestHead(raw)).to.deep.equal({
      method: 'GET',
      target: '/a?b=\xff',
      headers: [
        ['host', 'h'],
        ['X-A', '1'],
        ['x-a', '2'],
        ['X-B', ''],
        ['X-C', 'a:b\xe9'],
      ],
      raw,
    });
  });

  const refused: [what: string, head: string][] = [
    ['no version', 'GET /\r\nHost: h\r\n\r\n'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: h\r\n\r\n'],
    ['HTTP/2.0', 'PRI * HTTP/2.0\r\nHost: h\r\n\r\n'],
    ['lower case version', 'GET / http/1.1\r\nHost: h\r\n\r\n'],
    ['two spaces', 'GET  / HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['space in the target', 'GET /a b HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['tab for space', 'GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['control character in the target', 'GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['NUL in the target', 'GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['method that is no token', 'G(T / HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['empty line first', '\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['no Host', 'GET / HTTP/1.1\r\nA: b\r\n\r\n'],
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n'],
    ['folded line', 'GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n'],
    ['folded first header', 'GET / HTTP/1.1\r\n Host: h\r\n\r\n'],
    ['space before the colon', 'GET / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\n'],
    ['no colon', 'GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n'],
    ['empty name', 'GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n'],
    ['bare LF between headers', 'GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n'],
    ['bare CR in a value', 'GET / HTTP/1.1\r\nHost: h\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n'],
    ['bare LF after the request line', 'GET / HTTP/1.1\nHost: h\r\n\r\n'],
    ['NUL in a value', 'GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n'],
    ['DEL in a value', 'GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n'],
    ['name of latin1', 'GET / HTTP/1.1\r\nHost: h\r\n\xe9: x\r\n\r\n'],
    ['vertical tab before a name', 'GET / HTTP/1.1\r\nHost: h\r\n\x0bTransfer-Encoding: chunked\r\n\r\n'],
    ['no end', 'GET / HTTP/1.1\r\nHost: h\r\n'],
    ['bytes after the end', 'GET / HTTP/1.1\r\nHost: h\r\n\r\nx'],
    ['two heads', 'GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['nothing', ''],
  ];
  for (const [what, head] of refused) {
    it(`refuses a head with ${what}`, () => {
      expect(codeOfThrown(() => parseRequestHead(bytes(head)))).to.equal('protocol');
    });
  }

  it('refuses what is over its limits', () => {
    const head = bytes('GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n');
    expect({
      bytes: codeOfThrown(() => parseRequestHead(head, { maxHeadBytes: head.length - 1 })),
      headers: codeOfThrown(() => parseRequestHead(head, { maxHeaders: 1 })),
      exact: parseRequestHead(head, { maxHeadBytes: head.length, maxHeaders: 2 }).headers.length,
    }).to.deep.equal({ bytes: 'tooLarge', headers: 'tooLarge', exact: 2 });
  });
});

describe('parseResponseHead', () => {
  it('reads status, reason and headers', () => {
    const raw = bytes('HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n');
    expect(parseResponseHead(raw)).to.deep.equal({
      status: 101,
      reason: 'Switching Protocols',
      headers: [['Upgrade', 'SPDY/3.1']],
      raw,
    });
  });

  it('reads an empty and an absent reason, and HTTP/1.0 of a load balancer', () => {
    const reasons = ['HTTP/1.1 200 \r\n\r\n', 'HTTP/1.1 200\r\n\r\n', 'HTTP/1.0 503 Service Unavailable\r\n\r\n'].map(
      (head) => parseResponseHead(bytes(head)).reason,
    );
    expect(reasons).to.deep.equal(['', '', 'Service Unavailable']);
  });

  for (const head of [
    'HTTP/1.1 20 OK\r\n\r\n',
    'HTTP/1.1 099 OK\r\n\r\n',
    'HTTP/1.1 2000 OK\r\n\r\n',
    'HTTP/1.1 +20 OK\r\n\r\n',
    'HTTP/1.2 200 OK\r\n\r\n',
    'HTTP/2 200 OK\r\n\r\n',
    'http/1.1 200 OK\r\n\r\n',
    'HTTP/1.1  200 OK\r\n\r\n',
    'HTTP/1.1 200 O\x00K\r\n\r\n',
    'HTTP/1.1 200 O\rK\r\n\r\n',
    'HTTP/1.0 101 Switching Protocols\r\n\r\n',
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'ICY 200 OK\r\n\r\n',
    '\x16\x03\x01\r\n\r\n',
  ]) {
    it(`refuses ${JSON.stringify(head)}`, () => {
      expect(codeOfThrown(() => parseResponseHead(bytes(head)))).to.equal('protocol');
    });
  }
});

describe('encodeRequestHead and encodeResponseHead', () => {
  it('write what the parsers read', () => {
    const headers: RawHeader[] = [
      ['Host', 'h'],
      ['X-A', 'caf\xe9'],
      ['X-A', ''],
    ];
    const request = encodeRequestHead({ method: 'POST', target: '/exec?command=a', headers });
    const response = encodeResponseHead({ status: 403, headers });
    expect([request.toString('latin1'), response.toString('latin1')]).to.deep.equal([
      'POST /exec?command=a HTTP/1.1\r\nHost: h\r\nX-A: caf\xe9\r\nX-A: \r\n\r\n',
      'HTTP/1.1 403 Forbidden\r\nHost: h\r\nX-A: caf\xe9\r\nX-A: \r\n\r\n',
    ]);
    expect(parseRequestHead(request).headers).to.deep.equal(headers);
    expect(parseResponseHead(response).reason).to.equal('Forbidden');
  });

  it('writes an unknown status without a reason and a given reason as it is', () => {
    expect(encodeResponseHead({ status: 299, headers: [] }).toString()).to.equal('HTTP/1.1 299 \r\n\r\n');
    expect(encodeResponseHead({ status: 200, reason: 'Fine', headers: [] }).toString()).to.equal(
      'HTTP/1.1 200 Fine\r\n\r\n',
    );
  });

  const injections: [string, () => unknown][] = [
    ['method', () => encodeRequestHead({ method: 'GET / HTTP/1.1\r\nX: y\r\n\r\n', target: '/', headers: [] })],
    ['target', () => encodeRequestHead({ method: 'GET', target: '/ HTTP/1.1\r\nX: y', headers: [] })],
    ['empty target', () => encodeRequestHead({ method: 'GET', target: '', headers: [] })],
    ['target beyond latin1', () => encodeRequestHead({ method: 'GET', target: '/\u0120', headers: [] })],
    ['name', () => encodeRequestHead({ method: 'GET', target: '/', headers: [['A: b\r\nC', 'd']] })],
    ['value', () => encodeRequestHead({ method: 'GET', target: '/', headers: [['A', 'b\r\nC: d']] })],
    ['value with LF', () => encodeRequestHead({ method: 'GET', target: '/', headers: [['A', 'b\nC: d']] })],
    ['value with NUL', () => encodeRequestHead({ method: 'GET', target: '/', headers: [['A', '\0']] })],
    [
      'value that truncates to CR LF',
      () => encodeRequestHead({ method: 'GET', target: '/', headers: [['A', '\u010d\u010a']] }),
    ],
    ['reason', () => encodeResponseHead({ status: 200, reason: 'OK\r\nX: y', headers: [] })],
    ['status', () => encodeResponseHead({ status: Number.NaN, headers: [] })],
    ['short status', () => encodeResponseHead({ status: 99, headers: [] })],
  ];
  for (const [what, run] of injections) {
    it(`refuse an injection by the ${what}`, () => {
      expect(codeOfThrown(run)).to.equal('protocol');
    });
  }

  it('round-trip any head they accept', () => {
    const token = fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}$/);
    const value = fc.stringMatching(/^[\x21-\x7e\x80-\xff]{0,20}$/);
    fc.assert(
      fc.property(token, fc.array(fc.tuple(token, value), { maxLength: 8 }), (method, rest) => {
        const headers: RawHeader[] = [['Host', 'h'], ...rest.filter(([name]) => name.toLowerCase() !== 'host')];
        const parsed = parseRequestHead(encodeRequestHead({ method, target: '/', headers }));
        expect({ method: parsed.method, headers: parsed.headers }).to.deep.equal({ method, headers });
      }),
      { numRuns: 200 },
    );
  });
});

describe('parseRequestHead and parseResponseHead', () => {
  it('throw nothing but their own errors on any garbage', () => {
    const line = fc.stringMatching(/^[\x00-\x7f]{0,20}$/);
    fc.assert(
      fc.property(
        fc.constantFrom('GET / HTTP/1.1', 'HTTP/1.1 200 OK', ''),
        fc.array(line, { maxLength: 5 }),
        (start, lines) => {
          const raw = bytes([start, ...lines, '', ''].join('\r\n'));
          for (const parse of [parseRequestHead, parseResponseHead]) {
            expect(codeOfThrown(() => parse(raw))).to.be.oneOf(['nothing thrown', 'protocol', 'tooLarge']);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('HeadCollector', () => {
  const head = bytes('HTTP/1.1 200 OK\r\nA: b\r\n\r\n');
  const all = Buffer.concat([head, bytes('\r\n\r\nrest')]);

  it('finds the head whole, split at every offset and byte by byte', () => {
    const whole = new HeadCollector().acceptChunk(all);
    expect([whole?.raw.toString(), whole?.rest.toString()]).to.deep.equal([head.toString(), '\r\n\r\nrest']);
    for (let at = 1; at < all.length; at += 1) {
      const collector = new HeadCollector();
      const first = collector.acceptChunk(all.subarray(0, at));
      const found = first ?? collector.acceptChunk(all.subarray(at));
      expect(found?.raw.equals(head), `split at ${at}`).to.equal(true);
      expect(found?.rest.length, `split at ${at}`).to.equal((first === undefined ? all.length : at) - head.length);
    }
    const collector = new HeadCollector();
    const results = [...head].map((byte) => collector.acceptChunk(Buffer.of(byte)));
    expect(results.findIndex((result) => result !== undefined)).to.equal(head.length - 1);
    expect(collector.length).to.equal(head.length);
  });

  it('refuses a head that is too long, whole or not yet whole', () => {
    expect({
      exact: new HeadCollector({ maxHeadBytes: head.length }).acceptChunk(all)?.raw.length,
      whole: codeOfThrown(() => new HeadCollector({ maxHeadBytes: head.length - 1 }).acceptChunk(all)),
      endless: codeOfThrown(() => new HeadCollector({ maxHeadBytes: 10 }).acceptChunk(Buffer.alloc(11, 0x61))),
    }).to.deep.equal({ exact: head.length, whole: 'tooLarge', endless: 'tooLarge' });
  });
});
