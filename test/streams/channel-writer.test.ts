import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { ChannelWriter } from '../../src/streams/channel-writer.ts';
import { turnOver } from './support/rig.ts';

describe('ChannelWriter', () => {
  let messages: string[];
  let isWritable: boolean;

  beforeEach(() => {
    messages = [];
    isWritable = true;
  });

  function make(options: { isBase64?: boolean; isJoined?: boolean } = {}): ChannelWriter {
    const show = (text: string): string => (text.length > 40 ? `${text.slice(0, 1)}+${text.length - 1}` : text);
    const sink = {
      sendBinary(...parts: Buffer[]) {
        const [channel = Buffer.alloc(0), ...payload] = parts;
        messages.push(show(`${channel[0]}${Buffer.concat(payload).toString('latin1')}`));
        return isWritable;
      },
      sendText(text: string) {
        messages.push(`text ${text}`);
        return isWritable;
      },
      get isWritable() {
        return isWritable;
      },
    };
    return new ChannelWriter({ sink }, { isBase64: false, isJoined: true, ...options });
  }

  it('joins the payload of a turn while its channel stays the same', async () => {
    const writer = make();
    for (const [channel, text] of [
      [1, 'a'],
      [1, 'b'],
      [2, 'c'],
      [1, 'd'],
    ] as const) {
      writer.send(channel, Buffer.from(text));
    }
    expect(messages).to.deep.equal(['1ab', '2c']);
    await turnOver();
    expect(messages).to.deep.equal(['1ab', '2c', '1d']);
    writer.send(1, Buffer.from('e'));
    await turnOver();
    expect(messages).to.deep.equal(['1ab', '2c', '1d', '1e']);
  });

  it('copies at once: the bytes are the next read of a socket before the turn is over', async () => {
    const writer = make();
    const bytes = Buffer.from('first');
    writer.send(1, bytes);
    bytes.write('other');
    writer.send(1, bytes);
    await turnOver();
    expect(messages).to.deep.equal(['1firstother']);
  });

  it('sends nothing joined after what must come behind it', async () => {
    const writer = make();
    writer.send(1, Buffer.from('output'));
    writer.sendAlone(3, Buffer.from('status'));
    writer.sendAlone(1, Buffer.alloc(0));
    writer.flush();
    await turnOver();
    expect(messages).to.deep.equal(['1output', '3status', '1']);
  });

  it('keeps every byte, whatever the sizes, and joins no more than 256 KiB', async () => {
    const writer = make();
    const sizes = [1, 2047, 2, 65_536, 65_536, 65_536, 65_535, 1, 300_000, 262_144, 5];
    for (const size of sizes) writer.send(1, Buffer.alloc(size, 'x'));
    await turnOver();
    expect(messages).to.deep.equal(['1+198658', '1+65536', '1+300000', '1+262144', '1xxxxx']);
    expect(198_658 + 65_536).to.equal(sizes.slice(0, 8).reduce((sum, size) => sum + size, 0));
  });

  it('sends each at once where nothing is joined, and says whether there is room', () => {
    const writer = make({ isJoined: false });
    const rooms = [writer.send(1, Buffer.from('a'))];
    isWritable = false;
    rooms.push(writer.send(1, Buffer.from('b')), make().send(1, Buffer.from('c')));
    expect([messages.slice(0, 2), rooms]).to.deep.equal([
      ['1a', '1b'],
      [true, false, false],
    ]);
  });

  it('encodes what is joined as one message of base64', async () => {
    const writer = make({ isBase64: true });
    writer.send(1, Buffer.from('a'));
    writer.send(1, Buffer.from('b'));
    await turnOver();
    expect(messages).to.deep.equal([`text 1${Buffer.from('ab').toString('base64')}`]);
  });
});
