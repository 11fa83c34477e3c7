// What kexer says it serves: the group backup.cv.io in every form discovery has, old and aggregated. kube-apiserver asks for it once a minute
// and judges kexer's availability by it, so these are constants: no answer here waits for anything. Of sessions less is said than is served:
// what can be deleted and watched is watched by the garbage collector, which has no business with objects that no etcd holds.

import { createHash } from 'node:crypto';

import { clustersResource } from '../clusters/directory.ts';
import { methodNotAllowed } from '../kube/status.ts';
import { getHeader, type RawHeaders } from '../protocol/raw-headers.ts';

import { negotiate, plainForm, type Form } from './accept.ts';
import { jsonAnswer, statusAnswer, type Answer } from './answer.ts';

const { group, version, resource } = clustersResource;
const groupVersion = `${group}/${version}`;

/** Methods that a cluster's calls may have; RequestInfo's verb for each is what RBAC names. */
const execVerbs = ['create', 'delete', 'get', 'patch', 'update'];
const clusterVerbs = ['get', 'list', 'watch'];
/** `delete` and `watch` are served, too; kubectl uses both without having found them here. */
const sessionVerbs = ['get', 'list'];
/** `kubectl get kexer` shows both. */
const categories = ['kexer'];

const groupBody = {
  name: group,
  versions: [{ groupVersion, version }],
  preferredVersion: { groupVersion, version },
};

const groupList = { kind: 'APIGroupList', apiVersion: 'v1', groups: [groupBody] };
const apiGroup = { kind: 'APIGroup', apiVersion: 'v1', ...groupBody };

const resourceList = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion,
  resources: [
    { name: resource, singularName: 'cluster', namespaced: true, kind: 'Cluster', verbs: clusterVerbs, categories },
    { name: `${resource}/exec`, singularName: '', namespaced: true, kind: 'Cluster', verbs: execVerbs },
    { name: 'sessions', singularName: 'session', namespaced: true, kind: 'Session', verbs: sessionVerbs, categories },
  ],
};

/** One body for v2 and v2beta1: they differ in the version alone. */
function aggregatedDiscovery(apiVersion: string): unknown {
  const responseKind = { group, version, kind: 'Cluster' };
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${apiVersion}`,
    metadata: {},
    items: [
      {
        metadata: { name: group },
        versions: [
          {
            version,
            resources: [
              {
                resource,
                responseKind,
                scope: 'Namespaced',
                singularResource: 'cluster',
                verbs: clusterVerbs,
                categories,
                subresources: [{ subresource: 'exec', responseKind, verbs: execVerbs }],
              },
              {
                resource: 'sessions',
                responseKind: { group, version, kind: 'Session' },
                scope: 'Namespaced',
                singularResource: 'session',
                verbs: sessionVerbs,
                categories,
              },
            ],
            freshness: 'Current',
          },
        ],
      },
    ],
  };
}

function aggregatedForm(apiVersion: string): Form {
  return {
    contentType: `application/json;g=apidiscovery.k8s.io;v=${apiVersion};as=APIGroupDiscoveryList`,
    as: 'APIGroupDiscoveryList',
    group: 'apidiscovery.k8s.io',
    version: apiVersion,
  };
}

const groupListForms: readonly Form[] = [aggregatedForm('v2'), aggregatedForm('v2beta1'), plainForm];

/** The answer to a discovery path, or undefined if it is none. */
export function discoveryAnswer(path: string, method: string, headers: RawHeaders): Answer | undefined {
  const isAll = path === '/apis';
  if (!isAll && path !== `/apis/${group}` && path !== `/apis/${groupVersion}`) return undefined;
  if (method !== 'GET') return statusAnswer(methodNotAllowed());
  const form = negotiate(headers, isAll ? groupListForms : [plainForm]);
  if (form.version !== undefined) return aggregatedAnswer(form, form.version, headers);
  return jsonAnswer(200, isAll ? groupList : path === `/apis/${group}` ? apiGroup : resourceList);
}

function aggregatedAnswer(form: Form, apiVersion: string, headers: RawHeaders): Answer {
  const answer = jsonAnswer(200, aggregatedDiscovery(apiVersion), form.contentType);
  const etag = `"${createHash('sha512').update(answer.body).digest('hex').toUpperCase()}"`;
  const isKnown = getHeader(headers, 'If-None-Match') === etag;
  return {
    ...answer,
    ...(isKnown ? { status: 304, body: '' } : {}),
    headers: [
      ['Cache-Control', 'public'],
      ['ETag', etag],
      ['Vary', 'Accept'],
    ],
  };
}
