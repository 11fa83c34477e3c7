import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  closePayload,
  encodeFrame,
  encodeFrameHeader,
  opcodes,
  WebSocketDecoder,
  type WebSocketEvent,
  type WebSocketRole,
} from '../../../src/protocol/websocket/frame.ts';

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

/** What a consumer makes of events, however they were cut: messages joined, payloads as text. */
function read(events: readonly WebSocketEvent[]): unknown[] {
  const seen: unknown[] = [];
  let parts: Buffer[] = [];
  for (const event of events) {
    if (event.type !== 'data') {
      seen.push(event.type === 'close' ? event : { type: event.type, payload: event.payload.toString() });
      continue;
    }
    expect(event.isFirst, 'isFirst stands on the first piece only').to.equal(parts.length === 0);
    parts.push(event.bytes);
    if (!event.isLast) continue;
    seen.push({ [event.opcode]: Buffer.concat(parts).toString('latin1') });
    parts = [];
  }
  if (parts.length > 0) seen.push({ unfinished: Buffer.concat(parts).toString('latin1') });
  return seen;
}

/** Decodes copies of the chunks, since decoding changes them. */
function decode(role: WebSocketRole, chunks: readonly Buffer[], maxMessageBytes?: number): unknown[] {
  const decoder = new WebSocketDecoder({ role, maxMessageBytes });
  const events = chunks.flatMap((chunk) => decoder.acceptChunk(Buffer.from(chunk)));
  return [...read(events), ...(decoder.failure === undefined ? [] : [{ closeCode: decoder.failure.closeCode }])];
}

function bytewise(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length }, (_, index) => bytes.subarray(index, index + 1));
}

