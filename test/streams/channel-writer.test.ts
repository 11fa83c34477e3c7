import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { headRoomBytes, largeStageBytes } from '../../src/net/write-stage.ts';
import { ChannelWriter } from '../../src/streams/channel-writer.ts';
import { turnOver } from './support/rig.ts';

describe('ChannelWriter', () => {
  let messages: string[];
  let isWritable: boolean;
  let isIdle: boolean;
  let idleRun: (() => void) | undefined;
  let held: number[];

  beforeEach(() => {
    messages = [];
    isWritable = true;
    isIdle = true;
    idleRun = undefined;
    held = [];
  });

  /** What was leaving has left. */
  function becomeIdle(): void {
    isIdle = true;
    idleRun?.();
    idleRun = undefined;
  }

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
      sendStage(stage: Buffer, from: number, to: number) {
        if (from + 1 < headRoomBytes) throw new Error('there is no room for the head of a frame');
        messages.push(show(`${stage[from]}${stage.toString('latin1', from + 1, to)}`));
        stage.fill('x'); // it was taken over, and may be anybody's by now
        return isWritable;
      },
      get isIdle() {
        return isIdle;
      },
      onIdle(run: () => void) {
        idleRun = run;
      },
      setHeldElsewhere(bytes: number) {
        held.push(bytes);
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

  it('goes on joining while a message is leaving, and tells how much waits', async () => {
    const writer = make();
    isIdle = false;
    writer.send(1, Buffer.from('a'));
    await turnOver();
    writer.send(1, Buffer.from('b'));
    await turnOver();
    expect([messages, held]).to.deep.equal([[], [1, 2]]);
    becomeIdle();
    expect([messages, held]).to.deep.equal([['1ab'], [1, 2, 0]]);
    writer.send(1, Buffer.from('c'));
    expect(messages).to.deep.equal(['1ab']); // the turn is not over
    await turnOver();
    expect(messages).to.deep.equal(['1ab', '1c']);
  });

  it('sends what another channel follows at once, and that when the rest has left', async () => {
    const writer = make();
    isIdle = false;
    writer.send(1, Buffer.from('a'));
    await turnOver();
    writer.send(2, Buffer.from('b'));
    expect(messages).to.deep.equal(['1a']);
    becomeIdle();
    await turnOver();
    expect(messages).to.deep.equal(['1a', '2b']);
  });

  it('keeps every byte, whatever the sizes, and joins no more than a stage holds', async () => {
    const writer = make();
    const most = largeStageBytes - headRoomBytes;
    const sizes = [1, 2047, 2, 65_536, 65_536, 65_536, 65_535, 1, most + 1, most, 5];
    for (const size of sizes) writer.send(1, Buffer.alloc(size, 'x'));
    await turnOver();
    expect(messages).to.deep.equal(['1+264194', `1+${most + 1}`, `1+${most}`, '1xxxxx']);
    expect(sizes.slice(0, 8).reduce((sum, size) => sum + size, 0)).to.equal(264_194);
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
