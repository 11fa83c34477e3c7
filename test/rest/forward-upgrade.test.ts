// Upgrades that kexer does not read: the switch, the bytes around it, and every answer that is no switch.

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { outer, startFront, startUpstream, type Front, type RawClient } from './support.ts';

const target = `${outer}/api/v1/pods?watch=1`;

describe('forwardUpgrade', () => {
  let scope: Scope;
  let peers: RawClient[];
  let onPeer: (peer: RawClient) => void;
  let front: Front;

  beforeEach(async () => {
    scope = new Scope();
    peers = [];
    onPeer = () => {};
    const port = await startUpstream(scope, (peer) => {
      peers.push(peer);
      onPeer(peer);
    });
    front = await startFront(scope, port);
  });

  afterEach(() => scope.close());

  function answerWith(answer: string): void {
    onPeer = (peer) => {
      void peer.untilReceived('\r\n\r\n').then(() => peer.write(answer));
    };
  }

  async function ask(text: string): Promise<RawClient> {
    const client = await front.connect();
    client.write(text);
    return client;
  }

  const request =
    `GET ${target} HTTP/1.1\r\nHost: kexer\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n` +
    'Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.dG9rZW4, v1\r\nImpersonate-User: root\r\n\r\n';
  const switching =
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n';

  it('switches, and joins the bytes of both sides, those around the heads included', async () => {
    answerWith(`${switching}hello`);
    const client = await ask(`${request}early`);
    await client.untilReceived('hello');
    expect(client.received).to.equal(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: a\r\n\r\nhello',
    );
    await peers[0]!.untilReceived('early');
    const [head = '', ...bytes] = peers[0]!.received.split('\r\n\r\n');
    expect(bytes).to.deep.equal(['early']);
    expect(head.split('\r\n').filter((line) => !line.startsWith('Host: '))).to.deep.equal([
      'GET /api/v1/pods?watch=1 HTTP/1.1',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Key: k',
      'Sec-WebSocket-Protocol: v1',
      'Authorization: Bearer alices-token',
      'X-Forwarded-For: 127.0.0.1',
      'Audit-ID: audit-1',
    ]);
    client.write('one');
    await peers[0]!.untilReceived('one');
    peers[0]!.write('two');
    await client.untilReceived('two');
    // A half-close travels, and the other direction goes on.
    client.socket.end();
    await peers[0]!.until(({ isEnded }) => isEnded);
    peers[0]!.write('three');
    await client.untilReceived('three');
    peers[0]!.socket.end();
    await client.until(({ isEnded, isClosed }) => isEnded || isClosed);
  });

  it('ends one side when the other is cut', async () => {
    answerWith(switching);
    const client = await ask(request);
    await client.untilReceived('\r\n\r\n');
    client.socket.destroy();
    await peers[0]!.until(({ isEnded, isClosed }) => isEnded || isClosed);
  });

  const refusals: readonly (readonly [name: string, answer: string, sent: string])[] = [
    [
      'with a length',
      'HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\nno!HTTP/1.1 200 OK\r\n\r\n',
      'HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!',
    ],
    [
      'in chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nyes\r\n0\r\n\r\n',
    ],
    ['without a body', 'HTTP/1.1 204 No Content\r\n\r\n', 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'],
  ];
  for (const [name, answer, sent] of refusals) {
    it(`relays an answer ${name} that is no switch, and not a byte behind it`, async () => {
      answerWith(answer);
      const client = await ask(request);
      await client.until(({ isEnded }) => isEnded);
      expect(client.received).to.equal(sent);
      client.socket.end();
    });
  }

  it('breaks off when such an answer is cut', async () => {
    onPeer = (peer) => {
      void peer.untilReceived('\r\n\r\n').then(() => {
        peer.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
      });
    };
    const client = await ask(request);
    await client.until(({ isEnded, isClosed }) => isEnded || isClosed);
    expect(client.received).to.match(/Content-Length: 10\r\nConnection: close\r\n\r\n(half)?$/);
  });

  const bad: readonly (readonly [name: string, text: string, code: number])[] = [
    ['a body', request.replace('Host: kexer', 'Host: kexer\r\nContent-Length: 5') + 'hello', 400],
    ['two protocols', request.replace('Upgrade: websocket', 'Upgrade: websocket, h2c'), 400],
    ['two lines of Upgrade', request.replace('Upgrade: websocket', 'Upgrade: websocket\r\nUpgrade: SPDY/3.1'), 400],
    ['h2c, HTTP in HTTP', request.replace('Upgrade: websocket', 'Upgrade: h2c'), 400],
    ['HTTP/2.0, its other name', request.replace('Upgrade: websocket', 'Upgrade: HTTP/2.0'), 400],
    ['TLS in TLS', request.replace('Upgrade: websocket', 'Upgrade: TLS/1.2'), 400],
    ['a protocol of no token', request.replace('Upgrade: websocket', 'Upgrade: web socket'), 400],
  ];
  for (const [name, text, code] of bad) {
    it(`refuses an upgrade with ${name}`, async () => {
      const client = await ask(text);
      await client.untilReceived(`"code":${code}`);
      expect(client.received).to.match(/^HTTP\/1\.1 400 Bad Request\r\n/);
      expect(peers).to.have.length(0);
      client.socket.end();
    });
  }

  it('says 502 when the apiserver switches to what nobody asked for', async () => {
    answerWith(switching.replace('WebSocket', 'SPDY/3.1'));
    const client = await ask(request);
    await client.untilReceived('"code":502');
    client.socket.end();
  });

  it('says 503 when the apiserver cannot be reached', async () => {
    const dead = await startFront(scope, 1);
    const client = await dead.connect();
    client.write(request);
    await client.untilReceived('"code":503');
    client.socket.end();
  });
});
