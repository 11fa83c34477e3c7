import { once } from 'node:events';
import { createServer as createHttp1, type ServerResponse } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2, type Http2ServerResponse } from 'node:http2';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { abortResponse, flushHead } from '../../src/net/http-answer.ts';
import { StagePool } from '../../src/net/write-stage.ts';
import { AnswerBody } from '../../src/rest/answer-body.ts';
import { type Random, randomBytesOf, seededRandom } from '../security/support/poisoned-socket.ts';

/** Of all that is random here; a failure is repeated by setting it. */
const seed = Number(process.env['KEXER_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

type Version = 'HTTP/1.1' | 'HTTP/2';
type Response = ServerResponse | Http2ServerResponse;

/** A pool that counts. */
class CountingPool extends StagePool {
  taken = 0;
  given = 0;

  override take(byteCount: number): Buffer {
    this.taken += 1;
    return super.take(byteCount);
  }

  override give(stage: Buffer): void {
    this.given += 1;
    stage.fill(0xee); // whoever still reads it shows that
    super.give(stage);
  }
}

interface Made {
  readonly body: AnswerBody;
  readonly response: Response;
  readonly pool: CountingPool;
  /** What the source was told. */
  readonly told: string[];
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; turns < 200_000 && !isSo(); turns += 1) await turn();
  expect(isSo()).to.equal(true);
}

describe(`AnswerBody (KEXER_TEST_SEED=${seed})`, () => {
  let scope: Scope;
  let random: Random;

  beforeEach(() => {
    scope = new Scope();
    random = seededRandom(seed);
  });

  afterEach(() => scope.close());

  /** A server that gives each answer's body to the test. */
  async function serve(
    version: Version,
    respond: (made: Made) => unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<number> {
    const onRequest = (response: Response): void => {
      response.on('error', () => {});
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      flushHead(response);
      const told: string[] = [];
      const pool = new CountingPool();
      const source = { pause: () => void told.push('pause'), resume: () => void told.push('resume') };
      void respond({ body: new AnswerBody({ response, source, stages: pool }), response, pool, told });
    };
    const server: Server =
      version === 'HTTP/2'
        ? createHttp2((_request, response) => onRequest(response))
        : createHttp1((_request, response) => onRequest(response));
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  }

  /** A connection for HTTP/1.1 and what it received, as latin1. */
  async function rawClient(port: number): Promise<{ socket: Socket; received: () => string }> {
    const socket = connect(port, '127.0.0.1');
    scope.add(() => void socket.destroy());
    socket.on('error', () => {});
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'connect');
    return { socket, received: () => Buffer.concat(chunks).toString('latin1') };
  }

  const get = 'GET / HTTP/1.1\r\nHost: kexer\r\n\r\n';

  /** The payload of one answer's chunks, up to the last one. @throws where the framing is broken */
  function unchunk(text: string): { payload: string; sizes: number[]; rest: string } {
    let at = 0;
    let payload = '';
    const sizes: number[] = [];
    for (;;) {
      const lineEnd = text.indexOf('\r\n', at);
      const size = Number.parseInt(text.slice(at, lineEnd), 16);
      if (!/^[0-9a-f]+$/.test(text.slice(at, lineEnd))) throw new Error(`no size at ${at}`);
      at = lineEnd + 2 + size;
      if (text.slice(at, at + 2) !== '\r\n') throw new Error(`no end of a chunk at ${at}`);
      payload += text.slice(lineEnd + 2, at);
      at += 2;
      if (size === 0) return { payload, sizes, rest: text.slice(at) };
      sizes.push(size);
    }
  }

  /** Writes it in pieces of any size, several a turn, as an answer comes; holds when it is told to. */
  async function feed({ body, told }: Made, bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const count = 1 + Math.floor(random() * (random() < 0.5 ? 100 : 40_000));
      body.write(Buffer.from(bytes.subarray(at, at + count)));
      at += count;
      if (random() < 0.4) await turn();
      while (told.at(-1) === 'pause') await turn();
    }
    body.end();
  }

  for (const isChunked of [true, false]) {
    it(`gives a long body whole by HTTP/1.1, ${isChunked ? 'in chunks' : 'of known length'}, and its connection goes on`, async () => {
      const bytes = randomBytesOf(random, 900_000);
      const pools: CountingPool[] = [];
      const port = await serve(
        'HTTP/1.1',
        (made) => {
          pools.push(made.pool);
          return feed(made, bytes);
        },
        isChunked ? {} : { 'Content-Length': String(bytes.length) },
      );
      const { socket, received } = await rawClient(port);
      let rest = '';
      for (let round = 0; round < 2; round += 1) {
        const before = received().length;
        socket.write(get);
        const body = (): string => received().slice(before).split('\r\n\r\n').slice(1).join('\r\n\r\n');
        if (isChunked) {
          await until(() => body().endsWith('0\r\n\r\n'));
          const read = unchunk(body());
          rest += read.rest;
          expect(Buffer.from(read.payload, 'latin1').equals(bytes)).to.equal(true);
        } else {
          await until(() => body().length >= bytes.length);
          expect(Buffer.from(body(), 'latin1').equals(bytes)).to.equal(true);
        }
      }
      expect(rest).to.equal('');
      await until(() => pools.every(({ taken, given }) => taken === given));
      expect(pools.map(({ taken }) => taken > 0)).to.deep.equal([true, true]);
    });
  }

  it('gives a long body whole by HTTP/2', async () => {
    const bytes = randomBytesOf(random, 900_000);
    const port = await serve('HTTP/2', (made) => feed(made, bytes));
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    scope.add(() => session.destroy());
    for (let round = 0; round < 2; round += 1) {
      const stream = session.request({ ':path': '/' });
      const got: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => got.push(chunk));
      await once(stream, 'end');
      expect(Buffer.concat(got).equals(bytes)).to.equal(true);
    }
  });

  it('puts what a turn brings into one chunk once the body is long, and sends it in that turn', async () => {
    let made: Made | undefined;
    const port = await serve('HTTP/1.1', (given) => {
      made = given;
    });
    const { socket, received } = await rawClient(port);
    socket.write(get);
    await until(() => made !== undefined);
    const { body } = made as Made;
    for (let index = 0; index < 3; index += 1) {
      for (let piece = 0; piece < 4; piece += 1) body.write(Buffer.alloc(16_000, 'a'));
      await until(() => received().length > (index + 1) * 64_000);
    }
    body.write(Buffer.from('one '));
    body.write(Buffer.from('event'));
    await until(() => received().endsWith('one event\r\n'));
    body.end();
    await until(() => received().endsWith('0\r\n\r\n'));
    const { sizes } = unchunk(received().split('\r\n\r\n').slice(1).join('\r\n\r\n'));
    // The first two are within what is short.
    expect(sizes).to.deep.equal([16_000, 16_000, 32_000, 64_000, 64_000, 9]);
  });

  it('leaves a short body to Node, one that is empty too', async () => {
    for (const pieces of [[], ['a'], ['a', 'bc']]) {
      let pool: CountingPool | undefined;
      const port = await serve('HTTP/1.1', (made) => {
        ({ pool } = made);
        for (const piece of pieces) made.body.write(Buffer.from(piece));
        made.body.end();
      });
      const { socket, received } = await rawClient(port);
      socket.write(get);
      await until(() => received().endsWith('0\r\n\r\n'));
      const { payload } = unchunk(received().split('\r\n\r\n').slice(1).join('\r\n\r\n'));
      expect([payload, pool?.taken]).to.deep.equal([pieces.join(''), 0]);
    }
  });

  for (const version of ['HTTP/1.1', 'HTTP/2'] as const) {
    it(`holds the source while a client of ${version} does not read, within a bound`, async () => {
      let made: Made | undefined;
      const port = await serve(version, (given) => {
        made = given;
      });
      let read = 0;
      let resume: () => void;
      if (version === 'HTTP/2') {
        const session = connectHttp2(`http://127.0.0.1:${port}`);
        scope.add(() => session.destroy());
        const stream = session.request({ ':path': '/' });
        await until(() => made !== undefined);
        resume = () => void stream.on('data', (chunk: Buffer) => (read += chunk.length));
      } else {
        const { socket } = await rawClient(port);
        socket.pause();
        socket.write(get);
        await until(() => made !== undefined);
        resume = () => void socket.on('data', (chunk: Buffer) => (read += chunk.length)).resume();
      }
      const { body, told } = made as Made;
      const pieceBytes = 64 * 1024;
      let sent = 0;
      let calm = 0;
      while (calm < 200) {
        if (told.at(-1) === 'pause') calm += 1;
        else {
          calm = 0;
          body.write(Buffer.alloc(pieceBytes, 'a'));
          sent += pieceBytes;
        }
        await turn();
        if (sent > 64 * 1024 * 1024) throw new Error('nothing holds the source');
      }
      const pauses = told.filter((word) => word === 'pause').length;
      expect(pauses - told.filter((word) => word === 'resume').length).to.equal(1);
      resume();
      await until(() => told.at(-1) === 'resume');
      body.write(Buffer.from('the last'));
      sent += 8;
      body.end();
      await until(() => read >= sent);
    });

    it(`sends no end of a body that is broken off by ${version}, and nothing that waited`, async () => {
      let made: Made | undefined;
      const port = await serve(version, (given) => {
        made = given;
      });
      const start = (): void => {
        const { body, response } = made as Made;
        body.write(Buffer.alloc(100_000, 'a'));
        body.close();
        body.close();
        abortResponse(response);
        body.write(Buffer.from('late'));
      };
      if (version === 'HTTP/2') {
        const session = connectHttp2(`http://127.0.0.1:${port}`);
        scope.add(() => session.destroy());
        const stream = session.request({ ':path': '/' });
        stream.on('error', () => {});
        stream.resume();
        await until(() => made !== undefined);
        start();
        await new Promise((resolve) => {
          stream.once('close', resolve);
        });
        expect(stream.rstCode).to.not.equal(0);
      } else {
        const { socket, received } = await rawClient(port);
        socket.write(get);
        await until(() => made !== undefined);
        start();
        await once(socket, 'close');
        expect(received()).to.not.match(/0\r\n\r\n$|late/);
      }
      const { pool } = made as Made;
      expect(pool.given).to.equal(pool.taken);
    });
  }

  it('does not use the memory of a write again whose connection was lost', async () => {
    let made: Made | undefined;
    const port = await serve('HTTP/1.1', (given) => {
      made = given;
    });
    const client = await rawClient(port);
    client.socket.pause();
    client.socket.write(get);
    await until(() => made !== undefined);
    const { body, pool, told, response } = made as Made;
    while (told.at(-1) !== 'pause') {
      body.write(Buffer.alloc(64 * 1024, 'a'));
      await turn();
    }
    const given = pool.given;
    response.socket?.destroy(); // what Node ends in this way it calls written
    await once(response, 'close');
    await turn();
    expect(pool.given).to.equal(given);
  });
});
