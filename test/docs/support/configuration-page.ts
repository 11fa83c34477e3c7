// docs/configuration.md as the code has it: every setting with its flag, its variable, its key in the file, its default, what is wanted of
// a value, and one sentence. Nothing of it is written by hand but the words around the tables.

import { formatDuration } from '../../../src/base/duration.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { environmentName, type Setting, settings } from '../../../src/config/settings.ts';

const head = `# Configuration

Every setting of \`kexer serve\` can be given in three ways. Flags count over environment variables, variables over the file, and the file over
the defaults.

- **Flags** are named as those of kube-apiserver and metrics-server where these have one: \`--secure-port 6443\` or \`--secure-port=6443\`. A switch
  needs no value: \`--identity-impersonation\`.
- **Variables** are the flag in capitals behind \`KEXER_\`: \`KEXER_SECURE_PORT=6443\`. Unknown ones are no mistake, because Kubernetes itself sets
  \`KEXER_SERVICE_HOST\` and others beside a Service of that name.
- **The file** is YAML, named by \`--config\` or \`KEXER_CONFIG\`. Keys stand in groups; names of files in it count from its own folder.

\`\`\`yaml
server:
  securePort: 6443
sessions:
  idleTimeout: 30m
limits:
  sessionsPerUser: 50
\`\`\`

Durations are Go's: \`15s\`, \`4h\`, \`1m30s\`. Lists are separated by commas in flags and variables, and are lists in the file. Everything that is wrong
is said at once, each with its place and what is wanted, and kexer does not start:

\`\`\`
`;

const foot = `
This page is generated: \`node test/docs/generate-configuration.ts\` writes it from \`src/config\`, and a test compares.
`;

/** Ten mistakes, in the file and beside it, that the example at the top shows. */
export const mistakes = {
  file: `server:
  securePort: 70000
  bindAddres: 0.0.0.0
kubelet:
  insecureTls: maybe
  clientKey: kubelet.key
sessions:
  idleTimeout: half an hour
limits:
  sessions: -1
  headerBytes: 100
stream:
  local: kubelet
`,
  argv: ['--secure-prot', '6443', '--log-level', 'loud'],
} as const;

const titles: Readonly<Record<string, string>> = {
  '': 'kexer itself',
  server: 'Listening, and stopping',
  certificates: 'Its certificate',
  kubelet: 'Kubelets',
  identity: 'Callers without a token of their own',
  apiserver: 'The way to kube-apiserver',
  streams: 'Which way streams go',
  clusters: 'Other clusters',
  sessions: 'Sessions',
  peers: 'Other replicas',
  limits: 'Limits',
  audit: 'Audit log',
  metrics: 'Metrics',
  tracing: 'Traces',
  log: 'Log',
};

/** @param complaint what kexer says of {@link mistakes}. */
export function configurationPage(complaint: string): string {
  const groups = [...new Set(settings.map(groupOf))];
  const tables = groups.map((group) =>
    [
      `## ${titles[group] ?? `\`${group}\``}`,
      '',
      '| flag and variable | in the file | value | default | |',
      '| --- | --- | --- | --- | --- |',
      ...settings.filter((setting) => groupOf(setting) === group).map(row),
    ].join('\n'),
  );
  return `${head}${complaint}\n\`\`\`\n\n${tables.join('\n\n')}\n${foot}`;
}

function groupOf({ key }: Setting): string {
  const [group = '', ...rest] = key.split('.');
  return rest.length === 0 ? '' : group;
}

function row(setting: Setting): string {
  const { flag, key, help } = setting;
  const cells = [
    `\`--${flag}\`<br>\`${environmentName(setting)}\``,
    `\`${key}\``,
    wantedOf(setting),
    defaultOf(setting),
    withoutDefault(help, defaultOf(setting)),
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** The schema's own words, as a mistake would bring them up. */
export function wantedOf({ key }: Setting): string {
  const value = Object.create(null) as object; // no setting takes an object without a prototype
  const draft = key.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
  const issues = configSchema.safeParse(draft).error?.issues ?? [];
  return issues.find((issue) => issue.path.join('.') === key)?.message ?? '';
}

/** As it would be written in the file. */
export function defaultOf({ key, kind }: Setting): string {
  const value = key
    .split('.')
    .reduce<unknown>(
      (group, name) =>
        typeof group === 'object' && group !== null ? Object.entries(group).find(([k]) => k === name)?.[1] : undefined,
      configSchema.parse({}),
    );
  if (value === undefined) return '';
  if (kind === 'duration') return `\`${shortDuration(Number(value))}\``;
  if (Array.isArray(value)) return value.length === 0 ? '' : `\`${value.join(',')}\``;
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

/** Not said twice: the default has a column of its own. What else stands in the parentheses stays. */
function withoutDefault(help: string, defaultText: string): string {
  const value = defaultText.replaceAll('`', '');
  if (value === '') return help;
  return help
    .replace(` (default ${value})`, '')
    .replace(`(default ${value}; `, '(')
    .replace(`${value} (default)`, value);
}

/** `4h` of `4h0m0s`. */
function shortDuration(ms: number): string {
  if (ms === 0) return '0';
  return formatDuration(ms)
    .replace(/(?<=[hm])0s$/, '')
    .replace(/(?<=h)0m$/, '');
}
