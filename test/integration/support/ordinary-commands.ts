// The commands that are compared, and what is held still in what they print.

export interface Command {
  readonly name: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** For commands that do not end by themselves. */
  readonly isEnough?: (stdout: string) => boolean;
  /** The exit code as admin, where the command would prove nothing with another. */
  readonly code?: number;
  /** Behind the aggregation layer the answer differs by nature: kube-apiserver refuses the outer path before kexer sees the call. */
  readonly isDirectOnly?: (user: string) => boolean;
}

/** Times, ages, uids and resource versions, and the padding behind an age in a table. Nothing else. */
export function held(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, 'UID')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, 'TIME')
    .replaceAll(/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}/g, 'TIME')
    .replaceAll(/^([EWI])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ /gm, '$1 ')
    .replaceAll(/("?resourceVersion"?: )"\d+"/g, '$1"RV"')
    .replaceAll(/\b\d+ms\b */g, 'MS ')
    .replaceAll(/\b(?:\d+[smhd])+\b( ago)? */g, 'AGO ')
    .replaceAll(/\b(AGE|LAST SEEN|Age) +/g, '$1 ')
    .replaceAll(/---- +/g, '---- ');
}

/** A line of words; `code` is 0 unless said otherwise, `hasAnyCode` leaves it open. */
function read(
  line: string,
  { hasAnyCode = false, ...more }: Partial<Command> & { hasAnyCode?: boolean } = {},
): Command {
  return { name: line, args: line.split(' '), ...(hasAnyCode ? {} : { code: 0 }), ...more };
}

