// port-forward in its three forms, with an echo server of the test as the pod's port.

import { createServer, type Server, type AddressInfo } from 'node:net';
import { expect } from 'chai';
import { systemClock } from '../../../src/base/clock.ts';
import { SpdyConnection, type SpdyStream, type SpdyStreamEnd } from '../../../src/net/spdy-connection.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import { encodeFrame, opcodes, WebSocketDecoder } from '../../../src/protocol/websocket/frame.ts';
import { type RecordedConnection, readConnections } from '../../support/recordings.ts';
import { Harness, nextChunk, requestHead } from './harness.ts';

interface ForwardResult {
  readonly data: string;
  readonly error: string;
  readonly ends: readonly (SpdyStreamEnd | undefined)[];
}

/** One forwarded connection over an open SPDY connection: sends `input`, half-closes, reads to the end. */
function forward(connection: SpdyConnection, port: number, requestId: number, input: string): Promise<ForwardResult> {
  return new Promise((resolve) => {
    const texts = { data: '', error: '' };
    const ends: { data?: SpdyStreamEnd; error?: SpdyStreamEnd } = {};
    const open = (streamtype: 'error' | 'data'): SpdyStream =>
      connection.createStream(
        [
          ['streamtype', streamtype],
          ['port', String(port)],
          ['requestid', String(requestId)],
        ],
        {
          onData: (bytes) => (texts[streamtype] += bytes.toString()),
          onEnd: (how) => {
            ends[streamtype] = how;
            if (ends.data !== undefined && ends.error !== undefined)
              resolve({ ...texts, ends: [ends.data, ends.error] });
          },
        },
      );
    open('error').end();
    const data = open('data');
    data.write(Buffer.from(input));
    data.end();
  });
}

describe('kubelet: port-forward', () => {
  let harness: Harness;
  let echo: Server;
  let port: number;
  before(async () => {
    harness = await Harness.start();
    harness.createSimplePod('tools', { command: ['sleep', '1000'] });
    await harness.waitUntilReady('tools');
    echo = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    await new Promise<void>((resolve) => {
      echo.listen(0, '127.0.0.1', resolve);
    });
    ({ port } = echo.address() as AddressInfo);
  });
  after(async () => {
    await harness.close();
    echo.close();
  });

  async function openSpdy(): Promise<SpdyConnection> {
    const socket = await harness.dial();
    const headers = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'portforward.k8s.io' };
    socket.write(requestHead({ method: 'POST', path: '/portForward/default/tools', headers }));
    await nextChunk(socket);
    return new SpdyConnection({ socket, clock: systemClock }, { role: 'client' }, { onEnd: () => {} });
  }

  it('forwards several connections at once, each with its half-close', async () => {
    const connection = await openSpdy();
    const inputs = ['one', 'two'.repeat(100_000), ''];
    const results = await Promise.all(inputs.map((input, index) => forward(connection, port, index, input)));
    expect(results.map(({ data, error, ends }, index) => [data === inputs[index], error, ends])).to.deep.equal(
      inputs.map(() => [true, '', ['fin', 'fin']]),
    );
    connection.destroy();
  });

  it('tells a port where nothing listens as recorded', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => {
      closed.listen(0, '127.0.0.1', resolve);
    });
    const { port: freePort } = closed.address() as AddressInfo;
    await new Promise((resolve) => {
      closed.close(resolve);
    });
    const connection = await openSpdy();
    const { data, error, ends } = await forward(connection, freePort, 0, 'hi\n');
    const [recorded] = readConnections('portforward-spdy-refused');
    const text = recordedErrorText(recorded!);
    const normalize = (message: string): string =>
      message
        .replaceAll(/[0-9a-f]{64}/g, 'POD')
        .replaceAll(/\b\d{4,5}\b/g, 'PORT')
        .replace(/IPv6 dial tcp6.*/, 'IPv6');
    expect({ data, error: normalize(error), ends }).to.deep.equal({
      data: '',
      error: normalize(text),
      ends: ['fin', 'reset'],
    });
    connection.destroy();
  });

  it('resets a stream without a port or of an unknown type', async () => {
    const connection = await openSpdy();
    const ends = await Promise.all(
      [
        [['streamtype', 'data']],
        [
          ['streamtype', 'other'],
          ['port', '80'],
        ],
        [
          ['streamtype', 'data'],
          ['port', '70000'],
        ],
      ].map(
        (headers) =>
          new Promise((resolve) => {
            connection.createStream(headers as [string, string][], { onEnd: resolve });
          }),
      ),
    );
    expect(ends).to.deep.equal(['reset', 'reset', 'reset']);
    connection.destroy();
  });

  it('carries SPDY in a tunnel', async () => {
    const messages = await talkWebSocket(harness, '/portForward/default/tools', 'SPDY/3.1+portforward.k8s.io', [
      recordedTunnelBytes(port),
    ]);
    expect(messages.toString('latin1')).to.contain('hi\n');
  });

  it('gives each port two channels in the old form, announced by its number', async () => {
    const path = `/portForward/default/tools?port=${port}`;
    const received = await talkWebSocket(harness, path, 'v4.channel.k8s.io', [Buffer.from('\u0000hi\n')]);
    const announced = Buffer.alloc(2);
    announced.writeUInt16LE(port);
    expect(received.toString('hex')).to.equal(
      Buffer.concat([Buffer.of(0), announced, Buffer.of(1), announced, Buffer.of(0), Buffer.from('hi\n')]).toString(
        'hex',
      ),
    );
  });
});

/** The payload of stream 1's DATA frame. */
function recordedErrorText({ kubelet }: RecordedConnection): string {
  const text = kubelet.body.toString('latin1');
  const start = text.indexOf('error forwarding port');
  return text.slice(start, text.indexOf('found ') + 'found '.length);
}

/** What a client sends into the tunnel, made for another port by our own connection. */
function recordedTunnelBytes(port: number): Buffer {
  const encoded: Buffer[] = [];
  const encoder = new SpdyEncoder();
  const headers = (streamtype: string): [string, string][] => [
    ['streamtype', streamtype],
    ['port', String(port)],
    ['requestid', '0'],
  ];
  encoded.push(
    encoder.synStream(1, headers('error'), { fin: true }),
    encoder.synStream(3, headers('data'), { fin: false }),
  );
  encoded.push(encoder.dataHeader(3, 3, false), Buffer.from('hi\n'));
  return Buffer.concat(encoded);
}

/** Sends messages and collects the payload of those that come, until what was sent came back. */
async function talkWebSocket(
  harness: Harness,
  path: string,
  protocol: string,
  messages: readonly Buffer[],
): Promise<Buffer> {
  const socket = await harness.dial();
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': protocol,
  };
  socket.write(requestHead({ method: 'GET', path, headers }));
  let bytes = (await nextChunk(socket))!;
  bytes = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
  const decoder = new WebSocketDecoder({ role: 'client' });
  const received: Buffer[] = [];
  for (const message of messages) {
    for (const part of encodeFrame(opcodes.binary, [message], { key: Buffer.of(1, 2, 3, 4) })) socket.write(part);
  }
  for (;;) {
    for (const event of decoder.acceptChunk(Buffer.from(bytes))) if (event.type === 'data') received.push(event.bytes);
    if (Buffer.concat(received).includes('hi\n')) break;
    bytes = (await nextChunk(socket))!;
  }
  socket.destroy();
  return Buffer.concat(received);
}
