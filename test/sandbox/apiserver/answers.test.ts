// Asks the sandbox's apiserver every question that was recorded of a real one and compares: status, content type, the whole Status of
// refusals, columns of tables, and the shape of everything else. What the sandbox does not serve is listed below by name.

import { request } from 'node:https';
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { expect } from 'chai';
import { text } from '../../../src/sandbox/apiserver/objects/fields.ts';
import type { KubeObject, Store } from '../../../src/sandbox/apiserver/store.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { readAnswers, type RecordedAnswer } from '../../support/recordings.ts';
import { shapeDifferences } from './shape.ts';

const answers = readAnswers('apiserver-answers');

/** Questions whose answer needs a kubelet, with where they are asked instead. */
const notAsked: Readonly<Record<string, string>> = Object.fromEntries(
  answers
    .filter(({ name, response }) => name.startsWith('log ') && response.status === 200)
    .map(({ name }) => [name, 'needs a running container: test/sandbox/kubelet and test/integration ask for logs']),
);

/** Health checks are named after what a real apiserver starts; the sandbox lists the ones it has. */
const freeText = new Set(['GET /livez?verbose', 'GET /readyz?verbose']);

/** Resources of kube-apiserver that the sandbox does not have. */
const absentResources = { '': ['componentstatuses'] };

const absentGroups = [
  'apiextensions.k8s.io',
  'autoscaling',
  'certificates.k8s.io',
  'events.k8s.io',
  'flowcontrol.apiserver.k8s.io',
  'node.k8s.io',
  'resource.k8s.io',
];

interface Answer {
  status: number;
  contentType: string;
  text: string;
}

type Json = Record<string, unknown>;

describe('the sandbox apiserver, asked what a real one was asked', () => {
  let sandbox: Sandbox;
  let ca: string;
  const certificates = new Map<string, { cert: string; key: string }>();

  before(async function () {
    this.timeout(30_000);
    sandbox = await startSandbox({ hasKubelets: false });
    ca = readFileSync(sandbox.files.servingCaFile, 'utf8');
    const users = {
      admin: { name: 'admin', groups: ['system:masters'] },
      'kubelet-client': { name: 'kube-apiserver-kubelet-client', groups: ['system:masters'] },
      sched: { name: 'system:kube-scheduler' },
    };
    for (const [name, user] of Object.entries(users)) certificates.set(name, await sandbox.clientCertificate(user));
    seed(sandbox.store);
  });

  after(() => sandbox.stop());

  async function ask({ request: { method, path, headers, body, as } }: RecordedAnswer): Promise<Answer> {
    const token = sandbox.serviceAccountToken('default', 'default');
    const sent = body?.replace('"TOKEN"', JSON.stringify(token));
    const options = {
      method,
      headers: { ...headers },
      ca,
      ...certificates.get(as),
      agent: false,
      servername: 'localhost',
    };
    return new Promise((resolve, reject) => {
      const req = request(`${sandbox.apiserver.url}${path}`, options, (res) => {
        buffer(res).then((bytes) => {
          resolve({
            status: res.statusCode ?? 0,
            contentType: res.headers['content-type'] ?? '',
            text: bytes.toString(),
          });
        }, reject);
      });
      req.on('error', reject);
      req.end(sent);
    });
  }

  for (const recorded of answers) {
    if (notAsked[recorded.name] !== undefined) continue;
    it(recorded.name, async () => {
      const actual = await ask(recorded);
      const { status, headers, body, cut } = recorded.response;
      const contentType = headers.find(([name]) => name === 'Content-Type')?.[1] ?? '';
      expect({ status: actual.status, contentType: actual.contentType }).to.deep.equal({ status, contentType });
      if (cut === true && body.startsWith('{"kind":"Table"')) compareColumns(body, actual.text);
      if (cut === true || freeText.has(recorded.name)) return;
      if (!contentType.startsWith('application/json') && !body.startsWith('{')) {
        expect(actual.text).to.equal(body);
        return;
      }
      if (recorded.request.path.includes('watch=1')) {
        compareEvents(body, actual.text);
        return;
      }
      compareDocuments(recorded.name, JSON.parse(body) as Json, JSON.parse(actual.text) as Json);
    });
  }
});

/** The objects that the recorded cluster had and the questions name. */
function seed(store: Store): void {
  const find = (name: string): Json =>
    JSON.parse(answers.find((it) => it.name === name)?.response.body ?? '{}') as Json;
  const put = (resource: string, object: KubeObject): void => {
    const key = { group: '', resource, namespace: object.metadata.namespace ?? '', name: object.metadata.name };
    const { resourceVersion: _version, uid: _uid, ...metadata } = object.metadata;
    const fresh = { ...object, metadata };
    if (store.get(key) === undefined) store.create(key, fresh);
    else store.update(key, fresh);
  };
  put('nodes', find('node') as KubeObject);
  const watch = answers.find((it) => it.name === 'watch with bookmarks')?.response.body ?? '';
  for (const { type, object } of events(watch)) if (type === 'ADDED') put('pods', object as KubeObject);
  for (const { object } of events(answers.find((it) => it.name === 'watch list')?.response.body ?? '')) {
    if ((object as KubeObject).metadata.name !== undefined) put('configmaps', object as KubeObject);
  }
  put('events', {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: 'done.1', namespace: 'default' },
    involvedObject: { kind: 'Pod', name: 'done' },
    reason: 'Scheduled',
    type: 'Normal',
    message: 'Successfully assigned default/done to node1',
  });
}

