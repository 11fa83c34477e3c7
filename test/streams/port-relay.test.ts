import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { PortRelay } from '../../src/streams/port-relay.ts';
import { TunnelDuplex } from '../../src/streams/tunnel.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { makeRig, quiet, type Rig, SpdyPeer, until } from './support/rig.ts';

const pair = (id: string, port = '80'): readonly (readonly [string, string])[] => [
  ['port', port],
  ['requestid', id],
];

describe('PortRelay', () => {
  let rig: Rig<PortRelay>;
  let client: SpdyPeer;

  beforeEach(() => {
    rig = makeRig((deps, legs) => new PortRelay(deps, legs, { backend: 'the kubelet of node node1' }));
    client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
  });

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  it('opens the same streams with the same headers, and replies when the kubelet has', async () => {
    rig.kubelet.isReplying = false;
    client.open('error', pair('0'));
    client.open('data', pair('0'));
    await until(() => rig.kubelet.streams.length === 2);
    await quiet();
    expect(client.log).to.deep.equal([]);
    expect(rig.kubelet.streams.map(({ stream }) => stream.headers)).to.deep.equal([
      [['streamtype', 'error'], ...pair('0')],
      [['streamtype', 'data'], ...pair('0')],
    ]);
    for (const { stream } of rig.kubelet.streams) stream.reply();
    await until(() => client.log.length === 2);
  });

  it('hands on what a kubelet refuses by a reset', async () => {
    rig.kubelet.isReplying = false;
    client.open('error', pair('0', '0'));
    await until(() => rig.kubelet.streams.length === 1);
    rig.kubelet.of('error').stream.reset();
    await until(() => client.of('error').end === 'reset');
    expect(client.log).to.deep.equal(['end error reset']);
  });

  it('carries bytes, half-closes and resets both ways', async () => {
    client.open('error', pair('0')).stream.end();
    client.open('data', pair('0'));
    await until(() => rig.kubelet.log.includes('end error fin'));
    client.of('data').stream.write(Buffer.from('ping'));
    client.of('data').stream.end();
    await until(() => rig.kubelet.log.includes('end data fin'));
    expect(rig.kubelet.text('data')).to.equal('ping');
    rig.kubelet.of('data').stream.write(Buffer.from('pong'));
    rig.kubelet.of('data').stream.end();
    rig.kubelet.of('error').stream.end();
    await until(() => client.of('data').end === 'fin' && client.of('error').end === 'fin');
    expect(client.text('data')).to.equal('pong');
    expect([rig.session.bytesIn, rig.session.bytesOut]).to.deep.equal([4, 4]);
    client.open('data', pair('1')).stream.reset();
    await until(() => rig.kubelet.log.includes('end data reset'));
  });

  it('passes the error text of a kubelet', async () => {
    client.open('error', pair('0'));
    await until(() => rig.kubelet.streams.length === 1);
    rig.kubelet.of('error').stream.write(Buffer.from('error forwarding port 80'));
    await until(() => client.text('error') === 'error forwarding port 80');
  });

  it('puts text on every open error stream and ends the connection when the kubelet dies', async () => {
    client.open('error', pair('0')).stream.end();
    client.open('data', pair('0'));
    client.open('error', pair('1')).stream.end();
    await until(() => rig.kubelet.streams.length === 3);
    await quiet();
    rig.kubelet.socket.destroy();
    await until(() => client.end !== undefined);
    const text = 'the connection to the kubelet of node node1 broke (ECONNRESET)';
    expect(
      client.streams.filter(({ type }) => type === 'error').map(({ data }) => Buffer.concat(data).toString()),
    ).to.deep.equal([text, text]);
    expect(client.end).to.deep.equal({ how: 'goaway' });
    client.socket.destroy();
    await until(() => rig.ended !== undefined);
    expect(rig.ended).to.deep.equal({ cause: 'kubeletGone', message: text });
  });

  it('ends the connection when the kubelet does, with no stream open: that is how kubectl learns of it', async () => {
    client.open('error', pair('0')).stream.reset();
    await until(() => rig.kubelet.log.includes('end error reset'));
    rig.kubelet.connection.goaway();
    await until(() => client.end !== undefined);
    expect(client.end).to.deep.equal({ how: 'goaway' });
  });

  it('gives the kubelet what a client sent before it left in order, however slowly it reads', async () => {
    const data = client.open('data', pair('0'));
    await until(() => rig.kubelet.streams.length === 1);
    rig.kubelet.connection.pause();
    await quiet();
    data.stream.write(Buffer.alloc(200 * 1024, 'x'));
    data.stream.end();
    client.connection.goaway();
    await until(() => client.isClosed);
    rig.clock.advance(1_999);
    rig.kubelet.connection.resume();
    await until(() => rig.kubelet.end !== undefined);
    expect([rig.kubelet.text('data').length, rig.kubelet.of('data').end, rig.kubelet.end?.how]).to.deep.equal([
      200 * 1024,
      'fin',
      'goaway',
    ]);
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('clientGone');
  });

  it('waits for no kubelet that reads nothing once the client has left', async () => {
    const data = client.open('data', pair('0'));
    await until(() => rig.kubelet.streams.length === 1);
    rig.kubelet.connection.pause();
    data.stream.write(Buffer.alloc(200 * 1024));
    client.connection.goaway();
    await until(() => client.isClosed);
    rig.clock.advance(2_000); // in which some of it left
    await quiet();
    rig.clock.advance(2_000);
    await until(() => rig.ended !== undefined);
  });

  it('closes the leg of the kubelet when the client leaves', async () => {
    client.open('data', pair('0'));
    await until(() => rig.kubelet.streams.length === 1);
    rig.clientSocket.destroy();
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('clientGone');
  });

  it('refuses one connection too many with a text, and takes new ones when others have closed', async () => {
    const refused: string[] = [];
    for (let id = 0; id < 1000; id += 1) {
      for (const type of ['error', 'data']) {
        client.connection.createStream([['streamtype', type], ...pair(String(id))], {});
      }
    }
    await until(() => rig.kubelet.streams.length === 2000);
    const parts: Buffer[] = [];
    client.connection.createStream([['streamtype', 'error'], ...pair('x')], {
      onData: (bytes) => parts.push(Buffer.from(bytes)),
      onEnd: (how) => refused.push(`error ${how}`),
    });
    client.connection.createStream([['streamtype', 'data'], ...pair('x')], {
      onEnd: (how) => refused.push(`data ${how}`),
    });
    await until(() => refused.length === 2);
    expect([Buffer.concat(parts).toString(), refused]).to.deep.equal([
      'too many forwarded connections on one session: the limit is 1000',
      ['error fin', 'data reset'],
    ]);
    rig.kubelet.streams[0]?.stream.reset();
    await quiet();
    client.connection.createStream([['streamtype', 'error'], ...pair('y')], {});
    await until(() => rig.kubelet.streams.length === 2001);
  });
});

