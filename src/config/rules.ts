// Rules between settings: what makes no sense together. Reads the values as they were given, before defaults and whether or not each
// is right by itself, so that one run reports everything.

import { parseDuration } from '../base/duration.ts';

/** A broken rule, told at the setting that is easiest to change. */
export interface BrokenRule {
  readonly key: string;
  readonly wanted: string;
}

/** @param read the value given for a setting's key, undefined if none was. */
export function brokenRules(read: (key: string) => unknown): BrokenRule[] {
  const isGiven = (key: string): boolean => read(key) !== undefined;
  const broken: BrokenRule[] = [];
  const refuseIf = (condition: boolean, key: string, wanted: string): void => {
    if (condition) broken.push({ key, wanted });
  };

  for (const [first, second] of filePairs) {
    refuseIf(isGiven(first) && !isGiven(second), first, `${second} with it`);
    refuseIf(!isGiven(first) && isGiven(second), second, `${first} with it`);
  }
  for (const key of ['certificates.servingSecret', 'certificates.extraNames']) {
    const isOff = read(key) === 'none';
    refuseIf(isGiven(key) && !isOff && isGiven('server.tlsCertFile'), key, 'nothing beside server.tlsCertFile');
  }
  const isInsecure = read('kubelet.insecureTls') === true;
  refuseIf(
    isInsecure && isGiven('kubelet.certificateAuthority'),
    'kubelet.insecureTls',
    'false, since kubelet.certificateAuthority is set',
  );
  // Any node could take the token and use it on every other node.
  refuseIf(
    isInsecure && isGiven('kubelet.tokenFile'),
    'kubelet.tokenFile',
    'no token while kubelet.insecureTls is true',
  );
  refuseIf(
    isInsecure && isGiven('kubelet.serviceAccount'),
    'kubelet.serviceAccount',
    'no service account while kubelet.insecureTls is true',
  );
  // One identity, proven in one way: with two, an operator could not say which of them a call goes out with.
  for (const ways of [kubeletCredentials, impersonatorCredentials]) {
    const given = ways.filter(isGiven);
    for (const [index, key] of given.entries()) {
      const others = given.slice(index + 1);
      refuseIf(others.length > 0, key, `no ${nounOf(key)} beside ${others.join(' and ')}`);
    }
  }
  const isImpersonating = read('identity.impersonation') === true;
  refuseIf(
    isImpersonating && !impersonatorCredentials.some(isGiven) && !isGiven('identity.impersonator.clientKey'),
    'identity.impersonation',
    'a credential with it: identity.impersonator.serviceAccount, tokenFile, or clientCertificate and clientKey',
  );
  refuseIf(
    read('identity.allowPrivileged') === true && !isImpersonating,
    'identity.allowPrivileged',
    'false, since identity.impersonation is off',
  );
  const durationOf = (key: string, defaultText: string): number => {
    const given = read(key) ?? defaultText;
    return typeof given === 'string' ? (parseDuration(given) ?? 0) : 0; // a bare 0, or what the schema refuses
  };
  const intervalMs = durationOf('sessions.recheckInterval', '5m');
  const unverifiedMs = durationOf('sessions.maxUnverified', '0');
  refuseIf(
    unverifiedMs > 0 && (intervalMs === 0 || unverifiedMs < intervalMs),
    'sessions.maxUnverified',
    'at least sessions.recheckInterval, which must not be 0, or 0',
  );
  const isEmpty = (key: string): boolean => {
    const list = read(key);
    return list === undefined || (Array.isArray(list) && list.length === 0);
  };
  refuseIf(
    !isEmpty('clusters.namespaces') && isEmpty('clusters.allowedEndpoints'),
    'clusters.namespaces',
    'clusters.allowedEndpoints with it, since nothing else may be dialled',
  );
  for (const key of ['clusters.noProxy', 'clusters.proxyCaFile', 'clusters.proxyCredentialsFile']) {
    refuseIf(!isEmpty(key) && !isGiven('clusters.proxyUrl'), key, 'clusters.proxyUrl with it');
  }
  const proxyUrl = read('clusters.proxyUrl');
  refuseIf(
    isGiven('clusters.proxyCaFile') && typeof proxyUrl === 'string' && /^http:/i.test(proxyUrl),
    'clusters.proxyCaFile',
    'none with a clusters.proxyUrl of http://, where there is no certificate',
  );
  const isAudited = isGiven('audit.logPath') || isGiven('audit.webhook.configFile');
  const placeWanted = 'audit.logPath or audit.webhook.configFile with it';
  refuseIf(read('audit.strict') === true && !isAudited, 'audit.strict', placeWanted);
  refuseIf(isGiven('audit.policyFile') && !isAudited, 'audit.policyFile', placeWanted);
  refuseIf(isGiven('peers.service') && !isGiven('peers.tokenFile'), 'peers.service', 'peers.tokenFile with it');
  for (const key of ['peers.tokenFile', 'peers.caFile', 'peers.name']) {
    refuseIf(isGiven(key) && !isGiven('peers.service'), key, 'peers.service with it');
  }
  return broken;
}

const kubeletCredentials = ['kubelet.serviceAccount', 'kubelet.tokenFile', 'kubelet.clientCertificate'] as const;
const impersonatorCredentials = [
  'identity.impersonator.serviceAccount',
  'identity.impersonator.tokenFile',
  'identity.impersonator.clientCertificate',
] as const;

function nounOf(key: string): string {
  return key.endsWith('tokenFile') ? 'token' : key.endsWith('serviceAccount') ? 'service account' : 'certificate';
}

/** A certificate and its key: one is useless without the other. */
const filePairs: readonly (readonly [string, string])[] = [
  ['server.tlsCertFile', 'server.tlsPrivateKeyFile'],
  ['kubelet.clientCertificate', 'kubelet.clientKey'],
  ['identity.impersonator.clientCertificate', 'identity.impersonator.clientKey'],
];
