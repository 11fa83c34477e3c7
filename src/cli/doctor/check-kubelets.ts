// Each node's kubelet, dialled as serve dials it: reachable, with a certificate that is for its name and not about to end, and open to kexer's
// credential. Asked for the log of a pod that no cluster has, and for an exec in it: a kubelet judges the credential before it looks for the
// pod, so that its 404 says yes, and nothing is ever run.

import type { TLSSocket } from 'node:tls';

import { codeOf, describeError, KexerError } from '../../base/errors.ts';
import { projectNode } from '../../clusters/node-object.ts';
import type { NodeObject } from '../../clusters/cluster.ts';
import { isRecord, type KubeObject } from '../../kube/objects.ts';
import { requestUpgrade } from '../../net/upgrade.ts';
import { getHeader, type RawHeaders } from '../../protocol/raw-headers.ts';
import { dialKubelet, kubeletCredential } from '../../streams/kubelet-dial.ts';
import { kubeletAddress, type Target } from '../../streams/target.ts';
import { isSupported, supportedRange } from './check-apiserver.ts';
import { list } from './check-admission.ts';
import { inTurns } from './check-rights.ts';
import type { Examination } from './examination.ts';
import { codeOfRefusal, daysUntil, fail, type Finding, ok, skip, warn } from './finding.ts';

const soonDays = 7;
const answerTimeoutMs = 10_000;
const tolerableSkewSeconds = 30;
const detourLabel = 'backup.cv.io/streams';
const nowhere = { namespace: 'kexer-doctor', pod: 'none', container: 'none' };

export async function checkKubelets(examination: Examination): Promise<Finding[]> {
  const { client, config } = examination;
  if (config.streams.local === 'apiserver') {
    return [skip('kubelets', 'No kubelet is dialled: --streams-local apiserver')];
  }
  let nodes: KubeObject[];
  try {
    nodes = await list(client, '/api/v1/nodes');
  } catch (error) {
    if (codeOfRefusal(error) !== 403) throw error;
    const what = `The nodes may not be listed: ${describeError(error)}`;
    return [fail('kubelets', what, 'Apply config/rbac/kexer.yaml, or give the --kubeconfig of somebody who may.')];
  }
  if (nodes.length === 0) return [warn('kubelets', 'The cluster has no nodes', 'Add one.')];
  const findings = await inTurns(nodes, (node) => checkNode(examination, node));
  return [...generalFindings(examination), ...findings.flat()];
}

/** What concerns all of them alike is said once. */
function generalFindings({ kubelet }: Examination): Finding[] {
  const findings: Finding[] = [];
  if (!kubelet.isVerified) {
    const what = 'Kubelets are not verified: whoever answers at a node’s address gets the streams';
    findings.push(
      warn('kubelets', what, 'Leave --kubelet-insecure-tls out, and give --kubelet-certificate-authority.'),
    );
  }
  return findings;
}

async function checkNode(examination: Examination, object: KubeObject): Promise<Finding[]> {
  const node = projectNode(object);
  const { name } = node.metadata;
  const check = `kubelet ${name}`;
  if (node.metadata.labels?.[detourLabel] === 'apiserver') {
    return [skip(check, `Its streams go by kube-apiserver: it has the label ${detourLabel}=apiserver`)];
  }
  const findings = versionFindings(check, node);
  try {
    findings.unshift(...(await dialled(examination, check, node)));
  } catch (error) {
    findings.unshift(unreachable(check, object, error));
  }
  return findings;
}

function unreachable(check: string, object: KubeObject, error: unknown): Finding {
  // The causes of a failed dial are Node's words for the same.
  const text = error instanceof KexerError ? error.message : describeError(error);
  if (!isReady(object)) return warn(check, `It is not ready, and: ${text}`, 'See why the node is not ready.');
  const code = codeOf(error);
  const fix =
    code === 'tls'
      ? tlsFix(text)
      : code === 'unreachable' || code === 'timeout'
        ? 'Let port 10250 of the node be reached from here, choose another --kubelet-preferred-address-types, or label the node backup.cv.io/streams=apiserver.'
        : 'Give kexer the credential that its settings name: docs/rbac.md.';
  return fail(check, text, fix);
}

function tlsFix(text: string): string {
  return text.includes('is not for')
    ? 'Choose an address that the certificate names (--kubelet-preferred-address-types), or have the kubelet serve one that names this.'
    : 'Give --kubelet-certificate-authority the CA that signs kubelets’ serving certificates (serverTLSBootstrap: the cluster’s CA).';
}

