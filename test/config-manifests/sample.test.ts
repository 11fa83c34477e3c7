// Each file of sample/ is filled in as its comments say and tried: the NodePort beside an installed kexer, the kubeconfig through it, and the
// Secret of a second cluster.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { ownKustomization } from './support/clone.ts';
import { kexerPath, letUse, servingAuthority } from './support/clients.ts';
import { TestCluster } from './support/cluster.ts';
import { root } from './support/manifests.ts';

function sample(name: string, values: Readonly<Record<string, string>>): string {
  const text = readFileSync(join(root, 'sample', name), 'utf8');
  return Object.entries(values).reduce((filled, [from, to]) => {
    if (!filled.includes(from)) throw new Error(`sample/${name} has no ${from}`);
    return filled.replaceAll(from, to);
  }, text);
}

const kustomization = `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [config/base]
components: [config/components/single-replica, config/components/clusters]
`;

describe('sample/', function () {
  this.timeout(60_000);
  let cluster: TestCluster;
  let staging: Sandbox;

  before(needsKubectl);

  before(async () => {
    staging = await startSandbox();
    await staging.ready();
    cluster = await TestCluster.start({
      environment: {
        KEXER_SHUTDOWN_DELAY_DURATION: '0s',
        KEXER_CLUSTER_ALLOWED_ENDPOINTS: '127.0.0.1',
      },
    });
    const folder = await ownKustomization(cluster.path('own'), kustomization);
    await cluster.mustKubectl(['apply', '-k', folder]);
    await cluster.serving(1);
    await letUse(cluster, 'alice');
  });

  after(async () => {
    await cluster?.stop();
    await staging?.stop();
  });

  /** The sample, with the pod's address in the place of a node's: the sandbox has no service proxy. */
  async function kubeconfig(): Promise<string> {
    const [pod] = cluster.node.pods;
    const file = cluster.path('sample.kubeconfig');
    const filled = sample('kubeconfig.yaml', {
      'HOST:30443': `${pod?.address}:${pod?.port}`,
      'certificate-authority-data: CA': `tls-server-name: kexer.kexec-system.svc\n      certificate-authority-data: ${await servingAuthority(cluster)}`,
      'token: TOKEN': `token: ${cluster.sandbox.tokens.alice}`,
    });
    writeFileSync(file, filled, { mode: 0o600 });
    return file;
  }

  it('nodeport-service.yaml leads to the pods', async () => {
    await cluster.mustKubectl(['apply', '-f', 'sample/nodeport-service.yaml']);
    const service = await cluster.mustKubectl([
      '-n',
      'kexec-system',
      'get',
      'service',
      'kexer-nodeport',
      '--no-headers',
    ]);
    expect(service).to.match(/^kexer-nodeport +NodePort .* 443:30443\/TCP/);
    const slices = ['get', 'endpointslices', '-l', 'kubernetes.io/service-name=kexer-nodeport', '-o'];
    const [pod] = cluster.node.pods;
    const template = 'jsonpath={.items[0].endpoints[0].addresses[0]}:{.items[0].ports[0].port}';
    expect(await cluster.mustKubectl(['-n', 'kexec-system', ...slices, template])).to.equal(`${pod?.address}:6443`);
  });

  it('kubeconfig.yaml works once it is filled in', async () => {
    const file = await kubeconfig();
    expect(readFileSync(file, 'utf8')).to.contain(kexerPath);
    const { stdout, stderr, code } = await cluster.kubectl([
      '--kubeconfig',
      file,
      'exec',
      'demo',
      '--',
      'echo',
      'hello',
    ]);
    expect([stdout, stderr, code]).to.deep.equal(['hello\n', '', 0]);
  });

  it('clusters/shared.yaml names a second cluster', async () => {
    const robot = ['--kubeconfig', staging.files.kubeconfig, '-n', 'default'];
    await cluster.mustKubectl([...robot, 'create', 'serviceaccount', 'kexer-remote']);
    await cluster.mustKubectl([
      ...robot,
      'create',
      'rolebinding',
      'kexer-remote',
      '--clusterrole=cluster-admin',
      '--serviceaccount=default:kexer-remote',
    ]);
    const secret = sample('clusters/shared.yaml', {
      'https://far.example.com:6443': staging.apiserver.url,
      'caData: REPLACE': `caData: ${readFileSync(staging.files.servingCaFile).toString('base64')}`,
      'token: REPLACE': `token: ${(await cluster.mustKubectl([...robot, 'create', 'token', 'kexer-remote'])).trim()}`,
    });
    await cluster.mustKubectl(['apply', '-f', '-'], { stdin: secret });
    for (const role of ['kexer-user', 'kexer-shared-cluster-user']) {
      await cluster.mustKubectl([
        '-n',
        'clusters',
        'create',
        'rolebinding',
        role,
        `--clusterrole=${role}`,
        '--user=alice',
      ]);
    }
    const file = await kubeconfig();
    const text = readFileSync(file, 'utf8').replace(
      kexerPath,
      '/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec',
    );
    writeFileSync(file, text);
    const answer = await cluster.kubectl(['--kubeconfig', file, 'exec', 'demo', '--', 'echo', 'from staging']);
    expect([answer.stdout, answer.stderr, answer.code]).to.deep.equal(['from staging\n', '', 0]);
  });
});
