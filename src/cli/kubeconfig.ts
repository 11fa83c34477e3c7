// `kexer kubeconfig`, also `kubectl kexer kubeconfig`: the current context with kexer for a server, and the same user. Nothing but YAML goes to
// standard output; what there is to know goes to standard error. It changes nothing, here or in the cluster.

import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { systemClock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { KubeClient } from '../kube/client.ts';
import { loadKubeconfig } from '../kube/kubeconfig.ts';

import type { CommandIo } from './command.ts';
import { runHelp } from './help.ts';
import { type Authority, findAuthority, findServer, isNamed, serviceName } from './kubeconfig-find.ts';
import { type ChosenContext, chooseContext, textAt } from './kubeconfig-merge.ts';
import { type KubeconfigWords, parseKubeconfigWords } from './kubeconfig-words.ts';
import { kexerVersion } from './version.ts';

type Fields = Readonly<Record<string, unknown>>;

const wrongCall = 2;
const pathOfKexer = /^(.*?)\/apis\/backup\.cv\.io\/v1\/namespaces\/[^/]+\/clusters\/([^/]+)\/exec\/*$/;
/** How the apiserver is reached and verified; of no use for another address. */
const keptCluster = [
  'certificate-authority',
  'certificate-authority-data',
  'insecure-skip-tls-verify',
  'proxy-url',
  'tls-server-name',
  'disable-compression',
];

export async function runKubeconfig(argv: readonly string[], io: CommandIo): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return runHelp([], io);
  let words: KubeconfigWords;
  try {
    words = parseKubeconfigWords(argv);
  } catch (error) {
    io.complain(`kexer: ${describeError(error)}`);
    return wrongCall;
  }
  const context = await chooseContext(io.environment, words);
  const { cluster, notes } = await clusterEntry(words, context, io);
  const { stringify } = await import('yaml');
  const text = stringify(document(words, context, cluster), { lineWidth: 0 });
  for (const note of notes) io.complain(`kexer: ${note}`);
  io.print(text.trimEnd());
  return 0;
}

function document(words: KubeconfigWords, context: ChosenContext, cluster: Fields): Fields {
  const name = words.cluster === 'local' ? 'kexer' : `${words.cluster}@kexer`;
  // Not the user's old name: beside other kubeconfigs that would be somebody else's credential at times.
  const user = context.userName === '' ? undefined : `${context.userName.replace(/@kexer$/, '')}@kexer`;
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    contexts: [
      {
        name,
        context: {
          cluster: name,
          ...(user === undefined ? {} : { user }),
          ...(context.namespace === undefined ? {} : { namespace: context.namespace }),
        },
      },
    ],
    clusters: [{ name, cluster }],
    users: user === undefined ? [] : [{ name: user, user: context.user }],
  };
}

async function clusterEntry(
  words: KubeconfigWords,
  context: ChosenContext,
  io: CommandIo,
): Promise<{ cluster: Fields; notes: readonly string[] }> {
  const server = textAt(context.cluster, 'server').replace(/\/+$/, '');
  if (!/^https?:\/\//.test(server) || !URL.canParse(server)) {
    throw new KexerError(
      'config',
      `Cannot use the context ${quote(context.name)}: the server of its cluster is no URL`,
    );
  }
  const through = pathOfKexer.exec(server);
  const base = through?.[1] ?? server;
  const given = await givenAuthority(words.certificateAuthority);
  const path = `/apis/backup.cv.io/v1/namespaces/${words.namespace}/clusters/${words.cluster}/exec`;
  const extensions = Array.isArray(context.cluster['extensions']) ? { extensions: context.cluster['extensions'] } : {};
  const sameWay = (notes: readonly string[]): { cluster: Fields; notes: readonly string[] } => {
    const kept = pick(context.cluster, keptCluster);
    const ca = given === undefined ? kept : withAuthority(kept, given);
    return { cluster: { server: `${base}${path}`, ...ca, ...extensions }, notes };
  };
  // The context leads to kexer already, or shall lead to where it does.
  if (words.server === base || (words.server === undefined && through !== null)) return sameWay([]);

  const found = await look(words, context, { given, isLocal: through === null || through[2] === 'local' }, io);
  if (found.server === undefined) return sameWay(found.notes);
  const host = new URL(found.server).hostname.replace(/^\[|\]$/g, '');
  const { ca, leaf } = found.authority;
  const notes = [...found.notes];
  let servername: Fields = {};
  // Who goes through kexer already knows its authority, which is the same at another address.
  const present =
    through === null ? {} : pick(context.cluster, ['certificate-authority', 'certificate-authority-data']);
  if (ca === undefined && Object.keys(present).length === 0) {
    notes.push(
      'No authority of kexer can be read, so clients go by those of their machine; --certificate-authority FILE',
    );
  } else if (ca !== undefined && leaf !== undefined && !isNamed(leaf, host) && isNamed(leaf, serviceName)) {
    servername = { 'tls-server-name': serviceName };
    notes.push(`${host} is not in kexer’s certificate (--cert-extra-sans), so clients verify ${serviceName} instead`);
  }
  const authority = ca === undefined ? present : withAuthority({}, ca);
  return { cluster: { server: `${found.server}${path}`, ...authority, ...servername, ...extensions }, notes };
}

