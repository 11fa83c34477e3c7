// What an ordinary call may not exceed: the size of its body, and the room of the user it turns out to be.

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { StatusError, tooManyRequests } from '../../src/kube/status.ts';
import { outer, startFront, startUpstream, type Front, type RawClient } from './support.ts';

const pods = `${outer}/api/v1/pods`;
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';

describe('forward, with limits', () => {
  let scope: Scope;
  let peers: RawClient[];
  let onPeer: (peer: RawClient) => void;
  let front: Front;
  let isRefused: boolean;
  let acceptedCount: number;

  beforeEach(async () => {
    scope = new Scope();
    peers = [];
    onPeer = () => {};
    isRefused = false;
    acceptedCount = 0;
    const port = await startUpstream(scope, (peer) => {
      peers.push(peer);
      onPeer(peer);
    });
    front = await startFront(scope, port, {
      maxBodyBytes: 10,
      accepted: () => {
        acceptedCount += 1;
        if (isRefused) throw new StatusError(tooManyRequests('too many watches', 5));
      },
    });
  });

  afterEach(() => scope.close());

  async function ask(text: string): Promise<RawClient> {
    const client = await front.connect();
    client.write(text);
    return client;
  }

  async function post(
    write: (stream: ReturnType<ReturnType<Front['connectHttp2']>['request']>) => void,
  ): Promise<number> {
    const stream = front.connectHttp2().request({ ':method': 'POST', ':path': pods });
    stream.on('error', () => {});
    stream.resume();
    write(stream);
    return new Promise((resolve) => {
      stream.on('response', (headers) => resolve(headers[':status'] ?? 0));
    });
  }

  it('refuses a body that says it is too long before it asks anybody', async () => {
    const client = await ask(`POST ${pods} HTTP/1.1\r\nHost: kexer\r\nContent-Length: 11\r\n\r\n`);
    await client.untilReceived('}\n');
    expect(client.received).to.match(/^HTTP\/1\.1 413 Payload Too Large\r\n/);
    expect(client.received).to.contain(
      '"message":"Request entity too large: limit is 10","reason":"RequestEntityTooLarge"',
    );
    expect(peers).to.have.length(0);
  });

  it('refuses a body that turns out too long, and does not give the apiserver an end of it', async () => {
    const client = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\naaaaa\r\n6\r\nbbbbbb\r\n0\r\n\r\n`,
    );
    await client.untilReceived('}\n');
    expect(client.received).to.match(/^HTTP\/1\.1 413 /);
    expect(peers.map(({ received }) => received).join('')).to.not.contain('0\r\n\r\n');
  });

  it('passes a body of the very size, in chunks or over HTTP/2, to its end', async () => {
    onPeer = (peer) => {
      void peer.untilReceived('0\r\n\r\n').then(() => peer.write(ok));
    };
    const client = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n`,
    );
    await client.untilReceived('ok');
    const status = await post((stream) => {
      stream.write('xxxxx');
      stream.end('xxxxx');
    });
    expect(status).to.equal(200);
    const bodies = peers.map(({ received }) => received.slice(received.indexOf('\r\n\r\n')).replaceAll(/[^x]/g, ''));
    expect(bodies).to.deep.equal(['xxxxxxxxxx', 'xxxxxxxxxx']);
  });

  it('refuses an HTTP/2 body that turns out too long', async () => {
    expect(await post((stream) => stream.write('x'.repeat(11)))).to.equal(413);
  });

  it('refuses a watch that has no room once the apiserver has accepted it, and ends it there', async () => {
    onPeer = (peer) => {
      void peer
        .untilReceived('\r\n\r\n')
        .then(() => peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'));
    };
    isRefused = true;
    const client = await ask(`GET ${pods}?watch=1 HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('}\n');
    expect(client.received).to.match(/^HTTP\/1\.1 429 Too Many Requests\r\n/);
    expect(client.received).to.match(/\r\nRetry-After: 5\r\n/);
    await peers[0]?.until(({ isEnded }) => isEnded);
  });

  for (const [what, method, answer] of [
    ['what the apiserver refused', 'GET', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'],
    ['what may have changed something', 'POST', ok],
  ] as const) {
    it(`never turns ${what} into a refusal of its own`, async () => {
      onPeer = (peer) => {
        void peer.untilReceived('\r\n\r\n').then(() => peer.write(answer));
      };
      isRefused = true;
      const client = await ask(`${method} ${pods} HTTP/1.1\r\nHost: kexer\r\nContent-Length: 0\r\n\r\n`);
      await client.untilReceived(`\r\n\r\n${answer.slice(-2)}`);
      expect([client.received.slice(9, 12), acceptedCount]).to.deep.equal([answer.slice(9, 12), 0]);
    });
  }
});