/** @throws whatever hinders it. */
async function dialled(examination: Examination, check: string, node: NodeObject): Promise<Finding[]> {
  const { kubelet, clock, config } = examination;
  const address = kubeletAddress(node, config.kubelet.preferredAddressTypes);
  const target: Target = { ...nowhere, ...address, node: node.metadata.name, podUid: '', isMirror: false };
  const where = `${address.host}:${address.port}`;
  const signal = AbortSignal.timeout(2 * answerTimeoutMs);
  const first = await dialKubelet({ clock }, kubelet, target, signal);
  let certificate: Finding[];
  try {
    certificate = certificateFindings(check, first, clock.now());
  } catch (error) {
    first.destroy();
    throw error;
  }
  let headers: RawHeaders;
  try {
    headers = await kubeletCredential(kubelet);
  } catch (error) {
    first.destroy();
    throw error;
  }
  if (kubelet.certificate() === undefined && headers.length === 0) {
    first.destroy();
    const what = `Answers at ${where} with a certificate that is in order; no credential was given, so none was tried`;
    return [
      ...certificate,
      warn(check, what, 'Give --kubelet-client-certificate and -key, or --kubelet-service-account.'),
    ];
  }
  const { namespace, pod, container } = nowhere;
  const sentMs = clock.now();
  const log = await ask(first, 'GET', `/containerLogs/${namespace}/${pod}/${container}`, headers);
  const skew = skewFindings(check, log.date, (sentMs + clock.now()) / 2);
  const second = await dialKubelet({ clock }, kubelet, target, signal);
  const exec = await ask(second, 'POST', `/exec/${namespace}/${pod}/${container}?command=true&output=1`, headers);
  const refused = [
    ...(isRefusal(log.status) ? [refusal(check, log.status, 'get', 'logs')] : []),
    ...(isRefusal(exec.status) ? [refusal(check, exec.status, 'create', 'exec, attach and port-forward')] : []),
  ];
  if (refused.length > 0) return [...certificate, ...skew, ...refused];
  const what = `Answers at ${where}, its certificate is in order, and it lets kexer open streams and read logs`;
  return [...certificate, ...skew, ok(check, what)];
}

function refusal(check: string, status: number, verb: string, feature: string): Finding {
  if (status === 401) {
    const what = 'Does not accept kexer’s credential (401)';
    return fail(
      check,
      what,
      'Its client CA must have signed the certificate, or its webhook authentication must be on for tokens.',
    );
  }
  const what = `Refuses kexer’s credential (403): it needs the verb "${verb}" on nodes/proxy, for ${feature}`;
  return fail(check, what, 'Apply config/rbac/kubelet.yaml, for the account or the certificate’s common name.');
}

function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

function certificateFindings(check: string, socket: TLSSocket, nowMs: number): Finding[] {
  const days = daysUntil(Date.parse(socket.getPeerCertificate().valid_to), nowMs);
  if (Number.isNaN(days) || days >= soonDays) return [];
  const what = days < 0 ? `Its certificate has expired ${-days} days ago` : `Its certificate expires in ${days} days`;
  return [warn(check, what, 'See why the kubelet does not renew it (serverTLSBootstrap, CSRs that nobody approved).')];
}

function skewFindings(check: string, date: string | undefined, nowMs: number): Finding[] {
  const skewSeconds = Math.round((Date.parse(date ?? '') + 500 - nowMs) / 1000);
  if (Number.isNaN(skewSeconds) || Math.abs(skewSeconds) <= tolerableSkewSeconds) return [];
  const side = skewSeconds > 0 ? 'ahead of' : 'behind';
  return [warn(check, `Its clock is ${Math.abs(skewSeconds)} s ${side} ours`, 'Synchronise the node’s clock by NTP.')];
}

function versionFindings(check: string, node: NodeObject): Finding[] {
  const text = node.status?.nodeInfo?.kubeletVersion ?? '';
  const [, major = '', minor = ''] = /^v?(\d+)\.(\d+)/.exec(text) ?? [];
  if (major === '' || isSupported({ major: Number(major), minor: Number(minor) })) return [];
  const what = `Its kubelet is of version ${text}; kexer is tested with ${supportedRange}`;
  return [warn(check, what, 'Upgrade the node, or see whether there is a newer kexer.')];
}

function isReady(node: KubeObject): boolean {
  const status = isRecord(node['status']) ? node['status'] : {};
  const list = Array.isArray(status['conditions']) ? status['conditions'].filter(isRecord) : [];
  return list.some((condition) => condition['type'] === 'Ready' && condition['status'] === 'True');
}

/** One exchange on a socket of its own, which ends with it: its head says enough. @throws KexerError badGateway, timeout */
async function ask(
  socket: TLSSocket,
  method: string,
  target: string,
  credential: RawHeaders,
): Promise<{ status: number; date: string | undefined }> {
  try {
    const headers: RawHeaders = [
      ['Host', 'kubelet'],
      ['User-Agent', 'kexer-doctor'],
      ['Content-Length', '0'],
      ...credential,
    ];
    const { head } = await requestUpgrade(socket, { method, target, headers }, { timeoutMs: answerTimeoutMs });
    return { status: head.status, date: getHeader(head.headers, 'Date') };
  } finally {
    socket.destroy();
  }
}
