// CPU seconds of this process for 1 GiB through an SPDY relay, TLS to TLS: one SpdyConnection towards a source, one towards a sink, as
// kexer's own sessions do it. Source and sink are a child process. Run: node test/bench/spdy-relay.ts [MiB] [frame KiB]
// The measure to hold it against is a bare TLS relay in the same run (`plain`).

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

import { systemClock } from '../../src/base/clock.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { SpdyConnection, type SpdyStream } from '../../src/net/spdy-connection.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';

const totalMiB = Number(process.argv[2] ?? 1024);
const frameBytes = Number(process.argv[3] ?? 32) * 1024;

interface ChildReport {
  readonly source: number;
  readonly sink: number;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Writes frames as a runtime does: head and payload, again and again, stopping at backpressure. */
function pour(socket: TLSSocket, framed: boolean): void {
  const payload = Buffer.alloc(frameBytes, 0x61);
  const head = new SpdyEncoder().dataHeader(1, payload.length, false);
  let left = (totalMiB * 1024 * 1024) / frameBytes;
  const more = (): void => {
    while (left > 0) {
      left -= 1;
      if (framed) socket.write(head);
      if (!socket.write(payload)) {
        socket.once('drain', more);
        return;
      }
    }
    socket.end();
  };
  more();
}

async function runChild(pair: KeyPairPem): Promise<void> {
  const options = { key: pair.key, cert: pair.cert };
  const source = createServer(options, (socket) => {
    socket.on('error', () => {});
    // The first byte says which kind of source is wanted.
    socket.once('data', (first) => pour(socket, first[0] === 0x80));
  });
  const sink = createServer(options, (socket) => {
    socket.on('error', () => {});
    socket.on('data', () => {});
    socket.on('end', () => socket.end());
  });
  process.send?.({ source: await listen(source), sink: await listen(sink) } satisfies ChildReport);
}

async function dial(port: number): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  socket.setNoDelay(true);
  return socket;
}

async function relaySpdy(ports: ChildReport): Promise<void> {
  const from = await dial(ports.source);
  const to = await dial(ports.sink);
  await new Promise<void>((resolve) => {
    const sink = new SpdyConnection({ socket: to, clock: systemClock }, { role: 'client' }, { onEnd: () => resolve() });
    let out: SpdyStream | undefined;
    const source = new SpdyConnection(
      { socket: from, clock: systemClock },
      { role: 'client' },
      { onEnd: () => sink.goaway() },
    );
    const resume = (): void => source.resume();
    const stream = source.createStream([['streamtype', 'stdout']], {
      onData: (bytes) => {
        if (out?.write(bytes) !== false) return;
        source.pause();
        sink.onDrain(resume);
      },
    });
    // The peers are no endpoints: replies are played by hand.
    const reply = new SpdyEncoder().synReply(stream.id);
    from.emit('data', reply);
    out = sink.createStream([['streamtype', 'stdout']], {});
    to.emit('data', new SpdyEncoder().synReply(out.id));
  });
  from.destroy();
  to.destroy();
}

async function relayPlain(ports: ChildReport): Promise<void> {
  const from = await dial(ports.source);
  const to = await dial(ports.sink);
  from.write(Buffer.from([0x00]));
  let isCorked = false;
  from.on('data', (chunk: Buffer) => {
    if (!isCorked) {
      isCorked = true;
      to.cork();
      process.nextTick(() => {
        isCorked = false;
        to.uncork();
      });
    }
    if (to.write(chunk)) return;
    from.pause();
    to.once('drain', () => from.resume());
  });
  from.on('end', () => to.end());
  to.resume();
  await once(to, 'end');
  from.destroy();
  to.destroy();
}

async function measure(name: string, run: () => Promise<void>): Promise<void> {
  const before = process.cpuUsage();
  const started = performance.now();
  await run();
  const used = process.cpuUsage(before);
  const cpu = (used.user + used.system) / 1e6;
  const wall = (performance.now() - started) / 1000;
  const perGiB = (cpu * 1024) / totalMiB;
  console.log(
    `${name.padEnd(6)} ${perGiB.toFixed(2)} CPU-s/GiB (user ${(used.user / 1e6).toFixed(2)}), ${(totalMiB / wall).toFixed(0)} MiB/s`,
  );
}

if (process.send !== undefined) {
  process.once('message', (pair) => void runChild(pair as KeyPairPem));
} else {
  const authority = await generateAuthority({ commonName: 'bench' });
  const pair = await generateServing(authority, { commonName: 'bench', ipAddresses: ['127.0.0.1'] });
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2), { stdio: 'inherit' });
  child.send(pair);
  const [ports] = (await once(child, 'message')) as [ChildReport];
  for (let round = 0; round < 3; round += 1) {
    await measure('plain', () => relayPlain(ports));
    await measure('spdy', () => relaySpdy(ports));
  }
  child.kill();
}
