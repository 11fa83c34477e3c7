// What an operator's policies ask of kexer's pod and of what stands around it, in every variant.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type {
  V1APIService,
  V1Deployment,
  V1NetworkPolicy,
  V1PodDisruptionBudget,
  V1Service,
} from '@kubernetes/client-node';
import { expect } from 'chai';

import { configSchema } from '../../src/config/schema.ts';
import { parseFlags } from '../../src/config/flags.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { applicableFolders, find, kustomize, type Manifest, root } from './support/manifests.ts';

const drainMarginSeconds = 15;

function deploymentOf(manifests: readonly Manifest[]): V1Deployment {
  return find(manifests, 'Deployment', 'kexer');
}

describe('manifests: hardening', function () {
  this.timeout(60_000);
  before(needsKubectl);

  for (const folder of applicableFolders()) {
    it(`${folder}: a pod that meets the restricted standard and outlives its sessions`, async () => {
      const manifests = await kustomize(folder);
      const { spec } = deploymentOf(manifests);
      const pod = spec?.template.spec;
      const [container, ...others] = pod?.containers ?? [];
      const defaults = configSchema.parse({}).server;
      const flags = parseFlags((container?.args ?? []).slice(1));
      expect(others).to.deep.equal([]);
      expect(flags.problems).to.deep.equal([]);
      expect({
        namespace: find(manifests, 'Namespace', 'kexec-system').metadata.labels?.['pod-security.kubernetes.io/enforce'],
        pod: pod?.securityContext,
        container: container?.securityContext,
        volumes: (pod?.volumes ?? [])
          .flatMap(({ name: _name, ...source }) => Object.keys(source))
          .filter((kind) => !['secret', 'configMap', 'projected', 'emptyDir', 'downwardAPI'].includes(kind)),
        strategy: spec?.strategy?.rollingUpdate,
        graceSeconds: pod?.terminationGracePeriodSeconds,
        hasHostNamespaces: [pod?.hostNetwork, pod?.hostPID, pod?.hostIPC],
        hasServiceLinks: pod?.enableServiceLinks,
        command: container?.command,
        firstArgument: container?.args?.[0],
      }).to.deep.equal({
        namespace: 'restricted',
        pod: {
          runAsNonRoot: true,
          runAsUser: 65_532,
          runAsGroup: 65_532,
          fsGroup: 65_532,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        container: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumes: [],
        strategy: { maxSurge: 1, maxUnavailable: 0 },
        graceSeconds: (defaults.shutdownDelay + defaults.shutdownGracePeriod) / 1000 + drainMarginSeconds,
        hasHostNamespaces: [undefined, undefined, undefined],
        hasServiceLinks: false,
        command: undefined,
        firstArgument: 'serve',
      });
    });
  }

  it('probes over HTTPS at the paths that are open to all', async () => {
    const [container] = deploymentOf(await kustomize('config')).spec?.template.spec?.containers ?? [];
    const probes = [container?.startupProbe, container?.livenessProbe, container?.readinessProbe];
    expect(probes.map((probe) => probe?.httpGet)).to.deep.equal(
      ['/livez', '/livez', '/readyz'].map((path) => ({ scheme: 'HTTPS', path, port: 'https' })),
    );
  });

  it('has the image, the user and the port of the Dockerfile, and the version of the package', async () => {
    const pod = deploymentOf(await kustomize('config')).spec?.template.spec;
    const [container] = pod?.containers ?? [];
    const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8');
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect({
      image: container?.image,
      user: `${pod?.securityContext?.runAsUser}:${pod?.securityContext?.runAsGroup}`,
      port: container?.ports?.[0]?.containerPort,
    }).to.deep.equal({
      image: `kexer:${version}`,
      user: /^USER (\S+)$/m.exec(dockerfile)?.[1],
      port: Number(/^EXPOSE (\d+)$/m.exec(dockerfile)?.[1]),
    });
  });

  it('lets a node be drained, one replica at a time', async () => {
    const { spec } = find(
      await kustomize('config'),
      'PodDisruptionBudget',
      'kexer',
    ) as unknown as V1PodDisruptionBudget;
    const replicas = deploymentOf(await kustomize('config')).spec?.replicas;
    const single = await kustomize('config/overlays/single-replica');
    expect([spec?.minAvailable, replicas]).to.deep.equal([1, 2]);
    expect(single.some(({ kind }) => kind === 'PodDisruptionBudget')).to.equal(false);
    expect(deploymentOf(single).spec?.replicas).to.equal(1);
  });

  it('is found by the aggregation layer, with a priority that no other group is hidden by', async () => {
    const manifests = await kustomize('config');
    const api = find(manifests, 'APIService', 'v1.backup.cv.io') as unknown as V1APIService;
    const service = find(manifests, 'Service', 'kexer') as unknown as V1Service;
    expect(api.spec).to.deep.equal({
      group: 'backup.cv.io',
      version: 'v1',
      groupPriorityMinimum: 2000,
      versionPriority: 10,
      service: { namespace: 'kexec-system', name: 'kexer', port: 443 },
    });
    expect(service.spec?.ports?.map(({ port, targetPort }) => [port, targetPort])).to.deep.equal([[443, 'https']]);
  });

  it('may dial kubelets, apiservers and DNS, and never a metadata service', async () => {
    const { spec } = find(await kustomize('config'), 'NetworkPolicy', 'kexer') as unknown as V1NetworkPolicy;
    const portsOf = (rules: readonly { ports?: { protocol?: string; port?: unknown }[] }[] | undefined): string[] =>
      (rules ?? []).flatMap(({ ports = [] }) => ports.map(({ protocol, port }) => `${protocol}/${String(port)}`));
    expect({
      types: spec?.policyTypes,
      in: portsOf(spec?.ingress),
      out: portsOf(spec?.egress),
      except: spec?.egress?.flatMap(({ to = [] }) => to.map(({ ipBlock }) => [ipBlock?.cidr, ipBlock?.except?.[0]])),
    }).to.deep.equal({
      types: ['Ingress', 'Egress'],
      in: ['TCP/6443'],
      out: ['TCP/10250', 'TCP/443', 'TCP/6443', 'TCP/53', 'UDP/53'],
      except: [
        ['0.0.0.0/0', '169.254.0.0/16'],
        ['::/0', 'fe80::/10'],
      ],
    });
  });
});
