// HTTP/2 frame by frame (RFC 9113), for requests that no library would send: Node's own client refuses forbidden headers and mends names before
// they reach the wire. One connection makes one request and tells how it ended. HPACK is written without its tables.

import { once } from 'node:events';
import { connect } from 'node:tls';

import type { RawTarget } from './raw-client.ts';

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const types = { data: 0, headers: 1, rstStream: 3, settings: 4, goaway: 7, continuation: 9 } as const;
const flags = { endStream: 0x1, ack: 0x1, endHeaders: 0x4 } as const;

/** Fields in order, pseudo headers among them as they stand; bytes as characters. */
export type H2Fields = readonly (readonly [name: string, value: string])[];

export interface H2Request {
  readonly fields: H2Fields;
  /** DATA frames; the last one ends the stream. None: the headers end it. */
  readonly data?: readonly string[];
}

/** What came of the request: an answer's status, or the error code of what ended it. */
export type H2End =
  | { readonly how: 'answered'; readonly status: number; readonly body: string }
  | { readonly how: 'reset'; readonly code: number }
  | { readonly how: 'goaway'; readonly code: number }
  | { readonly how: 'closed' };

export async function askH2(target: RawTarget, request: H2Request): Promise<H2End> {
  const { port, ca, certificate } = target;
  const socket = connect({ host: '127.0.0.1', port, ca, ALPNProtocols: ['h2'], ...certificate });
  socket.on('error', () => {}); // a reset is an end
  await once(socket, 'secureConnect');
  if (socket.alpnProtocol !== 'h2') throw new Error('kexer did not choose h2');
  const end = new Promise<H2End>((resolve) => {
    const reader = new Reader(resolve);
    socket.on('data', (chunk: Buffer) => reader.accept(chunk));
    socket.once('close', () => resolve({ how: 'closed' }));
  });
  socket.write(
    Buffer.concat([Buffer.from(preface), frame(types.settings, 0, 0, Buffer.alloc(0)), ...requestFrames(request)]),
  );
  try {
    return await end;
  } finally {
    socket.destroy();
    if (!socket.closed) await once(socket, 'close');
  }
}

function requestFrames({ fields, data = [] }: H2Request): Buffer[] {
  const block = Buffer.concat(fields.map(([name, value]) => encodeField(name, value)));
  const headerFlags = flags.endHeaders | (data.length === 0 ? flags.endStream : 0);
  return [
    frame(types.headers, headerFlags, 1, block),
    ...data.map((text, index) =>
      frame(types.data, index === data.length - 1 ? flags.endStream : 0, 1, Buffer.from(text, 'latin1')),
    ),
  ];
}

/** Literal without indexing, new name, no Huffman: 0x00, name, value. */
function encodeField(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), encodeText(name), encodeText(value)]);
}

function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([Buffer.from(encodeLength(bytes.length)), bytes]);
}

/** An integer with a 7-bit prefix (RFC 7541, 5.1). */
function encodeLength(length: number): number[] {
  if (length < 127) return [length];
  const octets = [127];
  let rest = length - 127;
  while (rest >= 128) {
    octets.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  octets.push(rest);
  return octets;
}

/** length (24), type (8), flags (8), stream (32), payload */
function frame(type: number, flag: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flag;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

class Reader {
  readonly #resolve: (end: H2End) => void;
  #held = Buffer.alloc(0);
  #status: number | undefined;
  #body = '';

  constructor(resolve: (end: H2End) => void) {
    this.#resolve = resolve;
  }

  accept(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= 9) {
      const length = this.#held.readUIntBE(0, 3);
      if (this.#held.length < 9 + length) return;
      const [type = 0, flag = 0] = [this.#held[3], this.#held[4]];
      const stream = this.#held.readUInt32BE(5);
      const payload = this.#held.subarray(9, 9 + length);
      this.#held = this.#held.subarray(9 + length);
      this.#onFrame(type, flag, stream, payload);
    }
  }

  #onFrame(type: number, flag: number, stream: number, payload: Buffer): void {
    if (type === types.goaway) {
      const code = payload.readUInt32BE(4);
      if (code !== 0) this.#resolve({ how: 'goaway', code });
      return;
    }
    if (stream !== 1) return;
    if (type === types.rstStream) this.#resolve({ how: 'reset', code: payload.readUInt32BE(0) });
    if (type === types.headers && this.#status === undefined) this.#status = statusOf(payload);
    if (type === types.data) this.#body += payload.toString();
    const isEnd = (type === types.headers || type === types.data) && (flag & flags.endStream) !== 0;
    if (isEnd && this.#status !== undefined) {
      this.#resolve({ how: 'answered', status: this.#status, body: this.#body });
    }
  }
}

/** Indexes 8 to 14 of the static table: `:status` with these values. */
const staticStatuses = [200, 204, 206, 304, 400, 404, 500];

/** `:status`, which nghttp2 writes first. Only the first block of a connection is read, so no table has grown yet. */
function statusOf(block: Buffer): number {
  let at = 0;
  // A change of the table's size may stand in front.
  while (((block[at] ?? 0) & 0xe0) === 0x20) at += 1;
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return staticStatuses[(first & 0x7f) - 8] ?? 0;
  // A literal whose name is index 8, in any of the three forms.
  const length = block[at + 1] ?? 0;
  const bytes = block.subarray(at + 2, at + 2 + (length & 0x7f));
  return Number((length & 0x80) === 0 ? bytes.toString('latin1') : decodeDigits(bytes));
}

/** Huffman codes of the digits (RFC 7541, appendix B). */
const digitCodes = new Map(
  ['00000', '00001', '00010', '011001', '011010', '011011', '011100', '011101', '011110', '011111'].map(
    (code, digit) => [code, String(digit)],
  ),
);

function decodeDigits(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let text = '';
  let code = '';
  for (const bit of bits) {
    code += bit;
    const digit = digitCodes.get(code);
    if (digit === undefined) continue;
    text += digit;
    code = '';
  }
  return text;
}
