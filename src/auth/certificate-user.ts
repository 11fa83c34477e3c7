// The user that a client certificate names, as k8s.io/apiserver's CommonNameUserConversion: CN is the name, each O a group, an optional UID
// attribute, and the certificate's digest as credential id. Says nothing about whether the certificate is to be believed.

import type { X509Certificate } from 'node:crypto';

import { KexerError } from '../base/errors.ts';
import { readCertificate } from '../certs/der.ts';
import { userUidOid } from '../certs/generate.ts';
import { makeUser, type UserInfo } from '../kube/user.ts';

const commonNameOid = '2.5.4.3';
const organizationOid = '2.5.4.10';
const credentialIdKey = 'authentication.kubernetes.io/credential-id';

/** @returns undefined if the certificate names nobody (no CN, or an empty one). @throws KexerError unauthenticated */
export function userOfCertificate(certificate: X509Certificate): UserInfo | undefined {
  const { subject } = readCertificate(certificate.raw);
  const values = (oid: string): string[] =>
    subject
      .filter((attribute) => attribute.oid === oid)
      .map(({ value }) => {
        // Go would skip it; a group that silently vanishes makes another identity.
        if (value === undefined) throw refuse(`its subject has a value of ${oid} that is no text`);
        return value;
      });
  const name = values(commonNameOid).at(-1) ?? '';
  if (name === '') return undefined;
  const uids = values(userUidOid);
  if (uids.length > 1) throw refuse('expected 1 UID, but found multiple');
  if (uids[0] === '') throw refuse('UID cannot be an empty string');
  const digest = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  return makeUser({
    name,
    uid: uids[0] ?? '',
    groups: values(organizationOid),
    extra: new Map([[credentialIdKey, [`X509SHA256=${digest}`]]]),
  });
}

/** The last CN, as Go's pkix.Name has it; '' if there is none. */
export function commonNameOf(certificate: X509Certificate): string {
  const { subject } = readCertificate(certificate.raw);
  return subject.findLast(({ oid }) => oid === commonNameOid)?.value ?? '';
}

function refuse(reason: string): KexerError {
  return new KexerError('unauthenticated', `Cannot take the user from the certificate: ${reason}`);
}
