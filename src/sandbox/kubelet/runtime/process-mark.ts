// Finds and kills every process of a container, also those that left its session with setsid: each carries the container's id in
// its environment, which children inherit. Where /proc is missing only the process group is known (see process.ts).

import { readdir, readFile } from 'node:fs/promises';

/** The variable every process of a pod has; its value is the container's id. */
export const markVariable = 'KEXER_SANDBOX_CONTAINER';

/** How a process of the container shows in its environment. */
export function markOf(containerId: string): string {
  return `${markVariable}=${containerId}`;
}

async function hasMark(pid: string, mark: string): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/environ`, 'latin1')).includes(mark);
  } catch {
    return false; // gone meanwhile, or another user's
  }
}

/** Pids of the processes marked with `containerId`. */
export async function markedProcesses(containerId: string): Promise<number[]> {
  let entries: string[];
  try {
    entries = await readdir('/proc');
  } catch {
    return [];
  }
  const pids = entries.filter((name) => /^[0-9]+$/.test(name));
  const mark = markOf(containerId);
  const marked = await Promise.all(pids.map((pid) => hasMark(pid, mark)));
  return pids.filter((_, index) => marked[index]).map(Number);
}

/** Rounds of looking and killing; a process may fork between the look and the kill. */
const maxRounds = 10;

/** Kills (SIGKILL) what is marked until nothing is left. */
export async function killMarked(containerId: string): Promise<void> {
  for (let round = 0; round < maxRounds; round += 1) {
    const pids = await markedProcesses(containerId);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // ended by itself meanwhile
      }
    }
  }
}
