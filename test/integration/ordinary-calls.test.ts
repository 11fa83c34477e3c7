// Promise 1, for ordinary calls: what kubectl prints through kexer, and through kexer behind the aggregation layer, is what it prints without
// kexer: standard output, standard error and exit code, byte for byte, as admin (client certificate), alice and viewer (tokens). Only what
// moves by itself is held still before the comparison: times, ages, uids and resource versions.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { startSandbox, type Sandbox } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { kubectl, type KubectlRun } from './support/kubectl.ts';
import { changes, held, reads, type Command } from './support/ordinary-commands.ts';

const users = ['admin', 'alice', 'viewer'] as const;
const ways = ['cluster', 'kexer', 'kexer-aggregated'] as const;

type User = (typeof users)[number];
type Way = (typeof ways)[number];

/** Where kexer's contexts have their server; `--raw` knows nothing of a path in it. */
const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

describe('kubectl, ordinary calls', function () {
  this.timeout(120_000);
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let home: string;
  let identical = 0;

  before(needsKubectl);

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'kexer-home-'));
    sandbox = await startSandbox();
    kexer = await KexerProcess.start(sandbox);
    await sandbox.ready();
  });

  after(async () => {
    if (kexer !== undefined) expect(await kexer.stop()).to.equal(0);
    await sandbox?.stop();
    if (home !== undefined) await rm(home, { recursive: true });
    console.log(
      `    ${identical} runs identical on ${ways.length} ways (${reads.length + changes.length} commands, ${users.length} users)`,
    );
  });

  async function run(command: Command, user: User, way: Way): Promise<KubectlRun> {
    const args = command.args.map((arg) =>
      way === 'cluster' ? arg.replace('{server}', '') : arg.replace('{server}', outer),
    );
    const result = await kubectl(args, {
      kubeconfig: sandbox.files.kubeconfig,
      context: user === 'admin' ? way : `${way}-${user}`,
      // A home for each, so that no way lives on another's discovery.
      home: join(home, `${way}-${user}`),
      ...(command.stdin === undefined ? {} : { stdin: command.stdin }),
      ...(command.env === undefined ? {} : { env: command.env }),
      ...(command.isEnough === undefined ? {} : { isEnough: command.isEnough }),
    });
    return { code: result.code, stdout: held(result.stdout), stderr: held(result.stderr).replaceAll(outer, '') };
  }

  function compare(command: Command, user: User, results: readonly KubectlRun[]): void {
    const [cluster, direct, aggregated] = results;
    expect(direct, 'kexer').to.deep.equal(cluster);
    if (!(command.isDirectOnly?.(user) ?? false)) {
      expect(aggregated, 'kexer-aggregated').to.deep.equal(cluster);
    }
    if (command.code !== undefined && user === 'admin') {
      expect({ code: cluster?.code, stderr: cluster?.stderr }).to.deep.include({ code: command.code });
    }
    identical += 1;
  }

  for (const user of users) {
    describe(`as ${user}: reads`, () => {
      for (const command of reads) {
        it(command.name, async () => {
          compare(command, user, await Promise.all(ways.map((way) => run(command, user, way))));
        });
      }
    });

    // Changes build on each other, so each way goes through all of them before the next does.
    describe(`as ${user}: changes`, () => {
      const results = new Map<Way, KubectlRun[]>();

      before(async () => {
        for (const way of ways) {
          const runs: KubectlRun[] = [];
          for (const command of changes) runs.push(await run(command, user, way));
          results.set(way, runs);
        }
      });

      for (const [index, command] of changes.entries()) {
        it(command.name, () => {
          compare(
            command,
            user,
            ways.map((way) => results.get(way)?.[index]).filter((result) => result !== undefined),
          );
        });
      }
    });
  }
});
