// A bandwidth limit on real legs: everything arrives, at the rate and in order; pings are answered while a leg is held.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { ExecRelay } from '../../src/streams/exec-relay.ts';
import { ExecTranslate } from '../../src/streams/exec-translate.ts';
import { encodeFrame, opcodes } from '../../src/protocol/websocket/frame.ts';
import type { RunningStream } from '../../src/streams/leg.ts';
import { makeRig, quiet, type Rig, SpdyPeer, until } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

const mib = 1024 * 1024;
const bandwidth = { perUser: mib, total: 0 };
const backend = 'the kubelet of node node1';
const success = '{"status":"Success"}';

describe('a bandwidth limit', () => {
  let rig: Rig<RunningStream>;

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  /** Virtual time until `isSo`, with turns for what is in flight. @returns seconds. */
  async function seconds(isSo: () => boolean): Promise<number> {
    const startMs = rig.clock.now();
    while (!isSo()) {
      rig.clock.advance(100);
      await quiet();
    }
    return (rig.clock.now() - startMs) / 1000;
  }

  async function startSpdy(): Promise<SpdyPeer> {
    rig = makeRig((deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend }), { bandwidth });
    const client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
    for (const type of ['error', 'stdin', 'stdout', 'stderr']) client.open(type);
    await until(() => client.log.filter((line) => line.startsWith('reply')).length === 4);
    return client;
  }

  async function startWebSocket(): Promise<WsPeer> {
    const options = {
      version: 5,
      isBase64: false,
      hasStdin: true,
      hasStdout: true,
      hasStderr: true,
      hasTty: false,
    } as const;
    rig = makeRig((deps, legs) => new ExecTranslate(deps, legs, { ...options, backend }), { bandwidth });
    const client = new WsPeer(rig.clientSocket, rig.clock);
    await until(() => rig.kubelet.streams.length === 4 && client.messages.length > 0);
    return client;
  }

  const output = (): Buffer =>
    Buffer.from(Array.from({ length: 8 * 1024 }, (_, index) => `${index}`.padEnd(1023)).join('\n'));

  for (const protocol of ['SPDY', 'WebSocket'] as const) {
    it(`lets all output through to a ${protocol} client, in order, in the time it takes, and the status after it`, async () => {
      const client = protocol === 'SPDY' ? await startSpdy() : await startWebSocket();
      const got = (): Buffer =>
        client instanceof SpdyPeer ? Buffer.concat(client.of('stdout').data) : Buffer.concat(client.bytes.get(1) ?? []);
      const bytes = output();
      rig.kubelet.of('stdout').stream.write(bytes);
      rig.kubelet.of('error').stream.write(Buffer.from(success));
      rig.kubelet.connection.goaway();
      const taken = await seconds(() => rig.ended !== undefined || got().length === bytes.length);
      expect(taken).to.be.within(6, 8);
      expect(got().equals(bytes)).to.equal(true);
      await until(() => client.end !== undefined);
      rig.clientSocket.end();
      await until(() => rig.ended !== undefined);
      expect(rig.ended).to.deep.equal({ cause: 'normal', message: 'the command succeeded', exitCode: 0 });
    });

    it(`lets all stdin of a ${protocol} client through in the time it takes`, async () => {
      const client = protocol === 'SPDY' ? await startSpdy() : await startWebSocket();
      const bytes = output();
      if (client instanceof SpdyPeer) client.of('stdin').stream.write(bytes);
      else for (let at = 0; at < bytes.length; at += 32 * 1024) client.send(0, bytes.subarray(at, at + 32 * 1024));
      const stdin = rig.kubelet.of('stdin');
      const length = (): number => stdin.data.reduce((sum, { length: part }) => sum + part, 0);
      const taken = await seconds(() => length() === bytes.length);
      expect(taken).to.be.within(6, 8);
      expect(Buffer.concat(stdin.data).equals(bytes)).to.equal(true);
    });
  }

  it('answers the pings of a client whose output is held', async () => {
    const client = await startWebSocket();
    rig.kubelet.of('stdout').stream.write(output());
    await seconds(() => client.bytes.has(1));
    await quiet();
    const { pongs } = client;
    client.connection.ping();
    await until(() => client.pongs > pongs, 'the pong');
  });

  it('sends pongs to a client whose stdin is held, every 2 s', async () => {
    const client = await startWebSocket();
    // Two pieces of 8 MiB, each read at once; the second has to be paid for.
    const frame = encodeFrame(opcodes.binary, [Buffer.of(0), output()], { key: Buffer.of(1, 2, 3, 4) });
    for (const part of [...frame, ...frame]) rig.clientSocket.write(Buffer.from(part));
    await until(() => rig.session.bytesIn > 15 * mib);
    const pongs: number[] = [];
    for (const ms of [1999, 1, 1000]) {
      rig.clock.advance(ms);
      await quiet();
      pongs.push(client.pongs);
    }
    expect(pongs).to.deep.equal([0, 1, 1]);
  });

  it('ends a held session at once when it is told to', async () => {
    const client = await startSpdy();
    rig.kubelet.of('stdout').stream.write(output());
    await seconds(() => client.of('stdout').data.length > 0);
    rig.piece.end('it is enough');
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.contain('it is enough');
  });
});
