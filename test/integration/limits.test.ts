// Limits against abuse and lasting rights with real kubectl: what it prints, who is left alone, what ends a running session and what does not.

import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash } from 'node:crypto';
import { request as httpsRequest } from 'node:https';

import { expect } from 'chai';

import type { SandboxContext } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { collect, type KubectlResult, Stage, until } from './support/stage.ts';

const transports = [
  { name: 'WebSocket', isWebSocket: true },
  { name: 'SPDY', isWebSocket: false },
] as const;

function firstOutput(child: ChildProcessWithoutNullStreams): Promise<string> {
  return new Promise((resolve) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
  });
}

/** Starts an exec and waits until it runs. */
async function holdSession(
  stage: Stage,
  context: SandboxContext,
  options: { isWebSocket?: boolean; args?: readonly string[]; command?: string } = {},
): Promise<{ child: ChildProcessWithoutNullStreams; result: Promise<KubectlResult> }> {
  const { isWebSocket = true, args = [], command = 'echo ready; cat' } = options;
  const child = stage.spawnKubectl([...args, 'exec', '-i', 'demo', '--', 'sh', '-c', command], {
    context,
    isWebSocket,
  });
  const ready = firstOutput(child);
  const result = collect(child);
  await Promise.race([ready, result]);
  return { child, result };
}

async function release({ child, result }: Awaited<ReturnType<typeof holdSession>>): Promise<KubectlResult> {
  child.stdin.end();
  return result;
}

/** Preflights of pods/exec by one user in the sandbox's audit log. */
async function preflights(stage: Stage, user: string): Promise<number> {
  const events = await stage.audit();
  return events.filter(
    ({ stage: at, objectRef, user: { username } }) =>
      at === 'ResponseComplete' && objectRef?.subresource === 'exec' && username === user,
  ).length;
}

