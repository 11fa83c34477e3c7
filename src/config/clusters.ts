// The settings of other clusters, which Secrets describe. Off by default: no namespace's Secrets count, and no endpoint may be dialled.

import { z } from 'zod/v3';

import { endpointEntryWanted, isEndpointEntry } from '../net/allowed-endpoints.ts';

import { clusterProxy, clusterProxySettings } from './cluster-proxy.ts';
import type { Setting } from './settings.ts';
import { group, wanted } from './values.ts';

const namespaceWanted = 'a list of namespaces';
const endpointsWanted = `a list, each ${endpointEntryWanted}`;

export const clusters = group({
  /** Whose Secrets of the type backup.cv.io/cluster name a cluster; kexer reads them with a Role of each. */
  namespaces: z
    .array(
      z.string(wanted(namespaceWanted)).regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, namespaceWanted),
      wanted(namespaceWanted),
    )
    .default([]),
  /** Where clusters and their kubelets may be; judged on the address that is connected to. */
  allowedEndpoints: z
    .array(z.string(wanted(endpointsWanted)).refine(isEndpointEntry, endpointsWanted), wanted(endpointsWanted))
    .default([]),
  ...clusterProxy,
});

export const clusterSettings: readonly Setting[] = [
  {
    key: 'clusters.namespaces',
    flag: 'cluster-namespaces',
    kind: 'list',
    help: 'namespaces whose Secrets of the type backup.cv.io/cluster name other clusters (default: none)',
  },
  {
    key: 'clusters.allowedEndpoints',
    flag: 'cluster-allowed-endpoints',
    kind: 'list',
    help: 'hosts, addresses and networks where such clusters may be (default: none)',
  },
  ...clusterProxySettings,
];
