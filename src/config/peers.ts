// The settings by which several kexers know each other. Off without a Service: then each lists its own sessions only.

import { z } from 'zod/v3';

import type { Setting } from './settings.ts';
import { file, group, wanted } from './values.ts';

const serviceWanted = 'a Service as NAMESPACE/NAME';
/** Names of Kubernetes: they become a path and a DNS name. */
const servicePattern = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

export const peers = group({
  /** The Service behind which all kexers of this cluster stand; its EndpointSlices are read. */
  service: z.string(wanted(serviceWanted)).regex(servicePattern, serviceWanted).optional(),
  /** Shown to the others; of the audience kexer-peer and the account kexer runs as. */
  tokenFile: file().optional(),
  /** Whom the others' serving certificates are to be signed by. */
  caFile: file().optional(),
  /** How EndpointSlices call this pod. */
  name: z.string(wanted('a name')).min(1, 'a name').optional(),
});

export const peerSettings: readonly Setting[] = [
  {
    key: 'peers.service',
    flag: 'peer-service',
    kind: 'text',
    help: 'Service of all kexers as NAMESPACE/NAME: lists then show the sessions of each (default: only its own)',
  },
  {
    key: 'peers.tokenFile',
    flag: 'peer-token-file',
    kind: 'file',
    help: 'projected token of audience kexer-peer, by which they know each other',
  },
  {
    key: 'peers.caFile',
    flag: 'peer-ca-file',
    kind: 'file',
    help: "CA of the others' serving certificates, PEM (default: ca.crt beside --tls-cert-file)",
  },
  {
    key: 'peers.name',
    flag: 'peer-name',
    kind: 'text',
    help: 'name of this pod in EndpointSlices and in lists (default: the host name)',
  },
];
