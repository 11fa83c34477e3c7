// The settings of the HTTP proxy on the way to other clusters. Of kexer's own configuration alone: no Secret names one, and the environment's HTTPS_PROXY is
// not heeded. User and password are a file, since flags, variables and URLs are shown in many places.

import { z } from 'zod/v3';

import { describeProxyUrl, proxyUrlWanted, readProxyUrl } from '../net/proxy-url.ts';

import type { Setting } from './settings.ts';
import { file, wanted } from './values.ts';

/** Members of the group `clusters`. */
export const clusterProxy = {
  /** Left out: other clusters are reached straight. */
  proxyUrl: z
    .string(wanted(proxyUrlWanted))
    .refine((text) => !('problem' in readProxyUrl(text)), proxyUrlWanted)
    .optional(),
  /** PEM; of the proxy's own certificate. */
  proxyCaFile: file().optional(),
  /** USER:PASSWORD */
  proxyCredentialsFile: file().optional(),
};

export const clusterProxySettings: readonly Setting[] = [
  {
    key: 'clusters.proxyUrl',
    flag: 'cluster-proxy-url',
    kind: 'text',
    help: 'HTTP proxy by which such clusters and their kubelets are reached, http:// or https:// (default: none)',
    describe: describeProxyUrl,
  },
  {
    key: 'clusters.proxyCaFile',
    flag: 'cluster-proxy-ca-file',
    kind: 'file',
    help: "CA of that proxy's certificate, PEM, if it is https:// (default: those that Node knows)",
  },
  {
    key: 'clusters.proxyCredentialsFile',
    flag: 'cluster-proxy-credentials-file',
    kind: 'file',
    help: 'USER:PASSWORD for that proxy; read again when it changes (default: none)',
  },
];
