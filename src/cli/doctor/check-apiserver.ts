// Is there a kube-apiserver, of which version, does it know us, and do its clock and ours agree. Everything else asks it, so everything else
// waits for this.

import { codeOf, describeError } from '../../base/errors.ts';
import { isRecord } from '../../kube/objects.ts';
import { StatusError } from '../../kube/status.ts';
import { makeUser, type UserInfo } from '../../kube/user.ts';
import { getHeader } from '../../protocol/raw-headers.ts';
import { kexerVersion } from '../version.ts';
import { type ApiserverReport, askTimeoutMs, type Examination } from './examination.ts';
import { codeOfRefusal, fail, type Finding, ok, warn } from './finding.ts';

/** Of kube-apiserver and kubelets: DESIGN. */
const oldestMinor = 26;
const newestMinor = 36;

/** `Date` has whole seconds, and an answer takes a moment. */
const agreeSeconds = 2;
/** More, and certificates and tokens that were just made are not valid yet, or are refused by others. */
const tolerableSeconds = 30;

export async function checkApiserver(
  examination: Examination,
): Promise<{ report: ApiserverReport; findings: Finding[] }> {
  const { client, clock } = examination;
  const where = client.endpoint.url;
  const nobody: ApiserverReport = { isUsable: false, version: undefined, user: undefined };
  const sentMs = clock.now();
  let answer: Awaited<ReturnType<typeof client.exchange>>;
  try {
    answer = await client.exchange({
      method: 'GET',
      target: '/version',
      headers: [
        ['Accept', 'application/json'],
        ['User-Agent', client.userAgent],
      ],
      timeoutMs: askTimeoutMs,
      isRetriedOnce: true,
    });
  } catch (error) {
    const fix = fixes[codeOf(error)] ?? 'See whether kube-apiserver is well.';
    return { report: nobody, findings: [fail('apiserver', `${where} does not answer: ${describeError(error)}`, fix)] };
  }
  const skew = clockFinding(getHeader(answer.headers, 'Date'), sentMs, clock.now());
  if (answer.status !== 200) {
    const what = `${where} answers ${answer.status} when asked for its version`;
    return { report: nobody, findings: [fail('apiserver', what, 'See whether kube-apiserver is well.'), ...skew] };
  }
  const version = parseVersion(answer.body);
  try {
    const user = await whoAmI(examination);
    const who = user === undefined ? '' : `, and knows us as ${user.name}`;
    // A kexer that is broken could not be looked at through itself.
    const isThroughKexer = where.includes('/clusters/');
    return {
      report: { isUsable: true, version, user },
      findings: [
        isThroughKexer
          ? warn(
              'apiserver',
              `${where} is kexer itself${who}`,
              'Give the kubeconfig of the cluster, which does not lead through kexer.',
            )
          : ok('apiserver', `${where} answers${who}`),
        ...skew,
        ...versionFindings(version),
      ],
    };
  } catch (error) {
    const what =
      codeOfRefusal(error) === 401
        ? `${where} answers, but does not accept our credential (401)`
        : `${where} answers, but not when asked who we are: ${describeError(error)}`;
    const fix =
      codeOfRefusal(error) === 401
        ? 'Log in again, or give a --kubeconfig with another user.'
        : 'See whether kube-apiserver is well.';
    return { report: { ...nobody, version }, findings: [fail('apiserver', what, fix), ...skew] };
  }
}

const fixes: Readonly<Record<string, string>> = {
  unreachable: 'Check the server in the kubeconfig, and that it can be reached from here.',
  timeout: 'See whether kube-apiserver is well, and what is between it and this machine.',
  tls: 'Check certificate-authority-data in the kubeconfig, and the name in the server’s certificate.',
  config: 'Check the credential in the kubeconfig.',
};

/** @throws StatusError, KexerError; undefined where the API is not served (before 1.28). */
async function whoAmI({ client }: Examination): Promise<UserInfo | undefined> {
  let answer: unknown;
  try {
    answer = await client.json({
      method: 'POST',
      target: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
      timeoutMs: askTimeoutMs,
    });
  } catch (error) {
    if (error instanceof StatusError && (error.status.code === 404 || error.status.code === 403)) return undefined;
    throw error;
  }
  const status = isRecord(answer) ? answer['status'] : undefined;
  const info = isRecord(status) ? status['userInfo'] : undefined;
  if (!isRecord(info) || typeof info['username'] !== 'string') return undefined;
  const groups = Array.isArray(info['groups']) ? info['groups'].filter((group) => typeof group === 'string') : [];
  return makeUser({ name: info['username'], groups });
}

function parseVersion(body: Buffer): ApiserverReport['version'] {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    // Some distributions write `36+`.
    const number = (key: string): number => Number.parseInt(String(isRecord(value) ? value[key] : ''), 10);
    const [major, minor] = [number('major'), number('minor')];
    return Number.isNaN(major) || Number.isNaN(minor) ? undefined : { major, minor };
  } catch {
    return undefined; // said by versionFindings
  }
}

function versionFindings(version: ApiserverReport['version']): Finding[] {
  const range = `1.${oldestMinor} to 1.${newestMinor}`;
  if (version === undefined) {
    return [warn('versions', 'kube-apiserver does not tell its version', `kexer supports ${range}.`)];
  }
  const { major, minor } = version;
  if (isSupported(version)) {
    return [
      ok('versions', `kube-apiserver is of version ${major}.${minor}; kexer ${kexerVersion()} is tested with ${range}`),
    ];
  }
  const isOld = major < 1 || minor < oldestMinor;
  return [
    warn(
      'versions',
      `kube-apiserver is of version ${major}.${minor}; kexer is tested with ${range}`,
      isOld ? 'Upgrade the cluster.' : 'See whether there is a newer kexer.',
    ),
  ];
}

export function isSupported({ major, minor }: { major: number; minor: number }): boolean {
  return major === 1 && minor >= oldestMinor && minor <= newestMinor;
}

export const supportedRange = `1.${oldestMinor} to 1.${newestMinor}`;

function clockFinding(date: string | undefined, sentMs: number, receivedMs: number): Finding[] {
  const theirs = Date.parse(date ?? '');
  if (Number.isNaN(theirs)) {
    return [warn('clock', 'kube-apiserver does not tell its time', 'Compare the clocks by hand.')];
  }
  // `Date` is the second that had begun.
  const skewSeconds = (theirs + 500 - (sentMs + receivedMs) / 2) / 1000;
  const seconds = Math.round(Math.abs(skewSeconds));
  if (seconds <= agreeSeconds) return [ok('clock', 'Our clock and kube-apiserver’s agree')];
  const what = `Our clock is ${seconds} s ${skewSeconds > 0 ? 'behind' : 'ahead of'} kube-apiserver’s`;
  const fix = 'Synchronise both by NTP: certificates and tokens are judged by the clock.';
  return [seconds <= tolerableSeconds ? warn('clock', what, fix) : fail('clock', what, fix)];
}
