// The settings of the HTTP proxy on the way to other clusters. Of kexer's own configuration alone: no Secret names one, and the environment's HTTPS_PROXY is
// not heeded. User and password are a file, since flags, variables and URLs are shown in many places.

import { z } from 'zod/v3';

import { isNoProxyEntry, noProxyEntryWanted } from '../net/no-proxy.ts';
import { describeProxyUrl, proxyUrlWanted, readProxyUrl } from '../net/proxy-url.ts';

import type { Setting } from './settings.ts';
import { file, wanted } from './values.ts';

const noProxyWanted = `a list, each ${noProxyEntryWanted}`;

/** Members of the group `clusters`. */
export const clusterProxy = {
  /** Left out: other clusters are reached straight. */
  proxyUrl: z
    .string(wanted(proxyUrlWanted))
    .refine((text) => !('problem' in readProxyUrl(text)), proxyUrlWanted)
    .optional(),
  /** What is reached straight all the same. */
  noProxy: z
    .array(z.string(wanted(noProxyWanted)).refine(isNoProxyEntry, noProxyWanted), wanted(noProxyWanted))
    .default([]),
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
    key: 'clusters.noProxy',
    flag: 'cluster-no-proxy',
    kind: 'list',
    help: 'hosts, domains, addresses and networks that are reached without it, as in NO_PROXY (default: none)',
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
