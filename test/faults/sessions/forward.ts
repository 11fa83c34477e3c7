// Port-forward: natively over SPDY, tunnelled in a WebSocket, or over the legacy WebSocket channels. A forwarded connection counts as whole
// only if its data stream ended by itself and nothing stood on its error stream; anything else makes kubectl say so.

import { describeError } from '../../../src/base/errors.ts';
import { Scope } from '../../../src/base/scope.ts';
import { connectSpdy, SpdyClient, SpdyForwarder, UpgradeRefused } from '../../support/spdy-client.ts';
import {
  openWebSocket,
  UpgradeRefused as WebSocketRefused,
  type WebSocketClient,
} from '../../support/websocket-client.ts';
import {
  failure,
  podUrl,
  type Result,
  type RunningSession,
  type SessionReport,
  type SessionTarget,
  type Work,
} from './session.ts';
import { openTunnel } from './tunnel-socket.ts';

const none = Buffer.alloc(0);

function refusal(error: unknown): SessionReport {
  if (error instanceof UpgradeRefused || error instanceof WebSocketRefused) {
    return { phase: 'refused', result: failure(`${error.status} ${error.body}`, true), received: none };
  }
  return { phase: 'unreached', result: failure(describeError(error), false), received: none };
}

export class SpdyForwardSession implements RunningSession {
  readonly done: Promise<SessionReport>;
  readonly #work: Work;
  readonly #isTunnel: boolean;
  #client: SpdyClient | undefined;

  constructor(target: SessionTarget, options: { isTunnel: boolean }, work: Work) {
    this.#work = work;
    this.#isTunnel = options.isTunnel;
    this.done = this.#run(target);
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  pause(): void {
    this.#client?.connection.pause();
  }

  resume(): void {
    this.#client?.connection.resume();
  }

  leave(): void {
    this.#client?.connection.destroy(new Error('the client has left'));
  }

  async #run(target: SessionTarget): Promise<SessionReport> {
    const url = podUrl(target, this.#work.pod, 'portforward', new URLSearchParams());
    try {
      this.#client = this.#isTunnel
        ? await this.#connectTunnel(target, url)
        : await connectSpdy({ url, ca: target.ca, ...target.certificate, protocols: ['portforward.k8s.io'] });
    } catch (error) {
      return refusal(error);
    }
    const forwarder = new SpdyForwarder(this.#client);
    const reports = await Promise.all(this.#work.connections.map((connection) => this.#forward(forwarder, connection)));
    await this.#client.close();
    const broken = reports.find(({ result }) => result.kind !== 'success');
    return { phase: 'open', ...(broken ?? reports[0] ?? { result: { kind: 'success' }, received: none }) };
  }

  async #connectTunnel(target: SessionTarget, url: string): Promise<SpdyClient> {
    const { pathname } = new URL(url);
    const socket = await openTunnel(target, pathname);
    return new SpdyClient(socket, { head: none, protocol: 'portforward.k8s.io', headers: [] });
  }

  async #forward(
    forwarder: SpdyForwarder,
    connection: Work['connections'][number],
  ): Promise<{ result: Result; received: Buffer }> {
    let streams;
    try {
      streams = await forwarder.open(connection.port);
    } catch (error) {
      return { result: failure(`cannot open a stream: ${String(error)}`, false), received: none };
    }
    const { data, error } = streams;
    void forwarder.client.write(data, connection.bytes).then(() => data.stream.end());
    const [dataEnd] = await Promise.all([data.ended, error.ended]);
    if (error.text !== '') return { result: failure(error.text, true), received: data.bytes };
    // client-go takes a reset of the data stream for its end.
    if (dataEnd === 'goaway' || dataEnd === 'cut') {
      return { result: failure(`the data stream ended by ${dataEnd}`, false), received: data.bytes };
    }
    return { result: { kind: 'success' }, received: data.bytes };
  }
}

/** One connection: the protocol has no half-close, so what is sent must make the other end finish. */
export class ChannelForwardSession implements RunningSession {
  readonly done: Promise<SessionReport>;
  readonly #work: Work;
  #client: WebSocketClient | undefined;

  constructor(target: SessionTarget, protocol: string, work: Work) {
    this.#work = work;
    this.done = this.#run(target, protocol);
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  pause(): void {
    this.#client?.socket.pause();
  }

  resume(): void {
    this.#client?.socket.resume();
  }

  leave(): void {
    this.#client?.destroy();
  }

  async #run(target: SessionTarget, protocol: string): Promise<SessionReport> {
    const scope = new Scope();
    const [connection] = this.#work.connections;
    if (connection === undefined) throw new RangeError('Cannot forward nothing');
    const { ca, certificate } = target;
    try {
      const url = podUrl(
        target,
        this.#work.pod,
        'portforward',
        new URLSearchParams([['ports', String(connection.port)]]),
      );
      const protocols = protocol === '' ? [] : [protocol];
      const client = await openWebSocket(scope, { url, ca, certificate, protocols, channelCount: 2 });
      this.#client = client;
      client.send(0, connection.bytes);
      const end = await client.ended;
      // Two bytes with the port's number stand before everything.
      const received = client.channel(0).subarray(2);
      const error = client.channel(1).subarray(2).toString();
      if (error !== '') return { phase: 'open', result: failure(error, true), received };
      if (end.code !== 1000) {
        return { phase: 'open', result: failure(`the connection ended by ${end.how}, ${end.code}`, false), received };
      }
      return { phase: 'open', result: { kind: 'success' }, received };
    } catch (error) {
      return refusal(error);
    } finally {
      await scope.close();
    }
  }
}
