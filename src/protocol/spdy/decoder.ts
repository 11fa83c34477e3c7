import type { Buffer } from 'node:buffer';

import type { SpdyFrame, SpdyLimits } from './frame.ts';

export class SpdyDecoder {
  constructor(limits: Partial<SpdyLimits> = {}) {
    void limits;
  }

  /** Frames before an error are returned first; then `failure` is set and the next call throws it. */
  acceptChunk(chunk: Buffer): SpdyFrame[] {
    void chunk;
    throw new Error('not yet');
  }

  /** The error that ended decoding: KexerError 'protocol' or 'tooLarge'. */
  get failure(): Error | undefined {
    return undefined;
  }

  get atFrameBoundary(): boolean {
    return true;
  }
}
