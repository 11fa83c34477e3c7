// The contrast of docs/faults.md with real parts: an exec that prints 60 lines while a kubelet, a container runtime or kube-apiserver is killed. Through
// kexer an exit code of 0 comes only with all lines; what kube-apiserver's own path says is shown beside it.

import { until } from '../kexer.ts';
import { nodeName, statusOf } from '../control-plane.ts';
import { contextOf, type Stage, type Way, ways } from '../stage.ts';
import type { Check } from './check.ts';

const allLines = 60;
const linesBefore = 15;
const script = `i=0; while [ $i -lt ${allLines} ]; do i=$((i+1)); echo line $i; sleep 0.1; done`;

interface Cell {
  readonly way: Way;
  readonly transport: 'WebSocket' | 'SPDY';
  readonly code: number | null;
  readonly lines: number;
  readonly message: string;
}

/** All ways and transports at once, disturbed when each has had some lines. */
async function disturbed(stage: Stage, disturb: () => Promise<void>): Promise<Cell[]> {
  const lines = (text: string): number => text.split('\n').length - 1;
  const clients = ways.flatMap((way) =>
    (['WebSocket', 'SPDY'] as const).map((transport) => ({
      way,
      transport,
      running: stage.kubectl.start(['exec', 'demo', '--', 'sh', '-c', script], {
        context: contextOf(way, 'alice'),
        env: { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(transport === 'WebSocket') },
      }),
    })),
  );
  await until('all have some lines', async () =>
    clients.every(({ running }) => lines(running.output()) >= linesBefore),
  );
  await disturb();
  return Promise.all(
    clients.map(async ({ way, transport, running }) => {
      const { code, stdout, stderr } = await running.ended;
      return { way, transport, code, lines: lines(stdout), message: stderr.trim() };
    }),
  );
}

/** @throws Error if kexer itself told a false success, or broke what it need not have */
function judge(cells: readonly Cell[], isDirectUntouched = false): string {
  const words = cells.map(({ way, transport, code, lines, message }) => {
    const isFalse = code === 0 && lines < allLines;
    return `${way} over ${transport}: ${isFalse ? 'FALSE SUCCESS, ' : ''}exit ${String(code)}, ${lines} lines${message === '' ? '' : ` (${message})`}`;
  });
  const text = `\n         ${words.join('\n         ')}`;
  for (const { way, code, lines } of cells) {
    const isFalse = code === 0 && lines < allLines;
    if (way !== 'cluster' && isFalse) throw new Error(`a false success${text}`);
    if (way === 'kexer' && isDirectUntouched && (code !== 0 || lines < allLines)) throw new Error(`it broke${text}`);
  }
  return text;
}

async function nodeServes(stage: Stage): Promise<void> {
  const port = stage.node?.kubeletPort ?? 0;
  await until('the kubelet serves', async () => {
    await statusOf(`https://192.0.2.10:${port}/healthz`);
    const { code } = await stage.kubectl.run(['exec', 'demo', '--', 'true'], { timeoutMs: 5000 });
    return code === 0;
  });
}

async function kubeletKilled(stage: Stage): Promise<string> {
  const { kubelet } = stage.node ?? {};
  if (kubelet === undefined) throw new Error('there is no kubelet');
  try {
    return judge(await disturbed(stage, () => kubelet.end('SIGKILL')));
  } finally {
    await kubelet.start();
    await nodeServes(stage);
  }
}

async function runtimeKilled(stage: Stage): Promise<string> {
  const { containerd } = stage.node ?? {};
  if (containerd === undefined) throw new Error('there is no runtime');
  try {
    return judge(await disturbed(stage, () => containerd.end('SIGKILL')));
  } finally {
    await containerd.start();
    await nodeServes(stage);
  }
}

async function apiserverKilled(stage: Stage): Promise<string> {
  const { apiserver } = stage.controlPlane;
  try {
    return judge(await disturbed(stage, () => apiserver.end('SIGKILL')), true);
  } finally {
    await apiserver.start();
    await until('kexer is ready', async () => (await statusOf(`${stage.kexer.url}/readyz`)) === 200);
    await nodeServes(stage);
  }
}

/** After all that: a new session by each way, and kexer's informers follow again. */
async function asBefore(stage: Stage): Promise<string> {
  for (const way of ways) {
    await until(`exec by ${way}`, async () => {
      const text = await stage.kubectl.output(['exec', 'demo', '--', 'echo', 'again'], {
        context: contextOf(way, 'alice'),
      });
      return text === 'again\n';
    });
  }
  const list = await stage.kubectl.output(['get', 'sessions.backup.cv.io', '--no-headers'], {});
  if (list.trim() !== '') throw new Error(`sessions are left: ${list}`);
  return `${nodeName} is entered by all ways, no session is left`;
}

export const disturbanceChecks: readonly Check[] = [
  { name: 'disturbances: kubelet killed', needsNode: true, run: kubeletKilled },
  { name: 'disturbances: container runtime killed', needsNode: true, run: runtimeKilled },
  { name: 'disturbances: kube-apiserver killed', needsNode: true, run: apiserverKilled },
  { name: 'disturbances: all is as before', needsNode: true, run: asBefore },
];
