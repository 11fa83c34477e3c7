// Whom kube-apiserver tells kexer to believe: the authorities of the front proxy and of client certificates, in the ConfigMap
// extension-apiserver-authentication. Read by the code that serves.

import { readTrust, type Trust } from '../../auth/trust.ts';
import { describeError } from '../../base/errors.ts';
import type { CaBundle } from '../../certs/verify-chain.ts';
import { isRecord } from '../../kube/objects.ts';
import { askTimeoutMs, type Examination } from './examination.ts';
import { codeOfRefusal, daysUntil, fail, type Finding, ok, skip, warn } from './finding.ts';

const place = 'the ConfigMap kube-system/extension-apiserver-authentication';
const soonDays = 30;

export async function checkTrust({ client, clock }: Examination): Promise<Finding[]> {
  let object: unknown;
  try {
    object = await client.json({
      target: '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication',
      timeoutMs: askTimeoutMs,
    });
  } catch (error) {
    const code = codeOfRefusal(error);
    if (code === 403) return [skip('front-proxy', `We may not read ${place}: ${describeError(error)}`)];
    if (code !== 404) throw error;
    const what = `There is no ConfigMap kube-system/extension-apiserver-authentication: kexer never becomes ready`;
    return [fail('front-proxy', what, 'kube-apiserver writes it at its start; see its log.')];
  }
  const data = isRecord(object) && isRecord(object['data']) ? object['data'] : {};
  const texts = Object.fromEntries(
    Object.entries(data).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
  const trust = readTrust(texts);
  return [frontProxy(trust, clock.now()), clientCa(trust, clock.now())];
}

function frontProxy(trust: Trust, nowMs: number): Finding {
  const check = 'front-proxy';
  const problem = trust.problems.find((text) => text.startsWith('requestheader'));
  if (problem !== undefined) {
    return fail(check, `Of ${place}, ${problem}`, 'Correct the --requestheader-* flags of kube-apiserver.');
  }
  const { requestHeader } = trust;
  if (requestHeader === undefined) {
    const what = `${capital(place)} names no front proxy: nobody is known who comes through kube-apiserver`;
    return fail(check, what, 'Start kube-apiserver with --requestheader-client-ca-file and its like.');
  }
  const { allowedNames, ca } = requestHeader;
  const shared = trust.clientCa?.certificates.some((one) => ca.certificates.some((other) => one.raw.equals(other.raw)));
  if (shared === true && allowedNames.length === 0) {
    const what =
      'Users’ certificates and the front proxy’s have one CA and no name is asked for: each user may be anybody';
    return fail(
      check,
      what,
      'Set --requestheader-allowed-names of kube-apiserver, or give the front proxy a CA of its own.',
    );
  }
  const late = expiry(ca, nowMs);
  if (late !== undefined) {
    return (late.isOver ? fail : warn)(
      check,
      `The CA of the front proxy ${late.text}`,
      'Renew the CA of kube-apiserver’s front proxy.',
    );
  }
  const names = allowedNames.length === 0 ? 'any name under its CA' : allowedNames.join(', ');
  return ok(check, `The front proxy is known: ${names}`);
}

function clientCa(trust: Trust, nowMs: number): Finding {
  const check = 'client-ca';
  const problem = trust.problems.find((text) => text.startsWith('client-ca-file'));
  if (problem !== undefined) {
    return fail(check, `Of ${place}, ${problem}`, 'Correct --client-ca-file of kube-apiserver.');
  }
  if (trust.clientCa === undefined) {
    const what = `${capital(place)} has no client CA: callers with a client certificate are nobody to kexer`;
    return warn(check, what, 'Tokens work; else start kube-apiserver with --client-ca-file.');
  }
  const late = expiry(trust.clientCa, nowMs);
  if (late !== undefined) {
    return (late.isOver ? fail : warn)(
      check,
      `The CA of client certificates ${late.text}`,
      'Renew the cluster’s client CA.',
    );
  }
  return ok(check, 'The CA of client certificates is known');
}

/** Of the certificate that lasts longest: while a CA is exchanged there are two. */
function expiry(bundle: CaBundle, nowMs: number): { text: string; isOver: boolean } | undefined {
  const days = daysUntil(Math.max(...bundle.certificates.map((one) => one.validToDate.getTime())), nowMs);
  if (days >= soonDays) return undefined;
  return days < 0
    ? { text: `has expired ${-days} days ago`, isOver: true }
    : { text: `expires in ${days} days`, isOver: false };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
