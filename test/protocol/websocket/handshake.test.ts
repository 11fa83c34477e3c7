import { expect } from 'chai';
import { codeOf } from '../../../src/base/errors.ts';
import { parseResponseHead } from '../../../src/protocol/http-head.ts';
import { type RawHeaders, withHeader, withoutHeaders } from '../../../src/protocol/raw-headers.ts';
import {
  acceptKey,
  checkWebSocketAccepted,
  isWebSocketRequest,
  readWebSocketRequest,
  websocketAccepted,
  websocketRequestHeaders,
} from '../../../src/protocol/websocket/handshake.ts';
import { readConnections } from '../../support/recordings.ts';

const key = 'dGhlIHNhbXBsZSBub25jZQ==';

function codeOfThrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing thrown';
}

describe('acceptKey', () => {
  it("gives the RFC's example and a recorded pair", () => {
    expect([acceptKey(key), acceptKey('MQgSacpC4jMTWXqhAXzc3Q==')]).to.deep.equal([
      's3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
      'bhgmiK7uUC6hk+0t9X5rLXizDjA=',
    ]);
  });
});

describe('readWebSocketRequest', () => {
  const good = websocketRequestHeaders(key, ['v5.channel.k8s.io', 'v4.channel.k8s.io']);

  it('reads the key and the protocols of all lines', () => {
    const headers: RawHeaders = [...good, ['sec-websocket-protocol', 'channel.k8s.io']];
    expect(readWebSocketRequest('GET', headers)).to.deep.equal({
      key,
      protocols: ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'channel.k8s.io'],
    });
  });

  it('reads tokens in any case and among others', () => {
    const headers = withHeader(withHeader(good, 'Connection', 'keep-alive, UPGRADE'), 'Upgrade', 'WebSocket');
    expect([isWebSocketRequest(headers), readWebSocketRequest('GET', headers).key]).to.deep.equal([true, key]);
  });

  for (const [what, method, headers] of [
    ['POST', 'POST', good],
    ['no Upgrade', 'GET', withoutHeaders(good, 'Upgrade')],
    ['no Connection', 'GET', withoutHeaders(good, 'Connection')],
    ['another Upgrade', 'GET', withHeader(good, 'Upgrade', 'SPDY/3.1')],
    ['no version', 'GET', withoutHeaders(good, 'Sec-WebSocket-Version')],
    ['version 8', 'GET', withHeader(good, 'Sec-WebSocket-Version', '8')],
    ['two versions', 'GET', [...good, ['Sec-WebSocket-Version', '13']]],
    ['no key', 'GET', withoutHeaders(good, 'Sec-WebSocket-Key')],
    ['two keys', 'GET', [...good, ['Sec-WebSocket-Key', key]]],
    ['a short key', 'GET', withHeader(good, 'Sec-WebSocket-Key', 'dGhl')],
    ['a long key', 'GET', withHeader(good, 'Sec-WebSocket-Key', `AAAA${key}`)],
    ['a key of other characters', 'GET', withHeader(good, 'Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25j!!==')],
  ] as const) {
    it(`refuses ${what}`, () => {
      expect(codeOfThrown(() => readWebSocketRequest(method, headers))).to.equal('badRequest');
    });
  }
});

describe('websocketAccepted', () => {
  it('writes the bytes of every recorded handshake', () => {
    const names = ['exec-ws5-exit3', 'exec-ws4-exit3', 'exec-ws4-base64-exit3', 'exec-ws1-exit3', 'portforward-tunnel'];
    for (const name of names) {
      for (const { client, kubelet } of readConnections(name)) {
        const clientKey = /Sec-Websocket-Key: (.*)\r\n/.exec(client.head)?.[1] ?? '';
        const protocol = /Sec-Websocket-Protocol: (.*)\r\n/.exec(client.head)?.[1] ?? '';
        expect(websocketAccepted(clientKey, protocol).toString()).to.equal(kubelet.head);
        const head = parseResponseHead(Buffer.from(kubelet.head));
        expect(checkWebSocketAccepted(head, { key: clientKey, protocols: [protocol] })).to.equal(protocol);
      }
    }
  });

  it('names no protocol, or the empty one of Go', () => {
    const without =
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n';
    expect([websocketAccepted(key, undefined).toString(), websocketAccepted(key, '').toString()]).to.deep.equal([
      `${without}\r\n`,
      `${without}Sec-WebSocket-Protocol: \r\n\r\n`,
    ]);
  });
});

describe('checkWebSocketAccepted', () => {
  const offer = { key, protocols: ['v4.channel.k8s.io'] };
  const answer = (text: string) => parseResponseHead(Buffer.from(text));
  const accepted = websocketAccepted(key, 'v4.channel.k8s.io').toString();

  it('gives the protocol, or none', () => {
    expect([
      checkWebSocketAccepted(answer(accepted), offer),
      checkWebSocketAccepted(answer(websocketAccepted(key, undefined).toString()), offer),
      checkWebSocketAccepted(answer(websocketAccepted(key, '').toString()), { key, protocols: [] }),
    ]).to.deep.equal(['v4.channel.k8s.io', '', '']);
  });

  for (const [what, text] of [
    ['status 200', accepted.replace('101', '200')],
    ['no Upgrade', accepted.replace('Upgrade: websocket\r\n', '')],
    ['another Upgrade', accepted.replace('websocket', 'SPDY/3.1')],
    ['no Connection', accepted.replace('Connection: Upgrade\r\n', '')],
    ['a wrong Accept', accepted.replace('s3pP', 'S3PP')],
    ['a protocol that was not offered', accepted.replace('v4.channel', 'v5.channel')],
    ['an extension', accepted.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n')],
  ] as const) {
    it(`refuses ${what}`, () => {
      expect(codeOfThrown(() => checkWebSocketAccepted(answer(text), offer))).to.equal('badGateway');
    });
  }
});
