// The README is kept true by running it: every `sh` block, in order, in one sandbox, with the text it promises.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { needsKubectl } from './support/kubectl.ts';

const root = join(import.meta.dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

function blocks(): string[] {
  return [...readme.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, code = '']) => code);
}

interface Run {
  readonly code: number | null;
  readonly output: string;
}

function run(command: string, args: readonly string[], cwd: string): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

describe('README', () => {
  let directory: string;

  before(needsKubectl);

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'kexer-readme-'));
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  it('has tasks that run as they stand', async function (this: Mocha.Context) {
    this.timeout(60_000);
    const script = ['set -e', ...blocks()].join('\n');
    const sandbox = ['--prefix', root, 'run', '--silent', 'sandbox', '--', '--dir', join(directory, 'cluster'), '--'];
    const { code, output } = await run('npm', [...sandbox, 'sh', '-c', `cd ${directory} && ${script}`], root);
    const lines = output.trimEnd().split('\n');
    expect(code, output).to.equal(0);
    expect(lines).to.include('hello from demo');
    expect(lines).to.include('exit code 3');
    expect(lines).to.include('identical');
    const checksum = /^([0-9a-f]{64}) {2}-$/m.exec(output)?.[1];
    expect(lines.filter((line) => checksum !== undefined && line.includes(checksum))).to.have.lengthOf(2);
    const refusals = lines.filter((line) => line.includes('cannot create resource "pods/exec"'));
    expect(refusals).to.have.lengthOf(2);
    expect(refusals[0]).to.equal(refusals[1]);
  });

  it('names commands that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm run (?:--silent )?(\w+)/g)].map(([, name = '']) => name);
    expect(named.length).to.be.greaterThan(0);
    expect(Object.keys(scripts)).to.include.members(named);
  });
});
