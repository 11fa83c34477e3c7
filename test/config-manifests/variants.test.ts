// Every variant is taken by an apiserver, and taken again without a change; and those that make kexer run otherwise are run.

import { expect } from 'chai';

import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { renderChart } from './support/chart.ts';
import { ownKustomization } from './support/clone.ts';
import { aggregatedKubeconfig, directKubeconfig, letUse, servingAuthority } from './support/clients.ts';
import { TestCluster } from './support/cluster.ts';
import { customKinds } from './support/custom-kinds.ts';
import { applicableFolders, kustomize, type Manifest, readManifests } from './support/manifests.ts';

/** The sandbox has no CustomResourceDefinitions. */
const isServed = ({ apiVersion, kind }: Manifest): boolean => !customKinds.has(`${apiVersion} ${kind}`);

const documents = (manifests: readonly Manifest[]): string => manifests.map((each) => JSON.stringify(each)).join('\n');

describe('variants of the installation', function () {
  this.timeout(60_000);
  before(needsKubectl);

  describe('are taken by an apiserver', () => {
    let cluster: TestCluster;

    before(async () => {
      cluster = await TestCluster.start({ hasKubelets: false });
    });

    after(() => cluster?.stop());

    const namespace: Manifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kexec-system' } };
    const clusters: Manifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'clusters' } };
    const everything = {
      replicas: 3,
      impersonation: { enabled: true },
      clusters: { namespaces: ['clusters'], allowedEndpoints: ['x.example.com'] },
      kubelet: { credential: 'clientCertificate', certificateAuthorityConfigMap: 'kubelet-ca' },
    };
    const sets: readonly (readonly [name: string, objects: () => Promise<Manifest[]>])[] = [
      ...applicableFolders().map((folder) => [folder, () => kustomize(folder)] as const),
      ['the chart', () => Promise.resolve([namespace, ...renderChart()])],
      ['the chart with values', () => Promise.resolve([namespace, clusters, ...renderChart(everything)])],
    ];
    for (const [name, objects] of sets) {
      it(`${name}, strictly, and again without a change`, async () => {
        const stdin = documents((await objects()).filter(isServed));
        const apply = ['apply', '--validate=strict', '-f', '-'];
        const first = await cluster.kubectl(apply, { stdin });
        const second = await cluster.kubectl(apply, { stdin });
        const lines = second.stdout.trim().split('\n');
        expect([first.code, first.stderr, second.code, second.stderr]).to.deep.equal([0, '', 0, '']);
        expect(lines.length).to.be.greaterThan(15);
        expect(lines.filter((line) => !line.endsWith(' unchanged'))).to.deep.equal([]);
      });
    }
  });

  describe('run', () => {
    let cluster: TestCluster;

    /** One replica does, and starts sooner. */
    async function install(component: string): Promise<void> {
      const text = [
        'apiVersion: kustomize.config.k8s.io/v1beta1',
        'kind: Kustomization',
        'resources: [config/base]',
        `components: [config/components/single-replica, config/components/${component}]`,
      ];
      const folder = await ownKustomization(cluster.path('own'), text.join('\n'));
      await cluster.mustKubectl(['apply', '-f', '-'], { stdin: documents((await kustomize(folder)).filter(isServed)) });
    }

    const apiService = (path: string): Promise<string> =>
      cluster.mustKubectl(['get', 'apiservice', 'v1.backup.cv.io', '-o', `jsonpath={${path}}`]);

    const log = (): string => cluster.node.pods.map(({ output }) => output).join('');

    const hello = ['exec', 'demo', '--', 'sh', '-c', 'echo hello; exit 3'];

    async function execDirect(): Promise<unknown[]> {
      const { code, stdout, stderr } = await cluster.kubectl([
        '--kubeconfig',
        await directKubeconfig(cluster),
        ...hello,
      ]);
      return [code, stdout, stderr];
    }

    const executed = [3, 'hello\n', 'command terminated with exit code 3\n'];

    beforeEach(async () => {
      cluster = await TestCluster.start({ environment: { KEXER_SHUTDOWN_DELAY_DURATION: '0s' } });
    });

    afterEach(() => cluster.stop());

    for (const component of ['impersonation', 'impersonation-constrained'])
      it(`${component}: exec through the APIService, as the caller`, async () => {
        await install(component);
        await cluster.serving(1);
        await letUse(cluster, 'alice');
        const kubeconfig = ['--kubeconfig', aggregatedKubeconfig(cluster)];
        const { code, stdout, stderr } = await cluster.kubectl([...kubeconfig, ...hello]);
        expect([code, stdout, stderr]).to.deep.equal(executed);
        expect(
          (
            await cluster.mustKubectl([...kubeconfig, 'auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'])
          ).trim(),
        ).to.equal('alice');
      });

    it('kubelet-client-certificate: the kubelet sees the certificate, and nobody asks for a token', async () => {
      const { cert, key } = await cluster.sandbox.clientCertificate({ name: 'kexer-kubelet' });
      await cluster.mustKubectl(['create', 'namespace', 'kexec-system']);
      const secret = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'kexer-kubelet-client-cert', namespace: 'kexec-system' },
        type: 'kubernetes.io/tls',
        stringData: { 'tls.crt': cert, 'tls.key': key },
      };
      await cluster.mustKubectl(['apply', '-f', '-'], { stdin: JSON.stringify(secret) });
      await install('kubelet-client-certificate');
      await cluster.serving(1);
      await letUse(cluster, 'alice');
      expect(await execDirect()).to.deep.equal(executed);
      const users = [...cluster.sandbox.kubelets.values()].flatMap(({ requests }) => requests.map(({ user }) => user));
      expect(new Set(users)).to.deep.equal(new Set(['kexer-kubelet']));
    });

    it('existing-secret: serves with what config/kexer-serving-cert.yaml brings, and makes its authority known', async () => {
      const authority = await generateAuthority({ commonName: 'ours' });
      const pair = await generateServing(authority, { commonName: 'kexer', dnsNames: ['kexer.kexec-system.svc'] });
      const [example] = readManifests('config/kexer-serving-cert.yaml');
      const filled = {
        ...example,
        stringData: { 'tls.crt': pair.cert, 'tls.key': pair.key, 'ca.crt': authority.cert },
      };
      await cluster.mustKubectl(['create', 'namespace', 'kexec-system']);
      await cluster.mustKubectl(['apply', '-f', '-'], { stdin: JSON.stringify(filled) });
      await install('existing-secret');
      await cluster.serving(1);
      await letUse(cluster, 'alice');
      expect(
        Buffer.from(await apiService('.spec.caBundle'), 'base64')
          .toString()
          .trim(),
      ).to.equal(authority.cert.trim());
      expect(Buffer.from(await servingAuthority(cluster), 'base64').toString()).to.equal(authority.cert);
      expect(await execDirect()).to.deep.equal(executed);
    });

    it('cert-manager: serves with what it issues, and leaves the caBundle to it', async () => {
      await install('cert-manager');
      // What cert-manager does: the Secret, and by the annotation the caBundle.
      const authority = await generateAuthority({ commonName: 'kexer-ca' });
      const pair = await generateServing(authority, { commonName: 'kexer', dnsNames: ['kexer.kexec-system.svc'] });
      const secret = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'kexer-serving-cert', namespace: 'kexec-system' },
        type: 'kubernetes.io/tls',
        stringData: { 'tls.crt': pair.cert, 'tls.key': pair.key, 'ca.crt': authority.cert },
      };
      await cluster.mustKubectl(['apply', '-f', '-'], { stdin: JSON.stringify(secret) });
      expect(await apiService(String.raw`.metadata.annotations.cert-manager\.io/inject-ca-from`)).to.equal(
        'kexec-system/kexer-serving-cert',
      );
      const bundle = Buffer.from(authority.cert).toString('base64');
      const patch = JSON.stringify({ spec: { caBundle: bundle } });
      await cluster.mustKubectl(['patch', 'apiservice', 'v1.backup.cv.io', '--type=merge', '-p', patch]);
      await cluster.serving(1);
      await letUse(cluster, 'alice');
      expect(await execDirect()).to.deep.equal(executed);
      expect(await apiService('.spec.caBundle')).to.equal(bundle);
    });

    it('direct-only: serves without an APIService, and asks for none', async () => {
      await install('direct-only');
      await cluster.serving(1);
      await letUse(cluster, 'alice');
      expect(await execDirect()).to.deep.equal(executed);
      expect((await cluster.kubectl(['get', 'apiservice', 'v1.backup.cv.io'])).stderr).to.contain('NotFound');
      expect(log()).not.to.contain('caBundle');
    });

    it('loadbalancer: the address that the provider gives comes into the certificate', async () => {
      await install('loadbalancer');
      await cluster.serving(1);
      const patch = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } } });
      const words = ['patch', 'service', 'kexer', '--subresource=status', '--type=merge', '-p', patch];
      await cluster.mustKubectl(['-n', 'kexec-system', ...words]);
      await cluster.until(() => log().includes('203.0.113.9'));
      const service = await cluster.mustKubectl(['-n', 'kexec-system', 'get', 'service', 'kexer', '--no-headers']);
      expect(service).to.match(/^kexer +LoadBalancer +\S+ +203\.0\.113\.9 /);
    });
  });
});
