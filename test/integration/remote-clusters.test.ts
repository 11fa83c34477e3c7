// Two clusters: kexer in one, a Secret for the other. What kubectl does in the far one, by both ways of streams and as both identities.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { clusterPath } from './support/cluster-secrets.ts';
import { kubectl } from './support/kubectl.ts';
import { collect } from './support/stage.ts';
import { TwoClusters } from './support/two-clusters.ts';

const mebibyte = 1024 * 1024;

describe('a cluster that a Secret names', function () {
  this.timeout(120_000);
  let clusters: TwoClusters;

  before(needsKubectl);
  before(async () => {
    clusters = await TwoClusters.start();
    for (const identity of ['shared', 'impersonate']) {
      for (const streams of ['apiserver', 'kubelet']) {
        await clusters.secrets.put(`far-${identity}-${streams}`, clusters.secretData({ identity, streams }));
      }
    }
    const marked = await kubectl(['create', 'configmap', 'which', '--from-literal=cluster=far'], {
      kubeconfig: clusters.far.files.kubeconfig,
      context: 'cluster',
      home: clusters.far.dir,
    });
    expect(marked.code).to.equal(0);
  });

  after(async () => {
    // Nothing of this was a stream in the near cluster.
    expect(await clusters.near.connections()).to.deep.equal([]);
    await clusters.stop();
  });

  for (const identity of ['shared', 'impersonate']) {
    for (const streams of ['apiserver', 'kubelet']) {
      describe(`as ${identity}, by the ${streams}`, () => {
        const name = `far-${identity}-${streams}`;

        it('gets objects', async () => {
          const which = await clusters.kubectl(name, ['get', 'configmap', 'which', '-o', 'jsonpath={.data.cluster}']);
          expect(which).to.deep.include({ code: 0, stderr: '' });
          expect(which.stdout.toString()).to.equal('far');
          const who = await clusters.kubectl(name, ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}']);
          expect(who.stdout.toString()).to.equal(
            identity === 'shared' ? 'system:serviceaccount:kexer-remote:kexer' : 'alice',
          );
        });

        for (const isWebSocket of [true, false]) {
          it(`runs commands, ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
            const script = 'cat; echo out; echo err >&2; exit 3';
            const run = await clusters.kubectl(name, ['exec', '-i', 'demo', '--', 'sh', '-c', script], {
              stdin: Buffer.from('in\n'),
              isWebSocket,
            });
            expect([run.code, run.stdout.toString(), run.stderr]).to.deep.equal([
              3,
              'in\nout\n',
              'err\ncommand terminated with exit code 3\n',
            ]);
          });
        }

        it('reads logs, whole and followed', async () => {
          const whole = await clusters.kubectl(name, ['logs', 'multi', '-c', 'one']);
          expect([whole.code, whole.stdout.toString()]).to.deep.equal([0, 'one runs\n']);
          const child = clusters.near.spawnKubectl([...clusters.args(name), 'logs', '-f', 'ticker', '--tail=1'], {
            context: 'kexer-alice',
          });
          const first = await new Promise<Buffer>((resolve) => {
            child.stdout.once('data', resolve);
          });
          expect(first.toString()).to.match(/^tick \d+\n/);
          child.kill();
          await collect(child);
        });

        it('forwards ports', async () => {
          const server = createServer((socket) => socket.end('from the pod\n'));
          await new Promise<void>((resolve) => {
            server.listen(0, '127.0.0.1', resolve);
          });
          const { port } = server.address() as { port: number };
          const child = clusters.near.spawnKubectl([...clusters.args(name), 'port-forward', 'demo', `:${port}`], {
            context: 'kexer-alice',
          });
          try {
            const ready = await new Promise<Buffer>((resolve) => {
              child.stdout.once('data', resolve);
            });
            const local = Number(/127\.0\.0\.1:(\d+)/.exec(ready.toString())?.[1]);
            const answer = await fetchText(local);
            expect(answer).to.equal('from the pod\n');
          } finally {
            child.kill();
            await collect(child);
            await new Promise((resolve) => {
              server.close(resolve);
            });
          }
        });

        it('copies 256 MiB there and back, unchanged', async () => {
          const [file, back] = [clusters.near.path(`${name}-big`), clusters.near.path(`${name}-back`)];
          const sum = await writeBlocks(file, 256);
          const up = await clusters.kubectl(name, ['cp', file, 'demo:/tmp/big']);
          expect([up.code, up.stderr]).to.deep.equal([0, '']);
          const down = await clusters.kubectl(name, ['cp', 'demo:/tmp/big', back], { isWebSocket: false });
          expect([down.code, await sha256(back)]).to.deep.equal([0, sum]);
          await clusters.kubectl(name, ['exec', 'demo', '--', 'rm', '/tmp/big']);
          await writeFile(file, '');
          await writeFile(back, '');
        });

        it('never makes a success of a stream that breaks', async () => {
          const lines = 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo whole';
          for (const isWebSocket of [true, false]) {
            const child = clusters.near.spawnKubectl(
              [...clusters.args(name), 'exec', 'demo', '--', 'sh', '-c', lines],
              { context: 'kexer-alice', isWebSocket },
            );
            const result = collect(child);
            await new Promise((resolve) => {
              child.stdout.once('data', resolve);
            });
            const kubelet = clusters.far.kubelets.get('node1');
            await kubelet?.kill('rst');
            const { code, stdout, stderr } = await result;
            expect([code, /^(line \d+\n)+$/.test(stdout.toString())]).to.deep.equal([1, true]);
            expect(stderr).to.not.equal('');
            await kubelet?.revive();
          }
        });
      });
    }
  }

  it('is reached through the aggregation layer too', async () => {
    const aggregated = ['--server', `${clusters.near.sandbox.apiserver.url}${clusterPath('far-impersonate-kubelet')}`];
    for (const isWebSocket of [true, false]) {
      const run = await clusters.near.kubectl([...aggregated, 'exec', 'demo', '--', 'sh', '-c', 'echo out; exit 3'], {
        context: 'kexer-aggregated-alice',
        isWebSocket,
      });
      expect([run.code, run.stdout.toString()]).to.deep.equal([3, 'out\n']);
    }
    const who = await clusters.near.kubectl(
      [...aggregated, 'auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'],
      {
        context: 'kexer-aggregated-alice',
      },
    );
    expect(who.stdout.toString()).to.equal('alice');
  });

  it('goes the way its Secret says', async () => {
    const proxied = async (): Promise<number> =>
      (await readFile(clusters.far.files.connectionLog, 'utf8').catch(() => '')).split('\n').length;
    const before = await proxied();
    await clusters.kubectl('far-impersonate-kubelet', ['exec', 'demo', '--', 'true']);
    const between = await proxied();
    await clusters.kubectl('far-impersonate-apiserver', ['exec', 'demo', '--', 'true']);
    expect([between === before, (await proxied()) > between]).to.deep.equal([true, true]);
  });

  it('ends its sessions with a word when its Secret is deleted, and means nothing from then on', async () => {
    for (const isWebSocket of [true, false]) {
      await clusters.secrets.put('short', clusters.secretData());
      const child = clusters.near.spawnKubectl(
        [...clusters.args('short'), 'exec', 'demo', '--', 'sh', '-c', 'echo on; sleep 60'],
        { context: 'kexer-alice', isWebSocket },
      );
      const result = collect(child);
      await new Promise((resolve) => {
        child.stdout.once('data', resolve);
      });
      await clusters.secrets.delete('short');
      const { code, stderr } = await result;
      expect([code, stderr]).to.deep.equal([
        1,
        'error: Internal error occurred: the cluster clusters/short was removed: its Secret was deleted\n',
      ]);
      const after = await clusters.kubectl('short', ['get', 'pods']);
      expect(after.code).to.equal(1);
      expect(after.stderr).to.match(/^Error from server \(NotFound\): .*clusters\.backup\.cv\.io "short" not found\n$/);
    }
  });

  it('takes the detour where its own admission may change a stream', async () => {
    const group = 'admissionregistration.k8s.io';
    const resource = { group, resource: 'mutatingwebhookconfigurations' };
    const { store, files } = clusters.far;
    const proxied = async (): Promise<string> => readFile(files.connectionLog, 'utf8').catch(() => '');
    store.create(resource, {
      apiVersion: `${group}/v1`,
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: 'rewriter' },
      webhooks: [
        {
          name: 'rewriter.example',
          failurePolicy: 'Ignore',
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          clientConfig: { url: 'https://127.0.0.1:1/' },
          rules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CONNECT'], resources: ['pods/exec'], scope: '*' },
          ],
        },
      ],
    });
    // Its watch there begins with the first stream.
    await clusters.secrets.put('mutated', clusters.secretData({ streams: 'kubelet' }));
    const before = await proxied();
    const run = await clusters.kubectl('mutated', ['exec', 'demo', '--', 'echo', 'out']);
    expect([run.code, run.stdout.toString()]).to.deep.equal([0, 'out\n']);
    expect((await proxied()).length).to.be.greaterThan(before.length);
    store.delete({ ...resource, namespace: '', name: 'rewriter' });
    await clusters.secrets.delete('mutated');
  });

  for (const streams of ['kubelet', 'apiserver']) {
    it(`ends sessions whose pod is gone, by the ${streams}`, async () => {
      const name = `far-impersonate-${streams}`;
      await clusters.kubectl(name, ['run', 'short', '--image=busybox', '--', 'sleep', '600']);
      await clusters.kubectl(name, ['wait', '--for=condition=Ready', 'pod/short', '--timeout=30s']);
      const child = clusters.near.spawnKubectl([...clusters.args(name), 'port-forward', 'short', ':80'], {
        context: 'kexer-alice',
      });
      const result = collect(child);
      await new Promise((resolve) => {
        child.stdout.once('data', resolve);
      });
      await clusters.kubectl(name, ['delete', 'pod', 'short', '--now']);
      expect((await result).code).to.not.equal(null);
    });
  }

  it('cuts a watch when its Secret is deleted', async () => {
    await clusters.secrets.put('watched', clusters.secretData());
    const child = clusters.near.spawnKubectl([...clusters.args('watched'), 'get', 'pods', '-w', '-o', 'name'], {
      context: 'kexer-alice',
    });
    const result = collect(child);
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    await clusters.secrets.delete('watched');
    expect((await result).stdout.toString()).to.contain('pod/demo');
  });

  it('takes another content of its Secret at once', async () => {
    await clusters.secrets.put('changing', clusters.secretData({ identity: 'shared' }));
    const who = async (): Promise<string> =>
      (
        await clusters.kubectl('changing', ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'])
      ).stdout.toString();
    const shared = await who();
    await clusters.secrets.put('changing', clusters.secretData({ identity: 'impersonate' }));
    expect([shared, await who()]).to.deep.equal(['system:serviceaccount:kexer-remote:kexer', 'alice']);
    await clusters.secrets.delete('changing');
  });
});

async function writeBlocks(file: string, count: number): Promise<string> {
  const handle = await open(file, 'w');
  const hash = createHash('sha256');
  // A counter in front of each block: a block lost or doubled changes the sum.
  const block = Buffer.alloc(mebibyte, 'kexer');
  for (let index = 0; index < count; index += 1) {
    block.writeUInt32BE(index);
    hash.update(block);
    await handle.write(block);
  }
  await handle.close();
  return hash.digest('hex');
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function fetchText(port: number): Promise<string> {
  const { connect } = await import('node:net');
  const socket = connect({ host: '127.0.0.1', port });
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}
