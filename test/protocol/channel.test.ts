import { expect } from 'chai';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.ts';
import {
  base64Message,
  ChannelDecoder,
  type ChannelDecoderOptions,
  type ChannelEvent,
  channelByte,
  channels,
  closeMessage,
  initialChannel,
} from '../../src/protocol/channel.ts';

const version5: ChannelDecoderOptions = { isBase64: false, hasHalfClose: true, channelCount: 5 };
const version4: ChannelDecoderOptions = { isBase64: false, hasHalfClose: false, channelCount: 5 };
const base64: ChannelDecoderOptions = { isBase64: true, hasHalfClose: false, channelCount: 5 };

/** Gives one message to the decoder, cut at `cuts`, as WebSocket pieces come. */
function accept(decoder: ChannelDecoder, message: Buffer, cuts: readonly number[] = []): ChannelEvent[] {
  const borders = [0, ...cuts, message.length];
  const pieces = borders.slice(1).map((to, index) => message.subarray(borders[index], to));
  return pieces.flatMap((bytes, index) => {
    const event = decoder.accept({ bytes, isFirst: index === 0, isLast: index === pieces.length - 1 });
    return event === undefined ? [] : [event];
  });
}

/** Events with their payload joined: what a consumer sees of a message. */
function summary(events: readonly ChannelEvent[]): unknown {
  const data = events.filter((event) => event.type === 'data');
  const [first] = data;
  if (first === undefined) return events;
  return { channel: first.channel, text: Buffer.concat(data.map(({ bytes }) => bytes)).toString() };
}

function codeOfThrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing thrown';
}

describe('ChannelDecoder', () => {
  it('reads channel and payload, by reference and in the pieces it came in', () => {
    const decoder = new ChannelDecoder(version4);
    const message = Buffer.from('\x00hello');
    const events = accept(decoder, message, [1, 3]);
    expect(events).to.deep.equal([
      { type: 'data', channel: 0, bytes: Buffer.from('he'), isLast: false },
      { type: 'data', channel: 0, bytes: Buffer.from('llo'), isLast: true },
    ]);
    expect(events.map((event) => (event.type === 'data' ? event.bytes.buffer : undefined))).to.deep.equal([
      message.buffer,
      message.buffer,
    ]);
  });

  const quiet: [what: string, options: ChannelDecoderOptions, message: Buffer][] = [
    ['an empty message', version5, Buffer.alloc(0)],
    ['only a channel byte', version5, Buffer.of(1)],
    ['an unknown channel', version5, Buffer.from('\x05abc')],
    ['channel 255 before v5', version4, Buffer.of(255, 0)],
    ['a half-close in base64 text', base64, Buffer.of(255, 0)],
    ['a base64 channel that is no digit', base64, Buffer.from('/YQ==')],
    ['a base64 channel of an unknown digit', base64, Buffer.from('7not base64 at all')],
    ['an empty base64 message', base64, Buffer.from('1')],
  ];
  for (const [what, options, message] of quiet) {
    it(`gives nothing for ${what}, and goes on`, () => {
      const decoder = new ChannelDecoder(options);
      expect(accept(decoder, message)).to.deep.equal([]);
      expect(summary(accept(decoder, Buffer.from(options.isBase64 ? '0YQ==' : '\x00a')))).to.deep.equal({
        channel: 0,
        text: 'a',
      });
    });
  }

  it('reads channels of port-forward up to twice the ports', () => {
    const decoder = new ChannelDecoder({ isBase64: false, hasHalfClose: false, channelCount: 4 });
    expect([3, 4].map((channel) => accept(decoder, Buffer.of(channel, 65)).length)).to.deep.equal([1, 0]);
  });

  it('reads a half-close, also in pieces and again', () => {
    const decoder = new ChannelDecoder(version5);
    const close = closeMessage(channels.stdin);
    expect([close, ...accept(decoder, close), ...accept(decoder, close, [1])]).to.deep.equal([
      Buffer.of(0xff, 0),
      { type: 'close', channel: 0 },
      { type: 'close', channel: 0 },
    ]);
  });

  for (const [what, message, cuts] of [
    ['no channel', Buffer.of(255), []],
    ['two channels', Buffer.of(255, 0, 1), []],
    ['two channels in pieces', Buffer.of(255, 0, 1), [1, 2]],
    ['a channel that does not exist', Buffer.of(255, 5), []],
    ['itself', Buffer.of(255, 255), []],
  ] as const) {
    it(`refuses a half-close with ${what}`, () => {
      expect(codeOfThrown(() => accept(new ChannelDecoder(version5), message, cuts))).to.equal('protocol');
    });
  }

  it('reads base64 of any length at any split, with line breaks', () => {
    for (let length = 0; length <= 7; length += 1) {
      const text = 'abcdefg'.slice(0, length);
      const message = Buffer.from(base64Message(channels.stdin, Buffer.from(text)).replace(/^(.....)/, '$1\r\n'));
      for (let first = 1; first <= message.length; first += 1) {
        for (let second = first; second <= message.length; second += 1) {
          const events = accept(new ChannelDecoder(base64), message, [first, second]);
          expect(summary(events), `${message.toString()} at ${first}, ${second}`).to.deep.equal(
            length === 0 ? [] : { channel: 0, text },
          );
        }
      }
    }
  });

  for (const text of [
    '0a',
    '0abc',
    '0abcde',
    '0a===',
    '0====',
    '0ab=c',
    '0YQ==YQ==',
    '0YQ==a',
    '0ab!d',
    '0ab-_',
    '0YQ',
    '0Y=Q=',
  ]) {
    it(`refuses the base64 message ${text} at any split`, () => {
      const message = Buffer.from(text);
      for (let at = 1; at <= message.length; at += 1) {
        expect(codeOfThrown(() => accept(new ChannelDecoder(base64), message, [at]))).to.equal('protocol');
      }
    });
  }

  it('reads what it wrote, for any channel, payload and split', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.nat(4),
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.array(fc.nat(300), { maxLength: 4 }),
        (isBase64, channel, payload, cuts) => {
          const bytes = Buffer.from(payload);
          const message = isBase64
            ? Buffer.from(base64Message(channel, bytes))
            : Buffer.concat([channelByte(channel), bytes]);
          const sorted = cuts.map((cut) => 1 + (cut % message.length)).toSorted((a, b) => a - b);
          const events = accept(new ChannelDecoder({ isBase64, hasHalfClose: true, channelCount: 5 }), message, sorted);
          const read = Buffer.concat(events.map((event) => (event.type === 'data' ? event.bytes : Buffer.alloc(0))));
          expect({ read, channels: new Set(events.map((event) => event.channel)) }).to.deep.equal({
            read: bytes,
            channels: new Set([channel]),
          });
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('initialChannel', () => {
  it('is the lowest channel the server writes to', () => {
    expect([
      initialChannel({ hasStdout: true, hasStderr: true }),
      initialChannel({ hasStdout: false, hasStderr: true }),
      initialChannel({ hasStdout: false, hasStderr: false }),
    ]).to.deep.equal([1, 2, 3]);
  });
});
