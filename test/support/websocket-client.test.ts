import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { expect } from 'chai';
import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { base64Message, channelByte, ChannelDecoder, channels } from '../../src/protocol/channel.ts';
import { exitCodeStatus } from '../../src/protocol/exit-status.ts';
import { fromRawHeaders } from '../../src/protocol/raw-headers.ts';
import { negotiateWebSocket } from '../../src/protocol/subprotocols.ts';
import { readWebSocketRequest, websocketAccepted } from '../../src/protocol/websocket/handshake.ts';
import { openWebSocket, UpgradeRefused } from './websocket-client.ts';

/** A server that echoes stdin to stdout until its half-close or `exit`, then reports exit code 3. */
function echo(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { key, protocols } = readWebSocketRequest('GET', fromRawHeaders(request.rawHeaders));
  const choice = negotiateWebSocket('exec', protocols);
  if (!choice.isAccepted) {
    socket.end(`HTTP/1.1 ${choice.status} Forbidden\r\nContent-Length: 6\r\n\r\nrefuse`);
    return;
  }
  socket.write(websocketAccepted(key, choice.protocol));
  const decoder = new ChannelDecoder({
    isBase64: choice.isBase64,
    hasHalfClose: choice.version === 5,
    channelCount: 5,
  });
  const send = (channel: number, bytes: Buffer): void => {
    if (choice.isBase64) connection.sendText(base64Message(channel, bytes));
    else connection.sendBinary(channelByte(channel), bytes);
  };
  const connection: WebSocketConnection = new WebSocketConnection(
    { socket, clock: systemClock },
    { role: 'server', head },
    {
      onData: (piece) => {
        const event = decoder.accept(piece);
        if (event?.type === 'data' && event.bytes.toString() !== 'exit') send(channels.stdout, event.bytes);
        else if (event !== undefined) {
          send(channels.error, exitCodeStatus('translator', 3));
          void connection.close(1000);
        }
      },
      onEnd: () => {},
    },
  );
  send(channels.stdout, Buffer.alloc(0));
}

describe('WebSocketClient', () => {
  let scope: Scope;
  let url: string;
  beforeEach(async () => {
    scope = new Scope();
    const server = createServer();
    server.on('upgrade', echo);
    scope.add(async () => {
      server.close();
      await once(server, 'close');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/exec?command=a%20b`;
  });
  afterEach(() => scope.close());

  for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io', 'channel.k8s.io']) {
    it(`runs a session over ${protocol}`, async () => {
      const client = await openWebSocket(scope, { url, protocols: [protocol] });
      client.send(channels.stdin, 'one ');
      if (!protocol.includes('base64')) {
        client.sendAsText(channels.stdin, 'two ');
        client.sendFragmented(channels.stdin, ['th', 'ree']);
      }
      client.ping('x');
      await client.waitFor(() => client.controls.length > 0);
      if (protocol.startsWith('v5')) client.halfClose();
      else client.send(channels.stdin, 'exit');
      expect({
        end: await client.ended,
        stdout: client.stdout,
        status: client.status.kind,
        empty: client.emptyMessages,
        pong: client.controls[0]?.type,
        protocol: client.protocol,
      }).to.deep.equal({
        end: { how: 'close', code: 1000, reason: '' },
        stdout: protocol.includes('base64') ? 'one ' : 'one two three',
        status: 'exit',
        empty: [1],
        pong: 'pong',
        protocol,
      });
    });
  }

  it('gives a refusal with its body, and an end that is no close', async () => {
    const refused: unknown = await openWebSocket(scope, { url, protocols: ['v9.channel.k8s.io'] }).catch(
      (error: unknown) => error,
    );
    expect(refused).to.be.instanceOf(UpgradeRefused).and.to.include({ status: 403, body: 'refuse' });
    const client = await openWebSocket(scope, { url, protocols: ['v5.channel.k8s.io'] });
    client.sendFrame(1, Buffer.from('x'), { isMasked: false });
    expect(await client.ended).to.include({ how: 'close', code: 1002 });
    const gone = await openWebSocket(scope, { url, protocols: ['v5.channel.k8s.io'] });
    gone.destroy();
    expect(await gone.ended).to.include({ how: 'reset', code: 1006 });
    const failed = await gone.waitFor(() => false).catch((error: unknown) => String(error));
    expect(failed).to.contain('The connection ended');
  });
});
