// Drives the kubelet with the bytes that a real client sent, and compares what it answers, frame by frame, with what the real kubelet
// answered. Made equal before: ids of executions, cuts of output into frames, the order in which streams are reset (a Go map's), and
// texts of the programs that ran there (busybox) and run here.

import { expect } from 'chai';
import { SpdyDecoder } from '../../../src/protocol/spdy/decoder.ts';
import type { SpdyFrame } from '../../../src/protocol/spdy/frame.ts';
import { WebSocketDecoder } from '../../../src/protocol/websocket/frame.ts';
import { readConnections, type RecordedConnection } from '../../support/recordings.ts';
import { Harness, nextChunk } from './harness.ts';

/** A line of the comparison. */
type Step = readonly [what: string, ...details: (string | number | boolean)[]];

function normalizeText(text: string): string {
  return text
    .replaceAll(/start exec \\"[0-9a-f]{64}\\"/g, String.raw`start exec \"ID\"`)
    .replaceAll(/stty: standard input\r\n/g, 'SIZE')
    .replaceAll(/(?:\^@)?30 100\r\n/g, 'SIZE') // ^@: the terminal's echo of the byte 0 that the recorded client sends
    .replaceAll(/4\+0 records in\n4\+0 records out\n[^"]*/g, 'DD');
}

/** SPDY frames as steps: SYN_REPLYs, the whole output of each stream with its FIN, the status, the resets sorted, GOAWAY. */
function spdySteps(bytes: Buffer): Step[] {
  const frames = new SpdyDecoder().acceptChunk(bytes);
  const output = new Map<number, Buffer[]>();
  const steps: Step[] = [];
  const resets: Step[] = [];
  for (const frame of frames) {
    if (frame.type === 'data') {
      const parts = output.get(frame.streamId) ?? [];
      parts.push(frame.bytes);
      output.set(frame.streamId, parts);
      if (frame.fin) steps.push(['fin', frame.streamId]);
    } else if (frame.type === 'rstStream') {
      resets.push(['rst', frame.streamId, frame.status]);
    } else {
      steps.push(frameStep(frame));
    }
  }
  const data = [...output].sort(([a], [b]) => a - b);
  const texts = data.map(([id, parts]): Step => ['data', id, normalizeText(Buffer.concat(parts).toString('latin1'))]);
  return [...steps.filter(([what]) => what !== 'fin'), ...finSteps(steps), ...texts, ...resets.sort(byId)];
}

function frameStep(frame: Exclude<SpdyFrame, { type: 'data' | 'rstStream' }>): Step {
  switch (frame.type) {
    case 'synReply':
      return ['reply', frame.streamId, frame.fin, JSON.stringify(frame.headers)];
    case 'goaway':
      return ['goaway', frame.lastStreamId, frame.status];
    default:
      return [frame.type];
  }
}

/** stdout and stderr end in either order. */
function finSteps(steps: readonly Step[]): Step[] {
  return steps.filter(([what]) => what === 'fin').sort(byId);
}

function byId(a: Step, b: Step): number {
  return Number(a[1]) - Number(b[1]);
}

/** WebSocket messages as steps: the first one, the whole output of each channel, the close. */
function webSocketSteps(bytes: Buffer): Step[] {
  const events = new WebSocketDecoder({ role: 'client' }).acceptChunk(Buffer.from(bytes));
  const output = new Map<string, Buffer[]>();
  const steps: Step[] = [];
  let message: Buffer[] = [];
  for (const event of events) {
    if (event.type === 'data') {
      message.push(event.bytes);
      if (!event.isLast) continue;
      const whole = Buffer.concat(message);
      message = [];
      if (steps.length === 0) steps.push(['first', event.opcode, whole.toString('latin1')]);
      else {
        const key = `${event.opcode} ${whole[0]}`;
        output.set(key, [...(output.get(key) ?? []), whole.subarray(1)]);
      }
    } else {
      steps.push([event.type, event.type === 'close' ? event.code : 0]);
    }
  }
  const data = [...output].sort(([a], [b]) => a.localeCompare(b));
  return [
    ...steps,
    ...data.map(([key, parts]): Step => ['data', key, normalizeText(Buffer.concat(parts).toString('latin1'))]),
  ];
}

/** Headers of the answer but for dates and keys. */
function headSteps(head: string): string[] {
  return head
    .split('\r\n')
    .map((line) => line.replace(/^Date: .*/, 'Date').replace(/^(Sec-WebSocket-Accept): .*/, '$1'));
}

/** Sends the recorded client's bytes and returns everything the kubelet said until it ended. */
async function replay(harness: Harness, { client }: RecordedConnection): Promise<Buffer> {
  const socket = await harness.dial();
  socket.on('error', () => {});
  socket.write(client.head);
  const received: Buffer[] = [];
  const first = await nextChunk(socket);
  if (first !== undefined) received.push(first);
  // The client's masked Close at the end of a recording answers the kubelet's; it comes early here and must not cut the session.
  for (const chunk of withoutCloseAnswer(client)) socket.write(chunk);
  for (let chunk = await nextChunk(socket); chunk !== undefined; chunk = await nextChunk(socket)) received.push(chunk);
  socket.destroy();
  return Buffer.concat(received);
}

function withoutCloseAnswer({ head, chunks }: RecordedConnection['client']): readonly Buffer[] {
  const last = chunks.at(-1);
  const isClose = /upgrade: websocket/i.test(head) && last !== undefined && last[0] === 0x88;
  return isClose ? chunks.slice(0, -1) : chunks;
}

const spdyNames = ['exec-spdy-exit3', 'exec-spdy-stdin', 'exec-spdy-tty', 'exec-spdy-nocmd', 'exec-spdy-large'];
const webSocketNames = [
  'exec-ws5-exit3',
  'exec-ws5-stdin',
  'exec-ws5-tty',
  'exec-ws5-nocmd',
  'exec-ws5-large',
  'exec-ws4-exit3',
  'exec-ws4-base64-exit3',
  'exec-ws1-exit3',
];

describe('kubelet: recorded streams', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start();
    harness.createSimplePod('tools', { image: 'localhost/tools:1', command: ['sleep', '1000'] });
    await harness.waitUntilReady('tools');
  });
  after(() => harness.close());

  for (const [names, stepsOf] of [
    [spdyNames, spdySteps],
    [webSocketNames, webSocketSteps],
  ] as const) {
    for (const name of names) {
      it(`answers ${name} with the same frames`, async () => {
        const [connection] = readConnections(name);
        const bytes = await replay(harness, connection!);
        const end = bytes.indexOf('\r\n\r\n') + 4;
        expect(headSteps(bytes.toString('latin1', 0, end))).to.deep.equal(headSteps(connection!.kubelet.head));
        expect(stepsOf(bytes.subarray(end))).to.deep.equal(stepsOf(connection!.kubelet.body));
      });
    }
  }

  it('sends no WebSocket message longer than the real one does', async () => {
    // x/net and gorilla copy with a buffer of 32 KiB: clients have sized theirs by it.
    const [connection] = readConnections('exec-ws5-large');
    const bytes = await replay(harness, connection!);
    const body = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
    let longest = 0;
    let length = 0;
    for (const event of new WebSocketDecoder({ role: 'client' }).acceptChunk(Buffer.from(body))) {
      if (event.type !== 'data') continue;
      length += event.bytes.length;
      if (!event.isLast) continue;
      longest = Math.max(longest, length);
      length = 0;
    }
    expect(longest).to.be.at.most(32 * 1024 + 1);
  });
});
