// The README's transcripts are what the commands in them print: every `console` block is run in one sandbox, in order, and compared line by
// line. `…` stands for what differs each time, as does the name of a session; columns are as wide as what is in them.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { root } from '../config-manifests/support/manifests.ts';
import { needsKubectl } from '../support/kubectl.ts';

interface Step {
  readonly command: string;
  readonly output: readonly string[];
}

const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** Commands of all blocks with what the README says they print. */
function steps(): Step[] {
  return [...readme.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block = '']) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const [command = '', ...output] = part.trimEnd().split('\n');
        return { command, output };
      }),
  );
}

/** The name of the session in the README. */
const shownSession = /^([0-9a-f]{10}) +exec/m.exec(readme)?.[1] ?? '';
const border = '-- next --';

/** A session runs from before the first command that looks for one until somebody ends it. */
function script(all: readonly Step[]): string {
  const first = all.findIndex(({ command }) => command.includes('get sessions'));
  const named = 'kubectl get sessions.backup.cv.io -o name';
  return all
    .map(({ command }, index) =>
      [
        ...(index === first
          ? ['kubectl exec demo -- sleep 60 2>ended &', `until ${named} | grep -q .; do :; done`]
          : []),
        `echo '${border}'`,
        command.replaceAll(shownSession, `"$(${named} | cut -d/ -f2)"`),
      ].join('\n'),
    )
    .concat(`echo '${border}'`, 'wait', 'cat ended')
    .join('\n');
}

const plain = (line: string): string => line.trim().replaceAll(/ {2,}/g, ' ');

/** Whether a line is what the README shows, `…` standing for one word. */
function isShown(shown: string, line: string): boolean {
  const escaped = plain(shown.replaceAll(shownSession, '…')).replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll('…', String.raw`\S+`)}$`).test(plain(line));
}

describe('README picture', () => {
  it('says the same in light and dark', () => {
    const files = [...readme.matchAll(/(?:src|srcset)="([^"]+\.svg)"/g)].map(([, file = '']) => file);
    const texts = files.map((file) => readFileSync(join(root, file), 'utf8').match(/>[^<>\n]+</g));
    expect(files).to.have.length(2);
    expect(texts[0]).to.deep.equal(texts[1]);
    expect(texts[0]?.join('')).to.contain('kubelet');
  });
});

describe('README transcripts', function () {
  this.timeout(60_000);
  let dir: string;

  before(needsKubectl);
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'kexer-readme-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('are what the commands print', async () => {
    const all = steps();
    // The command as npm links it, for sources that are not built.
    const main = join(root, 'src/main.ts');
    writeFileSync(join(dir, 'kexer'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, { mode: 0o755 });
    writeFileSync(join(dir, 'run.sh'), script(all));
    const words = [
      'src/main.ts',
      'sandbox',
      '--dir',
      join(dir, 'cluster'),
      '--',
      'sh',
      '-c',
      `cd ${dir} && PATH="${dir}:$PATH" sh run.sh 2>&1`,
    ];
    const child = spawn(process.execPath, words, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await new Promise((resolve) => {
      child.once('close', resolve);
    });
    const printed = output.split(`${border}\n`).slice(1);
    expect(all.length).to.be.greaterThan(6);
    const wrong = all.flatMap(({ command, output: shown }, index) => {
      const lines = (printed[index] ?? '').trimEnd().split('\n');
      const isSame = lines.length === shown.length && shown.every((line, at) => isShown(line, lines[at] ?? ''));
      return isSame ? [] : [`$ ${command}\n${lines.join('\n')}`];
    });
    expect(wrong, output).to.deep.equal([]);
    const told = /reads `(error: [^`]+)`/.exec(readme)?.[1] ?? 'nothing';
    expect(printed.at(-1)).to.contain(told);
  });
});
