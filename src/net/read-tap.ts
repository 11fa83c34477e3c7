// Reading without memory of one's own: a tapped socket reads into one scratch buffer, the same for all, and hands it to whoever took the
// tap. The bytes are valid during that call and not after it. Until somebody takes it such a socket reads as every socket does, so that
// the head of an upgrade is read in the usual way.
//
// Without it each record of TLS (16 KiB) is an ArrayBuffer of its own, which only a garbage collection frees; at full speed they and the
// collections were a third to a half of what a relay cost (docs/performance.md).

import { Buffer } from 'node:buffer';
import type { OnReadOpts } from 'node:net';
import type { Duplex } from 'node:stream';

import { ReadTurn } from './read-turn.ts';
import { maskMemoryBytes, sharedMaskMemory } from '../protocol/websocket/mask-memory.ts';

/** No read of Node's is longer. */
const scratchBytes = maskMemoryBytes;

/**
 * One for the process, made with its first session, in WebAssembly's memory so that masked payload is unmasked where it is: Node copies what it
 * has read into it and calls back before it reads anything else, and nobody reads it after that call. The one thing that could read in between is
 * a write of no bytes to another socket with a tap (TLSWrap::DoWrite then looks whether there is anything to read), which SocketWriter never makes.
 */
const scratch = (): Buffer<ArrayBuffer> => sharedMaskMemory.bytes;

/** Of all tapped sockets together. */
const turn = new ReadTurn();

type Taker = (bytes: Buffer) => void;

const taps = new WeakMap<object, ReadTap>();

export class ReadTap {
  #socket: Duplex | undefined;
  #taker: Taker | undefined;

  /** Node's option of that name, for `connect`. */
  readonly onread: OnReadOpts = { buffer: scratch(), callback: (count) => this.acceptRead(count) };

  /** So many bytes are in the scratch buffer. */
  readonly acceptRead = (count: number): boolean => {
    const mayRead = this.give(count === scratchBytes ? scratch() : scratch().subarray(0, count));
    const socket = this.#socket;
    return socket === undefined || this.#taker === undefined ? mayRead : turn.mayReadOn(socket, count) && mayRead;
  };

  /** Makes this the tap of a socket that was made with {@link onread}, or of a Duplex that calls {@link give}. */
  attach(socket: Duplex): void {
    this.#socket = socket;
    taps.set(socket, this);
  }

  /** From now on `taker` gets what is read, except what was read before and waits in the socket: that comes as 'data', before it. */
  take(taker: Taker): void {
    this.#taker = taker;
  }

  /**
   * What was read, to be used up in this call.
   * @returns false: no more for now; the socket reads on when it is resumed.
   */
  give(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket === undefined) return false;
    if (this.#taker === undefined || socket.readableLength > 0) return socket.push(Buffer.from(bytes));
    this.#taker(bytes);
    return true;
  }
}

/**
 * Takes the tap of a socket, so that `taker` gets its bytes for the duration of a call each; it must listen to 'data' as well. A socket
 * that has no tap and cannot be given one goes on with 'data' alone.
 */
export function tapReads(socket: Duplex, taker: Taker): void {
  (taps.get(socket) ?? tapAccepted(socket))?.take(taker);
}

/** What Node's `net.Socket` keeps of its option `onread`, under symbols of its own. */
const innerNames = ['kBuffer', 'kBufferCb', 'kBufferGen'] as const;

interface Handle {
  useUserBuffer(buffer: Uint8Array): void;
}

/**
 * A server's sockets are made by Node, which takes no `onread` for them; what the option would have set is set here afterwards. Where a
 * version of Node has not exactly these parts, nothing is done: what they save is CPU, nothing depends on them.
 */
function tapAccepted(socket: Duplex): ReadTap | undefined {
  const symbols = new Map<string | undefined, symbol>(
    Object.getOwnPropertySymbols(socket).map((symbol) => [symbol.description, symbol]),
  );
  const [buffer, callback, generator] = innerNames.map((name) => symbols.get(name));
  if (buffer === undefined || callback === undefined || generator === undefined) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  if (!isHandle(handle) || Reflect.get(socket, buffer) !== null) return undefined;
  const tap = new ReadTap();
  tap.attach(socket);
  Reflect.set(socket, callback, tap.acceptRead);
  Reflect.set(socket, buffer, scratch());
  handle.useUserBuffer(scratch());
  return tap;
}

function isHandle(handle: unknown): handle is Handle {
  return (
    typeof handle === 'object' &&
    handle !== null &&
    'useUserBuffer' in handle &&
    typeof handle.useUserBuffer === 'function'
  );
}
