// `kexer certs`: on a workstation, what a kexer in a cluster does by itself: an authority and a serving pair, in a folder, with what to do
// with them in the next three lines.

import { isIP } from 'node:net';

import { systemClock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { dnsNamesOf, namesIn } from '../certs/certificate-names.ts';
import { type LocalCertificates, makeLocalCertificates } from '../certs/local-folder.ts';
import { ownNames } from '../certs/own-names.ts';
import { isCertificateName } from '../config/certificates.ts';
import { nearestName } from '../config/nearest.ts';

import type { CommandIo } from './command.ts';
import { runHelp } from './help.ts';

interface CertsWords {
  readonly dir: string;
  readonly names: readonly string[];
  readonly days: number;
  readonly isRenewal: boolean;
}

const valueFlags = ['--dir', '--names', '--cert-extra-sans', '--days'] as const;
const flags = [...valueFlags, '--renew'];
const defaultDir = 'certs';
const defaultDays = 365;
const maxDays = 3650;
/** As the manifests have it: a certificate made here may serve there. */
const service = { namespace: 'kexec-system', name: 'kexer' };

export async function runCerts(argv: readonly string[], io: CommandIo): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return runHelp([], io);
  const words = parseWords(argv);
  const made = await makeLocalCertificates({ clock: systemClock }, words);
  io.print(report(made));
  return 0;
}

/** @throws KexerError config */
function parseWords(argv: readonly string[]): CertsWords {
  const values = new Map<string, string>();
  let isRenewal = false;
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    const [flag = '', ...rest] = word.split('=');
    if (word === '--renew') {
      isRenewal = true;
      continue;
    }
    if (!valueFlags.some((known) => known === flag)) {
      const nearest = nearestName(flag, flags);
      const hint = nearest === undefined ? `want ${flags.join(', ')}` : `did you mean ${nearest}?`;
      throw new KexerError('config', `Cannot use ${quote(word)}: ${hint}`);
    }
    if (rest.length === 0) index += 1;
    const value = rest.length === 0 ? argv[index] : rest.join('=');
    if (value === undefined || value === '') {
      throw new KexerError('config', `Cannot use the flag ${flag}: it has no value, want ${flag} VALUE`);
    }
    values.set(flag, value);
  }
  const given = values.get('--names');
  const names = given === undefined ? [...ownNames(), ...dnsNamesOf(service)] : namesOf('--names', given);
  const extra = namesOf('--cert-extra-sans', values.get('--cert-extra-sans') ?? '');
  return {
    dir: values.get('--dir') ?? defaultDir,
    names: [...new Set([...names, ...extra])],
    days: daysOf(values.get('--days')),
    isRenewal,
  };
}

function namesOf(flag: string, text: string): string[] {
  const names = text
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  const wrong = names.find((name) => isIP(name) === 0 && !isCertificateName(name));
  if (wrong !== undefined) {
    throw new KexerError('config', `Cannot use ${flag}: it has ${quote(wrong)}, want DNS names or IP addresses`);
  }
  return names;
}

function daysOf(text: string | undefined): number {
  if (text === undefined) return defaultDays;
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= maxDays) return days;
  throw new KexerError('config', `Cannot use --days: it is ${quote(text)}, want a whole number from 1 to ${maxDays}`);
}

function report({ files, authority, leaf, isNewAuthority }: LocalCertificates): string {
  const day = (date: Date): string => date.toISOString().slice(0, 10);
  const rows: readonly (readonly [file: string, what: string])[] = [
    [files.caFile, `the authority, until ${day(authority.validToDate)}: what clients are to trust`],
    [files.caKeyFile, 'its key: keep it to itself, and keep it for the next --renew'],
    [files.certFile, `the serving certificate, until ${day(leaf.validToDate)}`],
    [files.keyFile, 'its key'],
  ];
  const width = Math.max(...rows.map(([file]) => file.length));
  return [
    isNewAuthority
      ? 'Made an authority and a serving certificate under it:'
      : 'Made a serving certificate under the authority that was there; clients notice nothing:',
    '',
    ...rows.map(([file, what]) => `  ${file.padEnd(width)}  ${what}`),
    '',
    `Names: ${namesIn(leaf).join(', ')}`,
    '',
    'Serve with it; a kexer that runs with these files takes new ones by itself:',
    `  kexer serve --tls-cert-file ${files.certFile} --tls-private-key-file ${files.keyFile}`,
    'Trust it, in a kubeconfig:',
    `  kubectl config set-cluster kexer --certificate-authority ${files.caFile} --embed-certs`,
    'Or keep it in a cluster, as the Secret that kexer there serves with:',
    `  kubectl -n ${service.namespace} create secret generic kexer-serving-cert --dry-run=client -o yaml \\`,
    `    --from-file=tls.crt=${files.certFile} --from-file=tls.key=${files.keyFile} --from-file=ca.crt=${files.caFile} | kubectl apply -f -`,
  ].join('\n');
}
