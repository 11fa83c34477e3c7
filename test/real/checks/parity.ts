// The same kubectl command by three ways to the same cluster: its exit code, its output and its complaints must be those of kube-apiserver
// itself. What differs by itself (addresses, ages, names of objects made by way) is taken out first; nothing else is forgiven.

import type { KubectlRun } from '../kubectl.ts';
import { contextOf, type Stage, type UserName, type Way, ways } from '../stage.ts';
import { type Check, same } from './check.ts';

interface Question {
  readonly user?: UserName;
  /** `{way}` becomes the way: for what is created. */
  readonly args: string;
  readonly stdin?: string;
  /** Versions of kubectl that cannot ask this. */
  readonly notWith?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Ends a command that would go on. */
  readonly isEnough?: (stdout: string) => boolean;
  /** Where the answer is another by design. */
  readonly onlyBy?: readonly Way[];
}

const manifest = (value: string): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'parity-{way}' }, data: { value } });
const tick = (stdout: string): boolean => stdout.split('\n').length > 3;

/** In this order; they build on each other. */
const ordinary: readonly Question[] = [
  { args: 'get pods' },
  { args: 'get pods -o wide' },
  { args: 'get pods -o name --chunk-size 1' },
  { args: 'get pods -l app=demo -o jsonpath={.items[*].metadata.name}' },
  { args: 'get pods --field-selector spec.nodeName=node1 -o name' },
  { args: 'get pod demo -o yaml' },
  { args: 'get pod nothere' },
  { args: 'get pods -A' },
  { args: 'get nonsense' },
  { args: 'describe pod demo' },
  { args: 'explain pod.spec.containers' },
  { args: 'api-resources --sort-by name' },
  { args: 'api-versions' },
  { args: 'create -f -', stdin: manifest('one') },
  { args: 'create -f -', stdin: manifest('one') },
  { args: 'apply -f -', stdin: manifest('two') },
  { args: 'diff -f -', stdin: manifest('three') },
  { args: 'apply --server-side --force-conflicts -f -', stdin: manifest('four') },
  { args: 'apply -f -', stdin: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Wrong_Name"}}' },
  { args: 'patch configmap parity-{way} -p {"data":{"value":"five"}}' },
  { args: 'patch configmap parity-{way} --type json -p [{"op":"test","path":"/data/value","value":"six"}]' },
  { args: 'label configmap parity-{way} parity=yes' },
  { args: 'get configmap parity-{way} -o jsonpath={.data}{.metadata.labels}' },
  { args: 'get configmap parity-{way} -w --request-timeout 2s -o name' },
  { args: 'create deployment parity-{way} --image busybox --replicas 0' },
  { args: 'scale deployment parity-{way} --replicas 0' },
  { args: 'rollout history deployment parity-{way}' },
  { args: 'delete deployment parity-{way}' },
  { args: 'delete configmap parity-{way} --dry-run=server' },
  { args: 'delete configmap parity-{way}' },
  { args: 'delete configmap parity-{way} --ignore-not-found' },
  { args: 'delete configmap parity-{way}' },
  { args: 'auth can-i create pods/exec' },
  { args: 'auth can-i delete nodes' },
  { args: 'auth can-i --list' },
  { args: 'auth whoami', notWith: ['1.20'] },
  { args: 'create token robot -o jsonpath={.kind}', notWith: ['1.20'] },
  { user: 'viewer', args: 'get pods' },
  { user: 'viewer', args: 'get secrets' },
  { user: 'viewer', args: 'delete pod demo' },
  { user: 'viewer', args: 'get nodes' },
  { user: 'viewer', args: 'exec demo -- id' },
  { user: 'viewer', args: 'port-forward demo 0:8080' },
  { user: 'viewer', args: 'logs ticker --tail 0' },
  { user: 'robot', args: 'get pods' },
  { user: 'robot', args: 'auth can-i --list' },
  { user: 'robot', args: 'get nodes' },
  { user: 'admin', args: 'get nodes -o name' },
  { user: 'admin', args: 'get pods --as alice' },
  { user: 'admin', args: 'get secrets --as viewer' },
  { user: 'admin', args: 'exec demo --as viewer -- id' },
  { user: 'admin', args: 'exec demo --as alice -- echo as alice' },
  { user: 'admin', args: 'auth can-i get nodes --as alice --as-group system:masters' },
  { user: 'alice', args: 'get pods --as viewer' },
  { user: 'robot', args: 'get pods --as viewer' },
];

const streams: readonly Question[] = [
  { args: 'exec demo -- true' },
  { args: 'exec demo -- sh -c "exit 7"' },
  { args: 'exec demo -- sh -c "echo out; echo err >&2; exit 1"' },
  { args: 'exec demo -- nosuchprogram' },
  { args: 'exec demo -- sh -c "kill -9 $$"' },
  { args: 'exec nothere -- id' },
  { args: 'exec demo -c nothere -- id' },
  { args: 'exec multi -c two -- hostname' },
  { args: 'exec -i demo -- cat', stdin: 'a line\nwithout an end' },
  { args: 'exec -i demo -- sh -c "head -c 5"', stdin: 'more than is read' },
  { args: 'exec -i demo -- md5sum', stdin: 'x'.repeat(3_000_000) },
  { args: 'exec demo -- seq 200000' },
  { args: 'exec -it demo -- tty' },
  { args: 'exec --user root demo -- id' },
  { args: 'logs ticker --tail 0' },
  { args: 'logs ticker --limit-bytes 14' },
  { args: 'logs ticker -f', isEnough: tick },
  { args: 'logs multi -c nothere' },
  { args: 'logs multi' },
  { args: 'logs demo -p' },
  { args: 'logs nothere' },
  { args: 'logs ticker --since 1s --timestamps --tail 0' },
  { args: 'attach demo -c nothere' },
  { args: 'attach nothere' },
  { args: 'port-forward nothere 0:80' },
  { user: 'robot', args: 'exec demo -- echo by token' },
  { user: 'admin', args: 'exec demo -- echo by system:masters' },
];

/** Words as a shell would split them: double quotes hold spaces. */
function split(args: string): string[] {
  return [...args.matchAll(/"([^"]*)"|\S+/g)].map((match) => match[1] ?? match[0]);
}

function normalised(run: KubectlRun, way: Way): object {
  const clean = (text: string): string =>
    text
      .replaceAll(`parity-${way}`, 'parity-WAY')
      .replaceAll(/192\.0\.2\.10:\d+/g, 'HOST')
      .replaceAll(/^[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ /gm, '')
      .replaceAll(/\b(\d+[dhms])+\b/g, 'AGE')
      // Columns are as wide as their ages.
      .replaceAll(/ {2,}/g, '  ')
      .replaceAll(/-{4,}/g, '----')
      .replaceAll(/-[0-9a-f]{8,10}-[0-9a-z]{5}\b/g, '-POD')
      .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UID')
      .replaceAll(/\b[0-9a-f]{64}\b/g, 'HEX')
      .replaceAll(/("?(?:resourceVersion|uid)"?): "?\w+"?/gi, '$1: ID')
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
      .replaceAll(/\/tmp\/(LIVE|MERGED)-\d+\S*/g, '/tmp/$1')
      .replaceAll(/^(---|\+\+\+) .*$/gm, '$1')
      .replaceAll(/tick \d+/g, 'tick N')
      // kubectl speaks WebSocket to kexer, whose answers have the second prefix that kube-apiserver adds to a kubelet's since 1.30 (recorded); an older
      // kube-apiserver refuses WebSocket v5, and kubectl falls back to SPDY, which has one.
      .replaceAll('Internal error occurred: Internal error occurred:', 'Internal error occurred:')
      // The path of kexer's URL, which kubectl shows where it names the server.
      .replaceAll(/(HOST)\/apis\/backup\.cv\.io\/v1\/namespaces\/default\/clusters\/local\/exec/g, '$1');
  return { code: run.code, stdout: clean(run.stdout), stderr: clean(run.stderr) };
}

async function compare(stage: Stage, questions: readonly Question[], version: string): Promise<string> {
  const kubectl = stage.kubectls.find((one) => one.version === version);
  if (kubectl === undefined) throw new Error(`there is no kubectl ${version}`);
  let count = 0;
  const wrong: string[] = [];
  for (const question of questions) {
    if (question.notWith?.includes(version) === true) continue;
    const ask = async (way: Way): Promise<object> => {
      const run = await kubectl.run(
        split(question.args).map((word) => word.replaceAll('{way}', way)),
        {
          context: contextOf(way, question.user ?? 'alice'),
          stdin: (question.stdin ?? '').replaceAll('{way}', way),
          timeoutMs: 20_000,
          ...(question.isEnough === undefined ? {} : { isEnough: question.isEnough }),
        },
      );
      return question.isEnough === undefined ? normalised(run, way) : { code: run.code, hasOutput: run.stdout !== '' };
    };
    const [want, ...others] = await Promise.all(ways.map(ask));
    for (const [index, got] of others.entries()) {
      count += 1;
      try {
        same(`kubectl ${question.args} (${question.user ?? 'alice'}, ${ways[index + 1]})`, got, want);
      } catch (error) {
        wrong.push((error as Error).message);
      }
    }
  }
  if (wrong.length > 0) throw new Error(`${wrong.length} of ${count} answers differ\n${wrong.join('\n')}`);
  return `${count} answers`;
}

export function parityChecks(versions: readonly string[]): Check[] {
  return versions.flatMap((version) => [
    {
      name: `parity: ordinary calls of kubectl ${version} are answered as by kube-apiserver`,
      needsNode: true,
      run: (stage: Stage) => compare(stage, ordinary, version),
    },
    {
      name: `parity: streams of kubectl ${version} end as by kube-apiserver`,
      needsNode: true,
      run: (stage: Stage) => compare(stage, streams, version),
    },
  ]);
}
