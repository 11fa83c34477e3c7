// One arena for all files that compare a cluster's own answers with kexer's: setting one up on a real cluster takes a minute, and two at once
// would delete each other's namespaces.

import { type Arena, podsReady, sandboxArena } from './arena.ts';
import { setUpMatrix } from './matrix-users.ts';
import { realArena } from './real-arena.ts';

/** '' for the sandbox. */
export const kubeconfig = process.env['KEXER_TEST_KUBECONFIG'] ?? '';
export const isRealCluster = kubeconfig !== '';

let shared: Promise<Arena> | undefined;
let users = 0;

/** Call inside `describe`: the arena of this run, there from the first `it` on. */
export function useArena(): () => Arena {
  let arena: Arena | undefined;
  users += 1;
  before('a cluster with a kexer in front of it', async function () {
    this.timeout(isRealCluster ? 300_000 : 60_000);
    shared ??= start();
    arena = await shared;
  });
  after(async function () {
    this.timeout(isRealCluster ? 300_000 : 60_000);
    users -= 1;
    if (users > 0) return;
    shared = undefined;
    await arena?.stop();
  });
  return () => {
    if (arena === undefined) throw new Error('There is no arena before the first test');
    return arena;
  };
}

async function start(): Promise<Arena> {
  const arena = isRealCluster ? await realArena(kubeconfig) : await sandboxArena();
  try {
    await setUpMatrix(arena);
    await podsReady(arena, ['demo']);
    return arena;
  } catch (error) {
    await arena.stop();
    throw error;
  }
}
