// The settings of the way to kube-apiserver and to those of other clusters.

import type { Setting } from './settings.ts';
import { flag, group } from './values.ts';

export const apiserver = group({
  /** Whether watches and GETs of single objects share HTTP/2 connections; off, each has an HTTP/1.1 connection to itself while it lasts. */
  http2: flag().default(true),
});

export const apiserverSettings: readonly Setting[] = [
  {
    key: 'apiserver.http2',
    flag: 'apiserver-http2',
    kind: 'boolean',
    help: 'watches and GETs of single objects share HTTP/2 connections to kube-apiserver, where it speaks it; with false each has its own (default true)',
  },
];
