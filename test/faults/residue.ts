// What is left of a run once everything had its time to end. What was reported once is dropped by force where it can be, and known from then on
// where it cannot: one leak is one violation of one run, and costs the runs after it no time.

import { performance } from 'node:perf_hooks';

import { type FaultStage, nodeNames, pause } from './support/stage.ts';

/** Twice as long as any end takes (a client that left while it was held is missed within 4 s); what is open then stays open. */
export const residueDeadlineMs = 8000;
/** For what is dropped by force to be gone. */
const forceMs = 1000;

export class Residue {
  readonly #stage: FaultStage;
  readonly #deadlineMs: number;
  /** Reported, and still there after all. */
  #known: ReadonlySet<string>;

  constructor(stage: FaultStage, { deadlineMs = residueDeadlineMs }: { deadlineMs?: number } = {}) {
    this.#stage = stage;
    this.#deadlineMs = deadlineMs;
    this.#known = new Set();
  }

  /** A sentence for each thing that is left and was not reported before; settles at once when there is none. */
  async report(): Promise<string[]> {
    const left = await this.#settled(this.#deadlineMs);
    if (left.length === 0) return [];
    await this.#force();
    this.#known = new Set([...this.#known, ...(await this.#settled(forceMs))]);
    return left;
  }

  async #settled(withinMs: number): Promise<string[]> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const fresh = await leftovers(this.#stage, this.#known);
      if (fresh.length === 0 || performance.now() > deadline) return fresh;
      await pause(5);
    }
  }

  /** As if the wire and the kubelets' machines had gone: nothing of a run may be in the way of those after it. */
  async #force(): Promise<void> {
    const stage = this.#stage;
    stage.clientProxy.drop();
    for (const node of nodeNames) {
      stage.proxyOf(node).drop();
      const kubelet = stage.kubeletOf(node);
      if (kubelet.connectionCount === 0) continue;
      await kubelet.kill('rst');
      await kubelet.revive();
    }
  }
}

async function leftovers(stage: FaultStage, known: ReadonlySet<string>): Promise<string[]> {
  const fresh = (all: readonly string[]): string[] => all.filter((text) => !known.has(text));
  const left: string[] = [];
  for (const kexer of [stage.kexer, stage.detourKexer]) {
    if (kexer.exit !== undefined) return fresh([`kexer has died: ${kexer.exit} ${kexer.noise}`]);
    if (kexer.noise !== '') left.push(`kexer complains: ${kexer.noise}`);
    for (const session of kexer.openSessions) left.push(`a session is left in kexer: ${JSON.stringify(session)}`);
  }
  left.push(...(await strangeSockets(stage)));
  if (fresh(left).length > 0) return fresh(left);
  // kexer has let go of everything; only now the wire may do so where it cannot by itself.
  left.push(...each(stage.clientProxy.openConnections, "of the client's proxy"));
  for (const node of nodeNames) {
    const proxy = stage.proxyOf(node);
    proxy.dropBlocked();
    // The apiserver keeps connections of its own to kubelets.
    const kubeletConnections = stage.kubeletOf(node).connectionCount - proxy.otherConnections;
    left.push(...each(proxy.openConnections, `of the proxy of ${node}`));
    left.push(...each(kubeletConnections, `of the kubelet of ${node}`));
  }
  return fresh(left);
}

/** One by one, so that a further one differs from those that are known. */
function each(connections: number, whose: string): string[] {
  return Array.from({ length: Math.max(0, connections) }, (_, index) => `connection ${index + 1} ${whose} is open`);
}

/** Sockets of kexer that lead to a kubelet or to the client of the run that is over. */
async function strangeSockets(stage: FaultStage): Promise<string[]> {
  const kubeletPorts = new Set(nodeNames.map((node) => stage.proxyOf(node).port));
  const strange = await Promise.all(
    [stage.kexer, stage.detourKexer].map(async (kexer) => {
      const { sockets } = await kexer.probe();
      return sockets.filter(({ localPort, remotePort }) => {
        return (
          kubeletPorts.has(remotePort) ||
          (localPort === kexer.port && stage.clientProxy.hasLedTo(localPort, remotePort))
        );
      });
    }),
  );
  return strange
    .flat()
    .map(({ localPort, remotePort }) => `kexer holds a socket ${localPort} → ${remotePort} of a session that is over`);
}
