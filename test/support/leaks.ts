// The suite hook: after all tests of a file's root suite nothing may be left open. A leaked socket, timer or child keeps the
// process alive, so a leak is a failure here and not a run that hangs. Neither may a secret have been written: see secret-watch.ts.

import type { RootHookObject } from 'mocha';

import { secretWatch, testName } from './secret-watch.ts';

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

/** How long closing sockets may take to vanish. As a rule it is some turns of the event loop; a busy machine lets a peer's process wait. */
const patienceMs = 5000;

async function settle(): Promise<string[]> {
  const endMs = performance.now() + patienceMs;
  while (openResources().some((name) => name !== 'Timeout') && performance.now() < endMs) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  return openResources();
}

function openProblem(left: readonly string[]): string | undefined {
  // Mocha's own time limit for this hook is the one Timeout that is expected.
  const timeouts = left.filter((name) => name === 'Timeout').slice(1);
  const others = left.filter((name) => name !== 'Timeout');
  const open = [...others, ...timeouts];
  return open.length === 0 ? undefined : `left open: ${open.join(', ')}`;
}

export const mochaHooks: RootHookObject = {
  beforeAll() {
    secretWatch.start();
  },
  beforeEach(this: Mocha.Context) {
    secretWatch.search.during = testName(this.currentTest);
  },
  async afterAll() {
    secretWatch.stop();
    const written = await secretWatch.report();
    const open = openProblem(await settle());
    const problems = [...(open === undefined ? [] : [open]), ...written];
    if (problems.length > 0) throw new Error(`Cannot end the suite: ${problems.join('; ')}`);
  },
};
