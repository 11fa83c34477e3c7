// 10,000 forwarded connections on one session of a real kexer: those above the limit are told so, those below it and every other session go
// on, and kexer's memory stays where it was.

import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { SpdyConnection, type SpdyStream } from '../../src/net/spdy-connection.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { openTunnel } from '../faults/sessions/tunnel-socket.ts';
import { KexerProcess } from '../faults/support/kexer-process.ts';
import { connectSpdy, execSpdy } from '../support/spdy-client.ts';
import { until } from './support/stage.ts';

const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const pods = `${clusterPath}/api/v1/namespaces/default/pods`;
const wanted = 10_000;
/** Of one session; further ones are refused. */
const limit = 1000;
/** 1,000 connections with two streams each, and what 9,000 refusals leave for the garbage collector. */
const maxGrowthBytes = 96 * 1024 * 1024;

/** A pair of streams, as client-go opens it for a connection. */
interface Forwarded {
  readonly data: SpdyStream;
  errorText: string;
  isErrorOver: boolean;
  isReady: boolean;
  isReset: boolean;
  received: string;
}

class Forwarder {
  readonly connection: SpdyConnection;
  readonly opened: Forwarded[] = [];
  isOver = false;

  constructor(connection: SpdyConnection) {
    this.connection = connection;
  }

  open(port: number): Forwarded {
    const headers = [
      ['port', String(port)],
      ['requestid', String(this.opened.length)],
    ] as const;
    const parts: { data?: SpdyStream } & Omit<Forwarded, 'data'> = {
      errorText: '',
      isErrorOver: false,
      isReady: false,
      isReset: false,
      received: '',
    };
    const error = this.connection.createStream([['streamtype', 'error'], ...headers], {
      onData: (bytes) => (parts.errorText += bytes.toString()),
      onEnd: () => (parts.isErrorOver = true),
    });
    error.end();
    parts.data = this.connection.createStream([['streamtype', 'data'], ...headers], {
      onReply: () => (parts.isReady = true),
      onData: (bytes) => (parts.received += bytes.toString()),
      onEnd: (how) => (parts.isReset ||= how === 'reset'),
    });
    const forwarded = parts as Forwarded;
    this.opened.push(forwarded);
    return forwarded;
  }
}

describe('10,000 forwarded connections on one session', function () {
  this.timeout(60_000);
  let scope: Scope;
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let echo: Server;
  let port: number;
  const sockets = new Set<Socket>();

  before(async () => {
    scope = new Scope();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    kexer = await KexerProcess.start({ config: sandbox.files.kexerConfig });
    scope.add(async () => {
      await kexer.stop();
    });
    // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
    echo = createServer((socket) => {
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

  async function credentials(): Promise<{ ca: string; cert: string; key: string }> {
    const { servingCaFile, adminCertFile, adminKeyFile } = sandbox.files;
    const [ca, cert, key] = await Promise.all(
      [servingCaFile, adminCertFile, adminKeyFile].map((file) => readFile(file, 'utf8')),
    );
    return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' };
  }

  async function openSpdy(): Promise<Forwarder> {
    const { ca, cert, key } = await credentials();
    const url = `https://127.0.0.1:${kexer.port}${pods}/demo/portforward`;
    const client = await connectSpdy({ url, ca, cert, key, protocols: ['portforward.k8s.io'] });
    scope.add(() => client.connection.destroy());
    const forwarder = new Forwarder(client.connection);
    void client.ended.then(() => (forwarder.isOver = true));
    return forwarder;
  }

  async function openTunnelled(): Promise<Forwarder> {
    const { ca, cert, key } = await credentials();
    const target = { port: kexer.port, base: clusterPath, ca, certificate: { cert, key } };
    const tunnel = await openTunnel(target, `${pods}/demo/portforward`);
    const forwarder: { it?: Forwarder } = {};
    const connection = new SpdyConnection(
      { socket: tunnel, clock: systemClock },
      { role: 'client' },
      {
        onEnd: () => {
          if (forwarder.it !== undefined) forwarder.it.isOver = true;
        },
      },
    );
    scope.add(() => connection.destroy());
    return (forwarder.it = new Forwarder(connection));
  }

  /** A command through the same kexer, and how long it took. */
  async function exec(): Promise<{ out: string; ms: number }> {
    const { ca, cert, key } = await credentials();
    const url = `https://127.0.0.1:${kexer.port}${pods}/db/exec?stdout=true&command=echo&command=hello`;
    const startMs = performance.now();
    const { stdout, exit } = await execSpdy({ url, ca, cert, key }, { hasStderr: false });
    expect(exit).to.deep.equal({ code: 0 });
    return { out: stdout.toString(), ms: performance.now() - startMs };
  }

  for (const { name, open } of [
    { name: 'SPDY', open: openSpdy },
    { name: 'a tunnel', open: openTunnelled },
  ]) {
    it(`are capped with a clear error, and nobody else notices: ${name}`, async () => {
      const before = await kexer.probe(true);
      const client = await open();
      const first = client.open(port);
      await until(() => first.isReady);
      for (let count = 1; count < wanted; count += 1) client.open(port);
      const during = exec();
      await until(() =>
        client.opened.every(({ isReady, isReset, isErrorOver }) => isReady || (isReset && isErrorOver)),
      );
      const ready = client.opened.filter(({ isReady }) => isReady);
      const refused = client.opened.filter(({ isReady }) => !isReady);
      expect([ready.length, refused.length]).to.deep.equal([limit, wanted - limit]);
      expect(new Set(refused.map(({ errorText }) => errorText))).to.deep.equal(
        new Set(['too many forwarded connections on one session: the limit is 1000']),
      );
      expect(new Set(ready.map(({ errorText }) => errorText))).to.deep.equal(new Set(['']));
      expect((await during).out).to.equal('hello\n');

      // All that were let in carry bytes both ways, and another session is as ever.
      for (const [index, { data }] of ready.entries()) data.write(Buffer.from(`bytes of ${index};`));
      await until(() => ready.every(({ received }, index) => received === `bytes of ${index};`));
      expect((await exec()).out).to.equal('hello\n');
      const after = await kexer.probe(true);
      expect(after.rssBytes - before.rssBytes).to.be.lessThan(maxGrowthBytes);

      // One goes, and there is room for one.
      ready[7]?.data.end();
      await until(() => sockets.size < limit);
      const next = client.open(port);
      await until(() => next.isReady || next.isReset);
      expect([next.isReady, next.errorText, client.isOver]).to.deep.equal([true, '', false]);
      client.connection.goaway();
      await until(() => kexer.openSessions.length === 0 && sockets.size === 0);
    });
  }
});
