// `kexer kubeconfig` for a cluster that a Secret names: from a context of kexer's own cluster, and from one that leads through kexer already.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse } from 'yaml';

import { runKubeconfig } from '../../src/cli/kubeconfig.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { kubectl } from './support/kubectl.ts';
import { TwoClusters } from './support/two-clusters.ts';

interface Config {
  readonly 'current-context': string;
  readonly clusters: readonly { cluster: Readonly<Record<string, unknown>> }[];
}

describe('kexer kubeconfig for another cluster', function () {
  this.timeout(60_000);
  let clusters: TwoClusters;
  let home: string;
  let server: string;

  before(needsKubectl);
  before(async () => {
    clusters = await TwoClusters.start();
    await clusters.secrets.put('far', clusters.secretData());
    home = clusters.near.path('home');
    await mkdir(home);
    server = `https://127.0.0.1:${clusters.near.port}`;
  });
  after(() => clusters?.stop());

  async function ask(
    kubeconfig: string,
    ...words: readonly string[]
  ): Promise<{ code: number; out: string; err: string }> {
    let [out, err] = ['', ''];
    const code = await runKubeconfig(words, {
      environment: { KUBECONFIG: kubeconfig, HOME: home },
      print: (line) => (out += `${line}\n`),
      complain: (line) => (err += `${line}\n`),
      onStopSignal: () => () => {},
    });
    return { code, out, err };
  }

  const far = ['--cluster', 'far', '--namespace', 'clusters'];

  /** As alice, in front of kexer's own cluster. */
  function first(...words: readonly string[]): ReturnType<typeof ask> {
    return ask(clusters.near.sandbox.files.kubeconfig, '--context', 'cluster-alice', ...words);
  }

  /** What kubectl does with it: only the far cluster has pods. */
  async function use(text: string): Promise<{ file: string; said: readonly unknown[] }> {
    const file = join(home, 'far.yaml');
    await writeFile(file, text);
    const options = { kubeconfig: file, context: (parse(text) as Config)['current-context'], home };
    const get = await kubectl(['get', 'pod', 'demo', '-o', 'name'], options);
    const exec = await kubectl(['exec', 'demo', '--', 'echo', 'far'], options);
    return { file, said: [get.code, get.stdout, exec.code, exec.stdout] };
  }
  const works = [0, 'pod/demo\n', 0, 'far\n'];

  it('leads there by the address that is given, for the same user', async () => {
    const { code, out, err } = await first('--server', server, ...far);
    expect([code, err]).to.deep.equal([0, '']);
    const config = parse(out) as Config;
    expect([config['current-context'], config.clusters[0]?.cluster['server']]).to.deep.equal([
      'far@kexer',
      `${server}/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec`,
    ]);
    expect((await use(out)).said).to.deep.equal(works);
  });

  it('changes a context that leads there already: to another cluster, and to another address, by the authority it has', async () => {
    const { file } = await use((await first('--server', server, ...far)).out);
    const back = await ask(file);
    expect([back.code, back.err]).to.deep.equal([0, '']);
    expect((parse(back.out) as Config).clusters[0]?.cluster['server']).to.equal(
      `${server}/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec`,
    );
    const same = await ask(file, '--server', server, ...far);
    expect([same.code, same.err]).to.deep.equal([0, '']);
    expect((await use(same.out)).said).to.deep.equal(works);
    const elsewhere = await ask(file, '--server', `https://localhost:${clusters.near.port}`, ...far);
    expect([elsewhere.code, elsewhere.err]).to.deep.equal([0, '']);
    expect((parse(elsewhere.out) as Config).clusters[0]?.cluster).to.have.all.keys(
      'server',
      'certificate-authority-data',
    );
    expect((await use(elsewhere.out)).said).to.deep.equal(works);
  });

  it('says what kexer says of a cluster that is not there', async () => {
    const { out } = await first('--server', server, '--cluster', 'nowhere', '--namespace', 'clusters');
    const { said } = await use(out);
    expect(said).to.deep.equal([1, '', 1, '']);
  });
});
