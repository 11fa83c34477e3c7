// Garbage from the side of kubelets: answers to the upgrade that are none, frames that are none, statuses that are none. Whatever it is, the
// client is told a failure (a success would be a false one: no script here ends a command), and the witness session beside is served on.

import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { SpdyExecSession } from '../faults/sessions/exec-spdy.ts';
import { WebSocketExecSession } from '../faults/sessions/exec-websocket.ts';
import type { Work } from '../faults/sessions/session.ts';
import type { Random } from '../faults/support/random.ts';
import { pause } from '../faults/support/stage.ts';
import { budgetMs, newSeed, runCases, within } from './support/cases.ts';
import { answerHead, dataFrame, deflated, mutate, spdyFrames, split } from './support/garbage.ts';
import { FuzzStage } from './support/stage.ts';

const seed = newSeed();
const budget = { seed, budgetMs: budgetMs(), atOnce: 6 };
const switching =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n';

/** Error streams that hold no status of a command. */
const noStatuses = [
  '',
  ' ',
  '{}',
  '[]',
  'null',
  'true',
  '"Success"',
  '{"status":"Success"',
  '{"status":"Successful"}',
  '{"status":["Success"]}',
  '{"status":"Success"}{"status":"Success"}',
  '{"status":"Failure","reason":"NonZeroExitCode"}',
  '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"0"}]}}',
  '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"256"}]}}',
  '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"x"}]}}',
  '\uFEFF{"status":"Success"}',
];

/** Plays the pieces, one a turn, then ends in one of the ways a connection can. */
function play(socket: TLSSocket, pieces: readonly Buffer[], end: 'fin' | 'destroy'): void {
  void (async () => {
    for (const piece of pieces) {
      if (socket.destroyed) return;
      socket.write(piece);
      await pause(0);
    }
    if (end === 'fin') socket.end();
    if (end === 'destroy') socket.destroy();
  })();
}

describe(`kexer with kubelets that send garbage (seed ${seed})`, function () {
  this.timeout(60_000 + 4 * budget.budgetMs);
  let stage: FuzzStage;

  before(async () => {
    stage = await FuzzStage.start();
  });

  after(() => stage.stop());

  /** One exec over a random protocol against a script; the result must be a failure. */
  async function runScript(
    random: Random,
    name: string,
    script: { pieces: readonly Buffer[]; end: 'fin' | 'destroy' },
  ): Promise<string | undefined> {
    stage.scripts.set(name, (socket) => play(socket, script.pieces, script.end));
    const stdin = random.chance(0.3) ? random.bytes(random.between(0, 5000)) : undefined;
    const work: Work = { pod: 'fuzz', command: [name], stdin, connections: [], isFollowing: false };
    const session = random.chance(0.5)
      ? new SpdyExecSession(stage.target, 'exec', random.pick(['v4.channel.k8s.io', 'v2.channel.k8s.io']), work)
      : new WebSocketExecSession(
          stage.target,
          'exec',
          random.pick(['v5.channel.k8s.io', 'v4.channel.k8s.io', '']),
          work,
        );
    let hasLeft = false;
    const patience = setTimeout(() => {
      hasLeft = true;
      session.leave();
    }, 8000);
    const report = await session.done;
    clearTimeout(patience);
    stage.scripts.delete(name);
    if (hasLeft) return 'the session did not end with its kubelet';
    if (report.result.kind !== 'failure') return `told ${JSON.stringify(report.result)}`;
    // The kubelet may be gone before the client has opened the stream that would tell it.
    if (report.result.isTold || report.result.message.startsWith('cannot open a stream')) return undefined;
    return `not told why: ${report.result.message}`;
  }

  async function fuzz(
    makeScript: (random: Random) => { pieces: readonly Buffer[]; end: 'fin' | 'destroy' },
  ): Promise<void> {
    const before = await stage.kexer.probe(true);
    const { problems, cases } = await runCases(budget, (random, index) =>
      runScript(random, `case-${index}`, makeScript(random)),
    );
    problems.push(...(await stage.complaints()));
    const after = await stage.kexer.probe(true);
    const grownBytes = after.heapBytes + after.externalBytes - before.heapBytes - before.externalBytes;
    expect(problems.slice(0, 5), `seed ${seed}, ${cases} cases`).to.deep.equal([]);
    expect(cases).to.be.greaterThan(20);
    expect(grownBytes).to.be.lessThan(24 * 1024 * 1024);
  }

  it('tells its client a failure for answers that are no 101', () =>
    fuzz((random) => ({
      pieces: random.chance(0.05) ? [] : split(random, mutate(random, answerHead(random))),
      end: random.pick(['fin', 'destroy'] as const),
    })));

  it('tells its client a failure for frames that are none', () =>
    fuzz((random) => {
      const encoder = new SpdyEncoder();
      const replies = [1, 3, 5, 7, 9].map((id) => encoder.synReply(id));
      const frames = spdyFrames(random, { role: 'server', count: random.between(0, 40) });
      if (random.chance(0.1)) frames.push(deflated(random));
      const all = random.chance(0.7) ? [...replies, ...frames] : frames;
      const bytes = mutate(random, Buffer.concat(all));
      const isTogether = random.chance(0.3);
      const head = Buffer.from(switching);
      return {
        pieces: isTogether ? split(random, Buffer.concat([head, bytes])) : [head, ...split(random, bytes)],
        end: random.pick(['fin', 'destroy'] as const),
      };
    }));

  it('tells its client a failure for statuses that are none', () =>
    fuzz((random) => {
      const encoder = new SpdyEncoder();
      const replies = [1, 3, 5, 7].map((id) => encoder.synReply(id));
      const status = Buffer.from(random.pick(noStatuses));
      const at = random.between(0, status.length);
      const frames = [
        ...replies,
        dataFrame(1, status.subarray(0, at)),
        dataFrame(1, status.subarray(at), random.chance(0.5)),
        ...(random.chance(0.5) ? [encoder.goaway(7)] : []),
      ];
      return {
        pieces: [Buffer.from(switching), ...split(random, Buffer.concat(frames))],
        end: random.pick(['fin', 'destroy'] as const),
      };
    }));

  it('lets go of a kubelet that says nothing when its client leaves', async () => {
    const { problems, cases } = await runCases(budget, async (random, index) => {
      const name = `case-${index}`;
      const part = Buffer.from(switching).subarray(0, random.chance(0.5) ? 0 : random.between(0, switching.length));
      const reached = Promise.withResolvers<TLSSocket>();
      stage.scripts.set(name, (socket) => {
        if (part.length > 0) socket.write(part);
        reached.resolve(socket);
      });
      const client = await stage.dial();
      client.resume();
      client.write(
        `POST ${stage.execPath(name)} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n`,
      );
      const kubelet = await reached.promise;
      const isLetGo = new Promise<true>((resolve) => {
        kubelet.once('close', () => resolve(true));
      });
      kubelet.resume();
      if (random.chance(0.5)) client.end();
      else client.destroy();
      const problem = (await within(20_000, isLetGo)) === true ? undefined : 'the kubelet is still held';
      client.destroy();
      return problem;
    });
    problems.push(...(await stage.complaints()));
    expect(problems.slice(0, 5), `seed ${seed}, ${cases} cases`).to.deep.equal([]);
    expect(cases).to.be.greaterThan(20);
  });
});
