// A client that reads 1 MB/s of a dump that could come at hundreds: what it does not read must not gather in kexer, its pings are answered, and
// neither another session nor an ordinary call on the same process is slowed.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { dialTls } from '../../src/net/dial.ts';
import { requestUpgrade } from '../../src/net/upgrade.ts';
import type { RawHeader } from '../../src/protocol/raw-headers.ts';
import { SpdyDecoder } from '../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { encodeFrame, opcodes, WebSocketDecoder } from '../../src/protocol/websocket/frame.ts';
import { websocketRequestHeaders } from '../../src/protocol/websocket/handshake.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { KexerProcess } from '../faults/support/kexer-process.ts';
import { execSpdy } from '../support/spdy-client.ts';
import { until } from './support/stage.ts';

const pods = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/pods';
const dumpBytes = 10 * 1024 ** 3;
const bytesPerSecond = 1_000_000;
const lookEveryMs = 50;
/** Sockets' buffers fill in the first second or two; what grows after that would go on growing. */
const settleMs = 2500;
const watchMs = 4000;
const maxGrowthBytes = 24 * 1024 * 1024;

interface Credentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A client that takes what a socket has, at its own pace. */
class SlowReader {
  readonly socket: TLSSocket;
  readonly #onBytes: (bytes: Buffer) => void;
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  bytes = 0;

  constructor(socket: TLSSocket, onBytes: (bytes: Buffer) => void) {
    this.socket = socket;
    this.#onBytes = onBytes;
    socket.on('error', () => {});
    this.#timer = setInterval(() => this.#read(), lookEveryMs);
  }

  /** From now on as fast as it comes. */
  hurry(): void {
    clearInterval(this.#timer);
    this.socket.on('data', this.#onBytes);
    this.socket.resume();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.socket.destroy();
  }

  #read(): void {
    const due = ((performance.now() - this.#startedMs) / 1000) * bytesPerSecond;
    while (this.bytes < due) {
      const chunk = this.socket.read() as Buffer | null;
      if (chunk === null) return;
      this.bytes += chunk.length;
      this.#onBytes(chunk);
    }
  }
}

describe('a client that reads 1 MB/s of a dump of 10 GiB', function () {
  this.timeout(120_000);
  let scope: Scope;
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let credentials: Credentials;

  before(async () => {
    scope = new Scope();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    kexer = await KexerProcess.start({ config: sandbox.files.kexerConfig });
    scope.add(async () => {
      await kexer.stop();
    });
    const { servingCaFile, adminCertFile, adminKeyFile } = sandbox.files;
    const [ca = '', cert = '', key = ''] = await Promise.all(
      [servingCaFile, adminCertFile, adminKeyFile].map((file) => readFile(file, 'utf8')),
    );
    credentials = { ca, cert, key };
  });

  after(() => scope.close());

  const execTarget = (pod: string, ...command: string[]): string =>
    `${pods}/${pod}/exec?stdout=true&${command.map((word) => `command=${word}`).join('&')}`;

  async function open(method: 'GET' | 'POST', headers: readonly RawHeader[]): Promise<TLSSocket> {
    const { ca, cert, key } = credentials;
    const where = { host: '127.0.0.1', port: kexer.port, ca: [ca], isVerified: true, timeoutMs: 5000 };
    const socket = await dialTls({ ...where, certificate: { cert, key }, alpn: ['http/1.1'] });
    scope.add(() => {
      socket.destroy();
    });
    const target = execTarget('demo', 'head', '-c', String(dumpBytes), '/dev/zero');
    const request = { method, target, headers: [['Host', 'kexer'] as const, ...headers] };
    const { head, rest } = await requestUpgrade(socket, request, { timeoutMs: 5000 });
    expect(head.status).to.equal(101);
    socket.pause();
    if (rest.length > 0) socket.unshift(rest);
    return socket;
  }

  /** @returns how many of our pings have been answered, read at the same pace. */
  async function openSpdy(): Promise<{ reader: SlowReader; ping: () => void; answers: () => number }> {
    const socket = await open('POST', [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'SPDY/3.1'],
      ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
    ]);
    const encoder = new SpdyEncoder();
    const decoder = new SpdyDecoder();
    for (const [index, type] of ['error', 'stdout'].entries()) {
      socket.write(encoder.synStream(1 + 2 * index, [['streamtype', type]], {}));
    }
    let answers = 0;
    let id = 1;
    const reader = new SlowReader(socket, (bytes) => {
      for (const frame of decoder.acceptChunk(bytes)) if (frame.type === 'ping' && frame.id % 2 === 1) answers += 1;
    });
    const ping = (): void => {
      socket.write(encoder.ping(id));
      id += 2;
    };
    return { reader, ping, answers: () => answers };
  }

  async function openWebSocket(): Promise<{ reader: SlowReader; ping: () => void; answers: () => number }> {
    const key = randomBytes(16).toString('base64');
    const socket = await open('GET', websocketRequestHeaders(key, ['v5.channel.k8s.io']));
    const decoder = new WebSocketDecoder({ role: 'client', maxMessageBytes: Number.MAX_SAFE_INTEGER });
    let answers = 0;
    const reader = new SlowReader(socket, (bytes) => {
      for (const event of decoder.acceptChunk(bytes)) {
        if (event.type === 'pong' && event.payload.toString() === 'mine') answers += 1;
      }
    });
    const ping = (): void => {
      const frame = encodeFrame(opcodes.ping, [Buffer.from('mine')], { key: Uint8Array.of(1, 2, 3, 4) });
      socket.write(Buffer.concat(frame));
    };
    return { reader, ping, answers: () => answers };
  }

  /** How long another session takes for 32 MiB, in ms. */
  async function dump(): Promise<number> {
    const url = `https://127.0.0.1:${kexer.port}${execTarget('db', 'head', '-c', String(32 * 1024 ** 2), '/dev/zero')}`;
    const startedMs = performance.now();
    const { exit, stdout } = await execSpdy({ url, ...credentials }, { hasStderr: false });
    expect([exit, stdout.length]).to.deep.equal([{ code: 0 }, 32 * 1024 ** 2]);
    return performance.now() - startedMs;
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(resolve, ms);
    });
  }

  for (const { name, start } of [
    { name: 'SPDY', start: openSpdy },
    { name: 'WebSocket', start: openWebSocket },
  ]) {
    it(`costs kexer no memory, and nobody else any time: ${name}`, async () => {
      await dump(); // code that runs for the first time is slow
      const aloneMs = await dump();
      const { reader, ping, answers } = await start();
      await pause(settleMs);
      const settled = await kexer.probe(true);
      ping();
      const startBytes = reader.bytes;
      const startedMs = performance.now();
      const besideMs = await dump();
      await pause(Math.max(0, watchMs - (performance.now() - startedMs)));
      const later = await kexer.probe(true);
      const rate = (reader.bytes - startBytes) / ((performance.now() - startedMs) / 1000);
      // Behind what was on its way before it, which is what the kernel's buffers hold: as a rule 2 to 4 MB, and up to 32.
      reader.hurry();
      await until(() => answers() === 1 || reader.socket.destroyed);
      reader.stop();
      expect(rate).to.be.within(0.2 * bytesPerSecond, 1.8 * bytesPerSecond);
      expect(answers()).to.equal(1);
      expect(later.rssBytes - settled.rssBytes).to.be.lessThan(maxGrowthBytes);
      // On a busy machine neither is exact; a session that waits for the slow one would take minutes.
      expect(besideMs).to.be.lessThan(10 * aloneMs + 10_000);
    });
  }
});
