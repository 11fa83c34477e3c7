// What real kubectl says of an exec that is disturbed, through kexer and through kube-apiserver's own path, as the sandbox has it. Run as a
// command it prints the table of docs/faults.md: `node test/faults/contrast.ts`.

import { spawn } from 'node:child_process';
import { pathToFileURL } from 'node:url';

import { FaultStage, type NodeName, nodeNames } from './support/stage.ts';

export const disturbances = ['kubelet killed', 'container runtime killed', 'kube-apiserver killed'] as const;
export type Disturbance = (typeof disturbances)[number];

export const contexts = ['kexer', 'kexer-aggregated', 'cluster'] as const;
export type ContrastContext = (typeof contexts)[number];

export interface Cell {
  readonly disturbance: Disturbance;
  readonly context: ContrastContext;
  readonly isWebSocket: boolean;
  readonly node: NodeName;
  readonly exitCode: number | null;
  readonly lines: number;
  readonly message: string;
}

/** Lines that the command prints, and how many each client must have before the disturbance. */
export const allLines = 60;
const linesBefore = 15;

const script = `i=0; while [ $i -lt ${allLines} ]; do i=$((i+1)); echo line $i; sleep 0.04; done`;
const pods = { node1: 'demo', node2: 'db' } as const;

/** Whether a user was told that all went well although it did not. */
export function isFalseSuccess(cell: Cell): boolean {
  return cell.exitCode === 0 && cell.lines < allLines;
}

interface Client {
  readonly warm: Promise<void>;
  readonly cell: Promise<Cell>;
}

function startClient(stage: FaultStage, question: Omit<Cell, 'exitCode' | 'lines' | 'message'>): Client {
  const { context, isWebSocket, node } = question;
  const child = spawn('kubectl', ['--context', context, 'exec', pods[node], '--', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: stage.sandbox.dir,
      KUBECONFIG: stage.sandbox.files.kubeconfig,
      KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(isWebSocket),
    },
  });
  const warm = Promise.withResolvers<void>();
  let text = '';
  let message = '';
  child.stderr.on('data', (chunk: Buffer) => (message += chunk.toString()));
  const lines = (): number => text.split('\n').length - 1;
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (lines() >= linesBefore) warm.resolve();
  });
  const cell = new Promise<Cell>((resolve) => {
    child.on('close', (exitCode) => {
      warm.resolve(); // it will not come to more
      resolve({ ...question, exitCode, lines: lines(), message: message.trim() });
    });
  });
  return { warm: warm.promise, cell };
}

/** All clients at once, one disturbance. */
export async function contrast(stage: FaultStage, disturbance: Disturbance): Promise<Cell[]> {
  const clients = contexts.flatMap((context) =>
    [true, false].flatMap((isWebSocket) =>
      nodeNames.map((node) => startClient(stage, { disturbance, context, isWebSocket, node })),
    ),
  );
  await Promise.all(clients.map(({ warm }) => warm));
  const { apiserver } = stage.sandbox;
  const kubelets = nodeNames.map((node) => stage.kubeletOf(node));
  if (disturbance === 'kubelet killed') await Promise.all(kubelets.map((kubelet) => kubelet.kill('rst')));
  else if (disturbance === 'kube-apiserver killed') await apiserver.kill();
  else for (const kubelet of kubelets) kubelet.cutRuntime();
  const cells = await Promise.all(clients.map(({ cell }) => cell));
  if (disturbance === 'kubelet killed') await Promise.all(kubelets.map((kubelet) => kubelet.revive()));
  if (disturbance === 'kube-apiserver killed') await apiserver.restart();
  await stage.whenReachable();
  return cells;
}

/** A row for each disturbance, client and node; what is wrong in bold. */
export function contrastTable(cells: readonly Cell[]): string {
  const row = (columns: readonly string[]): string => `| ${columns.join(' | ')} |`;
  const head = ['an exec that prints 60 lines, disturbed', 'kubectl over', 'node', ...contexts];
  const keys = [...new Set(cells.map(({ disturbance, isWebSocket, node }) => [disturbance, isWebSocket, node].join()))];
  const rows = keys.map((key) => {
    const group = cells.filter((cell) => [cell.disturbance, cell.isWebSocket, cell.node].join() === key);
    const [first] = group;
    if (first === undefined) return '';
    const outcomes = contexts.map((context) => {
      const cell = group.find((candidate) => candidate.context === context);
      if (cell === undefined) return '';
      const text = `exit ${cell.exitCode}, ${cell.lines} lines`;
      return isFalseSuccess(cell) ? `**${text}**` : text;
    });
    const node = first.node === 'node1' ? 'node1 (1.36)' : 'node2 (1.35)';
    return row([first.disturbance, first.isWebSocket ? 'WebSocket' : 'SPDY', node, ...outcomes]);
  });
  return [row(head), row(head.map(() => '---')), ...rows].join('\n');
}

async function main(): Promise<void> {
  const stage = await FaultStage.start();
  try {
    const cells: Cell[] = [];
    for (const disturbance of disturbances) cells.push(...(await contrast(stage, disturbance)));
    console.log(contrastTable(cells));
  } finally {
    await stage.stop();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
