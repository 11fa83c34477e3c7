// A rolling update under load: two kexers behind a load balancer are replaced one after the other, as a Deployment with maxUnavailable 0 does
// it, while 200 sessions run and a client begins new ones all the time. No session that ends within the grace period may notice, and no new
// one may be refused.

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { execSpdy, type ExecResult, type SpdyClient } from '../support/spdy-client.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { LoadBalancer } from './support/load-balancer.ts';

const sessionCount = 200;
const openedAtOnce = 20;
const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

/** One that waits for a line, and ends with it and an exit code of its own: half of either would be seen. */
const held = ['sh', '-c', 'echo begin; read line; echo "$line"; exit 7'];

interface Held {
  readonly id: string;
  readonly client: SpdyClient;
  readonly result: Promise<ExecResult>;
}

describe('a rolling update', function () {
  this.timeout(60_000);
  let scope: Scope;
  let sandbox: Sandbox;
  let balancer: LoadBalancer;

  before(async () => {
    scope = new Scope();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    await sandbox.ready();
    balancer = await LoadBalancer.start();
    scope.add(() => balancer.close());
  });
  after(() => scope.close());

  /** A kexer that gets connections when this resolves. */
  async function startKexer(): Promise<KexerProcess> {
    const delays = ['--shutdown-delay-duration', '1s', '--shutdown-grace-period', '50s'];
    const limits = ['--max-sessions-per-user', '0'];
    const kexer = new KexerProcess(['--config', sandbox.files.kexerConfig, '--secure-port', '0', ...delays, ...limits]);
    scope.add(async () => {
      kexer.child.kill('SIGKILL');
      await kexer.exit();
    });
    await kexer.untilLogged('ready');
    const line = await kexer.untilLogged('serving');
    balancer.add(Number(line['port']));
    await balancer.until(kexer.port, true);
    return kexer;
  }

  function exec(command: readonly string[], onOpen?: (client: SpdyClient) => void): Promise<ExecResult> {
    const query = new URLSearchParams(command.map((word): [string, string] => ['command', word]));
    query.set('stdout', 'true');
    query.set('stdin', String(onOpen !== undefined));
    return execSpdy(
      {
        url: `https://localhost:${balancer.port}${outer}/api/v1/namespaces/default/pods/demo/exec?${query.toString()}`,
        token: sandbox.tokens.alice,
      },
      {
        hasStderr: false,
        ...(onOpen === undefined ? {} : { stdin: '', keepsStdinOpen: true, onOpen }),
      },
    );
  }

  async function hold(id: string): Promise<Held> {
    const opened = Promise.withResolvers<SpdyClient>();
    const result = exec(held, (client) => {
      const stdout = client.streams.get('stdout');
      // Its command runs now.
      if (stdout !== undefined) stdout.onData = () => opened.resolve(client);
    });
    result.catch((error: unknown) => opened.reject(error instanceof Error ? error : new Error(String(error))));
    return { id, client: await opened.promise, result };
  }

  async function holdAll(): Promise<Held[]> {
    const ids = Array.from({ length: sessionCount }, (_, index) => `session-${index}`);
    const all: Held[] = [];
    for (let from = 0; from < ids.length; from += openedAtOnce) {
      all.push(...(await Promise.all(ids.slice(from, from + openedAtOnce).map(hold))));
    }
    return all;
  }

  /** How each ended, in words; those that ended well say nothing. */
  async function release(sessions: readonly Held[]): Promise<string[]> {
    const outcomes = await Promise.all(
      sessions.map(async ({ id, client, result }) => {
        client.streams.get('stdin')?.stream.write(Buffer.from(`${id}\n`));
        const { stdout, exit } = await result;
        const seen = JSON.stringify([stdout.toString(), exit]);
        return seen === JSON.stringify([`begin\n${id}\n`, { code: 7 }]) ? [] : [`${id}: ${seen}`];
      }),
    );
    return outcomes.flat();
  }

  /** A client that begins a session when its last one has ended, until it is told to stop. */
  function keepBeginning(): { stop(): Promise<{ begun: number; failed: string[] }> } {
    const over = new AbortController();
    let begun = 0;
    const failed: string[] = [];
    const run = async (): Promise<void> => {
      while (!over.signal.aborted) {
        begun += 1;
        const outcome = await exec(['echo', 'new']).then(
          ({ stdout, exit }) => `${stdout.toString().trim()} ${JSON.stringify(exit)}`,
          (error: unknown) => String(error),
        );
        if (outcome !== 'new {"code":0}') failed.push(outcome);
      }
    };
    const running = run();
    return {
      stop: async () => {
        over.abort();
        await running;
        return { begun, failed };
      },
    };
  }

  it(`cuts none of ${sessionCount} sessions that end within the grace period, and refuses no new one`, async () => {
    const startMs = performance.now();
    const old = await Promise.all([startKexer(), startKexer()]);
    const sessions = await holdAll();
    const opened = old.map(({ port }) => balancer.counts.get(port) ?? 0);
    const runningMs = performance.now();
    const client = keepBeginning();
    const cut: string[] = [];
    const fresh: KexerProcess[] = [];
    for (const [index, kexer] of old.entries()) {
      fresh.push(await startKexer());
      kexer.child.kill('SIGTERM');
      await balancer.until(kexer.port, false);
      await kexer.untilLogged('refusing new calls');
      // Some end while their kexer drains, the others after both do.
      cut.push(...(await release(sessions.filter((_, number) => number % 4 === index))));
    }
    const { begun, failed } = await client.stop();
    const rolledMs = performance.now();
    const left = sessions.filter((_, number) => number % 4 >= 2);
    const refusing = old.map(({ log }) => log.find(({ msg }) => msg === 'refusing new calls')?.['sessions']);
    cut.push(...(await release(left)));
    const codes = await Promise.all(old.map((kexer) => kexer.exit()));
    const forced = old.flatMap(({ log }) => log.filter(({ msg }) => msg === 'ending sessions'));
    expect({ cut, failed, codes, forced }).to.deep.equal({ cut: [], failed: [], codes: [0, 0], forced: [] });
    // That it happened under load: both old ones had sessions when they began to refuse, and new sessions began all the while.
    expect(Math.min(...opened)).to.be.at.least(sessionCount / 4);
    expect(Math.min(...refusing.map(Number))).to.be.at.least(sessionCount / 4);
    expect(begun).to.be.greaterThan(10);
    expect(fresh.every(({ port }) => (balancer.counts.get(port) ?? 0) > 0)).to.equal(true);
    if (process.env['KEXER_TEST_FIGURES'] !== undefined) {
      const seconds = (from: number, to: number): string => ((to - from) / 1000).toFixed(1);
      process.stderr.write(
        `rollout: ${sessionCount} sessions in ${seconds(startMs, runningMs)} s on two replicas (${opened.join(', ')} connections), ` +
          `both replaced in ${seconds(runningMs, rolledMs)} s while ${begun} new sessions began; ` +
          `cut ${cut.length}, refused ${failed.length}; sessions when refusing began: ${refusing.join(', ')}\n`,
      );
    }
  });
});
