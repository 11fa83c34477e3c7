// Every client of the bench, in one process: transfers at full speed, crowds of sessions, keystrokes and ordinary calls.

import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';

import { applyMask } from '../../../src/protocol/websocket/mask.ts';
import { encodeFrame, encodeFrameHeader, opcodes } from '../../../src/protocol/websocket/frame.ts';
import { callMany, readLong, Watches } from '../support/calls.ts';
import { offer } from '../support/child.ts';
import { Crowd } from '../support/crowd.ts';
import { upgrade } from '../support/dial.ts';
import { maskingKey, SpdyExecClient, TunnelClient, WebSocketExecClient } from '../support/exec-client.ts';
import { type } from '../support/keystrokes.ts';
import { framesOf, pour } from '../support/pour.ts';
import { type Route, streamTarget } from '../support/route.ts';

export type TransferKind = 'spdyOut' | 'webSocketOut' | 'webSocketV4Out' | 'tunnelOut' | 'spdyIn' | 'webSocketIn';

export interface Transfer {
  readonly route: Route;
  readonly kind: TransferKind;
  readonly mebibytes: number;
  readonly chunkBytes?: number;
}

/** client-go copies stdin in pieces of this size. */
const usualChunkBytes = 32 * 1024;
const mebibyte = 1024 * 1024;

/** Runs one transfer to its Success. @throws if a byte is missing */
async function transfer({ route, kind, mebibytes, chunkBytes = usualChunkBytes }: Transfer): Promise<void> {
  const count = Math.ceil((mebibytes * mebibyte) / chunkBytes);
  switch (kind) {
    case 'spdyOut':
    case 'webSocketOut': {
      const Client = kind === 'spdyOut' ? SpdyExecClient : WebSocketExecClient;
      const client = await Client.open(route, ['source', String(mebibytes), String(chunkBytes)]);
      await finished(client, count * chunkBytes);
      return;
    }
    case 'webSocketV4Out': {
      const command = ['source', String(mebibytes), String(chunkBytes)];
      const client = await WebSocketExecClient.open(route, command, { protocol: 'v4.channel.k8s.io' });
      await finished(client, count * chunkBytes);
      return;
    }
    case 'tunnelOut':
      await finished(await TunnelClient.open(route, mebibytes), count * chunkBytes);
      return;
    case 'spdyIn': {
      const client = await SpdyExecClient.open(route, ['sink'], { hasStdin: true });
      pour(client.socket, framesOf(client.stdinHead(chunkBytes), chunkBytes), count, () => {
        client.socket.write(client.stdinHead(0, true));
      });
      await finished(client, 0);
      return;
    }
    case 'webSocketIn': {
      const client = await WebSocketExecClient.open(route, ['sink'], { hasStdin: true });
      const head = encodeFrameHeader({ opcode: opcodes.binary, length: chunkBytes + 1, key: maskingKey });
      const frames = framesOf(head, chunkBytes + 1, (message) => {
        message.fill('a');
        message[0] = 0; // stdin
        applyMask(message, maskingKey, 0);
      });
      pour(client.socket, frames, count, () => {
        const halfClose = encodeFrame(opcodes.binary, [Buffer.of(255, 0)], { key: maskingKey });
        for (const part of halfClose) client.socket.write(part);
      });
      await finished(client, 0);
    }
  }
}

async function finished(client: SpdyExecClient | WebSocketExecClient | TunnelClient, wanted: number): Promise<void> {
  await client.succeeded;
  const { outputBytes } = client;
  client.socket.destroy();
  if (outputBytes !== wanted) throw new Error(`${outputBytes} bytes came, want ${wanted}`);
}

/** Opens and leaves one after the other; gives what each took. */
async function openings({
  route,
  count,
}: {
  route: Route;
  count: number;
}): Promise<{ dialMs: number; upgradeMs: number }[]> {
  const times: { dialMs: number; upgradeMs: number }[] = [];
  for (let opened = 0; opened < count; opened += 1) {
    const startedMs = performance.now();
    const target = streamTarget(route, { command: ['true'], hasStdin: false });
    const { socket, upgradeMs } = await upgrade(route, target);
    times.push({ dialMs: performance.now() - startedMs - upgradeMs, upgradeMs });
    await left(socket);
  }
  return times;
}

/** Whole runs of `true`, one after the other. */
async function execs({ route, count }: { route: Route; count: number }): Promise<void> {
  for (let run = 0; run < count; run += 1) {
    const client = await SpdyExecClient.open(route, ['true']);
    await client.succeeded;
    await left(client.socket);
  }
}

async function left(socket: TLSSocket): Promise<void> {
  if (socket.closed) return;
  const closed = once(socket, 'close');
  socket.destroy();
  await closed;
}

const crowd = new Crowd();
const watches = new Watches();
const floods = { isOn: false, sessions: new Set<SpdyExecClient>() };

/** Sessions at full speed, each begun anew when it is over, until {@link calm}. */
async function flood({ route, count }: { route: Route; count: number }): Promise<void> {
  floods.isOn = true;
  const run = async (): Promise<void> => {
    while (floods.isOn) {
      const client = await SpdyExecClient.open(route, ['source', '1000000']);
      floods.sessions.add(client);
      await client.succeeded.catch(() => {});
      floods.sessions.delete(client);
    }
  };
  for (let index = 0; index < count; index += 1) void run().catch(() => {});
  await new Promise((resolve) => {
    setTimeout(resolve, 1000);
  });
}

/** @returns bytes that came since the flood began. */
async function calm(): Promise<number> {
  floods.isOn = false;
  let bytes = 0;
  for (const client of floods.sessions) {
    bytes += client.outputBytes;
    client.socket.destroy();
  }
  return bytes;
}

const offers = {
  transfer,
  openings,
  execs,
  type,
  callMany,
  readLong,
  flood,
  calm,
  openCrowd: ({ route, count }: { route: Route; count: number }) => crowd.open(route, count),
  countCrowd: async () => crowd.alive,
  closeCrowd: () => crowd.close(),
  openWatches: ({ route, path, count }: { route: Route; path: string; count: number }) =>
    watches.open(route, path, count),
  closeWatches: async () => watches.close(),
};

export type ClientOffers = typeof offers;

offer(offers);
