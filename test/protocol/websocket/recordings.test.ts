// Recorded WebSocket sessions through frame decoder, channel decoder and exit status, cut in every way a network may cut them.

import { expect } from 'chai';
import { ChannelDecoder } from '../../../src/protocol/channel.ts';
import { parseCommandEnd } from '../../../src/protocol/exit-status.ts';
import { negotiateWebSocket } from '../../../src/protocol/subprotocols.ts';
import { WebSocketDecoder, type WebSocketRole } from '../../../src/protocol/websocket/frame.ts';
import { readConnections, readOutput } from '../../support/recordings.ts';

interface Seen {
  /** Bytes by channel, as latin1. */
  readonly channels: Record<number, string>;
  readonly halfClosed: number[];
  readonly close: number | undefined;
  readonly pings: number;
}

function readSession(role: WebSocketRole, protocol: string, chunks: readonly Buffer[]): Seen {
  const decoder = new WebSocketDecoder({ role });
  const choice = negotiateWebSocket('exec', protocol === '' ? [] : [protocol]);
  if (!choice.isAccepted) throw new Error(`the recorded protocol ${protocol} is not known`);
  const channels = new ChannelDecoder({
    isBase64: choice.isBase64,
    hasHalfClose: choice.version === 5,
    channelCount: 5,
  });
  const parts = new Map<number, Buffer[]>();
  const halfClosed: number[] = [];
  let close: number | undefined;
  let pings = 0;
  for (const chunk of chunks) {
    for (const event of decoder.acceptChunk(Buffer.from(chunk))) {
      if (event.type === 'close') close = event.code;
      else if (event.type === 'ping') pings += 1;
      else if (event.type === 'data') {
        const read = channels.accept(event);
        if (read?.type === 'close') halfClosed.push(read.channel);
        if (read?.type === 'data')
          parts.set(read.channel, [...(parts.get(read.channel) ?? []), Buffer.from(read.bytes)]);
      }
    }
  }
  if (decoder.failure !== undefined) throw decoder.failure;
  return {
    channels: Object.fromEntries(
      [...parts].map(([channel, list]) => [channel, Buffer.concat(list).toString('latin1')]),
    ),
    halfClosed,
    close,
    pings,
  };
}

/** Every way to cut `bytes` that the plan names. */
function* cuts(
  bytes: Buffer,
  chunks: readonly Buffer[],
): Generator<readonly [what: string, chunks: readonly Buffer[]]> {
  yield ['as recorded', chunks];
  yield ['coalesced', [bytes]];
  if (bytes.length <= 4096) {
    yield ['byte by byte', Array.from({ length: bytes.length }, (_, at) => bytes.subarray(at, at + 1))];
  }
  for (let at = 1; at < Math.min(bytes.length, 1024); at += 1) {
    yield [`split at ${at}`, [bytes.subarray(0, at), bytes.subarray(at)]];
  }
}

const execs: [name: string, protocol: string, stdin: Partial<Seen>, end: object][] = [
  ['exec-ws5-exit3', 'v5.channel.k8s.io', { close: 1000 }, { kind: 'exit', exitCode: 3 }],
  ['exec-ws5-stdin', 'v5.channel.k8s.io', { halfClosed: [0], close: 1000 }, { kind: 'success' }],
  ['exec-ws5-tty', 'v5.channel.k8s.io', { halfClosed: [], close: 1000 }, { kind: 'exit', exitCode: 5 }],
  ['exec-ws5-nocmd', 'v5.channel.k8s.io', {}, { kind: 'failure', reason: 'InternalError', code: 500 }],
  ['exec-ws4-exit3', 'v4.channel.k8s.io', {}, { kind: 'exit', exitCode: 3 }],
  ['exec-ws4-base64-exit3', 'v4.base64.channel.k8s.io', {}, { kind: 'exit', exitCode: 3 }],
];

