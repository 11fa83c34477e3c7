// Port-forward for a client that speaks SPDY, natively or in a tunnel: pairs of an error and a data stream, as many as the client opens
// connections. Streams are handed on as they are. When the kubelet's leg dies its text goes to every open error stream and the connection
// ends: a bare reset would leave kubectl hanging.

import { Buffer } from 'node:buffer';

import type { Clock } from '../base/clock.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream, type SpdyStreamEnd } from '../net/spdy-connection.ts';
import type { HeaderList } from '../protocol/spdy/frame.ts';
import { HeldClient } from './held-client.ts';
import {
  clientEnd,
  finDelayMs,
  clientKeepalive,
  backendEndText,
  kubeletKeepalive,
  leaveBackend,
  type Leg,
  lingerTimeoutMs,
  type RunningStream,
  streamHeader,
  whenClosed,
} from './leg.ts';
import type { Session, SessionEnd } from './session.ts';
import { Valve } from './valve.ts';

/** Open streams of one session: 1,000 forwarded connections. More is a runaway client, which is told so. */
export const maxForwardedStreams = 2000;

/** What of a stream's headers means something to a kubelet. */
const forwardedHeaders = ['streamtype', 'port', 'requestid'];

export class PortRelay implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #session: Session;
  readonly #backend: string;
  readonly #client: SpdyConnection;
  readonly #kubelet: SpdyConnection;
  readonly #toClient: Valve;
  readonly #toKubelet: Valve;
  readonly #errorStreams: Set<SpdyStream>;
  #openStreams: number;
  #isOver: boolean;
  #end: SessionEnd | undefined;

  /** @param legs.client.socket the client's socket or a tunnel over it. */
  constructor(
    deps: { clock: Clock; session: Session },
    legs: { client: Leg; kubelet: Leg },
    options: { backend: string },
  ) {
    this.#session = deps.session;
    this.#backend = options.backend;
    this.#errorStreams = new Set();
    this.#openStreams = 0;
    this.#isOver = false;
    this.#end = undefined;
    this.done = whenClosed([legs.client.socket, legs.kubelet.socket], () => this.#closedEnd);
    this.#kubelet = new SpdyConnection(
      { socket: legs.kubelet.socket, clock: deps.clock },
      { role: 'client', head: legs.kubelet.head, ...kubeletKeepalive, hasTransientReads: true },
      { onStream: (stream) => stream.reset(), onEnd: (end) => this.#kubeletEnded(end) },
    );
    this.#client = new SpdyConnection(
      { socket: legs.client.socket, clock: deps.clock },
      {
        role: 'server',
        head: legs.client.head,
        // The pair that is one too many is still opened, to carry the reason.
        maxStreams: maxForwardedStreams + 64,
        ...clientKeepalive,
        hasTransientReads: true,
        lingerTimeoutMs,
        finDelayMs,
        isSilentUntilPeerSpeaks: true,
      },
      { onStream: (stream) => this.#join(stream), onEnd: (end) => this.#clientEnded(end) },
    );
    this.#toClient = new Valve(this.#kubelet, this.#client);
    this.#toKubelet = new Valve(new HeldClient({ clock: deps.clock, client: this.#client }), this.#kubelet);
    deps.session.shape({ in: new HeldClient({ clock: deps.clock, client: this.#client }), out: this.#kubelet });
  }

  end(message: string): void {
    this.#end ??= { cause: 'ended', message };
    this.#finish(message);
  }

  #join(client: SpdyStream): void {
    const isError = streamHeader(client.headers, 'streamtype')?.toLowerCase() === 'error';
    if (this.#isOver) {
      client.reset();
      return;
    }
    if (this.#openStreams >= maxForwardedStreams) {
      refuse(client, isError);
      return;
    }
    this.#openStreams += 1;
    if (isError) this.#errorStreams.add(client);
    const pair = new StreamEnds(() => {
      this.#openStreams -= 1;
      this.#errorStreams.delete(client);
    });
    const kubelet = this.#kubelet.createStream(keptHeaders(client.headers), {
      // A kubelet refuses a bad port or type by resetting: the client must see that as the refusal of its stream.
      onReply: () => client.reply(),
      onData: (bytes) => {
        this.#session.countOut(bytes.length);
        this.#toClient.check(client.write(bytes));
      },
      onEnd: (how) => {
        if (how === 'fin' || how === 'reset') this.#errorStreams.delete(client);
        passEnd(how, client);
        pair.ended('kubelet', how);
      },
    });
    client.setHandlers({
      onData: (bytes) => {
        this.#session.countIn(bytes.length);
        this.#toKubelet.check(kubelet.write(bytes));
      },
      onEnd: (how) => {
        passEnd(how, kubelet);
        pair.ended('client', how);
      },
    });
  }

  #kubeletEnded(end: SpdyEnd): void {
    const message = backendEndText(this.#backend, end);
    this.#end ??= { cause: 'kubeletGone', message };
    this.#finish(message);
  }

  #finish(message: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const stream of this.#errorStreams) {
      stream.reply();
      stream.write(Buffer.from(message));
      stream.end();
    }
    this.#errorStreams.clear();
    this.#toKubelet.open();
    this.#client.goaway();
    this.#kubelet.destroy();
  }

  #clientEnded(end: SpdyEnd): void {
    this.#isOver = true;
    this.#end ??= clientEnd(end);
    this.#toKubelet.open();
    leaveBackend(this.#kubelet, end);
  }

  get #closedEnd(): SessionEnd {
    return this.#end ?? { cause: 'internal', message: 'both connections were closed' };
  }
}

/** Runs `onOver` once when both directions of a joined stream are over, or it was reset from either side. */
class StreamEnds {
  readonly #onOver: () => void;
  #isClientOver: boolean;
  #isKubeletOver: boolean;
  #isOver: boolean;

  constructor(onOver: () => void) {
    this.#onOver = onOver;
    this.#isClientOver = false;
    this.#isKubeletOver = false;
    this.#isOver = false;
  }

  ended(side: 'client' | 'kubelet', how: SpdyStreamEnd): void {
    // The end of a whole connection is not an end of streams: those still open then are told why.
    if (how === 'cut' || how === 'goaway') return;
    if (side === 'client') this.#isClientOver = true;
    else this.#isKubeletOver = true;
    const isBoth = this.#isClientOver && this.#isKubeletOver;
    if (this.#isOver || !(isBoth || how === 'reset')) return;
    this.#isOver = true;
    this.#onOver();
  }
}

/** Text on an error stream is the one thing by which kubectl learns of a refusal. */
function refuse(client: SpdyStream, isError: boolean): void {
  if (!isError) {
    client.reset();
    return;
  }
  client.setHandlers({});
  client.reply();
  client.write(Buffer.from(`too many forwarded connections on one session: the limit is ${maxForwardedStreams / 2}`));
  client.end();
  // Forgotten at once, behind its text: until its client has ended it too it would take the place of one that could still be told.
  client.reset();
}

function keptHeaders(headers: HeaderList): HeaderList {
  return headers.filter(([name]) => forwardedHeaders.includes(name.toLowerCase()));
}

function passEnd(how: SpdyStreamEnd, to: SpdyStream): void {
  if (how === 'fin') to.end();
  else if (how === 'reset') to.reset();
}
