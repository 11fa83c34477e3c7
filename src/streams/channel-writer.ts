// Messages to a client that speaks channels: the channel's byte and payload, or its digit and base64. For protocols whose messages leave one at
// a time (net: `isFrameApart`) the payload of a turn is joined into one message as long as its channel stays the same: a message for each
// 16 KiB that TLS reads took 2.9 CPU seconds for 1 GiB, joined ones take 1.8, and v5, whose messages share writes, 1.3. Joined bytes are copied at once and never wait longer than the turn.

import type { Buffer } from 'node:buffer';

import { sharedStages } from '../net/write-stage.ts';
import { base64Message, channelByte } from '../protocol/channel.ts';

/** What messages go out by. */
export interface MessageSink {
  sendBinary(...parts: Buffer[]): boolean;
  sendText(text: string): boolean;
  readonly isWritable: boolean;
}

/** More than a kubelet's leg reads in a turn; clients take 32 MiB and more in one message. */
const maxJoinedBytes = 256 * 1024;

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
  readonly #onTurnOver: () => void;

  constructor(deps: { sink: MessageSink }, options: { isBase64: boolean; isJoined: boolean }) {
    this.#sink = deps.sink;
    this.#isBase64 = options.isBase64;
    this.#isJoined = options.isJoined;
    this.#channel = 0;
    this.#stage = undefined;
    this.#length = 0;
    this.#isFlushDue = false;
    this.#onTurnOver = () => {
      this.#isFlushDue = false;
      this.flush();
    };
  }

  /** Payload of a channel; the bytes are the caller's again at once. @returns whether there is room, as the sink says. */
  send(channel: number, bytes: Buffer): boolean {
    if (!this.#isJoined || bytes.length > maxJoinedBytes) return this.sendAlone(channel, bytes);
    if (channel !== this.#channel || this.#length + bytes.length > maxJoinedBytes) this.flush();
    this.#channel = channel;
    this.#append(bytes);
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      setImmediate(this.#onTurnOver);
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
    const bytes = stage.subarray(0, this.#length);
    this.#stage = undefined;
    this.#length = 0;
    this.sendAlone(this.#channel, bytes);
    sharedStages.give(stage);
  }

  #append(bytes: Buffer): void {
    const old = this.#stage;
    const needed = this.#length + bytes.length;
    if (old === undefined || needed > old.length) {
      const stage = sharedStages.take(needed);
      if (old !== undefined) {
        stage.set(old.subarray(0, this.#length));
        sharedStages.give(old);
      }
      this.#stage = stage;
    }
    this.#stage?.set(bytes, this.#length);
    this.#length = needed;
  }
}
