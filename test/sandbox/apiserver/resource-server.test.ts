// Which paths and methods lead where, and discovery and OpenAPI as documents.

import { expect } from 'chai';
import {
  resourceDefinitions,
  servedGroupVersions,
  storageVersionHash,
} from '../../../src/sandbox/apiserver/resources/catalog.ts';
import { configMap, configMaps, MemoryServer } from './memory-exchange.ts';

type Json = Record<string, unknown>;

const unknown = '404 the server could not find the requested resource';
const notAllowed = '405 the server does not allow this method on the requested resource';

describe('ResourceServer', () => {
  const refusals: readonly [method: string, target: string, refusal: string][] = [
    ['GET', '/api/v1/nopes', unknown],
    ['GET', '/api/v1/namespaces/default/nodes', unknown],
    ['GET', '/api/v1/configmaps/a', unknown],
    ['GET', `${configMaps}/a/nope`, unknown],
    ['PUT', configMaps, notAllowed],
    ['PATCH', configMaps, notAllowed],
    ['POST', `${configMaps}/a`, notAllowed],
    ['DELETE', '/api/v1/namespaces', notAllowed],
    ['GET', '/apis/authorization.k8s.io/v1/subjectaccessreviews', notAllowed],
    ['PUT', '/api/v1/namespaces/default/pods/p/exec', notAllowed],
    ['POST', '/api', notAllowed],
    ['DELETE', '/version', notAllowed],
  ];
  for (const [method, target, refusal] of refusals) {
    it(`${method} ${target} is ${refusal.slice(0, 3)}`, async () => {
      expect(await new MemoryServer().refusal(method, target)).to.equal(refusal);
    });
  }

  for (const target of [
    '/nope',
    '/api/v2',
    '/api/v2/pods',
    '/apis/nope.example',
    '/apis/nope.example/v1/things',
    '/openapi/v3/nope',
    '/livez/nope',
  ]) {
    it(`${target} is no page at all`, async () => {
      const answer = await new MemoryServer().ask('GET', target);
      expect([answer.status, answer.contentType, answer.text]).to.deep.equal([
        404,
        'text/plain; charset=utf-8',
        '404 page not found\n',
      ]);
    });
  }

  it('warns of a deprecated API', async () => {
    const answer = await new MemoryServer().ask('GET', '/api/v1/namespaces/default/endpoints');
    expect(answer.headers).to.deep.equal([
      ['Warning', '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'],
    ]);
  });

  it('prints for people when asked to', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const answer = await server.ask('GET', `${configMaps}/m?pretty=true`);
    expect(answer.text.slice(0, 50)).to.equal('{\n  "kind": "ConfigMap",\n  "apiVersion": "v1",\n  "');
  });

  it('answers 500 for a defect, and lives on', async () => {
    const server = new MemoryServer({
      admit: () => {
        throw new TypeError('broken');
      },
    });
    expect(await server.refusal('POST', configMaps, { body: configMap('m') })).to.equal(
      '500 Internal error occurred: broken',
    );
    expect((await server.ask('GET', configMaps)).status).to.equal(200);
  });
});

describe('discovery', () => {
  const aggregated = {
    groups: () => [
      { name: 'backup.cv.io', versions: [{ groupVersion: 'backup.cv.io/v1', version: 'v1' }] },
      { name: 'apps', versions: [{ groupVersion: 'apps/v9', version: 'v9' }] },
    ],
    discovery: () => [
      { metadata: { name: 'backup.cv.io' }, versions: [{ version: 'v1', resources: [], freshness: 'Current' }] },
    ],
  };
  const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';

  it('appends aggregated groups, and versions of groups that are there', async () => {
    const server = new MemoryServer({ aggregated });
    const list = (await server.ask('GET', '/apis')).json['groups'] as {
      name: string;
      versions: { version: string }[];
    }[];
    const apps = list.find(({ name }) => name === 'apps');
    expect([list.at(-1)?.name, apps?.versions.map(({ version }) => version)]).to.deep.equal([
      'backup.cv.io',
      ['v1', 'v9'],
    ]);
    expect((await server.ask('GET', '/apis/backup.cv.io')).json).to.deep.equal({
      kind: 'APIGroup',
      apiVersion: 'v1',
      ...aggregated.groups()[0],
    });
    const items = (await server.ask('GET', '/apis', { headers: { Accept: accept } })).json['items'] as {
      metadata: { name: string };
    }[];
    expect(items.at(-1)?.metadata.name).to.equal('backup.cv.io');
  });

  it('sends nothing again to who has it', async () => {
    const server = new MemoryServer();
    const first = await server.ask('GET', '/apis', { headers: { Accept: accept } });
    const tag = first.headers.find(([name]) => name === 'Etag')?.[1] ?? '';
    const again = await server.ask('GET', '/apis', { headers: { Accept: accept, 'If-None-Match': tag } });
    expect([again.status, again.text]).to.deep.equal([304, '']);
  });

  it('has a storage version hash as kube-apiserver makes it', () => {
    expect(storageVersionHash({ group: '', version: 'v1', kind: 'Pod' })).to.equal('xPOwRZ+Yhw8=');
  });
});

