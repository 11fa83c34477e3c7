// Garbage from the side of clients, against a kexer in a process of its own: request heads, SPDY frames and header blocks, WebSocket frames.
// Each connection must come to its end, alone: the witness session beside them is served on, nothing stays, nothing is logged as a defect.
// KEXER_TEST_SEED repeats a run, KEXER_TEST_FUZZ_MS gives it more time.

import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import type { Random } from '../faults/support/random.ts';
import { pause } from '../faults/support/stage.ts';
import { budgetMs, newSeed, runCases, within } from './support/cases.ts';
import {
  dataFrame,
  deflated,
  headerBomb,
  mutate,
  requestHead,
  spdyFrames,
  split,
  webSocketFrames,
} from './support/garbage.ts';
import { echoingKubelet, FuzzStage } from './support/stage.ts';

const seed = newSeed();
const budget = { seed, budgetMs: budgetMs(), atOnce: 8 };
/** A connection of garbage that has been half-closed by its client ends within this. */
const endTimeoutMs = 20_000;

/** Unlike events.once these do not care for errors: 'close' follows. */
function whenClosed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

function drained(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('drain', resolve);
  });
}

function readable(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('readable', resolve);
  });
}

/** Sends the pieces and a FIN, reads whatever comes. @returns what is wrong */
async function sendAndEnd(socket: TLSSocket, pieces: readonly Buffer[]): Promise<string | undefined> {
  const closed = whenClosed(socket).then(() => true);
  socket.resume();
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    await pause(0);
  }
  socket.end();
  const isClosed = await within(endTimeoutMs, closed);
  socket.destroy();
  return isClosed === true ? undefined : 'the connection does not end';
}

function upgradeHead(path: string, kind: 'spdy' | 'websocket', protocol: string): Buffer {
  const lines =
    kind === 'spdy'
      ? [
          `POST ${path} HTTP/1.1`,
          'Host: x',
          'Connection: Upgrade',
          'Upgrade: SPDY/3.1',
          `X-Stream-Protocol-Version: ${protocol}`,
        ]
      : [
          `GET ${path} HTTP/1.1`,
          'Host: x',
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
          `Sec-WebSocket-Protocol: ${protocol}`,
        ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
}

describe(`kexer with clients that send garbage (seed ${seed})`, function () {
  this.timeout(60_000 + 4 * budget.budgetMs);
  let stage: FuzzStage;

  before(async () => {
    stage = await FuzzStage.start();
    stage.scripts.set('echo', echoingKubelet);
  });

  after(() => stage.stop());

  async function fuzz(makePieces: (random: Random) => readonly Buffer[]): Promise<void> {
    const before = await stage.kexer.probe(true);
    const { problems, cases } = await runCases(budget, async (random) =>
      sendAndEnd(await stage.dial(), makePieces(random)),
    );
    problems.push(...(await stage.complaints()));
    const after = await stage.kexer.probe(true);
    const grownBytes = after.heapBytes + after.externalBytes - before.heapBytes - before.externalBytes;
    expect(problems.slice(0, 5), `seed ${seed}, ${cases} cases`).to.deep.equal([]);
    expect(cases).to.be.greaterThan(20);
    expect(grownBytes).to.be.lessThan(24 * 1024 * 1024);
  }

  it('stands request heads', () =>
    fuzz((random) => {
      const head = mutate(random, requestHead(random, stage.execPath('echo')));
      return split(random, head);
    }));

  it('stands SPDY frames and header blocks', () =>
    fuzz((random) => {
      const protocol = random.pick(['v4.channel.k8s.io', 'channel.k8s.io']);
      const head = upgradeHead(stage.execPath('echo'), 'spdy', protocol);
      const frames = spdyFrames(random, { role: 'client', count: random.between(1, 40) });
      if (random.chance(0.1)) frames.push(deflated(random));
      return [head, ...split(random, mutate(random, Buffer.concat(frames)))];
    }));

  it('stands WebSocket frames', () =>
    fuzz((random) => {
      const protocol = random.pick([
        'v5.channel.k8s.io',
        'v4.channel.k8s.io',
        'v4.base64.channel.k8s.io',
        'channel.k8s.io',
      ]);
      const head = upgradeHead(stage.execPath('echo'), 'websocket', protocol);
      const frames = webSocketFrames(random, random.between(1, 40));
      return [head, ...split(random, mutate(random, Buffer.concat(frames)))];
    }));

  it('stands SPDY port-forward frames in a tunnel and without one', () =>
    fuzz((random) => {
      const path = stage.execPath('echo').replace('/exec?', '/portforward?');
      const isTunnel = random.chance(0.5);
      const head = isTunnel
        ? upgradeHead(path, 'websocket', 'SPDY/3.1+portforward.k8s.io')
        : upgradeHead(path, 'spdy', 'portforward.k8s.io');
      const frames = isTunnel
        ? webSocketFrames(random, random.between(1, 30))
        : spdyFrames(random, { role: 'client', count: random.between(1, 40) });
      return [head, ...split(random, mutate(random, Buffer.concat(frames)))];
    }));

  describe('keeps its memory', () => {
    /** Opens an exec over SPDY and sends `bytes` in big pieces without reading anything but the 101. */
    async function attack(bytes: readonly Buffer[], options: { isReading: boolean }): Promise<void> {
      const socket = await stage.dial();
      socket.write(upgradeHead(stage.execPath('echo'), 'spdy', 'v4.channel.k8s.io'));
      const closed = whenClosed(socket);
      await Promise.race([readable(socket), closed]);
      socket.read();
      if (options.isReading) socket.resume();
      for (const piece of bytes) {
        if (socket.destroyed) break;
        if (!socket.write(piece)) await within(500, Promise.race([drained(socket), closed]));
      }
      const { rssBytes } = await stage.kexer.probe();
      socket.destroy();
      await closed;
      expect(rssBytes).to.be.lessThan(400 * 1024 * 1024);
      expect(await stage.complaints()).to.deep.equal([]);
    }

    it('when a header block inflates to 200 MiB', async () => {
      await attack([await headerBomb(200 * 1024 * 1024)], { isReading: true });
    });

    it('when 100,000 streams are opened', async () => {
      const encoder = new SpdyEncoder();
      const frames = Array.from({ length: 100 }, (_, round) =>
        Buffer.concat(
          Array.from({ length: 1000 }, (_, at) =>
            encoder.synStream(2 * (round * 1000 + at) + 1, [['streamtype', 'stdin']]),
          ),
        ),
      );
      await attack(frames, { isReading: true });
    });

    it('when a million pings are sent whose echoes nobody reads', async () => {
      const pings = Buffer.concat(Array.from({ length: 10_000 }, (_, at) => new SpdyEncoder().ping(2 * at + 1)));
      await attack(
        Array.from({ length: 100 }, () => pings),
        { isReading: false },
      );
    });

    it('when streams are opened and reset, again and again', async () => {
      const encoder = new SpdyEncoder();
      const frames = Array.from({ length: 50 }, (_, round) =>
        Buffer.concat(
          Array.from({ length: 1000 }, (_, at) => {
            const id = 2 * (round * 1000 + at) + 1;
            return Buffer.concat([encoder.synStream(id, [['streamtype', 'stdin']]), encoder.rstStream(id, 5)]);
          }),
        ),
      );
      await attack(frames, { isReading: true });
    });

    it('when 256 MiB come for streams that do not exist', async () => {
      const piece = dataFrame(99, Buffer.alloc(1024 * 1024));
      await attack(
        Array.from({ length: 256 }, () => piece),
        { isReading: true },
      );
    });
  });
});
