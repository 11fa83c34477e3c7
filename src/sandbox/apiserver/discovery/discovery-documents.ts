// Discovery: which groups, versions and resources there are, in the legacy form (APIGroupList, APIResourceList) and the aggregated one
// (APIGroupDiscoveryList v2). Groups of the aggregation layer are appended by whoever runs it.

import { createHash } from 'node:crypto';
import {
  groupVersionText,
  type GroupVersion,
  type ResourceDefinition,
  resourceDefinitions,
  servedGroupVersions,
  storageVersionHash,
} from '../resources/catalog.ts';
import { record, records, text } from '../objects/fields.ts';

/** What the aggregation layer serves beside the local groups; asked anew for each request. */
export interface AggregatedDiscovery {
  /** APIGroup objects, as in APIGroupList.groups. */
  groups(): readonly object[];
  /** Items of APIGroupDiscoveryList, with their freshness. */
  discovery(): readonly object[];
}

/** `/api`. The address is what clients of that network shall use: the sandbox's own. */
export function apiVersions(serverAddress: string): object {
  return {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress }],
  };
}

function apiGroup(group: string): object {
  const versions = servedGroupVersions
    .filter((it) => it.group === group)
    .map((it) => ({ groupVersion: groupVersionText(it), version: it.version }));
  return { name: group, versions, preferredVersion: versions[0] };
}

/** Appends groups by name; a group that is there already gets the versions it lacks. */
function mergeGroups(
  local: readonly object[],
  aggregated: readonly object[],
  nameOf: (group: object) => string,
): object[] {
  const merged = [...local];
  for (const group of aggregated) {
    const index = merged.findIndex((it) => nameOf(it) === nameOf(group));
    const existing = merged[index];
    if (existing === undefined) merged.push(group);
    else {
      const known = records(record(existing)['versions']);
      const added = records(record(group)['versions']).filter(
        (version) => !known.some((it) => it['version'] === version['version']),
      );
      merged[index] = { ...existing, versions: [...known, ...added] };
    }
  }
  return merged;
}

function groupNames(): string[] {
  return [...new Set(servedGroupVersions.map((it) => it.group))].filter((group) => group !== '');
}

/** `/apis`. */
export function apiGroupList(aggregated: AggregatedDiscovery | undefined): object {
  const groups = mergeGroups(groupNames().map(apiGroup), aggregated?.groups() ?? [], (group) =>
    text(record(group)['name']),
  );
  return { kind: 'APIGroupList', apiVersion: 'v1', groups };
}

/** `/apis/GROUP`; undefined for a group nobody serves. */
export function apiGroupDocument(name: string, aggregated: AggregatedDiscovery | undefined): object | undefined {
  const list = record(apiGroupList(aggregated))['groups'];
  const found = records(list).find((group) => group['name'] === name);
  return found === undefined ? undefined : { kind: 'APIGroup', apiVersion: 'v1', ...found };
}

function legacyEntries(definition: ResourceDefinition): object[] {
  const { resource, singular, isNamespaced, kind, verbs, shortNames, categories } = definition;
  return [
    {
      name: resource,
      singularName: singular,
      namespaced: isNamespaced,
      kind,
      verbs,
      ...(shortNames.length === 0 ? {} : { shortNames }),
      ...(categories.length === 0 ? {} : { categories }),
      ...(definition.isStored ? { storageVersionHash: storageVersionHash(definition) } : {}),
    },
    ...definition.subresources.map(({ name, responseKind, verbs: subVerbs }) => ({
      name: `${resource}/${name}`,
      singularName: '',
      namespaced: isNamespaced,
      ...(responseKind.group === '' ? {} : { group: responseKind.group }),
      ...(responseKind.version === '' ? {} : { version: responseKind.version }),
      kind: responseKind.kind,
      verbs: subVerbs,
    })),
  ];
}

function definitionsOf(where: GroupVersion): ResourceDefinition[] {
  return resourceDefinitions.filter((it) => it.group === where.group && it.version === where.version);
}

export function isServed(where: GroupVersion): boolean {
  return servedGroupVersions.some((it) => it.group === where.group && it.version === where.version);
}

/** `/api/v1`, `/apis/GROUP/VERSION`. The core list has no apiVersion, as kube-apiserver's has none. */
export function apiResourceList(where: GroupVersion): object {
  return {
    kind: 'APIResourceList',
    ...(where.group === '' ? {} : { apiVersion: 'v1' }),
    groupVersion: groupVersionText(where),
    resources: definitionsOf(where).flatMap(legacyEntries),
  };
}

function aggregatedEntry(definition: ResourceDefinition): object {
  const { resource, kind, isNamespaced, singular, verbs, shortNames, categories, subresources } = definition;
  return {
    resource,
    responseKind: { group: '', version: '', kind },
    scope: isNamespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    verbs,
    ...(shortNames.length === 0 ? {} : { shortNames }),
    ...(categories.length === 0 ? {} : { categories }),
    ...(subresources.length === 0
      ? {}
      : {
          subresources: subresources.map((it) => ({
            subresource: it.name,
            responseKind: it.responseKind,
            verbs: it.verbs,
          })),
        }),
  };
}

function aggregatedGroup(group: string): object {
  return {
    metadata: group === '' ? {} : { name: group },
    versions: servedGroupVersions
      .filter((it) => it.group === group)
      .map((it) => ({ version: it.version, resources: definitionsOf(it).map(aggregatedEntry), freshness: 'Current' })),
  };
}

/** The aggregated form of `/api` and `/apis`. */
export function aggregatedDiscovery(root: 'api' | 'apis', aggregated: AggregatedDiscovery | undefined): object {
  const items =
    root === 'api'
      ? [aggregatedGroup('')]
      : mergeGroups(groupNames().map(aggregatedGroup), aggregated?.discovery() ?? [], (group) =>
          text(record(record(group)['metadata'])['name']),
        );
  return { kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items };
}

/** An entity tag: the SHA-512 of the document in upper-case hex, quoted. */
export function entityTag(document: string): string {
  return `"${documentHash(document)}"`;
}

export function documentHash(document: string): string {
  return createHash('sha512').update(document).digest('hex').toUpperCase();
}