describe('OpenAPI', () => {
  it('has a v3 document for each group version of its index', async () => {
    const server = new MemoryServer({
      aggregatedOpenApi: () => new Map([['apis/backup.cv.io/v1', '/openapi/v3/apis/backup.cv.io/v1?hash=1']]),
    });
    const { paths } = (await server.ask('GET', '/openapi/v3')).json as {
      paths: Record<string, { serverRelativeURL: string }>;
    };
    expect(Object.keys(paths).length).to.equal(servedGroupVersions.length + 1);
    for (const [name, { serverRelativeURL }] of Object.entries(paths)) {
      if (name.includes('backup')) continue;
      expect((await server.ask('GET', serverRelativeURL)).json['openapi']).to.equal('3.0.0');
    }
  });

  it('resolves every reference within its document', async () => {
    const server = new MemoryServer();
    for (const { group, version } of servedGroupVersions) {
      const document = await server.ask('GET', `/openapi/v3/${group === '' ? 'api' : `apis/${group}`}/${version}`);
      const { schemas } = document.json['components'] as { schemas: Json };
      const names = [...document.text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(([, name = '']) => name);
      expect(names.filter((name) => schemas[name] === undefined)).to.deep.equal([]);
    }
  });

  it('tells kubectl how lists merge and what a patch may say', async () => {
    const document = (await new MemoryServer().ask('GET', '/openapi/v3/apis/apps/v1')).json;
    const { schemas } = document['components'] as { schemas: Record<string, { properties: Record<string, Json> }> };
    const containers = schemas['io.k8s.api.core.v1.PodSpec']?.properties['containers'];
    expect([containers?.['x-kubernetes-patch-merge-key'], containers?.['x-kubernetes-patch-strategy']]).to.deep.equal([
      'name',
      'merge',
    ]);
    const paths = document['paths'] as Record<string, { patch?: { parameters: { name: string }[] } }>;
    const patch = paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']?.patch;
    expect(patch?.parameters.map(({ name }) => name)).to.deep.equal([
      'dryRun',
      'fieldManager',
      'fieldValidation',
      'force',
    ]);
  });

  it('has a v2 document in JSON, and none in protobuf', async () => {
    const server = new MemoryServer();
    const json = await server.ask('GET', '/openapi/v2', { headers: { Accept: 'application/json' } });
    const protobuf = await server.ask('GET', '/openapi/v2', {
      headers: { Accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf' },
    });
    expect([json.json['swagger'], protobuf.status]).to.deep.equal(['2.0', 406]);
  });

  it('describes every stored kind', async () => {
    const { definitions } = (await new MemoryServer().ask('GET', '/openapi/v2')).json as {
      definitions: Record<string, Json>;
    };
    const kinds = new Set(
      Object.values(definitions).flatMap(
        (it) =>
          (it['x-kubernetes-group-version-kind'] as { kind: string }[] | undefined)?.map(({ kind }) => kind) ?? [],
      ),
    );
    expect(resourceDefinitions.filter(({ kind }) => !kinds.has(kind)).map(({ kind }) => kind)).to.deep.equal([]);
  });
});