describe('WebSocketDecoder', () => {
  const vectors: [what: string, role: WebSocketRole, bytes: string, want: unknown[]][] = [
    // RFC 6455, section 5.7
    ['an unmasked text', 'client', '81 05 48 65 6c 6c 6f', [{ text: 'Hello' }]],
    ['a masked text', 'server', '81 85 37 fa 21 3d 7f 9f 4d 51 58', [{ text: 'Hello' }]],
    ['a fragmented text', 'client', '01 03 48 65 6c 80 02 6c 6f', [{ text: 'Hello' }]],
    ['a ping', 'client', '89 05 48 65 6c 6c 6f', [{ type: 'ping', payload: 'Hello' }]],
    ['a masked pong', 'server', '8a 85 37 fa 21 3d 7f 9f 4d 51 58', [{ type: 'pong', payload: 'Hello' }]],
    ['256 bytes', 'client', `82 7e 01 00${'61'.repeat(256)}`, [{ binary: 'a'.repeat(256) }]],
    ['64 KiB', 'client', `82 7f 00 00 00 00 00 01 00 00${'61'.repeat(65_536)}`, [{ binary: 'a'.repeat(65_536) }]],
    // recorded ends
    ['a recorded close', 'client', '88 02 03 e8', [{ type: 'close', code: 1000, reason: '' }]],
    ['a recorded masked close', 'server', '88 82 bc 7a de af bf 92', [{ type: 'close', code: 1000, reason: '' }]],
    ['an empty message', 'client', '82 00', [{ binary: '' }]],
    ['an empty message in fragments', 'client', '02 00 00 00 80 00', [{ binary: '' }]],
    ['a message whose first fragment is empty', 'client', '02 00 80 01 61', [{ binary: 'a' }]],
    ['a message whose last fragment is empty', 'client', '02 01 61 80 00', [{ binary: 'a' }]],
    [
      'control frames inside a message',
      'client',
      '01 01 61 89 00 8a 01 78 80 01 62',
      [{ type: 'ping', payload: '' }, { type: 'pong', payload: 'x' }, { text: 'ab' }],
    ],
    [
      'lengths in a longer form than needed',
      'client',
      '82 7e 00 01 61 82 7f 00 00 00 00 00 00 00 01 62',
      [{ binary: 'a' }, { binary: 'b' }],
    ],
    ['a close without a code', 'client', '88 00', [{ type: 'close', code: 1005, reason: '' }]],
    ['a close with a reason', 'client', '88 05 0f a0 62 79 65', [{ type: 'close', code: 4000, reason: 'bye' }]],
    ['nothing after a close', 'client', '88 00 82 01 61 ff ff', [{ type: 'close', code: 1005, reason: '' }]],
    ['text that is no UTF-8 (the caller judges it)', 'client', '81 01 ff', [{ text: '\xff' }]],
  ];
  for (const [what, role, bytes, want] of vectors) {
    it(`reads ${what}: whole, byte by byte, split at every offset`, () => {
      const wire = hex(bytes);
      expect(decode(role, [wire])).to.deep.equal(want);
      expect(sorted(decode(role, bytewise(wire)))).to.deep.equal(sorted(want));
      for (let at = 1; at < Math.min(wire.length, 300); at += 1) {
        expect(sorted(decode(role, [wire.subarray(0, at), wire.subarray(at)])), `at ${at}`).to.deep.equal(sorted(want));
      }
    });
  }

  const broken: [what: string, role: WebSocketRole, bytes: string, closeCode: number][] = [
    ['RSV1', 'client', 'c2 00', 1002],
    ['RSV2', 'client', 'a2 00', 1002],
    ['RSV3', 'client', '92 00', 1002],
    ['RSV1 on a control frame', 'client', 'c9 00', 1002],
    ...[3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf].map((opcode): [string, WebSocketRole, string, number] => [
      `opcode ${opcode}`,
      'client',
      `8${opcode.toString(16)} 00`,
      1002,
    ]),
    ['an unmasked frame of a client', 'server', '82 01 61', 1002],
    ['a masked frame of a server', 'client', '82 81 00 00 00 00 61', 1002],
    ['a continuation of nothing', 'client', '80 01 61', 1002],
    ['a continuation after a whole message', 'client', '82 00 80 00', 1002],
    ['a message inside a message', 'client', '02 01 61 82 01 62', 1002],
    ['a fragmented ping', 'client', '09 00', 1002],
    ['a fragmented close', 'client', '08 00', 1002],
    ['a ping of 126 bytes', 'client', `89 7e 00 7e${'00'.repeat(126)}`, 1002],
    ['a close of 64-bit length', 'client', '88 7f 00 00 00 00 00 00 00 02 03 e8', 1002],
    ['a length with its first bit set', 'client', '82 7f 80 00 00 00 00 00 00 01', 1002],
    ['a close of one byte', 'client', '88 01 03', 1002],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map(
      (code): [string, WebSocketRole, string, number] => [
        `close code ${code}`,
        'client',
        `88 02 ${code.toString(16).padStart(4, '0')}`,
        1002,
      ],
    ),
    ['a close reason that is no UTF-8', 'client', '88 03 03 e8 ff', 1007],
    ['a message of 2^62 bytes', 'client', '82 7f 40 00 00 00 00 00 00 00', 1009],
  ];
  for (const [what, role, bytes, closeCode] of broken) {
    it(`refuses ${what} at any split, after giving what came before`, () => {
      const before = hex(role === 'client' ? '82 01 7a' : '82 81 00 00 00 00 7a');
      const wire = Buffer.concat([before, hex(bytes)]);
      const want = [{ binary: 'z' }, { closeCode }];
      const tail = decode(role, [wire]);
      expect(tail[0]).to.deep.equal(want[0]);
      expect(tail.at(-1)).to.deep.equal(want[1]);
      for (const chunks of [bytewise(wire), [wire.subarray(0, 5), wire.subarray(5)]]) {
        expect(decode(role, chunks).at(-1)).to.deep.equal(want[1]);
      }
    });
  }

  it('accepts every close code that may travel', () => {
    const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    const seen = codes.flatMap((code) => decode('client', encodeFrame(opcodes.close, [closePayload(code)])));
    expect(seen).to.deep.equal(codes.map((code) => ({ type: 'close', code, reason: '' })));
  });

  it('gives nothing more once it failed', () => {
    const decoder = new WebSocketDecoder({ role: 'client' });
    decoder.acceptChunk(hex('83 00'));
    const { failure } = decoder;
    expect([decoder.acceptChunk(hex('82 01 61')), decoder.failure === failure, failure?.code]).to.deep.equal([
      [],
      true,
      'protocol',
    ]);
  });

  it('limits a message over all its fragments, as soon as a header says so', () => {
    expect({
      exact: decode('client', [hex('02 02 61 62 80 01 63')], 3),
      over: decode('client', [hex('02 02 61 62 80 02')], 3),
      next: decode('client', [hex('82 03 61 62 63 82 03 61 62 63')], 3),
      huge: decode('client', [hex('82 7f 00 00 00 00 02 00 00 01')]),
    }).to.deep.equal({
      exact: [{ binary: 'abc' }],
      over: [{ unfinished: 'ab' }, { closeCode: 1009 }],
      next: [{ binary: 'abc' }, { binary: 'abc' }],
      huge: [{ closeCode: 1009 }],
    });
    expect(() => new WebSocketDecoder({ role: 'client', maxMessageBytes: 0 })).to.throw(RangeError);
  });

  it('passes payload by reference, a piece a chunk, without waiting for a message of 32 MiB', () => {
    const decoder = new WebSocketDecoder({ role: 'server' });
    const header = encodeFrameHeader({ opcode: opcodes.binary, length: 32 * 1024 * 1024, key: new Uint8Array(4) });
    decoder.acceptChunk(header);
    const chunk = Buffer.alloc(65_536, 0x61);
    const [event] = decoder.acceptChunk(chunk);
    expect(event).to.include({ type: 'data', isFirst: true, isLast: false });
    expect(event?.type === 'data' && event.bytes.buffer === chunk.buffer && event.bytes.length).to.equal(65_536);
  });

  it('knows whether it stands between messages', () => {
    const decoder = new WebSocketDecoder({ role: 'client' });
    const states = ['', '02', '01', '61', '80', '00', '88', '00'].map((byte) => {
      decoder.acceptChunk(hex(byte));
      return decoder.isAtMessageBoundary;
    });
    expect([...states, decoder.isClosed]).to.deep.equal([true, false, false, false, false, true, false, true, true]);
  });

  it('survives any garbage: no throw, and the same outcome however it is cut', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<WebSocketRole>('client', 'server'),
        fc.uint8Array({ maxLength: 300 }),
        (role, garbage) => {
          const wire = Buffer.from(garbage);
          expect(sorted(decode(role, bytewise(wire)))).to.deep.equal(sorted(decode(role, [wire])));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('reads any messages in any fragments, masks and splits', () => {
    const message = fc.record({
      opcode: fc.constantFrom(opcodes.text, opcodes.binary),
      fragments: fc.array(fc.uint8Array({ maxLength: 700 }), { minLength: 1, maxLength: 4 }),
      hasPing: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.constantFrom<WebSocketRole>('client', 'server'),
        fc.array(message, { maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (role, messages, cuts) => {
          const key = role === 'server' ? () => new Uint8Array(randomBytes(4)) : () => undefined;
          const frames = messages.flatMap(({ opcode, fragments, hasPing }) =>
            fragments.flatMap((fragment, index) => [
              ...(hasPing ? encodeFrame(opcodes.ping, [], { key: key() }) : []),
              ...encodeFrame(index === 0 ? opcode : opcodes.continuation, [Buffer.from(fragment)], {
                isFin: index === fragments.length - 1,
                key: key(),
              }),
            ]),
          );
          const wire = Buffer.concat(frames);
          const borders = [0, ...cuts.map((cut) => cut % (wire.length + 1)).toSorted((a, b) => a - b), wire.length];
          const chunks = borders.slice(1).map((to, index) => wire.subarray(borders[index], to));
          const data = decode(role, chunks).filter((item) => !('type' in (item as object)));
          expect(data).to.deep.equal(
            messages.map(({ opcode, fragments }) => ({
              [opcode === opcodes.text ? 'text' : 'binary']: Buffer.concat(fragments).toString('latin1'),
            })),
          );
        },
      ),
      { numRuns: 150 },
    );
  });
});

/** A ping between the pieces of a message comes before or after that message, as the split falls. */
function sorted(items: unknown[]): string[] {
  return items.map((item) => JSON.stringify(item)).toSorted();
}

describe('encodeFrame', () => {
  for (const length of [0, 1, 125, 126, 65_535, 65_536]) {
    for (const key of [undefined, Uint8Array.of(1, 0, 0xff, 0x80)]) {
      it(`writes ${length} bytes ${key === undefined ? 'unmasked' : 'masked'}, readable and in the shortest form`, () => {
        const payload = randomBytes(length);
        const copy = Buffer.from(payload);
        const frame = Buffer.concat(
          encodeFrame(opcodes.binary, [payload.subarray(0, 7), payload.subarray(7)], { key }),
        );
        const headerLength = 2 + (length < 126 ? 0 : length < 65_536 ? 2 : 8) + (key === undefined ? 0 : 4);
        expect(frame.length).to.equal(headerLength + length);
        expect(decode(key === undefined ? 'client' : 'server', [frame])).to.deep.equal([
          { binary: copy.toString('latin1') },
        ]);
        expect(payload.equals(copy), 'the payload is the caller’s').to.equal(true);
      });
    }
  }

  it('writes headers of lengths beyond 32 bits', () => {
    for (const length of [2 ** 24 - 1, 2 ** 31 - 1, 2 ** 32, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER]) {
      const header = encodeFrameHeader({ opcode: opcodes.binary, length, isFin: false });
      expect([header.length, header[0], Number(header.readBigUInt64BE(2))]).to.deep.equal([10, 2, length]);
    }
  });

  it('passes parts by reference when unmasked', () => {
    const part = Buffer.from('abc');
    expect(encodeFrame(opcodes.binary, [part])[1]).to.equal(part);
  });
});

describe('closePayload', () => {
  it('cuts a reason between characters and refuses codes that may not travel', () => {
    const long = closePayload(1000, `${'a'.repeat(122)}é`);
    expect({
      none: closePayload(1005).length,
      plain: closePayload(1000, 'bye').toString('latin1'),
      cut: long.subarray(2).toString(),
      exact: closePayload(1000, `${'a'.repeat(121)}é`).length,
    }).to.deep.equal({ none: 0, plain: '\x03\xe8bye', cut: 'a'.repeat(122), exact: 125 });
    expect(() => closePayload(1006)).to.throw(RangeError);
  });
});