describe('TunnelDuplex', () => {
  it('carries SPDY in messages of any size, empty ones included, and Close 1000 as the end', async () => {
    let tunnel: TunnelDuplex | undefined;
    const rig = makeRig((deps, legs) => {
      tunnel = new TunnelDuplex(deps, legs.client);
      return new PortRelay(
        deps,
        { client: { socket: tunnel, head: Buffer.alloc(0) }, kubelet: legs.kubelet },
        { backend: 'the kubelet of node n' },
      );
    });
    const received: Buffer[] = [];
    let closeCode = 0;
    const { SpdyEncoder } = await import('../../src/protocol/spdy/encoder.ts');
    const { SpdyDecoder } = await import('../../src/protocol/spdy/decoder.ts');
    const ws = new WebSocketConnection(
      { socket: rig.clientSocket, clock: rig.clock },
      { role: 'client' },
      {
        onData: (event) => received.push(Buffer.from(event.bytes)),
        onEnd: (end) => {
          closeCode = end.how === 'close' ? end.code : -1;
        },
      },
    );
    const encoder = new SpdyEncoder();
    const frames = Buffer.concat([
      encoder.synStream(1, [['streamtype', 'error'], ...pair('0')]),
      encoder.synStream(3, [['streamtype', 'data'], ...pair('0')]),
      encoder.dataHeader(3, 4, false),
      Buffer.from('ping'),
    ]);
    ws.sendBinary(Buffer.alloc(0));
    for (const byte of frames) ws.sendBinary(Buffer.of(byte));
    await until(() => rig.kubelet.streams.length === 2 && rig.kubelet.text('data') === 'ping');
    rig.kubelet.of('data').stream.write(Buffer.alloc(100_000, 1));
    rig.kubelet.connection.goaway();
    await until(() => Buffer.concat(received).length > 100_000);
    await quiet();
    rig.clock.advance(5000); // this client does not close at GOAWAY
    await until(() => closeCode !== 0);
    const seen = new SpdyDecoder().acceptChunk(Buffer.concat(received));
    const bytes = seen.reduce(
      (sum, frame) => sum + (frame.type === 'data' && frame.streamId === 3 ? frame.bytes.length : 0),
      0,
    );
    expect([bytes, closeCode, seen.at(-1)?.type]).to.deep.equal([100_000, 1000, 'goaway']);
    await until(() => rig.ended !== undefined);
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  it('ends on a text message', async () => {
    const rig = makeRig((deps, legs) => {
      const tunnel = new TunnelDuplex(deps, legs.client);
      return new PortRelay(
        deps,
        { client: { socket: tunnel, head: Buffer.alloc(0) }, kubelet: legs.kubelet },
        { backend: 'the kubelet of node n' },
      );
    });
    const ws = new WebSocketConnection(
      { socket: rig.clientSocket, clock: rig.clock },
      { role: 'client' },
      { onData() {}, onEnd() {} },
    );
    ws.sendText('hello');
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('protocol');
    await rig.close();
  });
});
