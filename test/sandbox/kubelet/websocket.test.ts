// What is particular to the kubelet's WebSocket ends: the two Go libraries' ways, the translator's false success, half-closes, and the
// recorded ends of attaches that their client cut.

import { expect } from 'chai';
import { encodeFrame, opcodes, WebSocketDecoder, type WebSocketEvent } from '../../../src/protocol/websocket/frame.ts';
import { readConnections } from '../../support/recordings.ts';
import { Harness, nextChunk, requestHead } from './harness.ts';

const key = Buffer.of(9, 8, 7, 6);

function frame(opcode: number, payload: Buffer | string, isFin = true): Buffer {
  return Buffer.concat(encodeFrame(opcode, [Buffer.from(payload)], { key, isFin }));
}

/** A WebSocket client at frame level. */
class Client {
  readonly #socket: Awaited<ReturnType<Harness['dial']>>;
  readonly #decoder = new WebSocketDecoder({ role: 'client' });
  readonly messages: string[] = [];
  readonly controls: WebSocketEvent['type'][] = [];
  #message = '';

  private constructor(socket: Awaited<ReturnType<Harness['dial']>>, rest: Buffer) {
    this.#socket = socket;
    this.#accept(rest);
  }

  static async open(harness: Harness, path: string, protocol: string): Promise<Client> {
    const socket = await harness.dial();
    socket.on('error', () => {});
    const headers = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol': protocol,
    };
    socket.write(requestHead({ method: 'GET', path, headers }));
    const head = (await nextChunk(socket))!;
    return new Client(socket, head.subarray(head.indexOf('\r\n\r\n') + 4));
  }

  #accept(bytes: Buffer): void {
    for (const event of this.#decoder.acceptChunk(Buffer.from(bytes))) {
      if (event.type !== 'data') {
        this.controls.push(event.type);
        continue;
      }
      this.#message += event.bytes.toString('latin1');
      if (!event.isLast) continue;
      this.messages.push(this.#message);
      this.#message = '';
    }
  }

  send(...frames: Buffer[]): void {
    for (const each of frames) this.#socket.write(each);
  }

  /** Reads until `isIt` holds, or to the end. */
  async until(isIt: () => boolean): Promise<void> {
    while (!isIt()) {
      const chunk = await nextChunk(this.#socket);
      if (chunk === undefined) return;
      this.#accept(chunk);
    }
  }

  toEnd(): Promise<void> {
    return this.until(() => false);
  }

  endWriting(): void {
    this.#socket.end();
  }
}

function execPath(script: string, stdin = false): string {
  const query = new URLSearchParams([
    ['command', 'sh'],
    ['command', '-c'],
    ['command', script],
    ['output', '1'],
    ...(stdin ? [['input', '1'] as [string, string]] : []),
  ]);
  return `/exec/default/tools/tools?${query.toString()}`;
}

describe('kubelet: WebSocket', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start();
    harness.createSimplePod('tools', { command: ['sh', '-c', 'while :; do echo line; sleep 0.05; done'] });
    await harness.waitUntilReady('tools');
  });
  after(() => harness.close());

  it('calls a runtime that died a success on v5, as the real translator does', async () => {
    const client = await Client.open(harness, execPath('echo begun; exec sleep 1000'), 'v5.channel.k8s.io');
    await client.until(() => client.messages.includes('\u0001begun\n'));
    harness.kubelet.cutRuntime();
    await client.toEnd();
    expect([client.messages.at(-1), client.controls]).to.deep.equal([
      '\u0003{"metadata":{},"status":"Success"}',
      ['close'],
    ]);
  });

  it('just ends a v4 session whose runtime died', async () => {
    const client = await Client.open(harness, execPath('echo begun; exec sleep 1000'), 'v4.channel.k8s.io');
    await client.until(() => client.messages.includes('\u0001begun\n'));
    harness.kubelet.cutRuntime();
    await client.toEnd();
    expect([client.messages.at(-1), client.controls]).to.deep.equal(['\u0001begun\n', []]);
  });

  it('takes every continuation frame for a message of its own on v4', async () => {
    const client = await Client.open(harness, execPath('head -c 4', true), 'v4.channel.k8s.io');
    // The second frame's first byte is a channel to x/net, not payload: 'ab' and 'cd' arrive, '0' and 'x' do not.
    client.send(frame(opcodes.binary, '\u0000ab', false), frame(opcodes.continuation, '\u0000cd'));
    await client.toEnd();
    expect(client.messages).to.include('\u0001abcd');
  });

  it('joins fragments on v5', async () => {
    const client = await Client.open(harness, execPath('head -c 5', true), 'v5.channel.k8s.io');
    client.send(frame(opcodes.binary, '\u0000ab', false), frame(opcodes.continuation, '\u0000cd'));
    await client.toEnd();
    expect(client.messages).to.include('\u0001ab\u0000cd');
  });

  it('ends stdin by a half-close on v5, once however often it comes', async () => {
    const client = await Client.open(harness, execPath('cat; echo end', true), 'v5.channel.k8s.io');
    const close = frame(opcodes.binary, Buffer.of(255, 0));
    client.send(frame(opcodes.binary, '\u0000in\n'), close, close);
    await client.toEnd();
    expect(client.messages.join('')).to.contain('in\n').and.to.contain('end\n');
  });

  for (const [what, payload] of [
    ['a channel that does not exist', Buffer.of(255, 5)],
    ['a length that is none', Buffer.of(255)],
  ] as const) {
    it(`drops a v5 connection that half-closes ${what}`, async () => {
      const client = await Client.open(harness, execPath('exec sleep 1000', true), 'v5.channel.k8s.io');
      client.send(frame(opcodes.binary, payload));
      await client.toEnd();
      expect(client.controls).to.deep.equal([]);
    });
  }

  it('answers pings, and ends a connection whose frames are not masked', async () => {
    const client = await Client.open(harness, execPath('exec sleep 1000', true), 'v4.channel.k8s.io');
    client.send(frame(opcodes.ping, 'x'));
    await client.until(() => client.controls.includes('pong'));
    client.send(Buffer.concat(encodeFrame(opcodes.binary, [Buffer.from('\u0000in')])));
    await client.toEnd();
  });

  it('ends an attach that its client has cut as recorded: by a FIN on SPDY, by a Close on v5', async () => {
    const ends: string[] = [];
    for (const name of ['attach-spdy', 'attach-ws5']) {
      const [recorded] = readConnections(name);
      const socket = await harness.dial();
      socket.on('error', () => {});
      socket.write(recorded!.client.head);
      const received = [(await nextChunk(socket))!];
      for (const chunk of recorded!.client.chunks) socket.write(chunk);
      const hasLine = (): boolean => Buffer.concat(received).includes('line\n');
      while (!hasLine()) received.push((await nextChunk(socket))!);
      socket.end();
      for (let chunk = await nextChunk(socket); chunk !== undefined; chunk = await nextChunk(socket))
        received.push(chunk);
      const isClosed = Buffer.concat(received)
        .subarray(-4)
        .equals(Buffer.of(0x88, 2, 0x03, 0xe8));
      const wasClosed = recorded!.kubelet.body.subarray(-4).equals(Buffer.of(0x88, 2, 0x03, 0xe8));
      ends.push(`${name}: ${isClosed ? 'close' : 'fin'} ${isClosed === wasClosed}`);
    }
    expect(ends).to.deep.equal(['attach-spdy: fin true', 'attach-ws5: close true']);
  });
});
