// kubectl's own SPDY client (spdystream, Go's compress/flate) against SpdyConnection. It holds what no test of our own codec can: that Go
// reads header blocks written as stored deflate blocks, also when they are larger than its 4 KiB reader and its 32 KiB window.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream } from '../../src/net/spdy-connection.ts';
import { until } from '../streams/support/rig.ts';

const pod = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name: 'demo', namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'x' }] },
  status: { phase: 'Running' },
};

/** What kubectl asks before it execs; everything else is the pod. */
const answers: Readonly<Record<string, unknown>> = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
  '/api/v1': {
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [{ name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get'] }],
  },
};

const status = {
  status: 'Failure',
  message: 'command terminated with exit code 3',
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: '3' }] },
};

/** Echoes stdin on stdout, then exits with 3; every reply carries a header of `headerBytes`. */
function serveCat(socket: Duplex, head: Buffer, headerBytes: number, onEnd: (end: SpdyEnd) => void): void {
  const streams = new Map<string, SpdyStream>();
  const connection = new SpdyConnection(
    { socket, clock: systemClock },
    { role: 'server', head, isSilentUntilPeerSpeaks: true, pingIntervalMs: 20 },
    {
      onStream: (stream) => {
        const type = stream.headers.find(([name]) => name === 'streamtype')?.[1] ?? '';
        streams.set(type, stream);
        stream.reply(headerBytes === 0 ? [] : [[`x-${stream.id}`, 'v'.repeat(headerBytes + stream.id)]]);
        stream.setHandlers({
          onData: (bytes) => {
            if (streams.get('stdout')?.write(bytes) !== false) return;
            connection.pause();
            connection.onDrain(() => connection.resume());
          },
          onEnd: (how) => {
            if (type !== 'stdin' || how !== 'fin') return;
            streams.get('stdout')?.end();
            streams.get('stderr')?.end();
            streams.get('error')?.write(Buffer.from(JSON.stringify(status)));
            streams.get('error')?.end();
            connection.goaway();
          },
        });
      },
      onEnd,
    },
  );
}

describe('SpdyConnection with kubectl', function () {
  this.timeout(60_000);
  const scope = new Scope();
  const ends: SpdyEnd[] = [];
  let headerBytes = 0;
  let url = '';

  before(async function () {
    const probe = spawn('kubectl', ['version', '--client'], { stdio: 'ignore' });
    const isThere = await once(probe, 'exit').then(
      ([code]) => code === 0,
      () => false,
    );
    if (!isThere) this.skip();
    const server = createServer((request, response) => {
      const path = (request.url ?? '').split('?')[0] ?? '';
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(answers[path] ?? pod));
    });
    server.on('upgrade', (_request, socket, head) => {
      (socket as Socket).setNoDelay(true);
      const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v4.channel.k8s.io'];
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
      serveCat(socket, head, headerBytes, (end) => ends.push(end));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(() => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    });
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  after(() => scope.close());

  async function exec(stdin: Buffer): Promise<{ code: number; stdout: Buffer; stderr: string }> {
    const child = spawn('kubectl', ['--kubeconfig=/dev/null', `--server=${url}`, 'exec', '-i', 'demo', '--', 'cat'], {
      env: { ...process.env, KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' },
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.end(stdin);
    const [code] = (await once(child, 'close')) as [number];
    return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
  }

  for (const size of [0, 5000, 40_000, 70_000]) {
    it(`runs an exec whose replies have headers of ${size} bytes`, async () => {
      headerBytes = size;
      ends.length = 0;
      const stdin = Buffer.alloc(2_000_000, 'kexer ');
      const result = await exec(stdin);
      await until(() => ends.length > 0); // kubectl may be gone before its FIN is read here
      expect({ ...result, stdout: result.stdout.equals(stdin), ends }).to.deep.equal({
        code: 3,
        stdout: true,
        stderr: 'command terminated with exit code 3\n',
        ends: [{ how: 'closed' }],
      });
    });
  }
});
