// Messages to a client that speaks channels: the channel's byte and payload, or its digit and base64. For protocols whose messages leave one at
// a time (net: `isFrameApart`) payload is joined into one message as long as its channel stays the same, up to the end of the turn or, while a
// message is still leaving, until that has left. Joined bytes are copied once, at once. CPU seconds for 1 GiB of stdout: 2.9 with a message for each
// 16 KiB that TLS reads, 1.4 to 3.1 (as memory was collected) with one a turn, 1.4 so; v5, whose messages share writes, 1.2.

import type { Buffer } from 'node:buffer';

import { headRoomBytes, largeStageBytes, sharedStages } from '../net/write-stage.ts';
import { base64Message, channelByte } from '../protocol/channel.ts';

/** What messages go out by; all but the first three are for messages that leave apart. */
export interface MessageSink {
  sendBinary(...parts: Buffer[]): boolean;
  sendText(text: string): boolean;
  readonly isWritable: boolean;
  /** Takes the stage over; the message is what it holds from `from` to `to`. */
  sendStage(stage: Buffer, from: number, to: number): boolean;
  readonly isIdle: boolean;
  onIdle(run: () => void): void;
  setHeldElsewhere(bytes: number): void;
}

/** A stage full: more than a client's leg lets wait. Clients take 32 MiB and more in one message. */
const maxJoinedBytes = largeStageBytes - headRoomBytes;

/** By channel; made once, since every chunk of output needs one. */
const channelBytes = Array.from({ length: 255 }, (_, channel) => channelByte(channel));

export class ChannelWriter {
  readonly #sink: MessageSink;
  readonly #isBase64: boolean;
  readonly #isJoined: boolean;
  #channel: number;
  #stage: Buffer | undefined;
  #length: number;
  #isFlushDue: boolean;
  readonly #flushOrWait: () => void;
  readonly #flushWhenIdle: () => void;

  constructor(deps: { sink: MessageSink }, options: { isBase64: boolean; isJoined: boolean }) {
    this.#sink = deps.sink;
    this.#isBase64 = options.isBase64;
    this.#isJoined = options.isJoined;
    this.#channel = 0;
    this.#stage = undefined;
    this.#length = 0;
    this.#isFlushDue = false;
    this.#flushWhenIdle = () => {
      this.#isFlushDue = false;
      this.flush();
    };
    this.#flushOrWait = () => {
      if (this.#sink.isIdle) this.#flushWhenIdle();
      else this.#sink.onIdle(this.#flushWhenIdle);
    };
  }

  /** Payload of a channel; the bytes are the caller's again at once. @returns whether there is room, as the sink says. */
  send(channel: number, bytes: Buffer): boolean {
    if (!this.#isJoined || bytes.length > maxJoinedBytes) return this.sendAlone(channel, bytes);
    if (channel !== this.#channel || this.#length + bytes.length > maxJoinedBytes) this.flush();
    this.#channel = channel;
    this.#append(bytes);
    this.#sink.setHeldElsewhere(this.#length);
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      setImmediate(this.#flushOrWait);
    }
    return this.#sink.isWritable;
  }

  /** One message of exactly these bytes, behind what was joined; also an empty one. */
  sendAlone(channel: number, bytes: Buffer): boolean {
    this.flush();
    return this.#isBase64
      ? this.#sink.sendText(base64Message(channel, bytes))
      : this.#sink.sendBinary(channelBytes[channel] ?? channelByte(channel), bytes);
  }

  /** Sends what was joined; to be called before anything that must come behind it. */
  flush(): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    const end = headRoomBytes + this.#length;
    this.#stage = undefined;
    this.#length = 0;
    if (this.#isBase64) {
      this.#sink.sendText(base64Message(this.#channel, stage.subarray(headRoomBytes, end)));
      sharedStages.give(stage);
    } else {
      stage[headRoomBytes - 1] = this.#channel;
      this.#sink.sendStage(stage, headRoomBytes - 1, end);
    }
    this.#sink.setHeldElsewhere(0); // last, so that nobody who waits for a drain sees room that is not there
  }

  #append(bytes: Buffer): void {
    const old = this.#stage;
    const needed = headRoomBytes + this.#length + bytes.length;
    if (old === undefined || needed > old.length) {
      const stage = sharedStages.take(needed);
      if (old !== undefined) {
        stage.set(old.subarray(0, headRoomBytes + this.#length));
        sharedStages.give(old);
      }
      this.#stage = stage;
    }
    this.#stage?.set(bytes, headRoomBytes + this.#length);
    this.#length += bytes.length;
  }
}
