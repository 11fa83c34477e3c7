// The table of docs/compatibility.md: a row for each client and kubelet, a column for each kind of stream.

import { clients } from './clients.ts';
import { kinds, kubelets } from './client.ts';

/** What a run says of the cell, or undefined for one that did not run. */
export type CellResult = (client: string, kubelet: string, kind: string) => 'pass' | 'FAIL' | undefined;

const begin = '<!-- table: node test/clients/table.ts -->\n';
const end = '<!-- end of table -->';

/** The table as it stands in the document: its lines without padding. */
export function tableOf(document: string): string[] {
  const text = document.slice(document.indexOf(begin) + begin.length, document.indexOf(end));
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll(/ +/g, ' ').replaceAll(/-+/g, '-'));
}

export function makeTable(result: CellResult): string[] {
  const lines = [
    ['client', 'kubelet', ...kinds],
    ['-', '-', ...kinds.map(() => '-')],
  ];
  for (const { name: client } of clients) {
    for (const { name } of kubelets) {
      const cells = kinds.map((kind) => result(client, name, kind) ?? 'not run');
      lines.push([client, name.replace('kubelet ', ''), ...cells]);
    }
  }
  return lines.map((cells) => `| ${cells.join(' | ')} |`);
}

/** The document with another table. */
export function withTable(document: string, table: readonly string[]): string {
  const at = document.indexOf(begin);
  const to = document.indexOf(end);
  if (at < 0 || to < at) throw new Error('The document has no place for the table');
  return `${document.slice(0, at)}${begin}\n${table.join('\n')}\n\n${document.slice(to)}`;
}
