// Another cluster by an HTTP proxy: its apiserver is at an address of a documentation network, which nothing but the test's proxy leads to, and its
// kubelets are wherever the proxy lets kexer go.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { ConnectProxy, type ConnectRequest } from '../support/connect-proxy.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { servingPair } from '../support/serving-pair.ts';
import { clusterPath } from './support/cluster-secrets.ts';
import { itWorksThere } from './support/far-commands.ts';
import { TwoClusters } from './support/two-clusters.ts';

/** TEST-NET-1 of RFC 5737. */
const unroutable = '192.0.2.1';
const credentials = 'kexer:hunter2-of-the-proxy';

for (const isTls of [false, true]) {
  describe(`a cluster by an ${isTls ? 'https' : 'http'} proxy`, function () {
    this.timeout(120_000);
    let scope: Scope;
    let proxy: ConnectProxy;
    let clusters: TwoClusters;
    const size = isTls ? 16 : 64; // MiB
    /** What the proxy answers instead of opening a tunnel, by the target. */
    let refusals: Map<string, string>;
    let apiserver: string;
    let kubelet: string;

    before(needsKubectl);
    before(async () => {
      scope = new Scope();
      refusals = new Map();
      const dir = await mkdtemp(join(tmpdir(), 'kexer-proxy-'));
      scope.add(() => rm(dir, { recursive: true }));
      const pair = await servingPair();
      proxy = await ConnectProxy.start(scope, { ...(isTls ? { tls: pair } : {}), answer });
      const [credentialsFile, caFile] = [join(dir, 'credentials'), join(dir, 'ca.pem')];
      await writeFile(credentialsFile, `${credentials}\n`);
      await writeFile(caFile, pair.ca);
      clusters = await TwoClusters.start([
        `--cluster-allowed-endpoints=127.0.0.1,${unroutable}`,
        `--cluster-proxy-url=${proxy.url}`,
        '--cluster-no-proxy=localhost',
        // What tests break on purpose is no news.
        '--log-level=silent',
        `--cluster-proxy-credentials-file=${credentialsFile}`,
        ...(isTls ? [`--cluster-proxy-ca-file=${caFile}`] : []),
      ]);
      scope.add(() => clusters.stop());
      const { port } = new URL(clusters.far.apiserver.url);
      apiserver = `${unroutable}:${port}`;
      kubelet = `127.0.0.1:${clusters.far.kubelets.get('node1')?.port ?? 0}`;
      for (const streams of ['apiserver', 'kubelet']) {
        const endpointUrl = `https://${apiserver}`;
        await clusters.secrets.put(streams, clusters.secretData({ endpointUrl, tlsServerName: 'localhost', streams }));
      }
      await clusters.secrets.put(
        'straight',
        clusters.secretData({ endpointUrl: `https://localhost:${port}`, streams: 'kubelet' }),
      );
    });

    after(async () => {
      // Nothing of this was a stream in the near cluster, and nothing of it could be read on the way.
      expect(await clusters.near.connections()).to.deep.equal([]);
      expect(proxy.seen.join('')).to.not.contain(clusters.token).and.not.contain('Authorization');
      const wanted = `\r\nProxy-Authorization: Basic ${Buffer.from(credentials).toString('base64')}\r\n`;
      expect(proxy.heads.filter((head) => !head.includes(wanted) || head.includes(clusters.token))).to.deep.equal([]);
      expect(new Set(proxy.targets)).to.deep.equal(new Set([apiserver, kubelet]));
      await scope.close();
    });

    /** Leads to the far cluster, whatever its address is called. */
    function answer(request: ConnectRequest): void {
      const refusal = refusals.get(request.target);
      if (refusal !== undefined) request.socket.end(refusal);
      else proxy.tunnel({ ...request, target: request.target.replace(unroutable, '127.0.0.1') });
    }

    for (const streams of ['apiserver', 'kubelet']) {
      describe(`with streams by the ${streams}`, () => {
        it('gets objects', async () => {
          const who = await clusters.kubectl(streams, ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}']);
          expect([who.code, who.stdout.toString()]).to.deep.equal([0, 'alice']);
          const list = await clusters.kubectl(streams, ['get', 'pods', '-o', 'name']);
          expect(list.stdout.toString()).to.contain('pod/demo\n');
        });

        itWorksThere(() => clusters, streams, {
          mebibytes: size,
          // The stream itself has a tunnel of its own.
          afterExec: () => expect(proxy.targets.splice(0)).to.include(streams === 'kubelet' ? kubelet : apiserver),
          breakStreams: async () => {
            proxy.closeAll();
            return async () => {};
          },
        });
      });
    }

    it('goes to kubelets where Secrets say so, and nowhere else', async () => {
      proxy.targets.length = 0;
      await clusters.kubectl('apiserver', ['exec', 'demo', '--', 'true']);
      expect(new Set(proxy.targets)).to.deep.equal(new Set([apiserver]));
      await clusters.kubectl('kubelet', ['exec', 'demo', '--', 'true']);
      expect(proxy.targets).to.include(kubelet);
    });

    it('leads to no host that is to be reached without it', async () => {
      proxy.targets.length = 0;
      const list = await clusters.kubectl('straight', ['get', 'pods', '-o', 'name']);
      expect([list.code, proxy.targets]).to.deep.equal([0, []]);
      // Its kubelets are another host.
      const run = await clusters.kubectl('straight', ['exec', 'demo', '--', 'echo', 'out']);
      expect([run.code, run.stdout.toString(), new Set(proxy.targets)]).to.deep.equal([0, 'out\n', new Set([kubelet])]);
    });

    const refused: readonly (readonly [what: string, answer: string, problem: string])[] = [
      [
        '407',
        'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n',
        ' answered 407 Proxy Authentication Required to CONNECT TARGET; it wants another user or password than those of clusters.proxyCredentialsFile',
      ],
      [
        '502',
        'HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>',
        ' answered 502 Bad Gateway to CONNECT TARGET',
      ],
      ['nothing', '', ' closed the connection before it answered'],
      ['200 and no more', 'HTTP/1.1 200 OK\r\n\r\n', ' opened a tunnel that was closed before TLS was established'],
    ];
    for (const [what, text, problem] of refused) {
      it(`says what the proxy says, at once: ${what}`, async () => {
        // What was idle in the pool is another way there.
        proxy.closeAll();
        const name = `127.0.0.1:${proxy.port}`;
        refusals.set(apiserver, text);
        for (const args of [
          ['get', '--raw', `${clusterPath('kubelet')}/api/v1/nodes`],
          ['exec', 'demo', '--', 'true'],
        ]) {
          const { code, stderr } = await clusters.kubectl('kubelet', args);
          expect(code, stderr).to.equal(1);
          expect(stderr).to.contain(
            `cluster "clusters/kubelet": Cannot connect to ${apiserver}: the proxy ${name}${problem.replace('TARGET', apiserver)}`,
          );
        }
        refusals.clear();
        refusals.set(kubelet, text);
        const { code, stderr } = await clusters.kubectl('kubelet', ['exec', 'demo', '--', 'true']);
        refusals.clear();
        expect(code).to.equal(1);
        expect(stderr).to.contain(
          `Cannot reach the kubelet of node node1 at ${kubelet}: the proxy ${name}${problem.replace('TARGET', kubelet)}`,
        );
      });
    }

    it('is shown as it is reached', async () => {
      const get = async (): Promise<string> =>
        (
          await clusters.near.kubectl(['get', 'clusters.backup.cv.io', '-n', 'clusters', '-o', 'wide'], {
            context: 'kexer-aggregated',
          })
        ).stdout.toString();
      expect(await get()).to.match(/^kubelet +https:\/\/192\.0\.2\.1:\d+ +impersonate +kubelet +True +v1\.36/m);
    });
  });
}
