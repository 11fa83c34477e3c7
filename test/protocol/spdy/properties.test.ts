import { expect } from 'chai';
import fc from 'fast-check';

import { KexerError } from '../../../src/base/errors.ts';
import { SpdyDecoder, type SpdyDecoderOptions } from '../../../src/protocol/spdy/decoder.ts';
import type { HeaderList, SpdyFrame } from '../../../src/protocol/spdy/frame.ts';
import { decodeAll, encodeAll, joined, recordedSpdy } from './frames.ts';

/** Repeat a failure with KEXER_TEST_SEED; fast-check prints seed and path of what failed. */
const seed = Number(process.env['KEXER_TEST_SEED'] ?? Date.now() % 2 ** 31);
const settings = { seed, numRuns: 300 };

const streamId = fc.integer({ min: 1, max: 0x7fffffff });
const name = fc
  .stringMatching(/^[a-z0-9:-]{1,12}$/)
  .filter((text) => !['host', 'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding'].includes(text));
const value = fc.string({
  unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCodePoint(code)),
  maxLength: 40,
});
/** Repeated names stand together, as they come out of a block. */
const headers: fc.Arbitrary<HeaderList> = fc
  .uniqueArray(fc.tuple(name, fc.array(value, { minLength: 1, maxLength: 3 })), {
    selector: ([text]) => text,
    maxLength: 6,
  })
  .map((groups) => groups.flatMap(([text, values]) => values.map((one) => [text, one] as const)));
const fin = fc.boolean();

const frame: fc.Arbitrary<SpdyFrame> = fc.oneof(
  fc.record({
    type: fc.constant('synStream' as const),
    streamId,
    associatedId: fc.integer({ min: 0, max: 0x7fffffff }),
    priority: fc.integer({ min: 0, max: 7 }),
    fin,
    unidirectional: fc.boolean(),
    headers,
  }),
  fc.record({ type: fc.constant('synReply' as const), streamId, fin, headers }),
  fc.record({ type: fc.constant('headers' as const), streamId, fin, headers }),
  fc.record({ type: fc.constant('rstStream' as const), streamId, status: fc.integer({ min: 1, max: 0xffffffff }) }),
  fc.record({ type: fc.constant('ping' as const), id: fc.integer({ min: 1, max: 0xffffffff }) }),
  fc.record({
    type: fc.constant('goaway' as const),
    lastStreamId: fc.integer({ min: 0, max: 0x7fffffff }),
    status: fc.integer({ min: 0, max: 0xffffffff }),
  }),
  fc.record({
    type: fc.constant('data' as const),
    streamId,
    bytes: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fin,
  }),
);

/** Cuts `bytes` at the given places. */
function split(bytes: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
}

/** Feeds bytes as a stranger's; returns how it ended. */
function feed(chunks: readonly Buffer[], options: SpdyDecoderOptions = {}): 'read' | 'refused' {
  const decoder = new SpdyDecoder({}, options);
  try {
    for (const chunk of chunks) decoder.acceptChunk(chunk);
  } catch (error) {
    if (!(error instanceof KexerError) || error.code === 'internal') throw error;
    return 'refused';
  }
  if (decoder.failure?.code === 'internal') throw decoder.failure;
  return decoder.failure === undefined ? 'read' : 'refused';
}

describe('SPDY codec, by property', () => {
  it('reads what it wrote, however the bytes are split', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat(5000), { maxLength: 12 }), (frames, places) => {
        const read = decodeAll(split(encodeAll(frames), places));
        expect(joined(read)).to.deep.equal(joined(frames));
      }),
      settings,
    );
  });

  it('gives the same payload joined as by the frame, whatever stands between', () => {
    const piece = fc.record({
      type: fc.constant('data' as const),
      streamId: fc.integer({ min: 1, max: 2 }),
      bytes: fc
        .oneof(fc.uint8Array({ maxLength: 50 }), fc.uint8Array({ minLength: 1900, maxLength: 2200 }))
        .map((bytes) => Buffer.from(bytes)),
      fin: fc.integer({ min: 0, max: 9 }).map((number) => number === 0),
    });
    const ping = fc.record({ type: fc.constant('ping' as const), id: fc.integer({ min: 1, max: 99 }) });
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 9, arbitrary: piece }, ping), { maxLength: 40 }),
        fc.array(fc.nat(20_000), { maxLength: 5 }),
        (frames, places) => {
          const read = decodeAll(
            split(encodeAll(frames), places).map((chunk) => Buffer.from(chunk)),
            { isJoining: true },
          );
          expect(joined(read)).to.deep.equal(joined(frames));
        },
      ),
      settings,
    );
  });

  it('answers garbage with frames or a KexerError', () => {
    const control = fc
      .tuple(fc.integer({ min: 0, max: 11 }), fc.uint8Array({ maxLength: 64 }))
      .map(([type, payload]) => Buffer.from([0x80, 3, 0, type, 0, 0, 0, payload.length, ...payload]));
    const garbage = fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.array(fc.oneof(control, garbage), { maxLength: 8 }), (chunks) => {
        const result = feed(chunks);
        expect(feed(chunks, { isJoining: true })).to.equal(result); // last, as it changes them
      }),
      { ...settings, numRuns: 1000 },
    );
  });

  it('answers a recording with some bytes changed with frames or a KexerError', () => {
    const recordings = recordedSpdy().map(({ bytes }) => bytes.subarray(0, 2000));
    const change = fc.record({ at: fc.nat(1999), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...recordings),
        fc.array(change, { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(2000), { maxLength: 4 }),
        (recording, changes, places) => {
          const bytes = Buffer.from(recording);
          for (const { at, value } of changes) bytes[at % bytes.length] = value;
          const result = feed(split(bytes, places));
          expect(feed(split(bytes, places), { isJoining: true })).to.equal(result);
        },
      ),
      { ...settings, numRuns: 1000 },
    );
  });

  it('holds no more than a control frame, its header block and history while it is fed garbage', () => {
    // A control frame that is announced as long as allowed and never completed, on many decoders: what each holds is the frame.
    const decoders = Array.from({ length: 50 }, () => new SpdyDecoder({ maxControlBytes: 16 * 1024 }));
    const before = process.memoryUsage().arrayBuffers;
    for (const decoder of decoders) {
      decoder.acceptChunk(Buffer.from([0x80, 3, 0, 1, 0, 0, 0x40, 0]));
      for (let count = 0; count < 100; count += 1) decoder.acceptChunk(Buffer.alloc(100));
    }
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(50 * 2 * 16 * 1024 + 4 * 1024 * 1024);
  });
});