function events(text: string): { type: string; object: Json }[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { type: string; object: Json });
}

function compareEvents(expectedText: string, actualText: string): void {
  const expected = events(expectedText);
  const actual = events(actualText);
  const types = (list: readonly { type: string }[]): string[] => [...new Set(list.map(({ type }) => type))];
  expect(types(actual)).to.deep.equal(types(expected));
  for (const event of actual) {
    const candidates = expected.filter(({ type }) => type === event.type);
    expect(shapeDifferences(candidates, [event])).to.deep.equal([]);
  }
  const errors = (list: readonly { type: string; object: Json }[]): unknown[] =>
    list.filter(({ type }) => type === 'ERROR').map(({ object }) => withoutVersions(object));
  expect(errors(actual)).to.deep.equal(errors(expected));
}

/** `too old resource version: 1 (1444)`: the second number is the moment's. */
function withoutVersions(status: Json): Json {
  return { ...status, message: String(status['message']).replace(/\(\d+\)/, '(N)') };
}

function compareDocuments(name: string, expected: Json, actual: Json): void {
  if (expected['kind'] === 'Status') {
    const free = (status: Json): Json => {
      const details = status['details'] as Json | undefined;
      return details?.['uid'] === undefined ? status : { ...status, details: { ...details, uid: 'UID' } };
    };
    expect(free(actual)).to.deep.equal(free(expected));
    return;
  }
  if (expected['kind'] === 'APIResourceList') {
    compareByName(
      expected['resources'],
      actual['resources'],
      'name',
      expected['groupVersion'] === 'v1' ? absentResources[''] : [],
    );
    return;
  }
  if (expected['kind'] === 'APIGroupList') {
    compareByName(expected['groups'], actual['groups'], 'name', absentGroups);
    return;
  }
  if (expected['kind'] === 'APIGroupDiscoveryList') {
    compareDiscovery(expected['items'] as Json[], actual['items'] as Json[]);
    return;
  }
  if (expected['kind'] === 'Table') expect(actual['columnDefinitions']).to.deep.equal(expected['columnDefinitions']);
  if (name === 'GET /openapi/v3') {
    const paths = Object.keys(actual['paths'] as Json);
    expect(Object.keys(expected['paths'] as Json)).to.include.members(
      paths.filter((path) => !path.includes('backup.cv.io')),
    );
    const urls = Object.values(actual['paths'] as Record<string, { serverRelativeURL: string }>);
    for (const { serverRelativeURL } of urls)
      expect(serverRelativeURL).to.match(/^\/openapi\/v3\/apis?\/\S+\?hash=[0-9A-F]{128}$/);
    return;
  }
  expect(shapeDifferences(expected, actual)).to.deep.equal([]);
}

/** Of a table whose recording breaks off somewhere in its rows. */
function compareColumns(expected: string, actual: string): void {
  const columns = (text: string): string => text.slice(text.indexOf('"columnDefinitions"'), text.indexOf('"rows"'));
  expect(columns(actual)).to.equal(columns(expected));
}

/** What both have is equal, what only the recording has is in `absent`, and nothing else is served. */
function compareByName(expected: unknown, actual: unknown, key: string, absent: readonly string[]): void {
  const recorded = expected as Json[];
  const wanted = recorded.filter((it) => !absent.includes(it[key] as string));
  expect((actual as Json[]).filter((it) => wanted.some((other) => other[key] === it[key]))).to.have.length(
    wanted.length,
  );
  for (const it of wanted) {
    const found = (actual as Json[]).find((other) => other[key] === it[key]);
    expect(found).to.deep.equal(it);
  }
}

function compareDiscovery(expected: readonly Json[], actual: readonly Json[]): void {
  const nameOf = (group: Json): string => text((group['metadata'] as Json)['name']);
  for (const group of actual) {
    const recorded = expected.find((it) => nameOf(it) === nameOf(group));
    expect(recorded, nameOf(group)).to.not.equal(undefined);
    const versions = group['versions'] as { resources: Json[] }[];
    const recordedVersions = recorded?.['versions'] as { resources: Json[] }[];
    for (const resource of versions[0]?.resources ?? []) {
      const same = recordedVersions[0]?.resources.find((it) => it['resource'] === resource['resource']);
      expect(resource).to.deep.equal(same);
    }
  }
  const missing = expected.map(nameOf).filter((name) => !actual.some((group) => nameOf(group) === name));
  expect(missing.filter((name) => !absentGroups.includes(name))).to.deep.equal([]);
}
