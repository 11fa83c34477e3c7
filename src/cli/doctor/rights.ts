// The rights of kexer's accounts, as docs/rbac.md has them, and which settings need each. A test compares the two, so that a right which a
// feature adds is looked for here too.

import type { Config } from '../../config/schema.ts';

/** `kexer` itself, its impersonator, or its account towards kubelets. */
export type RightsHolder = 'kexer' | 'kexer-impersonator' | 'kexer-kubelet';

export interface WantedRight {
  readonly holder: RightsHolder;
  readonly verbs: readonly string[];
  /** With the subresource: `nodes/proxy`. */
  readonly resource: string;
  readonly group: string;
  /** '' for all names, and for the whole cluster. */
  readonly name: string;
  readonly namespace: string;
  readonly feature: string;
  /** Under config/rbac. */
  readonly file: string;
  readonly isNeeded: (config: Config) => boolean;
}

/** As in the manifests; read as the namespace kexer is really in. */
export const manifestNamespace = 'kexec-system';
/** As in the manifests; read as each of `clusters.namespaces`. */
export const manifestClusters = 'clusters';

const always = (): boolean => true;
const direct = ({ streams }: Config): boolean => streams.local === 'kubelet';
const impersonates = ({ identity }: Config): boolean => identity.impersonation;
const makesCertificates = ({ server, certificates }: Config): boolean =>
  server.tlsCertFile === undefined && certificates.servingSecret !== 'none';
const writesCaBundle = (config: Config): boolean =>
  makesCertificates(config) && config.certificates.apiService !== 'none';
/** A client certificate is somebody else, whom the check of the nodes tries. */
const hasKubeletAccount = ({ kubelet, streams }: Config): boolean =>
  streams.local === 'kubelet' && kubelet.clientCertificate === undefined;

type Where = Pick<WantedRight, 'holder' | 'file' | 'isNeeded'>;

/** @param what `resource.group named NAME in NAMESPACE`, as in the table. */
function right(where: Where, verbs: string, what: string, feature: string): WantedRight {
  const [, qualified = '', name = '', namespace = ''] = /^(\S+)(?: named (\S+))?(?: in (\S+))?$/.exec(what) ?? [];
  const group = groups.find((known) => qualified.endsWith(`.${known}`)) ?? '';
  const resource = group === '' ? qualified : qualified.slice(0, -group.length - 1);
  return { ...where, verbs: verbs.split(','), resource, group, name, namespace, feature };
}

const groups = [
  'authentication.k8s.io',
  'authorization.k8s.io',
  'admissionregistration.k8s.io',
  'apiregistration.k8s.io',
  'discovery.k8s.io',
] as const;

const own = { holder: 'kexer', file: 'kexer.yaml', isNeeded: always } as const;
const ownDirect = { ...own, isNeeded: direct };
const secret = { ...own, file: 'certificates.yaml', isNeeded: makesCertificates };
const apiService = { ...own, file: 'api-service.yaml', isNeeded: writesCaBundle };
const impersonator = {
  holder: 'kexer-impersonator',
  file: 'impersonation/impersonator.yaml',
  isNeeded: impersonates,
} as const;
const kubelet = { holder: 'kexer-kubelet', file: 'kubelet.yaml', isNeeded: hasKubeletAccount } as const;
const admission = 'streams that go straight to kubelets';

export const wantedRights: readonly WantedRight[] = [
  right(own, 'create', 'tokenreviews.authentication.k8s.io', 'callers with a bearer token'),
  right(own, 'create', 'subjectaccessreviews.authorization.k8s.io', 'who may use kexer'),
  right(
    own,
    'get,list,watch',
    'configmaps named extension-apiserver-authentication in kube-system',
    'client certificates and the front proxy',
  ),
  right(own, 'get', 'pods', 'streams'),
  right(own, 'watch', 'pods', 'the end of sessions whose pod is gone'),
  right(own, 'get,list,watch', 'nodes', 'the addresses of kubelets'),
  right(ownDirect, 'get,list,watch', 'mutatingwebhookconfigurations.admissionregistration.k8s.io', admission),
  right(ownDirect, 'get,list,watch', 'mutatingadmissionpolicies.admissionregistration.k8s.io', admission),
  right(ownDirect, 'get,list,watch', 'mutatingadmissionpolicybindings.admissionregistration.k8s.io', admission),
  right(secret, 'list,watch', 'secrets named kexer-serving-cert in kexec-system', 'the serving certificate'),
  right(secret, 'patch', 'secrets named kexer-serving-cert in kexec-system', 'making and renewing it'),
  right(secret, 'list,watch', 'services named kexer in kexec-system', 'the addresses in it'),
  right(apiService, 'list,watch', 'apiservices.apiregistration.k8s.io named v1.backup.cv.io', 'the caBundle'),
  right(apiService, 'patch', 'apiservices.apiregistration.k8s.io named v1.backup.cv.io', 'writing it'),
  right(
    { ...own, file: 'kubelet-tokens.yaml', isNeeded: (config) => config.kubelet.serviceAccount !== undefined },
    'create',
    'serviceaccounts/token named kexer-kubelet in kexec-system',
    'the token towards kubelets',
  ),
  right(
    {
      ...own,
      file: impersonator.file,
      isNeeded: ({ identity }) => identity.impersonation && identity.impersonator.serviceAccount !== undefined,
    },
    'create',
    'serviceaccounts/token named kexer-impersonator in kexec-system',
    'the impersonator’s tokens',
  ),
  ...['users', 'groups', 'serviceaccounts', 'uids.authentication.k8s.io'].map((what) =>
    right(impersonator, 'impersonate', what, 'callers without a token of their own'),
  ),
  ...[
    'authentication.kubernetes.io/credential-id',
    'authentication.kubernetes.io/node-name',
    'authentication.kubernetes.io/node-uid',
    'authentication.kubernetes.io/pod-name',
    'authentication.kubernetes.io/pod-uid',
    'backup.cv.io/original-user',
  ].map((key) =>
    right(
      impersonator,
      'impersonate',
      `userextras/${key}.authentication.k8s.io`,
      'callers without a token of their own',
    ),
  ),
  right(kubelet, 'create', 'nodes/proxy', 'exec, attach and port-forward'),
  right(kubelet, 'get', 'nodes/proxy', 'logs'),
  right(
    { ...own, file: 'peers.yaml', isNeeded: ({ peers }) => peers.service !== undefined },
    'list',
    'endpointslices.discovery.k8s.io in kexec-system',
    'sessions of other replicas',
  ),
  right(
    { ...own, file: 'clusters/secrets.yaml', isNeeded: ({ clusters }) => clusters.namespaces.length > 0 },
    'get,list,watch',
    'secrets in clusters',
    'clusters that Secrets name',
  ),
];
