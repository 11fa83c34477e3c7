// kexer itself is killed in the middle of an exec: nobody is left to send a status, and yet no client may take that for exit code 0. Over SPDY v4
// it is the space on the error stream that does it.

import type { ChildProcessWithoutNullStreams } from 'node:child_process';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { collect, Stage } from './support/stage.ts';

function firstOutput(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((resolve) => {
    child.stdout.once('data', () => resolve());
  });
}

describe('kexer killed by SIGKILL', function () {
  this.timeout(60_000);
  let stage: Stage;
  let kexer: KexerProcess | undefined;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(() => stage?.stop());

  afterEach(() => kexer?.child.kill('SIGKILL'));

  for (const isWebSocket of [true, false]) {
    for (const isAggregated of [false, true]) {
      const path = isAggregated ? 'through the aggregation layer' : 'directly';
      it(`is no exit 0: ${isWebSocket ? 'WebSocket' : 'SPDY'}, ${path}`, async () => {
        kexer = await KexerProcess.start(stage.sandbox);
        const context = isAggregated ? 'kexer-aggregated' : 'kexer';
        // The aggregation layer looks for a new backend now and then.
        while ((await stage.kubectl(['get', 'pod', 'demo'], { context })).code !== 0);
        const child = stage.spawnKubectl(['exec', 'demo', '--', 'sh', '-c', 'echo begun; sleep 60; echo whole'], {
          isWebSocket,
          context,
        });
        const result = collect(child);
        await Promise.race([firstOutput(child), result]);
        kexer.child.kill('SIGKILL');
        const { code, stdout } = await result;
        expect([code, stdout.toString()]).to.deep.equal([1, 'begun\n']);
      });
    }
  }
});
