// The table as people read it, as JSON, as the lines of docs/performance.md, and the guard that holds a new run against the committed one.

import { readFile, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';

import { isReached, type Line } from './line.ts';

export interface Report {
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly lines: readonly Line[];
}

export function makeReport(lines: readonly Line[], versions: Readonly<Record<string, string>>): Report {
  const [processor] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus().length} × ${processor?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    versions,
    lines,
  };
}

const columns = ['what', 'kexer', 'peers in the same run', 'goal', 'ratio', ''] as const;

function cellsOf(line: Line): readonly string[] {
  const peers = Object.entries(line.peers).map(([name, value]) => `${name} ${figure(value)}`);
  const bound = `${line.isMoreBetter === true ? '≥' : '≤'} ${line.limit}`;
  return [
    line.name,
    `${figure(line.kexer)} ${line.unit}`,
    peers.join(', '),
    line.goal,
    `${line.ratio.toFixed(2)} (${bound})`,
    isReached(line) ? 'reached' : '**not reached**',
  ];
}

/** Three digits are what such a measurement is good for. */
function figure(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

export function formatTable(report: Report): string {
  const rows = [columns, ...report.lines.map(cellsOf)];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n').replaceAll('**', '');
}

function markdownTable(report: Report): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const head = [row(columns), row(columns.map(() => '---'))];
  return [...head, ...report.lines.map((line) => row(cellsOf(line)))].join('\n');
}

const begin = '<!-- table: written by npm run bench -- --write -->';
const end = '<!-- end of the table -->';

/** Puts the table between its marks. @throws if they are not there */
export async function writeTable(file: string, report: Report): Promise<void> {
  const text = await readFile(file, 'utf8');
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from === -1 || to < from) throw new Error(`Cannot write the table into ${file}: its marks are missing`);
  const versions = Object.entries(report.versions).map(([name, version]) => `${name} ${version}`);
  const facts = `${report.date}; ${report.machine}; ${versions.join(', ')}.`;
  const table = [begin, '', facts, '', markdownTable(report), '', ''].join('\n');
  await writeFile(file, text.slice(0, from) + table + text.slice(to));
}

/** How much worse than in the committed table a ratio may be. */
const tolerance = 0.25;

/** What has become worse than the machine's noise explains, one sentence each. */
export function regressions(report: Report, committed: Report): string[] {
  const known = new Map(committed.lines.map((line) => [line.name, line]));
  return report.lines.flatMap((line) => {
    const before = known.get(line.name);
    if (before === undefined || before.ratio <= 0 || line.ratio <= 0) return [];
    const worse = line.isMoreBetter === true ? before.ratio / line.ratio : line.ratio / before.ratio;
    if (worse <= 1 + tolerance) return [];
    return [`${line.name}: ratio ${line.ratio.toFixed(2)}, was ${before.ratio.toFixed(2)}`];
  });
}