describe('limits', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(needsKubectl);

  describe('of sessions', () => {
    before(async () => {
      stage = await Stage.start({}, ['--max-sessions-per-user', '1', '--max-bytes-per-sec-per-user', '33554432']);
    });

    after(() => stage?.stop());

    const refusal = 'too many sessions: 1 of user "alice" are running, the limit (limits.sessionsPerUser)';

    for (const { name, isWebSocket } of transports) {
      it(`refuse one too many before its preflight, and let everybody else be: ${name}`, async () => {
        const held = await holdSession(stage, 'kexer-alice', { isWebSocket });
        const before = await preflights(stage, 'alice');
        const exec = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-alice', isWebSocket });
        const forward = await stage.kubectl(['port-forward', 'demo', ':80'], { context: 'kexer-alice', isWebSocket });
        const other = await stage.kubectl(['exec', 'demo', '--', 'echo', 'fine'], { isWebSocket });
        const ordinary = await stage.kubectl(['get', 'pod', 'demo', '-o', 'name'], { context: 'kexer-alice' });
        expect({ code: exec.code, stderr: exec.stderr }).to.deep.equal({
          code: 1,
          stderr: `Error from server (TooManyRequests): ${refusal}\n`,
        });
        expect(forward.code).to.equal(1);
        expect(forward.stderr).to.contain(refusal);
        expect([other.stdout.toString(), ordinary.stdout.toString()]).to.deep.equal(['fine\n', 'pod/demo\n']);
        expect(await preflights(stage, 'alice')).to.equal(before);
        expect((await release(held)).code).to.equal(0);
        await until(() => stage.kexer.limits.counts().sessions === 0);
        const again = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-alice', isWebSocket });
        expect(again.code).to.equal(0);
      });
    }

    it('refuse in the shape of kube-apiserver, with Retry-After', async () => {
      const held = await holdSession(stage, 'kexer-alice');
      const answer = await new Promise<{
        status: number | undefined;
        retryAfter: unknown;
        type: unknown;
        body: string;
      }>((resolve, reject) => {
        const request = httpsRequest(
          {
            host: '127.0.0.1',
            port: stage.port,
            path: '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/pods/demo/log',
            headers: { Authorization: `Bearer ${stage.sandbox.tokens.alice}` },
            rejectUnauthorized: false,
          },
          (response) => {
            let body = '';
            response.setEncoding('utf8').on('data', (text: string) => (body += text));
            response.on('end', () => {
              const { statusCode: status, headers } = response;
              resolve({ status, retryAfter: headers['retry-after'], type: headers['content-type'], body });
            });
          },
        );
        request.on('error', reject).end();
      });
      await release(held);
      expect({ ...answer, body: JSON.parse(answer.body) as unknown }).to.deep.equal({
        status: 429,
        retryAfter: '1',
        type: 'application/json',
        body: {
          kind: 'Status',
          apiVersion: 'v1',
          metadata: {},
          status: 'Failure',
          message: refusal,
          reason: 'TooManyRequests',
          details: { retryAfterSeconds: 1 },
          code: 429,
        },
      });
    });

    it('count an accepted impersonation as the effective user, and a refused one as nobody', async () => {
      const admin = ['create', 'clusterrolebinding', 'portal', '--clusterrole=cluster-admin'];
      await stage.kubectl([...admin, '--serviceaccount=default:default'], { context: 'cluster' });
      const token = stage.sandbox.serviceAccountToken('default', 'default');
      const asPortal = ['--token', token];
      const held = await holdSession(stage, 'kexer-alice', {
        args: [...asPortal, '--as', 'admin', '--as-group', 'system:masters'],
      });
      const exec = (user: string): Promise<KubectlResult> =>
        stage.kubectl([...asPortal, '--as', user, '--as-group', 'system:masters', 'exec', 'demo', '--', 'true'], {
          context: 'kexer-alice',
        });
      const outcomes = [await exec('bob'), await exec('admin')];
      // Who may not impersonate cannot use up anybody's share either.
      const forged = await stage.kubectl(['--as', 'admin', 'exec', 'demo', '--', 'true'], { context: 'kexer-alice' });
      const alice = await stage.kubectl(['exec', 'demo', '--', 'true'], { context: 'kexer-alice' });
      await release(held);
      expect(outcomes.map(({ code, stderr }) => [code, stderr])).to.deep.equal([
        [0, ''],
        [
          1,
          'Error from server (TooManyRequests): too many sessions: 1 of user "admin" are running, the limit (limits.sessionsPerUser)\n',
        ],
      ]);
      expect(forged.stderr).to.match(/^Error from server \(Forbidden\): .*User "alice" cannot impersonate/);
      expect(alice.code).to.equal(0);
    });

    it('slow a dump down to the bandwidth of its user, and lose nothing of it', async () => {
      const startMs = performance.now();
      const { code, stdout, stderr } = await stage.kubectl(['exec', 'db', '--', 'dump']);
      const seconds = (performance.now() - startMs) / 1000;
      expect([code, stderr]).to.deep.equal([0, '']);
      const lines = stdout.toString('latin1').trimEnd().split('\n');
      const last = lines.pop() ?? '';
      const sum = createHash('sha256')
        .update(`${lines.join('\n')}\n`)
        .digest('hex');
      expect(last).to.contain(sum);
      // 64 MiB at 32 MiB a second, of which a second's worth passes at once.
      expect(seconds).to.be.at.least(0.9);
    });
  });

  describe('lasting rights', () => {
    before(async () => {
      stage = await Stage.start({}, ['--session-recheck-interval', '1s']);
    });

    after(() => stage?.stop());

    const binding = ['rolebinding', 'alice', '--clusterrole=cluster-admin', '--user=alice'];

    for (const { name, isWebSocket } of transports) {
      it(`end a session whose user lost them, with a status that says so: ${name}`, async () => {
        const mine = await holdSession(stage, 'kexer-alice', { isWebSocket });
        const others = await holdSession(stage, 'kexer', { isWebSocket });
        await stage.kubectl(['delete', 'rolebinding', 'alice'], { context: 'cluster' });
        const { code, stdout, stderr } = await mine.result;
        expect([code, stdout.toString()]).to.deep.equal([1, 'ready\n']);
        expect(stderr).to.contain('alice may no longer create pods/exec in namespace default');
        expect(await release(others)).to.deep.include({ code: 0, stderr: '' });
        await stage.kubectl(['create', ...binding], { context: 'cluster' });
      });
    }

    it('end a session when the right to use kexer is lost', async () => {
      for (const command of [
        'create role execer --verb=get,create --resource=pods,pods/exec',
        'create rolebinding execer --role=execer --user=viewer',
      ]) {
        await stage.kubectl(command.split(' '), { context: 'cluster' });
      }
      const { result } = await holdSession(stage, 'kexer-viewer');
      await stage.kubectl(['delete', 'rolebinding', 'kexer-user'], { context: 'cluster' });
      const { code, stderr } = await result;
      expect(code).to.equal(1);
      expect(stderr).to.contain('viewer may no longer create clusters.backup.cv.io/exec in namespace default');
    });

    it('break off a log that may no longer be read', async () => {
      const child = stage.spawnKubectl(['logs', '-f', 'ticker'], { context: 'kexer-alice' });
      const ready = firstOutput(child);
      const result = collect(child);
      await ready;
      await stage.kubectl(['delete', 'rolebinding', 'alice'], { context: 'cluster' });
      const { code, stderr } = await result;
      expect(code, stderr).to.equal(1);
      await stage.kubectl(['create', ...binding], { context: 'cluster' });
    });

    it('are not lost by an outage of kube-apiserver, however long', async () => {
      const held = await holdSession(stage, 'kexer-alice');
      const before = stage.kexer.rights.counts();
      await stage.sandbox.apiserver.kill();
      await until(() => stage.kexer.rights.counts().unverified >= before.unverified + 4);
      await stage.sandbox.apiserver.restart();
      const allowed = stage.kexer.rights.counts().allowed;
      await until(() => stage.kexer.rights.counts().allowed >= allowed + 2);
      const { code, stderr } = await release(held);
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(stage.kexer.rights.counts().refused).to.equal(before.refused);
    });
  });

  describe('when an operator wants more', () => {
    before(async () => {
      stage = await Stage.start({}, [
        '--session-recheck-interval',
        '1s',
        '--session-max-unverified',
        '3s',
        '--session-end-on-expiry',
      ]);
    });

    after(() => stage?.stop());

    it('end a session that could not be verified for so long', async () => {
      const { result } = await holdSession(stage, 'kexer-alice');
      await stage.sandbox.apiserver.kill();
      const { code, stderr } = await result;
      await stage.sandbox.apiserver.restart();
      expect(code).to.equal(1);
      expect(stderr).to.contain('its rights could not be verified for 3s, the limit');
    });

    it('end a session when its token expires', async () => {
      await stage.kubectl(
        ['create', 'clusterrolebinding', 'short', '--clusterrole=cluster-admin', '--serviceaccount=default:default'],
        { context: 'cluster' },
      );
      const token = stage.sandbox.serviceAccountToken('default', 'default', { expiresInSeconds: 5 });
      const held = await holdSession(stage, 'kexer-alice', { args: ['--token', token] });
      const { code, stderr } = await held.result;
      expect(code).to.equal(1);
      expect(stderr).to.match(/the credential of system:serviceaccount:default:default expired at /);
    });
  });
});
