// The command line: which command, and one sentence for whatever is wrong with it.

import { expect } from 'chai';

import type { CommandIo } from '../../src/cli/command.ts';
import { run } from '../../src/cli/run.ts';
import { settings } from '../../src/config/settings.ts';

async function call(
  argv: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const io: CommandIo = {
    print: (line) => out.push(line),
    complain: (line) => err.push(line),
    environment,
    onStopSignal: () => () => {},
  };
  const code = await run(argv, io);
  return { code, out: out.join('\n'), err: err.join('\n') };
}

describe('run', () => {
  it('prints the version of package.json', async () => {
    for (const word of ['version', '--version']) {
      expect(await call([word])).to.deep.include({ code: 0, err: '' });
      expect((await call([word])).out).to.match(/^kexer \d+\.\d+\.\d+$/);
    }
  });

  it('helps: every command, every flag', async () => {
    for (const argv of [[], ['help'], ['--help'], ['-h'], ['serve', '--help'], ['sandbox', '-h']]) {
      const { code, out, err } = await call(argv);
      expect([code, err]).to.deep.equal([0, '']);
      for (const word of ['kexer serve', 'kexer sandbox', 'kexer version', '--config']) expect(out).to.contain(word);
      for (const { flag } of settings) expect(out).to.contain(`--${flag} `);
    }
  });

  const wrong: readonly (readonly [argv: string[], err: string])[] = [
    [['srve'], 'kexer: Cannot run "srve": there is no such command, did you mean serve?'],
    [['constructor'], 'kexer: Cannot run "constructor": there is no such command, see kexer help'],
    [['serve', '--prot', '1'], 'kexer: Cannot use the flag "--prot": there is none of that name; see kexer help'],
    [['sandbox', '--dri', 'x'], 'kexer: Cannot use "--dri": did you mean --dir?'],
    [['sandbox', 'x'], 'kexer: Cannot use "x": want --dir DIR, --secure-port N or -- COMMAND'],
    [['sandbox', '--dir'], 'kexer: Cannot use the flag --dir: it has no value, want --dir VALUE'],
    [['sandbox', '--'], 'kexer: Cannot run a command: nothing follows --, want -- COMMAND ARGUMENTS'],
  ];
  for (const [argv, err] of wrong) {
    it(`says what is wrong with ${argv.join(' ')}`, async () => {
      expect(await call(argv)).to.deep.equal({ code: 1, out: '', err });
    });
  }

  it('says a sentence for each problem of the settings, and no stack', async () => {
    const { code, err } = await call(['serve', '--secure-port', 'x', '--log-level', 'y']);
    expect(code).to.equal(1);
    expect(err.split('\n')).to.have.length(2);
    expect(err).to.not.match(/\n {4}at /);
  });

  it('says that it runs in no pod and needs a kubeconfig', async () => {
    const { code, err } = await call(['serve']);
    expect(code).to.equal(1);
    expect(err).to.match(/^kexer: Cannot use the in-cluster configuration \(outside a pod, give a kubeconfig\)/);
    expect(err.split('\n')).to.have.length(1);
  });
});
