// Findings as people and as programs read them: a table whose long sentences go on below themselves, or JSON.

import type { Finding, FindingStatus } from './finding.ts';

export const outputs = ['table', 'json'] as const;
export type Output = (typeof outputs)[number];

const statuses: readonly FindingStatus[] = ['ok', 'warn', 'fail', 'skip'];
const names: Readonly<Record<FindingStatus, string>> = { ok: 'ok', warn: 'WARN', fail: 'FAIL', skip: '-' };
const gap = '   ';
/** Of a terminal that does not tell. */
const defaultColumns = 160;
const minTextWidth = 30;

export function countOf(findings: readonly Finding[]): Readonly<Record<FindingStatus, number>> {
  const count = (status: FindingStatus): number => findings.filter((finding) => finding.status === status).length;
  return { ok: count('ok'), warn: count('warn'), fail: count('fail'), skip: count('skip') };
}

/** @param columns of the terminal; undefined: there is none. */
export function asTable(findings: readonly Finding[], columns: number | undefined): string {
  const checkWidth = Math.max('CHECK'.length, ...findings.map(({ check }) => check.length));
  const statusWidth = 'STATUS'.length;
  const left = (columns ?? defaultColumns) - checkWidth - statusWidth - 3 * gap.length;
  const hasFixes = findings.some(({ fix }) => fix !== '');
  const whatWidth = Math.max(minTextWidth, hasFixes ? Math.ceil(left * 0.55) : left);
  const fixWidth = Math.max(minTextWidth, left - whatWidth);
  const row = (check: string, status: string, what: string, fix: string): string[] => {
    const whats = wrapped(what, whatWidth);
    const fixes = wrapped(fix, fixWidth);
    return Array.from({ length: Math.max(whats.length, fixes.length, 1) }, (_, index) =>
      [
        (index === 0 ? check : '').padEnd(checkWidth),
        (index === 0 ? status : '').padEnd(statusWidth),
        (whats[index] ?? '').padEnd(whatWidth),
        fixes[index] ?? '',
      ]
        .join(gap)
        .trimEnd(),
    );
  };
  const lines = findings.flatMap(({ check, status, what, fix }) => row(check, names[status], what, fix));
  return [...row('CHECK', 'STATUS', 'WHAT', hasFixes ? 'FIX' : ''), ...lines, '', summary(findings)].join('\n');
}

function summary(findings: readonly Finding[]): string {
  const counts = countOf(findings);
  const words: Readonly<Record<FindingStatus, string>> = {
    ok: 'in order',
    warn: counts.warn === 1 ? 'warning' : 'warnings',
    fail: counts.fail === 1 ? 'failure' : 'failures',
    skip: 'not looked at',
  };
  return `${statuses
    .filter((status) => counts[status] > 0)
    .map((status) => `${counts[status]} ${words[status]}`)
    .join(', ')}.`;
}

export function asJson(findings: readonly Finding[], version: string): string {
  return JSON.stringify({ kind: 'DoctorReport', version, counts: countOf(findings), findings }, null, 2);
}

/** Words are never cut: a path or a command is copied whole. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').filter((part) => part !== '')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