const configMap = (value: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  key: ${value}\n`;

const deployment = [
  'apiVersion: apps/v1',
  'kind: Deployment',
  'metadata: {name: web}',
  'spec:',
  '  replicas: 1',
  '  selector: {matchLabels: {app: web}}',
  '  template:',
  '    metadata: {labels: {app: web}}',
  '    spec: {containers: [{name: web, image: pause}], terminationGracePeriodSeconds: 0}',
  '',
].join('\n');

/** Everybody may ask; who may not read gets the refusal, which is compared too. */
export const reads: readonly Command[] = [
  read('get pods'),
  read('get pods -o wide'),
  read('get pods -o yaml'),
  read('get pods -o json'),
  read('get pods -o name'),
  read('get pods --show-labels'),
  read('get pods --show-managed-fields -o yaml'),
  read('get pods -A'),
  read('get pods --chunk-size=1'),
  read('get pods --no-headers'),
  read('get pods --server-print=false'),
  read('get pods --sort-by=.metadata.name'),
  read('get pods --field-selector spec.nodeName=node2'),
  read('get pods -l nothing=here'),
  read('get pods -o jsonpath={.items[*].spec.containers[*].name}'),
  read('get pods -o custom-columns=N:.metadata.name,I:.spec.nodeName'),
  read('get pod multi -o go-template={{range.spec.containers}}{{.name}},{{end}}'),
  read('get pod demo -w', { isEnough: (stdout) => stdout.split('\n').length > 2, hasAnyCode: true }),
  read('get pods -o wide -n kube-system'),
  read('get pods,services,configmaps'),
  read('get pods --request-timeout=20s'),
  read('get pod nope', { code: 1 }),
  read('get nopes', { code: 1 }),
  read('get pods -n nowhere'),
  read('get pods --field-selector nope=1', { code: 1 }),
  read('get pods -l a===', { code: 1 }),
  read('get nodes'),
  read('get nodes -o wide'),
  read('get node node1 -o json'),
  read('get namespaces'),
  read('get services -A'),
  read('get configmaps -A'),
  read('get configmap kube-root-ca.crt -o yaml'),
  read('get secrets'),
  read('get serviceaccounts'),
  read('get deployments,replicasets,jobs'),
  read('get all'),
  read('get clusterroles'),
  read('get clusterrole cluster-admin -o yaml'),
  read('get rolebindings -A -o wide'),
  read('get apiservices'),
  read('get clusters.backup.cv.io'),
  read('get clusters.backup.cv.io local -o yaml'),
  read('get events --field-selector involvedObject.name=demo'),
  read('events --for pod/demo'),
  read('describe pod demo'),
  read('describe pods multi'),
  read('describe serviceaccount default'),
  read('describe configmap kube-root-ca.crt'),
  read('describe namespace default'),
  read('api-resources'),
  read('api-resources --namespaced=false -o wide'),
  read('api-versions'),
  read('explain pods'),
  read('explain deployments.spec'),
  read('explain nopes', { code: 1 }),
  read('version', { code: 0 }),
  read('auth can-i create pods/exec'),
  read('auth can-i delete nodes'),
  read('auth can-i --list'),
  read('auth whoami'),
  read('auth whoami -o yaml'),
  read('get pods --as alice', { isDirectOnly: (user) => user !== 'admin' }),
  read('get nodes --as viewer', { code: 1, isDirectOnly: (user) => user !== 'admin' }),
  read('get secrets --as viewer --as-group some:group', { code: 1, isDirectOnly: (user) => user !== 'admin' }),
  read('get pods --as nobody', { code: 1, isDirectOnly: () => true }),
  read('wait --for=condition=Ready pod/demo --timeout=20s'),
  read('wait --for=jsonpath={.status.phase}=Running pod/multi --timeout=20s'),
  read('wait --for=delete pod/nope --timeout=5s'),
  read('wait --for=condition=Ready pod/nope --timeout=5s', { code: 1 }),
  read('top pods', { code: 1 }),
  read('get --raw {server}/api/v1/namespaces/default/pods/demo'),
  read('get --raw {server}/apis'),
  read('get --raw {server}/version'),
  read('get --raw {server}/healthz'),
  read('get --raw {server}/api/v1/nopes', { code: 1 }),
  read('get --raw {server}/nope', { code: 1 }),
  read('create configmap dry --from-literal=a=b --dry-run=server -o yaml'),
  read('create configmap dry --from-literal=a=b --dry-run=client -o yaml'),
  read('apply -f - --dry-run=server', { stdin: configMap('dry') }),
  read('delete pod demo --dry-run=server'),
];

/** In this order, each on what those before have left; at the end nothing is left. */
export const changes: readonly Command[] = [
  read('create configmap made --from-literal=key=one'),
  read('create configmap made --from-literal=key=one', { code: 1 }),
  read('get configmap made -o yaml'),
  read('label configmap made tier=front'),
  read('label configmap made tier=back', { code: 1 }),
  read('label configmap made tier=back --overwrite'),
  read('annotate configmap made note=x'),
  read('patch configmap made -p {"data":{"key":"two"}}'),
  read('patch configmap made --type=merge -p {"data":{"other":"three"}}'),
  read('patch configmap made --type=json -p [{"op":"remove","path":"/data/other"}]'),
  read('patch configmap made --type=json -p [{"op":"remove","path":"/data/nope"}]', { code: 1 }),
  read('edit configmap made', { env: { KUBE_EDITOR: 'sed -i s/two/four/' } }),
  read('edit configmap made', { name: 'edit configmap made, without a change', env: { KUBE_EDITOR: 'true' } }),
  read('get configmap made -o jsonpath={.data}'),
  read('get configmaps -l tier=back'),
  read('delete configmap made'),
  read('delete configmap made', { code: 1 }),
  read('delete configmap made --ignore-not-found'),
  read('apply -f -', { name: 'apply a ConfigMap', stdin: configMap('one') }),
  read('apply -f -', { name: 'apply it again', stdin: configMap('one') }),
  read('apply -f -', { name: 'apply a change', stdin: configMap('two') }),
  read('apply -f - --server-side', { name: 'apply on the server', stdin: configMap('three'), hasAnyCode: true }),
  read('replace -f -', { name: 'replace it', stdin: configMap('four') }),
  read('get configmap applied -o yaml'),
  read('create -f -', { name: 'create what is no object', stdin: 'kind: Nope\napiVersion: v1\n', code: 1 }),
  read('create -f -', {
    name: 'create what is invalid',
    stdin: configMap('x').replace('name: applied', 'name: Bad_Name'),
    code: 1,
  }),
  read('create -f - --validate=strict', {
    name: 'create with an unknown field',
    stdin: `${configMap('x').replace('name: applied', 'name: strict')}nope: 1\n`,
    code: 1,
  }),
  read('delete -f -', { name: 'delete it by its file', stdin: configMap('two') }),
  read('apply -f -', { name: 'apply a Deployment', stdin: deployment }),
  read('wait --for=condition=Available deployment/web --timeout=20s'),
  read('get deployment web'),
  read('scale deployment web --replicas=2'),
  // Waited for first: how many lines of progress a rollout prints is a matter of timing.
  read('wait --for=jsonpath={.status.availableReplicas}=2 deployment/web --timeout=20s'),
  read('rollout status deployment web --timeout=20s'),
  read('get deployment web -o jsonpath={.spec.replicas}'),
  read('scale deployment nope --replicas=2', { code: 1 }),
  read('set env deployment/web A=b'),
  read('delete deployment web --cascade=foreground'),
  read('run one --image=pause --restart=Never'),
  read('wait --for=condition=Ready pod/one --timeout=20s'),
  read('delete pod one --now'),
  read('create namespace room'),
  read('get namespace room'),
  read('create serviceaccount robot -n room'),
  read('create role reader --verb=get --resource=pods -n room'),
  read('create rolebinding reader --role=reader --serviceaccount=room:robot -n room'),
  read('auth can-i get pods -n room --as system:serviceaccount:room:robot', {
    // The service account has no right on the outer path; alice and viewer may not impersonate.
    isDirectOnly: () => true,
  }),
  read('delete namespace room'),
];
