// Sixteen sessions at once through one kexer process, over every protocol and both ways. All of them are read into the same memory, so each
// has bytes of its own, which name their session and their place, and every byte that comes back is looked at.

import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { openTunnel } from '../faults/sessions/tunnel-socket.ts';
import { execSpdy, portForwardSpdy, SpdyClient, SpdyForwarder } from '../support/spdy-client.ts';
import { openWebSocket } from '../support/websocket-client.ts';
import { KexerProcess } from './support/kexer-process.ts';

const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const pods = `${clusterPath}/api/v1/namespaces/default/pods`;
const sessionBytes = 2 * 1024 * 1024;
const messageBytes = 48 * 1024;

/** 16 bytes a line: whose they are and where they belong. */
function bytesOf(session: number): Buffer {
  const lines = Array.from(
    { length: sessionBytes / 16 },
    (_, index) => `s${String(session).padStart(3, '0')} ${String(index * 16).padStart(10, '0')}\n`,
  );
  return Buffer.from(lines.join(''));
}

/** '' for the right bytes; else what stands in their place, and where. */
function wrongIn(session: number, got: Buffer): string {
  const want = bytesOf(session);
  if (got.equals(want)) return '';
  const at = want.findIndex((byte, index) => byte !== got[index]);
  return `session ${session}: ${got.length} bytes, at ${at}: ${JSON.stringify(got.toString('latin1', at, at + 40))}`;
}

describe('sixteen sessions at once, each with bytes of its own', function () {
  this.timeout(60_000);
  let scope: Scope;
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let port: number;
  let target: { ca: string; cert: string; key: string };

  before(async () => {
    scope = new Scope();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    kexer = await KexerProcess.start(sandbox);
    scope.add(async () => {
      await kexer.stop();
    });
    const { servingCaFile, adminCertFile, adminKeyFile } = sandbox.files;
    const [ca = '', cert = '', key = ''] = await Promise.all(
      [servingCaFile, adminCertFile, adminKeyFile].map((file) => readFile(file, 'utf8')),
    );
    target = { ca, cert, key };
    // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
    const sockets = new Set<Socket>();
    const echo = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    scope.add(async () => {
      for (const socket of sockets) socket.destroy();
      echo.close();
      await once(echo, 'close');
    });
    ({ port } = echo.address() as AddressInfo);
  });

  after(() => scope.close());

  const url = (path: string): string => `https://127.0.0.1:${kexer.port}${pods}/${path}`;

  /** Gives back on both outputs what it gets on stdin. */
  const command = ['sh', '-c', `head -c ${sessionBytes} | tee /dev/stderr`];
  const execQuery = `stdin=true&stdout=true&stderr=true&${command.map((word) => `command=${encodeURIComponent(word)}`).join('&')}`;

  async function overSpdy(session: number, pod: string): Promise<string[]> {
    const { stdout, stderr, exit } = await execSpdy(
      { url: url(`${pod}/exec?${execQuery}`), ...target },
      { stdin: bytesOf(session) },
    );
    expect(exit).to.deep.equal({ code: 0 });
    return [wrongIn(session, stdout), wrongIn(session, stderr)];
  }

  function overWebSocket(protocol: string): (session: number, pod: string) => Promise<string[]> {
    return async (session, pod) => {
      const { ca, cert, key } = target;
      const client = await openWebSocket(scope, {
        url: url(`${pod}/exec?${execQuery}`),
        protocols: [protocol],
        ca,
        certificate: { cert, key },
      });
      const bytes = bytesOf(session);
      for (let at = 0; at < bytes.length; at += messageBytes) {
        client.send(0, bytes.subarray(at, at + messageBytes));
        if (client.socket.writableNeedDrain) await once(client.socket, 'drain');
      }
      const { how, code } = await client.ended;
      expect([how, code, client.status]).to.deep.equal(['close', 1000, { kind: 'success' }]);
      return [wrongIn(session, client.channel(1)), wrongIn(session, client.channel(2))];
    };
  }

  async function forward(session: number, forwarder: SpdyForwarder): Promise<string[]> {
    const { data, error } = await forwarder.forward(port, bytesOf(session));
    await forwarder.close();
    return [wrongIn(session, data), error];
  }

  async function overForwardedSpdy(session: number, pod: string): Promise<string[]> {
    return forward(session, await portForwardSpdy({ url: url(`${pod}/portforward`), ...target }));
  }

  async function overTunnel(session: number, pod: string): Promise<string[]> {
    const { ca, cert, key } = target;
    const own = { port: kexer.port, base: clusterPath, ca, certificate: { cert, key } };
    const socket = await openTunnel(own, `${pods}/${pod}/portforward`);
    const client = new SpdyClient(socket, { head: Buffer.alloc(0), protocol: undefined, headers: [] });
    return forward(session, new SpdyForwarder(client));
  }

  function overForwardedChannels(protocol: string): (session: number, pod: string) => Promise<string[]> {
    return async (session, pod) => {
      const { ca, cert, key } = target;
      const client = await openWebSocket(scope, {
        url: url(`${pod}/portforward?ports=${port}`),
        protocols: [protocol],
        channelCount: 2,
        ca,
        certificate: { cert, key },
      });
      const bytes = bytesOf(session);
      let length = 0;
      for (let at = 0; at < bytes.length; at += messageBytes) {
        client.send(0, bytes.subarray(at, at + messageBytes));
        if (client.socket.writableNeedDrain) await once(client.socket, 'drain');
      }
      let seen = 0;
      await client.waitFor(() => {
        for (; seen < client.messages.length; seen += 1) length += client.messages[seen]?.length ?? 0;
        return length >= sessionBytes && client.channel(0).length >= sessionBytes + 2;
      });
      const got = client.channel(0).subarray(2); // behind the port's number
      client.destroy();
      return [wrongIn(session, got), client.channel(1).subarray(2).toString()];
    };
  }

  it('gets every byte of its own and none of another', async () => {
    const kinds = [
      overSpdy,
      overWebSocket('v5.channel.k8s.io'),
      overWebSocket('v4.channel.k8s.io'),
      overWebSocket('v4.base64.channel.k8s.io'),
      overForwardedSpdy,
      overTunnel,
      overForwardedChannels('v4.channel.k8s.io'),
      overForwardedChannels('v4.base64.channel.k8s.io'),
    ];
    // Of each kind one by either node, whose kubelets speak differently.
    const results = await Promise.all(
      [...kinds, ...kinds].map((run, session) => run(session, session < kinds.length ? 'demo' : 'db')),
    );
    expect(results.flat().filter((text) => text !== '')).to.deep.equal([]);
    expect(results.flat()).to.have.length(32);
    expect(kexer.complaints).to.deep.equal([]);
  });
});
