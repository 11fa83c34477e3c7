// What kube-apiserver fills into a pod, and into the pod template of everything that makes pods: the defaults of the type
// (SetDefaults_PodSpec and its like), and for pods themselves what the default admission plugins add: service account, priority,
// tolerations.

import { array, at, child, isRecord, type Json, record, records, setDefault, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { randomSuffix } from './names.ts';

/** Decimal of octal 0644, the mode of files in volumes. */
const defaultFileMode = 420;
const tokenLifetimeSeconds = 3607;
const serviceAccountMount = '/var/run/secrets/kubernetes.io/serviceaccount';

function pullPolicy(image: string): string {
  const afterHost = image.slice(image.lastIndexOf('/') + 1);
  if (image.includes('@')) return 'IfNotPresent';
  const tag = afterHost.includes(':') ? afterHost.slice(afterHost.lastIndexOf(':') + 1) : 'latest';
  return tag === 'latest' ? 'Always' : 'IfNotPresent';
}

function defaultHttpGet(action: unknown): void {
  const httpGet = at(action, 'httpGet');
  if (!isRecord(httpGet)) return;
  setDefault(httpGet, 'path', '/');
  setDefault(httpGet, 'scheme', 'HTTP');
}

function defaultProbe(probe: unknown): void {
  if (!isRecord(probe)) return;
  defaultHttpGet(probe);
  const grpc = probe['grpc'];
  if (isRecord(grpc)) setDefault(grpc, 'service', '');
  setDefault(probe, 'timeoutSeconds', 1);
  setDefault(probe, 'periodSeconds', 10);
  setDefault(probe, 'successThreshold', 1);
  setDefault(probe, 'failureThreshold', 3);
}

function defaultContainer(container: Json, usesHostNetwork: boolean): void {
  setDefault(container, 'resources', {});
  const resources = record(container['resources']);
  const limits = record(resources['limits']);
  if (Object.keys(limits).length > 0) resources['requests'] = { ...limits, ...record(resources['requests']) };
  setDefault(container, 'terminationMessagePath', '/dev/termination-log');
  setDefault(container, 'terminationMessagePolicy', 'File');
  setDefault(container, 'imagePullPolicy', pullPolicy(text(container['image'])));
  for (const port of records(container['ports'])) {
    setDefault(port, 'protocol', 'TCP');
    if (usesHostNetwork) setDefault(port, 'hostPort', port['containerPort']);
  }
  for (const variable of records(container['env'])) {
    const fieldRef = at(variable, 'valueFrom', 'fieldRef');
    if (isRecord(fieldRef)) setDefault(fieldRef, 'apiVersion', 'v1');
  }
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe']) defaultProbe(container[probe]);
  defaultHttpGet(at(container, 'lifecycle', 'postStart'));
  defaultHttpGet(at(container, 'lifecycle', 'preStop'));
}

function defaultVolume(volume: Json): void {
  if (Object.keys(volume).every((key) => key === 'name')) volume['emptyDir'] = {};
  for (const source of ['configMap', 'secret', 'projected', 'downwardAPI']) {
    const holder = volume[source];
    if (isRecord(holder)) setDefault(holder, 'defaultMode', defaultFileMode);
  }
  const hostPath = volume['hostPath'];
  if (isRecord(hostPath)) setDefault(hostPath, 'type', '');
  const fields = [
    ...records(at(volume, 'downwardAPI', 'items')),
    ...records(at(volume, 'projected', 'sources')).flatMap((source) => records(at(source, 'downwardAPI', 'items'))),
  ];
  for (const item of fields) {
    const fieldRef = item['fieldRef'];
    if (isRecord(fieldRef)) setDefault(fieldRef, 'apiVersion', 'v1');
  }
  for (const source of records(at(volume, 'projected', 'sources'))) {
    const token = source['serviceAccountToken'];
    if (isRecord(token)) setDefault(token, 'expirationSeconds', 3600);
  }
}

/** Every container list of a pod spec. */
function containersOf(spec: unknown): Json[] {
  return ['initContainers', 'containers', 'ephemeralContainers'].flatMap((list) => records(at(spec, list)));
}

/** Fills a draft's pod spec: of a pod, or of a template. */
export function defaultPodSpec(spec: Json): void {
  const usesHostNetwork = spec['hostNetwork'] === true;
  for (const container of containersOf(spec)) defaultContainer(container, usesHostNetwork);
  for (const volume of records(spec['volumes'])) defaultVolume(volume);
  setDefault(spec, 'restartPolicy', 'Always');
  setDefault(spec, 'terminationGracePeriodSeconds', 30);
  setDefault(spec, 'dnsPolicy', 'ClusterFirst');
  setDefault(spec, 'securityContext', {});
  setDefault(spec, 'schedulerName', 'default-scheduler');
  const account = text(spec['serviceAccountName']) || text(spec['serviceAccount']);
  if (account !== '') {
    spec['serviceAccountName'] = account;
    spec['serviceAccount'] = account;
  }
}

function tokenVolume(name: string): Json {
  return {
    name,
    projected: {
      sources: [
        { serviceAccountToken: { expirationSeconds: tokenLifetimeSeconds, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
      defaultMode: defaultFileMode,
    },
  };
}

function mountToken(spec: Json): void {
  const volumeName = `kube-api-access-${randomSuffix()}`;
  let isMounted = false;
  for (const container of [...records(spec['initContainers']), ...records(spec['containers'])]) {
    const mounts = array(container['volumeMounts']);
    if (records(mounts).some((mount) => mount['mountPath'] === serviceAccountMount)) continue;
    container['volumeMounts'] = [...mounts, { name: volumeName, readOnly: true, mountPath: serviceAccountMount }];
    isMounted = true;
  }
  if (isMounted) spec['volumes'] = [...array(spec['volumes']), tokenVolume(volumeName)];
}

const evictionTolerations = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];

/** What the admission plugins ServiceAccount, DefaultTolerationSeconds and Priority do to a new pod. */
export function admitPod(pod: KubeObject): void {
  const spec = child(pod, 'spec');
  setDefault(spec, 'serviceAccountName', 'default');
  spec['serviceAccount'] = spec['serviceAccountName'];
  if (spec['automountServiceAccountToken'] !== false) mountToken(spec);
  const tolerations = array(spec['tolerations']);
  const missing = evictionTolerations.filter(
    (key) =>
      !records(tolerations).some(
        (it) =>
          (it['key'] === key || it['key'] === undefined) &&
          (it['effect'] === 'NoExecute' || it['effect'] === undefined),
      ),
  );
  const added = missing.map((key) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 }));
  if (added.length > 0) spec['tolerations'] = [...tolerations, ...added];
  setDefault(spec, 'priority', 0);
  setDefault(spec, 'preemptionPolicy', 'PreemptLowerPriority');
}

function resourcesOf(container: Json): { requests: Json; limits: Json } {
  return {
    requests: record(at(container, 'resources', 'requests')),
    limits: record(at(container, 'resources', 'limits')),
  };
}

/** The quality-of-service class, from what the containers ask for. */
export function qosClass(pod: KubeObject): string {
  const containers = [...records(at(pod, 'spec', 'containers')), ...records(at(pod, 'spec', 'initContainers'))];
  const all = containers.map(resourcesOf);
  const isEmpty = all.every(({ requests, limits }) => Object.keys(requests).length + Object.keys(limits).length === 0);
  if (isEmpty) return 'BestEffort';
  const isGuaranteed = all.every(({ requests, limits }) =>
    ['cpu', 'memory'].every((name) => limits[name] !== undefined && (requests[name] ?? limits[name]) === limits[name]),
  );
  return isGuaranteed ? 'Guaranteed' : 'Burstable';
}
