// The suite hook: after all tests of a file's root suite nothing may be left open. A leaked socket, timer or child keeps the
// process alive, so a leak is a failure here and not a run that hangs.

import type { RootHookObject } from 'mocha';

/** Resource names of process.getActiveResourcesInfo that the test runner itself or the terminal holds. */
const ownResources = new Set([
  'TTYWrap',
  'PipeWrap',
  'FSReqCallback',
  'FSReqPromise',
  'CloseReq',
  'Immediate',
  'TickObject',
]);

function openResources(): string[] {
  return process.getActiveResourcesInfo().filter((name) => !ownResources.has(name));
}

/** How long closing sockets may take to vanish: a close travels through the event loop, never through time. */
const maxTurns = 200;

async function settle(): Promise<string[]> {
  for (let turn = 0; turn < maxTurns && openResources().some((name) => name !== 'Timeout'); turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  return openResources();
}

export const mochaHooks: RootHookObject = {
  async afterAll() {
    // Mocha's own time limit for this hook is the one Timeout that is expected.
    const left = await settle();
    const timeouts = left.filter((name) => name === 'Timeout').length;
    const others = left.filter((name) => name !== 'Timeout');
    if (others.length > 0 || timeouts > 1) {
      throw new Error(
        `Cannot end the suite: left open: ${[...others, ...Array.from({ length: Math.max(0, timeouts - 1) }, () => 'Timeout')].join(', ')}`,
      );
    }
  },
};
