// The settings of certificates that kexer makes and renews itself: where they are kept, whose names they carry, and which APIService is told
// the authority. In a pod each has a default; with a kubeconfig, as on a workstation, none has, for there is no Secret to keep them in.

import { isIP } from 'node:net';
import { z } from 'zod/v3';

import type { Setting } from './settings.ts';
import { group, wanted } from './values.ts';

/** The word that turns a default off. */
export const none = 'none';

const label = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const objectName = new RegExp(`^(?:${label}/)?(?=[^/]{1,253}$)${label}(?:\\.${label})*$`);
const hostName = new RegExp(`^(?=.{1,253}$)(?:\\*\\.)?${label}(?:\\.${label})*$`);

/** A DNS name, or `*.` before one. */
export function isCertificateName(text: string): boolean {
  return hostName.test(text.toLowerCase());
}

const reference = (kind: string) => {
  const text = `NAME or NAMESPACE/NAME of a ${kind}, or none`;
  return z.string(wanted(text)).regex(objectName, text).optional();
};

const apiServiceWanted = 'VERSION.GROUP of an APIService, or none';
const nameWanted = 'DNS names or IP addresses';

export const certificates = group({
  /** Left out: kexer-serving-cert in a pod, else none. */
  servingSecret: reference('Secret'),
  /** Left out: kexer. */
  servingService: reference('Service'),
  /** Left out: v1.backup.cv.io. */
  apiService: z
    .string(wanted(apiServiceWanted))
    .regex(new RegExp(`^${label}(?:\\.${label})*$`), apiServiceWanted)
    .optional(),
  extraNames: z
    .array(
      z.string(wanted(nameWanted)).refine((text) => isIP(text) !== 0 || isCertificateName(text), nameWanted),
      wanted(nameWanted),
    )
    .default([]),
});

export const certificateSettings: readonly Setting[] = [
  {
    key: 'certificates.servingSecret',
    flag: 'serving-cert-secret',
    kind: 'text',
    help: '[NAMESPACE/]NAME of the Secret with the serving certificate; an empty one is filled (default in a pod: kexer-serving-cert; none: off)',
  },
  {
    key: 'certificates.servingService',
    flag: 'serving-service',
    kind: 'text',
    help: '[NAMESPACE/]NAME of the Service whose names and addresses that certificate gets (default kexer)',
  },
  {
    key: 'certificates.extraNames',
    flag: 'cert-extra-sans',
    kind: 'list',
    help: 'further DNS names and addresses of a certificate that kexer makes',
  },
  {
    key: 'certificates.apiService',
    flag: 'api-service',
    kind: 'text',
    help: 'APIService whose caBundle is kept up with that Secret (default v1.backup.cv.io; none: off)',
  },
];
