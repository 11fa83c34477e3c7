// What the identity matrix asks as each user: every verb on ordinary resources, and every kind of stream in every form a client may ask for
// it. Writes are dry runs, so that each answer is that of the same state.

import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';
import type { Ask } from './http-client.ts';

/** The namespace the users have rights in, and the one they have none in. */
export const home = 'kexer-matrix';
export const other = 'kexer-matrix-other';

export interface Operation extends Ask {
  readonly name: string;
  readonly isUpgrade?: boolean;
  /** Asked as every user; the rest only as those without `--as`. */
  readonly isCore?: boolean;
  /** How the body of a success is compared: as the user it names, as the text it is, or (default) as the kind of its object. */
  readonly success?: 'user' | 'text' | 'kind';
}

const json = [['Content-Type', 'application/json']] as const;

const spdy = (protocol: string): RawHeaders => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', protocol],
];

const webSocket = (protocol: string): RawHeaders => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Protocol', protocol],
];

const inHome = `/api/v1/namespaces/${home}`;
const demo = `${inHome}/pods/demo`;
const execQuery = 'command=true&stdout=true&stderr=true';
const configMap = (name: string): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: home }, data: { a: 'b' } });
const selfReview = (kind: string, spec?: object): string => {
  const group = kind === 'SelfSubjectReview' ? 'authentication.k8s.io' : 'authorization.k8s.io';
  return JSON.stringify({ apiVersion: `${group}/v1`, kind, ...(spec === undefined ? {} : { spec }) });
};

const ordinary: readonly Operation[] = [
  {
    name: 'create selfsubjectreview (who am I)',
    isCore: true,
    success: 'user',
    method: 'POST',
    path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    headers: json,
    body: selfReview('SelfSubjectReview'),
  },
  {
    name: 'create selfsubjectaccessreview (may I exec)',
    success: 'text',
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    headers: json,
    body: selfReview('SelfSubjectAccessReview', {
      resourceAttributes: { namespace: home, verb: 'create', resource: 'pods', subresource: 'exec' },
    }),
  },
  { name: 'get pod', isCore: true, method: 'GET', path: demo },
  { name: 'get pod that is not there', method: 'GET', path: `${inHome}/pods/absent` },
  { name: 'list pods', method: 'GET', path: `${inHome}/pods` },
  { name: 'list pods of another namespace', method: 'GET', path: `/api/v1/namespaces/${other}/pods` },
  { name: 'list secrets', method: 'GET', path: `${inHome}/secrets` },
  { name: 'list nodes', isCore: true, method: 'GET', path: '/api/v1/nodes' },
  { name: 'watch pods', isCore: true, isEndless: true, method: 'GET', path: `${inHome}/pods?watch=true` },
  {
    name: 'create configmap',
    isCore: true,
    method: 'POST',
    path: `${inHome}/configmaps?dryRun=All`,
    headers: json,
    body: configMap('new'),
  },
  {
    name: 'update configmap',
    method: 'PUT',
    path: `${inHome}/configmaps/kept?dryRun=All`,
    headers: json,
    body: configMap('kept'),
  },
  {
    name: 'patch configmap',
    method: 'PATCH',
    path: `${inHome}/configmaps/kept?dryRun=All`,
    headers: [['Content-Type', 'application/merge-patch+json']],
    body: '{"data":{"c":"d"}}',
  },
  { name: 'delete configmap', method: 'DELETE', path: `${inHome}/configmaps/kept?dryRun=All` },
  { name: 'deletecollection configmaps', isCore: true, method: 'DELETE', path: `${inHome}/configmaps?dryRun=All` },
  { name: 'get a path that is no resource', method: 'GET', path: '/metrics/slis' },
  { name: 'get an unknown group', method: 'GET', path: '/apis/unknown.example/v1/things' },
];

const logs: readonly Operation[] = [
  { name: 'log', isCore: true, success: 'text', method: 'GET', path: `${demo}/log?tailLines=1` },
  {
    name: 'log that is followed',
    isEndless: true,
    success: 'text',
    method: 'GET',
    path: `${demo}/log?follow=true&tailLines=1`,
  },
  { name: 'log of an unknown container', method: 'GET', path: `${demo}/log?container=absent` },
  { name: 'log of another namespace', method: 'GET', path: `/api/v1/namespaces/${other}/pods/demo/log` },
  {
    name: 'log by WebSocket',
    isUpgrade: true,
    method: 'GET',
    path: `${demo}/log?tailLines=1`,
    headers: webSocket('binary.k8s.io'),
  },
];

const streams: readonly Operation[] = [
  { name: 'exec, plain GET', method: 'GET', path: `${demo}/exec?${execQuery}` },
  { name: 'exec, plain POST', isCore: true, method: 'POST', path: `${demo}/exec?${execQuery}` },
  {
    name: 'exec by SPDY',
    isCore: true,
    isUpgrade: true,
    method: 'POST',
    path: `${demo}/exec?${execQuery}`,
    headers: spdy('v4.channel.k8s.io'),
  },
  {
    name: 'exec by WebSocket',
    isCore: true,
    isUpgrade: true,
    method: 'GET',
    path: `${demo}/exec?${execQuery}`,
    headers: webSocket('v5.channel.k8s.io'),
  },
  {
    name: 'exec in a pod that is not there',
    isUpgrade: true,
    method: 'POST',
    path: `${inHome}/pods/absent/exec?${execQuery}`,
    headers: spdy('v4.channel.k8s.io'),
  },
  {
    name: 'exec in an unknown container',
    isUpgrade: true,
    method: 'GET',
    path: `${demo}/exec?container=absent&${execQuery}`,
    headers: webSocket('v5.channel.k8s.io'),
  },
  {
    name: 'attach by SPDY',
    isCore: true,
    isUpgrade: true,
    method: 'POST',
    path: `${demo}/attach?stdout=true`,
    headers: spdy('v4.channel.k8s.io'),
  },
  {
    name: 'attach by WebSocket',
    isUpgrade: true,
    method: 'GET',
    path: `${demo}/attach?stdout=true`,
    headers: webSocket('v4.channel.k8s.io'),
  },
  {
    name: 'port-forward by SPDY',
    isCore: true,
    isUpgrade: true,
    method: 'POST',
    path: `${demo}/portforward`,
    headers: spdy('portforward.k8s.io'),
  },
  {
    name: 'port-forward through a WebSocket',
    isUpgrade: true,
    method: 'GET',
    path: `${demo}/portforward`,
    headers: webSocket('SPDY/3.1+portforward.k8s.io'),
  },
  { name: 'port-forward, plain POST', method: 'POST', path: `${demo}/portforward` },
];

export const operations: readonly Operation[] = [...ordinary, ...logs, ...streams];
