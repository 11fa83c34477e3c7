import { Buffer } from 'node:buffer';

import type { HeaderList } from './frame.ts';

/** Frames must be sent in the order they were encoded: header compression is one stream per direction. */
export class SpdyEncoder {
  synStream(
    streamId: number,
    headers: HeaderList,
    options: { fin?: boolean; unidirectional?: boolean; priority?: number; associatedId?: number } = {},
  ): Buffer {
    void [streamId, headers, options];
    return Buffer.alloc(0);
  }

  synReply(streamId: number, headers: HeaderList = [], options: { fin?: boolean } = {}): Buffer {
    void [streamId, headers, options];
    return Buffer.alloc(0);
  }

  headers(streamId: number, headers: HeaderList, options: { fin?: boolean } = {}): Buffer {
    void [streamId, headers, options];
    return Buffer.alloc(0);
  }

  rstStream(streamId: number, status: number): Buffer {
    void [streamId, status];
    return Buffer.alloc(0);
  }

  ping(id: number): Buffer {
    void id;
    return Buffer.alloc(0);
  }

  goaway(lastStreamId: number, status = 0): Buffer {
    void [lastStreamId, status];
    return Buffer.alloc(0);
  }

  /** The 8 bytes in front of a DATA payload; the payload is written after it by reference. */
  dataHeader(streamId: number, length: number, fin: boolean): Buffer {
    void [streamId, length, fin];
    return Buffer.alloc(0);
  }
}