describe('recorded WebSocket sessions', () => {
  for (const [name, protocol, client, end] of execs) {
    it(`${name} reads the same however it is cut`, () => {
      for (const connection of readConnections(name)) {
        const whole = readSession('client', protocol, [connection.kubelet.body]);
        expect(parseCommandEnd(Buffer.from(whole.channels[3] ?? '', 'latin1'))).to.include(end);
        expect({ close: whole.close, halfClosed: whole.halfClosed }).to.deep.equal({ close: 1000, halfClosed: [] });
        for (const [what, chunks] of cuts(connection.kubelet.body, connection.kubelet.chunks)) {
          expect(readSession('client', protocol, chunks), what).to.deep.equal(whole);
        }
        const sent = readSession('server', protocol, [connection.client.body]);
        expect(sent).to.deep.include(client);
        for (const [what, chunks] of cuts(connection.client.body, connection.client.chunks)) {
          expect(readSession('server', protocol, chunks), what).to.deep.equal(sent);
        }
      }
    });
  }

  it("exec-ws5-exit3 gives the user's output", () => {
    const [connection] = readConnections('exec-ws5-exit3');
    const { channels } = readSession('client', 'v5.channel.k8s.io', connection?.kubelet.chunks ?? []);
    expect({ 1: channels[1], 2: channels[2] }).to.deep.equal({
      1: readOutput('exec-ws5-exit3', 'stdout').toString(),
      2: 'err\n',
    });
  });

  it('exec-ws5-stdin and exec-ws5-tty carry what the client sent', () => {
    const [stdin] = readConnections('exec-ws5-stdin');
    const [tty] = readConnections('exec-ws5-tty');
    expect([
      readSession('server', 'v5.channel.k8s.io', stdin?.client.chunks ?? []).channels,
      readSession('server', 'v5.channel.k8s.io', tty?.client.chunks ?? []).channels,
    ]).to.deep.equal([{ 0: 'hello\nworld\n' }, { 0: '\0', 4: '{"Width":100,"Height":30}\n' }]);
  });

  it('exec-ws5-large gives 256 KiB, equal to what the user got', () => {
    const [connection] = readConnections('exec-ws5-large');
    const seen = readSession('client', 'v5.channel.k8s.io', connection?.kubelet.chunks ?? []);
    const coalesced = readSession('client', 'v5.channel.k8s.io', [connection?.kubelet.body ?? Buffer.alloc(0)]);
    expect(Buffer.from(seen.channels[1] ?? '', 'latin1').equals(readOutput('exec-ws5-large', 'stdout'))).to.equal(true);
    expect(coalesced.channels[1] === seen.channels[1]).to.equal(true);
  });

  it('exec-ws1-exit3 has text on its error channel', () => {
    const [connection] = readConnections('exec-ws1-exit3');
    expect(readSession('client', 'channel.k8s.io', connection?.kubelet.chunks ?? []).channels).to.deep.equal({
      1: 'out\n',
      2: 'err\n',
      3: 'command terminated with non-zero exit code: error executing command [sh -c echo out; echo err >&2; exit 3], exit code 3',
    });
  });

  it('attach-ws5 ends with a close though the client only hung up', () => {
    const [connection] = readConnections('attach-ws5');
    const seen = readSession('client', 'v5.channel.k8s.io', connection?.kubelet.chunks ?? []);
    expect(seen).to.deep.include({ channels: { 1: 'line\nline\nline\n' }, close: 1000 });
  });

  it('portforward-tunnel carries SPDY bytes in messages that mean nothing', () => {
    for (const { client, kubelet } of readConnections('portforward-tunnel')) {
      for (const [role, { body, chunks }] of [
        ['server', client],
        ['client', kubelet],
      ] as const) {
        const whole = tunnelBytes(role, [body]);
        expect(whole.subarray(0, 2).toString('hex')).to.equal('8003');
        for (const [what, cut] of cuts(body, chunks)) {
          expect(tunnelBytes(role, cut).equals(whole), `${role} ${what}`).to.equal(true);
        }
      }
    }
  });
});

function tunnelBytes(role: WebSocketRole, chunks: readonly Buffer[]): Buffer {
  const decoder = new WebSocketDecoder({ role });
  const events = chunks.flatMap((chunk) => decoder.acceptChunk(Buffer.from(chunk)));
  if (decoder.failure !== undefined) throw decoder.failure;
  return Buffer.concat(events.flatMap((event) => (event.type === 'data' ? [event.bytes] : [])));
}