/** What the words do not say, asked of the cluster. */
async function look(
  words: KubeconfigWords,
  context: ChosenContext,
  { given, isLocal }: { given: string | undefined; isLocal: boolean },
  io: CommandIo,
): Promise<{ server: string | undefined; authority: Authority; notes: readonly string[] }> {
  const nothing: Authority = { ca: given, leaf: undefined };
  // Another cluster knows nothing of kexer's certificate.
  if (words.server !== undefined && (given !== undefined || !isLocal)) {
    return { server: words.server, authority: nothing, notes: [] };
  }
  let client: KubeClient | undefined;
  try {
    client = await clientOf(context, io);
    const read = await findAuthority(client);
    const authority = given === undefined ? read : { ca: given, leaf: read.leaf };
    if (words.server !== undefined) return { server: words.server, authority, notes: [] };
    return { ...(await findServer(client, read.leaf)), authority };
  } catch (error) {
    if (words.server === undefined) throw error;
    // The address is known; the authority is what could not be asked for.
    return {
      server: words.server,
      authority: nothing,
      notes: [describeError(error).replace(/; want --server.*$/, '')],
    };
  } finally {
    await client?.close();
  }
}

/** @throws KexerError config for what kexer's own client does not do: a proxy, basic authentication. */
async function clientOf(context: ChosenContext, io: CommandIo): Promise<KubeClient> {
  const one = {
    'current-context': 'it',
    contexts: [{ name: 'it', context: { cluster: context.name, user: context.userName } }],
    clusters: [{ name: context.name, cluster: context.cluster }],
    users: [{ name: context.userName, user: context.user }],
  };
  let access: Awaited<ReturnType<typeof loadKubeconfig>>;
  try {
    access = await loadKubeconfig(
      { clock: systemClock },
      { file: context.source, document: one, isCredentialOptional: true, environment: io.environment },
    );
  } catch (error) {
    throw new KexerError('config', `${describeError(error)}; want --server https://HOST:PORT`);
  }
  return new KubeClient(
    { clock: systemClock },
    {
      endpoint: access.endpoint,
      credential: access.credential,
      userAgent: `kexer/${kexerVersion()} (kubeconfig)`,
    },
  );
}

/** PEM of `--certificate-authority`. @throws KexerError config */
async function givenAuthority(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new KexerError('config', `Cannot read the --certificate-authority ${quote(file)}`, { cause });
  }
  try {
    void new X509Certificate(text);
    return text;
  } catch {
    throw new KexerError(
      'config',
      `Cannot use the --certificate-authority ${quote(file)}: it holds no PEM certificate`,
    );
  }
}

function pick(fields: Fields, keys: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([key]) => keys.includes(key)));
}

/** In place of whatever else says who is trusted. */
function withAuthority(cluster: Fields, pem: string): Fields {
  const {
    'certificate-authority': _file,
    'certificate-authority-data': _data,
    'insecure-skip-tls-verify': _insecure,
    ...rest
  } = cluster;
  return { ...rest, 'certificate-authority-data': Buffer.from(pem).toString('base64') };
}
