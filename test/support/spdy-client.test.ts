import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { SpdyConnection, type SpdyStream } from '../../src/net/spdy-connection.ts';
import { servingPair } from './serving-pair.ts';
import { execSpdy, exitAs, portForwardSpdy, UpgradeRefused } from './spdy-client.ts';

const exit3 = JSON.stringify({
  status: 'Failure',
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: '3' }] },
});

/** Plays a kubelet whose command is `cat` with exit code 3, and whose ports echo. */
function serve(socket: Duplex, head: Buffer): void {
  const streams = new Map<string, SpdyStream>();
  const connection = new SpdyConnection(
    { socket, clock: systemClock },
    { role: 'server', head, isSilentUntilPeerSpeaks: true },
    {
      onStream: (stream) => {
        const type = stream.headers[0]![1];
        streams.set(type, stream);
        stream.setHandlers({
          onData: (bytes) => void (type === 'data' ? stream : streams.get('stdout'))?.write(bytes),
          onEnd: (how) => {
            if (type === 'data') {
              stream.end();
              streams.get('error')?.end();
            }
            if (type !== 'stdin' || how !== 'fin') return;
            streams.get('stdout')?.end();
            streams.get('stderr')?.write(Buffer.from('done\n'));
            streams.get('stderr')?.end();
            streams.get('error')?.write(Buffer.from(` ${exit3}`));
            streams.get('error')?.reset();
            connection.goaway();
          },
        });
        stream.reply();
      },
      onEnd: () => {},
    },
  );
}

describe('spdy-client', () => {
  const scope = new Scope();
  let url = '';
  let server: Server;

  before(async () => {
    server = createServer({ ...(await servingPair()) }, (_request, response) => response.writeHead(403).end('no'));
    server.on('upgrade', (request, socket, head) => {
      if (request.url === '/refused') {
        socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone');
        return;
      }
      const protocol = request.headersDistinct['x-stream-protocol-version']?.[0] ?? '';
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
      );
      serve(socket, head);
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.add(() => new Promise((resolve) => server.close(() => resolve())));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  after(() => scope.close());

  it('runs a command to its end over TLS', async () => {
    const stdin = Buffer.alloc(3_000_000, 'abcdefg');
    const result = await execSpdy({ url: `${url}/exec?command=cat` }, { stdin });
    expect({ ...result, stdout: result.stdout.equals(stdin), stderr: result.stderr.toString() }).to.deep.equal({
      protocol: 'v4.channel.k8s.io',
      stdout: true,
      stderr: 'done\n',
      stdoutBytes: stdin.length,
      error: ` ${exit3}`,
      ends: { error: 'reset', stdin: 'goaway', stdout: 'fin', stderr: 'fin' },
      connectionEnd: { how: 'goaway' },
      exit: { code: 3 },
    });
  });

  it('forwards connections', async () => {
    const forwarder = await portForwardSpdy({ url: `${url}/portForward` });
    const result = await forwarder.forward(8080, 'hi\n');
    await forwarder.close();
    expect({ ...result, data: result.data.toString() }).to.deep.equal({
      data: 'hi\n',
      error: '',
      ends: { data: 'fin', error: 'fin' },
    });
  });

  it('shows a refusal', async () => {
    const error: unknown = await execSpdy({ url: `${url}/refused` }).catch((reason: unknown) => reason);
    expect(error instanceof UpgradeRefused ? [error.status, error.body] : error).to.deep.equal([404, 'gone']);
  });
});

describe('exitAs', () => {
  it('judges an error stream as client-go does', () => {
    expect([
      exitAs('v4.channel.k8s.io', ''),
      exitAs('v4.channel.k8s.io', ' {"status":"Success"}'),
      exitAs('v4.channel.k8s.io', exit3),
      exitAs('v4.channel.k8s.io', '{"status":"Failure","message":"broken","reason":"InternalError"}'),
      exitAs('v1.channel.k8s.io', 'text'),
      Object.keys(exitAs('v4.channel.k8s.io', ' ')),
    ]).to.deep.equal([
      { code: 0 },
      { code: 0 },
      { code: 3 },
      { failure: 'broken' },
      { failure: 'error executing remote command: text' },
      ['failure'],
    ]);
  });
});
