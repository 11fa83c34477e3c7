// The Helm chart: with its defaults it is the kustomization, object by object; with its values it is the overlays; and each value does
// something.

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import {
  chartMetadata,
  defaultValues,
  mergeValues,
  renderChart,
  renderTexts,
  valueComplaints,
  type Values,
} from './support/chart.ts';
import { kustomize, type Manifest, nameOf } from './support/manifests.ts';
import { complaintsAbout } from './support/openapi.ts';
import { parseTemplate } from './support/template-tree.ts';

/** The release's namespace, which Helm makes itself; the alerts and the dashboard, which are the component's alone. */
const leftOut = ['Namespace', 'PrometheusRule', 'ConfigMap'];

/** By name, so that a difference is shown at its object. */
function byName(manifests: readonly Manifest[]): Record<string, Manifest> {
  const own = manifests.filter(({ kind }) => !leftOut.includes(kind));
  return Object.fromEntries(
    own.map((manifest) => [nameOf(manifest), manifest] as const).toSorted(([a], [b]) => a.localeCompare(b)),
  );
}

describe('config/chart', function () {
  this.timeout(60_000);
  before(needsKubectl);

  const variants: readonly (readonly [folder: string, values: Values])[] = [
    ['config', {}],
    ['config/overlays/nodeport', { service: { type: 'NodePort', nodePort: 30443 } }],
    ['config/overlays/loadbalancer', { service: { type: 'LoadBalancer', externalTrafficPolicy: 'Local' } }],
    ['config/overlays/cert-manager', { tls: { type: 'cert-manager' } }],
    ['config/overlays/existing-secret', { tls: { type: 'existingSecret' } }],
    ['config/overlays/single-replica', { replicas: 1 }],
    ['config/overlays/impersonation', { impersonation: { enabled: true } }],
    ['config/overlays/impersonation-constrained', { impersonation: { enabled: true, constrained: true } }],
    ['config/overlays/kubelet-client-certificate', { kubelet: { credential: 'clientCertificate' } }],
    ['config/overlays/direct-only', { apiService: { enabled: false } }],
    ['config/overlays/clusters', { clusters: { namespaces: ['clusters'] } }],
    ['config/overlays/monitoring', { serviceMonitor: { enabled: true } }],
  ];
  for (const [folder, values] of variants) {
    it(`makes of ${JSON.stringify(values)} what ${folder} makes`, async () => {
      expect(byName(renderChart(values))).to.deep.equal(byName(await kustomize(folder)));
    });
  }

  it('gives nobody but kexer a right with lookup.enabled off, and changes nothing else', () => {
    const bindings = (values: Values): string[] =>
      renderChart(values).flatMap(({ kind, metadata }) =>
        kind.startsWith('Role') || kind.startsWith('ClusterRole') ? [`${kind} ${metadata.name}`] : [],
      );
    const [on, off] = [bindings({}), bindings({ lookup: { enabled: false } })];
    expect(on.filter((name) => !off.includes(name))).to.have.members(
      ['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map((kind) => `${kind} kexer-lookup`),
    );
    expect(off.filter((name) => !on.includes(name))).to.deep.equal([]);
    expect(JSON.stringify(renderChart({ lookup: { enabled: false } }))).not.to.contain('system:authenticated');
  });

  it('is valid with everything on, in another namespace', () => {
    const values = {
      image: { repository: 'registry.example.com/kexer', tag: 'v9' },
      imagePullSecrets: [{ name: 'registry' }],
      extraArgs: ['--max-sessions-per-user=50'],
      extraEnv: [{ name: 'A', value: 'b' }],
      extraVolumes: [{ name: 'v', emptyDir: {} }],
      extraVolumeMounts: [{ name: 'v', mountPath: '/v' }],
      tls: { secretName: 'other', extraNames: ['kexer.example.com', '192.0.2.1'] },
      service: { type: 'LoadBalancer', annotations: { a: 'b' }, loadBalancerSourceRanges: ['192.0.2.0/24'] },
      kubelet: { credential: 'clientCertificate', certificateAuthorityConfigMap: 'kubelet-ca' },
      impersonation: { enabled: true, allowPrivileged: true },
      clusters: {
        namespaces: ['a', 'b'],
        allowedEndpoints: ['192.0.2.0/24', 'x.example.com'],
        proxy: {
          url: 'https://proxy.example.com:3129',
          noProxy: ['.b', '10.0.0.0/8'],
          caConfigMap: 'proxy-ca',
          credentialsSecret: 'proxy-user',
        },
      },
      serviceMonitor: { enabled: true, serviceAccount: { name: 'p', namespace: 'm' } },
      podAnnotations: { c: 'd' },
      podLabels: { e: 'f' },
      tolerations: [{ operator: 'Exists' }],
    };
    const manifests = renderChart(values, { name: 'mine', namespace: 'elsewhere' });
    expect(manifests.flatMap(complaintsAbout)).to.deep.equal([]);
    const text = JSON.stringify(manifests);
    expect(text).not.to.contain('kexec-system');
    const given = [
      'registry.example.com/kexer:v9',
      '--cert-extra-sans=kexer.example.com,192.0.2.1',
      '--serving-cert-secret=other',
    ];
    for (const part of [
      ...given,
      '--max-sessions-per-user=50',
      '/var/run/kexer/kubelet-ca/ca.crt',
      '--identity-allow-privileged',
      '--cluster-namespaces=a,b',
      '--cluster-proxy-url=https://proxy.example.com:3129',
      '--cluster-no-proxy=.b,10.0.0.0/8',
      '/var/run/kexer/cluster-proxy-ca/ca.crt',
      '"secretName":"proxy-user"',
    ]) {
      expect(text).to.contain(part);
    }
  });

  it('has the version of the package', async () => {
    const { default: manifest } = await import('../../package.json', { with: { type: 'json' } });
    const { version, appVersion } = chartMetadata();
    expect([version, appVersion]).to.deep.equal([manifest.version, manifest.version]);
  });

  it('says in its notes how to uninstall', () => {
    const notes = renderTexts().get('NOTES.txt') ?? '';
    expect(notes.indexOf('kubectl delete apiservice')).to.be.lessThan(notes.indexOf('helm uninstall'));
    expect(renderTexts({ apiService: { enabled: false } }).get('NOTES.txt')).not.to.contain('apiservice');
  });

  describe('values.schema.json', () => {
    it('has every value, and takes the defaults', () => {
      expect(valueComplaints(defaultValues())).to.deep.equal([]);
    });

    const mistakes: readonly (readonly [values: Values, place: string])[] = [
      [{ replica: 3 }, 'replica'],
      [{ replicas: '3' }, 'replicas'],
      [{ tls: { type: 'certmanager' } }, 'tls.type'],
      [{ kubelet: { credentials: 'token' } }, 'credentials'],
      [{ service: { nodePort: 99_999 } }, 'service.nodePort'],
      [{ extraArgs: ['max-sessions'] }, 'extraArgs'],
      [{ impersonation: { enabled: 'yes' } }, 'impersonation.enabled'],
      [{ lookup: { enable: false } }, 'enable'],
      [{ clusters: { proxy: { url: 'http://user:password@p' } } }, 'clusters.proxy.url'],
    ];
    for (const [values, place] of mistakes) {
      it(`refuses ${JSON.stringify(values)}`, () => {
        expect(valueComplaints(mergeValues(defaultValues(), values)).join()).to.contain(place);
        expect(() => renderChart(values)).to.throw(place);
      });
    }
  });

  describe('the renderer', () => {
    const refused = [
      '{{ if .a }}',
      '{{ end }}',
      '{{ $x := 1 }}',
      '{{ .a + 1 }}',
      '{{ (.a }}',
      '{{ .a',
      '{{ | }}',
      '{{ else }}',
    ];
    for (const source of refused) it(`refuses ${source}`, () => expect(() => parseTemplate(source)).to.throw());
  });
});
