// `kexer doctor`: looks at a cluster as kexer would find it, from a workstation or in kexer's own pod, with the settings that serve has, and says
// in a sentence each what is so and what to do about it. It changes nothing. Exit code 0: nothing fails; 1: something does; 2: the doctor was
// called wrongly.

import { access as accessFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

import { type Clock, systemClock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { Scope } from '../base/scope.ts';
import { CertificateStats } from '../certs/certificate-stats.ts';
import { loadConfig } from '../config/load.ts';
import { KubeClient } from '../kube/client.ts';
import { loadInCluster } from '../kube/in-cluster.ts';
import { loadKubeconfig } from '../kube/kubeconfig.ts';
import { createLogger } from '../observe/logger.ts';

import type { CommandIo } from './command.ts';
import { composeClusterProxy } from './compose-cluster-proxy.ts';
import { composeKubelet } from './compose-kubelet.ts';
import { examine } from './doctor/examine.ts';
import { asJson, asTable, countOf, type Output, outputs } from './doctor/report.ts';
import { firstProcess, servingWords } from './doctor/serving-words.ts';
import { runHelp } from './help.ts';
import { kexerVersion } from './version.ts';

const wrongCall = 2;
const defaultAccount = 'kexec-system/kexer';

interface DoctorWords {
  readonly output: Output;
  /** NAMESPACE/NAME of the account kexer runs as; undefined: the default. */
  readonly account: string | undefined;
  /** What is left is serve's. */
  readonly rest: readonly string[];
}

/** @param options for tests: the clock, and where the command line of the pod's first process is. */
export async function runDoctor(
  argv: readonly string[],
  io: CommandIo,
  { clock = systemClock, processFile = firstProcess }: { clock?: Clock; processFile?: string } = {},
): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return runHelp([], io);
  const scope = new Scope();
  try {
    const words = parseWords(argv);
    const findings = await look(words, io, { clock, scope, processFile });
    const version = kexerVersion();
    io.print(words.output === 'json' ? asJson(findings, version) : asTable(findings, columnsOf(io)));
    return countOf(findings).fail > 0 ? 1 : 0;
  } catch (error) {
    if (!(error instanceof KexerError) || error.code !== 'config') throw error;
    for (const line of describeError(error).split('\n')) io.complain(`kexer: ${line}`);
    return wrongCall;
  } finally {
    await scope.close();
  }
}

/** @throws KexerError config for words, settings and files that cannot be used. */
async function look(
  words: DoctorWords,
  io: CommandIo,
  { clock, scope, processFile }: { clock: Clock; scope: Scope; processFile: string },
): Promise<Awaited<ReturnType<typeof examine>>> {
  const { environment } = io;
  const isInPod = (environment['KUBERNETES_SERVICE_HOST'] ?? '') !== '';
  const inherited = isInPod && words.rest.length === 0 ? await servingWords(processFile) : undefined;
  const config = await loadConfig({ argv: inherited ?? words.rest, environment });
  const isInCluster = config.kubeconfig === undefined && isInPod;
  const access = isInCluster
    ? await loadInCluster({ clock }, { environment })
    : await loadKubeconfig({ clock }, { file: config.kubeconfig ?? (await usualKubeconfig(environment)), environment });
  const client = new KubeClient(
    { clock },
    { endpoint: access.endpoint, credential: access.credential, userAgent: `kexer/${kexerVersion()} (doctor)` },
  );
  scope.add(() => client.close());
  // What fails on the way is a finding; a line of a log in the middle of a table helps nobody.
  const log = createLogger({ level: 'silent' });
  const kubelet = await composeKubelet({ clock, log, scope }, config, {
    access,
    own: client,
    certificates: new CertificateStats(),
  });
  const [namespace = '', name = ''] = (
    words.account ?? (isInCluster ? `${access.namespace}/kexer` : defaultAccount)
  ).split('/');
  const proxyFor = composeClusterProxy({ clock, version: kexerVersion() }, config.clusters);
  return examine({ clock, config, client, kubelet: kubelet.access, proxyFor, account: { namespace, name } });
}

/** Where kubectl looks. @throws KexerError config if there is none. */
async function usualKubeconfig(environment: CommandIo['environment']): Promise<string> {
  const files = (environment['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const places = files.length > 0 ? files : [join(environment['HOME'] ?? homedir(), '.kube', 'config')];
  for (const file of places) {
    if (
      await accessFile(file).then(
        () => true,
        () => false,
      )
    ) {
      return file;
    }
  }
  throw new KexerError(
    'config',
    `Cannot find a cluster: this is no pod, and there is no ${places.join(' nor ')}; want --kubeconfig FILE`,
  );
}

/** @throws KexerError config */
function parseWords(argv: readonly string[]): DoctorWords {
  let output: Output = 'table';
  let account: string | undefined;
  const rest: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    const [flag = '', ...inline] = word.startsWith('-o') && word.length > 2 ? ['-o', word.slice(2)] : word.split('=');
    if (flag !== '-o' && flag !== '--output' && flag !== '--account') {
      rest.push(word);
      continue;
    }
    if (inline.length === 0) index += 1;
    const value = (inline.length === 0 ? argv[index] : inline.join('='))?.replace(/^=/, '');
    if (value === undefined || value === '') {
      throw new KexerError('config', `Cannot use the flag ${flag}: it has no value, want ${flag} VALUE`);
    }
    if (flag === '--account') {
      if (!/^[a-z0-9.-]+\/[a-z0-9.-]+$/.test(value)) {
        throw new KexerError('config', `Cannot use --account: it is ${quote(value)}, want NAMESPACE/NAME`);
      }
      account = value;
      continue;
    }
    const known = outputs.find((name) => name === value);
    if (known === undefined) {
      throw new KexerError('config', `Cannot use ${flag}: it is ${quote(value)}, want ${outputs.join(' or ')}`);
    }
    output = known;
  }
  return { output, account, rest };
}

/** Shells set it for those they tell; a pipe has none. */
function columnsOf({ environment }: CommandIo): number | undefined {
  const columns = Number(environment['COLUMNS'] ?? process.stdout.columns ?? Number.NaN);
  return Number.isSafeInteger(columns) && columns > 0 ? columns : undefined;
}
