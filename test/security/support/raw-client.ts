// Bytes to kexer over TLS, and what comes back, read with no mercy of a library: attacks are in bytes that no HTTP client would write.

import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

import { ChunkedDecoder, responseFraming } from '../../../src/protocol/framing.ts';
import { HeadCollector, parseResponseHead } from '../../../src/protocol/http-head.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';

export interface RawTarget {
  readonly port: number;
  readonly ca: string;
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: string;
}

/** The message of the Status in the body, or the body. */
export function messageOf({ body }: RawAnswer): string {
  try {
    return (JSON.parse(body) as { message?: string }).message ?? body;
  } catch {
    return body;
  }
}

export async function dialRaw({ port, ca, certificate }: RawTarget): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, ca, ALPNProtocols: ['http/1.1'], ...certificate });
  socket.on('error', () => {}); // seen as the end of what can be read
  await once(socket, 'secureConnect');
  return socket;
}

/** Bytes as written: one character a byte. */
export function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A head from its lines, with CRLF and the empty line. */
export function head(...lines: readonly string[]): string {
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Writes everything at once and reads until kexer closes: for attacks, and for requests with `Connection: close`. */
export async function sendUntilClosed(target: RawTarget, text: string): Promise<RawAnswer[]> {
  const socket = await dialRaw(target);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.write(bytes(text));
  // Not events.once, which an error would reject: a reset after an answer is an end like any other.
  await new Promise((resolve) => {
    socket.once('close', resolve);
    socket.once('end', () => socket.destroy());
  });
  return parseAnswers(Buffer.concat(chunks));
}

/** One kept-alive connection; one answer for each `ask`. */
export class RawConnection {
  readonly socket: TLSSocket;
  #held = Buffer.alloc(0);
  #isOver = false;
  #wake: () => void = () => {};

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#held = Buffer.concat([this.#held, chunk]);
      this.#wake();
    });
    const over = (): void => {
      this.#isOver = true;
      this.#wake();
    };
    socket.on('end', over);
    socket.on('close', over);
  }

  static async open(target: RawTarget): Promise<RawConnection> {
    return new RawConnection(await dialRaw(target));
  }

  async ask(text: string): Promise<RawAnswer> {
    this.socket.write(bytes(text));
    for (;;) {
      const answer = takeAnswer(this.#held);
      if (answer !== undefined) {
        this.#held = Buffer.from(answer.rest);
        return answer.answer;
      }
      if (this.#isOver) throw new Error(`The connection ended without an answer; it had ${this.#held.length} bytes`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async close(): Promise<void> {
    if (this.socket.closed) return;
    this.socket.destroy();
    await once(this.socket, 'close');
  }
}

/** Every answer in the bytes; what cannot be read as one is thrown. */
export function parseAnswers(all: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = all;
  while (rest.length > 0) {
    const next = takeAnswer(rest);
    if (next === undefined)
      throw new Error(`No whole answer: ${JSON.stringify(rest.toString('latin1').slice(0, 400))}`);
    answers.push(next.answer);
    rest = next.rest;
  }
  return answers;
}

function takeAnswer(all: Buffer): { answer: RawAnswer; rest: Buffer } | undefined {
  const whole = new HeadCollector().acceptChunk(all);
  if (whole === undefined) return undefined;
  const { status, headers } = parseResponseHead(whole.raw);
  const { rest } = whole;
  // Of the method only HEAD matters, and no attack uses it.
  const framing = responseFraming('GET', { status, headers });
  switch (framing.kind) {
    case 'none':
      return { answer: { status, headers, body: '' }, rest };
    case 'length':
      if (rest.length < framing.length) return undefined;
      return {
        answer: { status, headers, body: rest.toString('utf8', 0, framing.length) },
        rest: rest.subarray(framing.length),
      };
    case 'chunked': {
      const decoder = new ChunkedDecoder();
      const body = Buffer.concat(decoder.acceptChunk(rest)).toString();
      return decoder.isDone ? { answer: { status, headers, body }, rest: decoder.rest } : undefined;
    }
    default:
      return { answer: { status, headers, body: rest.toString() }, rest: Buffer.alloc(0) };
  }
}
