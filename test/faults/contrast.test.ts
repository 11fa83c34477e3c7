// The same disturbance, seen by real kubectl through kexer and through kube-apiserver's own path (the sandbox's stand-in behaves as the real
// one was measured to): the reason why kexer exists, and the proof that these tests would see a false success.

import { expect } from 'chai';

import { type Cell, contrast, type Disturbance, disturbances, isFalseSuccess } from './contrast.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { FaultStage } from './support/stage.ts';

/** Where kube-apiserver's path says exit 0 for a part: baselines of a real 1.36.2. */
const knownFalseSuccesses: Readonly<Record<Disturbance, readonly string[]>> = {
  'kubelet killed': ['SPDY node1', 'SPDY node2', 'WebSocket node2'],
  'container runtime killed': ['SPDY node1', 'SPDY node2', 'WebSocket node1', 'WebSocket node2'],
  'kube-apiserver killed': ['SPDY node1', 'SPDY node2'],
};

function label({ isWebSocket, node }: Cell): string {
  return `${isWebSocket ? 'WebSocket' : 'SPDY'} ${node}`;
}

describe('an exec that is disturbed', function () {
  this.timeout(60_000);
  let stage: FaultStage | undefined;

  before(needsKubectl);

  before(async () => {
    stage = await FaultStage.start();
  });

  // Undefined where kubectl is missing.
  after(() => stage?.stop());

  for (const disturbance of disturbances) {
    it(`never looks whole through kexer, and does without it: ${disturbance}`, async () => {
      if (stage === undefined) throw new Error('the stage was not set');
      const cells = await contrast(stage, disturbance);
      const throughKexer = cells.filter(({ context }) => context !== 'cluster');
      const without = cells.filter(({ context }) => context === 'cluster');
      expect({
        throughKexer: throughKexer.filter(isFalseSuccess),
        without: without.filter(isFalseSuccess).map(label).toSorted(),
      }).to.deep.equal({ throughKexer: [], without: knownFalseSuccesses[disturbance] });
      // The direct path does not notice an apiserver that is gone.
      const direct = cells.filter(({ context }) => context === 'kexer');
      if (disturbance === 'kube-apiserver killed') {
        expect(direct.map(({ exitCode, lines }) => [exitCode, lines])).to.deep.equal(direct.map(() => [0, 60]));
      } else {
        for (const { message, node } of direct) expect(message).to.contain(node);
      }
    });
  }
});
