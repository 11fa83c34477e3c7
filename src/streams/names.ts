// Names that become part of a kubelet's URL path. kube-apiserver has answered for them by then, yet a path is only ever built from
// names that are what Kubernetes lets a name be: anything else could mean another path to the kubelet.

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';

const label = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const labelPattern = new RegExp(`^${label}$`);
/** Labels of a subdomain may be longer than 63 characters; only the whole is bounded (IsDNS1123Subdomain). */
const subdomainPattern = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
const maxSubdomainLength = 253;
/** UIDs of pods are UUIDs, or for static pods a hash or whatever their source said. */
const uidPattern = /^[A-Za-z0-9][-A-Za-z0-9_.]{0,127}$/;

function isDnsLabel(name: string): boolean {
  return labelPattern.test(name);
}

function isDnsSubdomain(name: string): boolean {
  return name.length <= maxSubdomainLength && subdomainPattern.test(name);
}

export function isUid(uid: string): boolean {
  return uidPattern.test(uid);
}

/** @throws KexerError badRequest unless namespace and container are DNS labels and the pod a DNS subdomain. `container` '' is not looked at. */
export function checkNames(names: { namespace: string; pod: string; container: string }): void {
  if (!isDnsLabel(names.namespace)) throw unfit('namespace', names.namespace, 'a DNS label');
  if (!isDnsSubdomain(names.pod)) throw unfit('pod', names.pod, 'a DNS subdomain');
  if (names.container !== '' && !isDnsLabel(names.container)) throw unfit('container', names.container, 'a DNS label');
}

function unfit(what: string, name: string, want: string): KexerError {
  return new KexerError('badRequest', `Cannot use ${what} name ${quote(name)}: want ${want}`);
}
