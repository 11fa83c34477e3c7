// Does the way through kube-apiserver work: the APIService, the authority in it, and what its controller says of it.

import { describeError } from '../../base/errors.ts';
import { CaBundle } from '../../certs/verify-chain.ts';
import { isRecord, type KubeObject, readList } from '../../kube/objects.ts';
import { askTimeoutMs, type Examination } from './examination.ts';
import { codeOfRefusal, daysUntil, fail, type Finding, ok, skip, warn } from './finding.ts';

const check = 'apiservice';
const soonDays = 14;

/** Reasons of kube-aggregator's availability controller. */
const fixes: Readonly<Record<string, string>> = {
  ServiceNotFound: 'Apply the manifests again: kubectl apply -k config/.',
  ServicePortError: 'Give the Service the port that the APIService names.',
  EndpointsNotFound: 'See whether kexer’s pods run and are ready: kubectl -n NAMESPACE get pods.',
  MissingEndpoints: 'See whether kexer’s pods run and are ready: kubectl -n NAMESPACE get pods.',
  FailedDiscoveryCheck:
    'See that kube-apiserver may reach the pods’ port (NetworkPolicy, firewall) and that caBundle is the CA kexer serves with.',
};

export async function checkApiService(examination: Examination): Promise<Finding[]> {
  const { client, config } = examination;
  const name = config.certificates.apiService ?? 'v1.backup.cv.io';
  if (name === 'none')
    return [skip(check, 'Not wanted: --api-service is none, callers reach kexer at its own address')];
  let objects: readonly KubeObject[];
  try {
    // A list of one: kexer's own account may list it by name, and has no right to get it.
    const selector = encodeURIComponent(`metadata.name=${name}`);
    objects = readList(
      await client.json({
        target: `/apis/apiregistration.k8s.io/v1/apiservices?fieldSelector=${selector}`,
        timeoutMs: askTimeoutMs,
      }),
    ).items;
  } catch (error) {
    if (codeOfRefusal(error) !== 403) throw error;
    return [skip(check, `We may not read the APIService ${name}: ${describeError(error)}`)];
  }
  const [object] = objects;
  if (object === undefined) {
    const what = `There is no APIService ${name}: callers reach kexer at its own address alone`;
    return [warn(check, what, 'Apply config/, or keep it so (overlay direct-only, --api-service none).')];
  }
  return judge(examination, name, object);
}

async function judge(examination: Examination, name: string, object: unknown): Promise<Finding[]> {
  const spec = recordAt(object, 'spec');
  const service = recordAt(spec, 'service');
  const place = `${textAt(service, 'namespace')}/${textAt(service, 'name')}`;
  if (textAt(service, 'name') === '') {
    return [
      fail(check, `The APIService ${name} names no Service`, 'Apply the manifests again: kubectl apply -k config/.'),
    ];
  }
  const findings: Finding[] = [];
  if (spec['insecureSkipTLSVerify'] === true) {
    const what = `The APIService ${name} has kube-apiserver verify nothing of who answers for kexer`;
    findings.push(warn(check, what, 'Take insecureSkipTLSVerify away and set caBundle.'));
  } else findings.push(...caBundleFindings(spec['caBundle'], name, examination.clock.now()));
  const available = conditions(object).find(({ type }) => type === 'Available');
  if (available?.status !== 'True') {
    const { reason = '', message = 'its controller has not looked at it yet' } = available ?? {};
    const fix = fixes[reason]?.replace('NAMESPACE', textAt(service, 'namespace')) ?? 'See kexer’s log.';
    return [...findings, fail(check, `${name} is not available (Service ${place}): ${reason} ${message}`, fix)];
  }
  findings.push(...(await throughIt(examination, name, place)));
  return findings;
}

/** What the controller saw last may be half a minute old. */
async function throughIt({ client }: Examination, name: string, place: string): Promise<Finding[]> {
  const [version = '', ...group] = name.split('.');
  try {
    await client.json({ target: `/apis/${group.join('.')}/${version}`, timeoutMs: askTimeoutMs });
    return [ok(check, `${name} is available: Service ${place} answers through kube-apiserver`)];
  } catch (error) {
    const what = `${name} is said to be available, but does not answer through kube-apiserver: ${describeError(error)}`;
    // Of the front proxy's own call: ours was accepted before.
    const fix =
      codeOfRefusal(error) === 401
        ? 'kexer does not know kube-apiserver’s front proxy: see front-proxy here, and kexer’s log.'
        : (fixes['FailedDiscoveryCheck'] ?? '');
    return [fail(check, what, fix)];
  }
}

function caBundleFindings(value: unknown, name: string, nowMs: number): Finding[] {
  if (typeof value !== 'string' || value === '') {
    const fix = 'kexer writes it where it makes its own certificate; else set it to the CA kexer serves with.';
    return [fail(check, `The APIService ${name} has no caBundle, so kube-apiserver trusts nobody for it`, fix)];
  }
  let bundle: CaBundle;
  try {
    bundle = new CaBundle(Buffer.from(value, 'base64').toString('utf8'));
  } catch (error) {
    const fix = 'Set it to the CA kexer serves with, PEM in base64.';
    return [fail(check, `The caBundle of the APIService ${name} cannot be used: ${describeError(error)}`, fix)];
  }
  const endMs = Math.max(...bundle.certificates.map((certificate) => certificate.validToDate.getTime()));
  const days = daysUntil(endMs, nowMs);
  if (days >= soonDays) return [];
  const when = days < 0 ? `has expired ${-days} days ago` : `expires in ${days} days`;
  const finding = days < 0 ? fail : warn;
  return [
    finding(check, `The CA in caBundle of ${name} ${when}`, 'Give kexer a new certificate and write its CA there.'),
  ];
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

function conditions(object: unknown): Condition[] {
  const list = recordAt(object, 'status')['conditions'];
  if (!Array.isArray(list)) return [];
  return list.filter(isRecord).map((entry) => ({
    type: textAt(entry, 'type'),
    status: textAt(entry, 'status'),
    reason: textAt(entry, 'reason'),
    message: textAt(entry, 'message'),
  }));
}

function recordAt(value: unknown, key: string): Record<string, unknown> {
  const found = isRecord(value) ? value[key] : undefined;
  return isRecord(found) ? found : {};
}

function textAt(value: Record<string, unknown>, key: string): string {
  const found = value[key];
  return typeof found === 'string' ? found : '';
}
