// `kubectl --as` on kexer's own resources, by kubectl that talks straight to kexer and by kubectl that comes through kube-apiserver: the same users
// may do the same, the same are refused in the same words, and whoever ended a session for another stands in the audit log with both names.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import type { SandboxContext } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { collect, Stage } from './support/stage.ts';

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Event {
  readonly stage: string;
  readonly verb: string;
  readonly user: { readonly username: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
  readonly impersonatedUser?: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
  readonly annotations?: Readonly<Record<string, string>>;
}

describe('kubectl --as on sessions and clusters', function () {
  this.timeout(60_000);
  this.slow(5000);
  let dir: string;
  let log: string;
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kexer-as-'));
    log = join(dir, 'audit.log');
    stage = await Stage.start({}, ['--audit-log-path', log]);
  });
  after(async () => {
    await stage?.stop();
    if (dir !== undefined) await rm(dir, { recursive: true });
  });

  async function run(args: readonly string[], context: SandboxContext): Promise<Said> {
    const { code, stdout, stderr } = await stage.kubectl(args, { context });
    return { code, stdout: stdout.toString(), stderr };
  }

  /** Not even kube-apiserver is between. */
  function straight(args: readonly string[], context: SandboxContext = 'kexer'): Promise<Said> {
    return run(['--server', `https://127.0.0.1:${stage.port}`, ...args], context);
  }

  /** @returns the name of a session, and what its client says at its end. */
  async function session(seconds: string): Promise<{ name: string; end: Promise<{ stderr: string }> }> {
    const end = collect(stage.spawnKubectl(['exec', 'demo', '--', 'sleep', seconds], { context: 'kexer-alice' }));
    for (;;) {
      const { stdout } = await straight(['get', 'sessions', '-o', 'json']);
      const { items } = JSON.parse(stdout) as {
        items: { metadata: { name: string }; spec: { command?: string[] } }[];
      };
      const found = items.find(({ spec }) => spec.command?.[1] === seconds);
      if (found !== undefined) return { name: found.metadata.name, end };
    }
  }

  async function deletesOf(name: string): Promise<Event[]> {
    for (;;) {
      const lines = (await readFile(log, 'utf8')).split('\n').slice(0, -1);
      const events = lines
        .map((line) => JSON.parse(line) as Event)
        .filter(({ verb, objectRef }) => verb === 'delete' && objectRef?.name === name);
      if (events.length > 0) return events;
    }
  }

  it('has the rights of the other and none of the caller', async () => {
    const { name, end } = await session('701');
    const listed = await straight(['get', 'sessions', '--as', 'viewer', '-o', 'name']);
    expect(listed).to.deep.equal({ code: 0, stdout: `session.backup.cv.io/${name}\n`, stderr: '' });
    const refused = await straight(['delete', 'session', name, '--as', 'viewer']);
    expect(refused).to.deep.equal({
      code: 1,
      stdout: '',
      stderr: `Error from server (Forbidden): sessions.backup.cv.io "${name}" is forbidden: User "viewer" cannot delete resource "sessions" in API group "backup.cv.io" in the namespace "default"\n`,
    });
    const metrics = await straight(['get', '--raw', '/metrics', '--as', 'viewer']);
    expect(metrics.stderr).to.contain('forbidden: User "viewer" cannot get path "/metrics"');
    expect((await straight(['get', '--raw', '/metrics'])).code).to.equal(0);
    await straight(['delete', 'session', name]);
    expect((await end).stderr).to.contain('session ended by admin');
  });

  it('names the other to the client of the session, and both in the audit log', async () => {
    const { name, end } = await session('702');
    const deleted = await straight(['delete', 'session', name, '--as', 'alice']);
    expect(deleted).to.deep.equal({ code: 0, stdout: `session.backup.cv.io "${name}" deleted\n`, stderr: '' });
    expect((await end).stderr).to.contain('session ended by alice');
    const events = await deletesOf(name);
    expect(
      events.map(({ stage: at, user, impersonatedUser, responseStatus }) => [
        at,
        user.username,
        impersonatedUser?.username,
        responseStatus?.code,
      ]),
    ).to.deep.equal([['ResponseComplete', 'admin', 'alice', 200]]);
  });

  it('is recorded once where the call goes into the cluster and comes back by kube-apiserver, as whom that names', async () => {
    const { name, end } = await session('703');
    // The path of the kubeconfig leads into the cluster; there sessions are kexer's again.
    const deleted = await run(['delete', 'session', name, '--as', 'alice'], 'kexer');
    expect(deleted).to.deep.equal({ code: 0, stdout: `session.backup.cv.io "${name}" deleted\n`, stderr: '' });
    expect((await end).stderr).to.contain('session ended by alice');
    const events = await deletesOf(name);
    expect(
      events.map(({ user, impersonatedUser, annotations }) => [
        user.username,
        user.extra?.['backup.cv.io/original-user'],
        impersonatedUser,
        annotations?.['backup.cv.io/cluster'],
      ]),
    ).to.deep.equal([['alice', ['admin'], undefined, undefined]]);
  });

  it('is recorded when it is refused: whom the caller asked to be, and by what', async () => {
    const { stderr } = await straight(['delete', 'session', 'nope', '--as', 'admin'], 'kexer-alice');
    expect(stderr).to.contain('Forbidden');
    const [event] = await deletesOf('nope');
    expect({
      user: event?.user.username,
      impersonated: event?.impersonatedUser,
      requested: event?.annotations?.['backup.cv.io/requested-user'],
      by: event?.annotations?.['backup.cv.io/refused-by'],
      code: event?.responseStatus?.code,
    }).to.deep.equal({ user: 'alice', impersonated: undefined, requested: 'admin', by: 'impersonate', code: 403 });
  });

  it('is allowed and refused straight at kexer as it is through kube-apiserver, to the word', async () => {
    const cases: readonly (readonly [args: string[], caller: 'alice' | 'viewer' | 'admin'])[] = [
      [['get', 'sessions', '--as', 'viewer'], 'admin'],
      [['get', 'clusters', '--as', 'viewer'], 'alice'],
      [['get', 'sessions', '--as', 'nobody'], 'admin'],
      [['get', 'sessions', '-A', '--as', 'viewer'], 'admin'],
      [['get', 'sessions', '--as', 'viewer'], 'alice'],
      [['get', 'sessions', '--as', 'admin', '--as-group', 'system:masters'], 'alice'],
      [['get', 'sessions', '--as', 'admin'], 'viewer'],
      [['get', 'session', 'nope', '--as', 'viewer'], 'admin'],
      [['delete', 'session', 'nope', '--as', 'alice'], 'admin'],
      // A service account of the namespace in which alice may do everything.
      [['get', 'sessions', '--as', 'system:serviceaccount:default:default'], 'alice'],
      [['get', 'sessions', '--as', 'system:serviceaccount:kube-system:default'], 'alice'],
      [['get', 'sessions', '--as', 'system:anonymous'], 'admin'],
      [['get', 'sessions', '--as', 'system:node:node1'], 'viewer'],
    ];
    for (const [args, caller] of cases) {
      const here = await straight(args, caller === 'admin' ? 'kexer' : `kexer-${caller}`);
      const there = await run(args, caller === 'admin' ? 'cluster' : `cluster-${caller}`);
      expect({ args, caller, code: here.code, stderr: here.stderr }).to.deep.equal({
        args,
        caller,
        code: there.code,
        stderr: there.stderr,
      });
    }
  });
});
