// Updates and patches through the resource server: what they may change, and refusals by their text.

import { expect } from 'chai';
import { configMap, configMaps, MemoryServer, tableAccept } from '../memory-exchange.ts';
import { deployment, deployments, type Json, pod, pods } from './bodies.ts';

describe('updating', () => {
  it('keeps what is the server’s and counts generations of the spec', async () => {
    const server = new MemoryServer();
    await server.ask('POST', deployments, { body: deployment() });
    const status = { replicas: 9 };
    const answer = await server.ask('PUT', `${deployments}/d`, { body: { ...deployment({ replicas: 2 }), status } });
    const again = await server.ask('PUT', `${deployments}/d/status`, {
      body: { ...deployment({ replicas: 7 }), status },
    });
    const view = (it: Json): unknown => [
      (it['metadata'] as Json)['generation'],
      (it['spec'] as Json)['replicas'],
      it['status'],
    ];
    expect([view(answer.json), view(again.json)]).to.deep.equal([
      [2, 2, {}],
      [2, 2, status],
    ]);
  });

  it('writes nothing when nothing changes', async () => {
    const server = new MemoryServer();
    const made = await server.ask('POST', configMaps, { body: configMap('m') });
    const same = await server.ask('PUT', `${configMaps}/m`, { body: made.json });
    expect(same.json).to.deep.equal(made.json);
  });

  const refusals: readonly [name: string, target: string, body: unknown, refusal: string][] = [
    [
      'a name that is not the URL’s',
      `${configMaps}/m`,
      configMap('x'),
      '400 the name of the object (x) does not match the name on the URL (m)',
    ],
    ['nobody', `${configMaps}/nope`, configMap('nope'), '404 configmaps "nope" not found'],
    [
      'a stale version',
      `${configMaps}/m`,
      configMap('m', { metadata: { name: 'm', resourceVersion: '1' } }),
      '409 Operation cannot be fulfilled on configmaps "m": the object has been modified; please apply your changes to the latest version and try again',
    ],
    [
      'a changed selector',
      `${deployments}/d`,
      deployment({ selector: { matchLabels: { a: '1', b: '2' } } }),
      '422 Deployment.apps "d" is invalid: [spec.template.metadata.labels: Invalid value: {"a":"1"}: `selector` does not match template `labels`, spec.selector: Invalid value: {"matchLabels":{"a":"1","b":"2"}}: field is immutable]',
    ],
    [
      'a lease without version',
      '/apis/coordination.k8s.io/v1/namespaces/default/leases/l',
      { metadata: { name: 'l' } },
      '422 Lease.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update',
    ],
  ];
  for (const [name, target, body, refusal] of refusals) {
    it(`refuses ${name}`, async () => {
      const server = new MemoryServer();
      await server.ask('POST', configMaps, { body: configMap('m') });
      await server.ask('POST', deployments, { body: deployment() });
      await server.ask('POST', '/apis/coordination.k8s.io/v1/namespaces/default/leases', {
        body: { metadata: { name: 'l' } },
      });
      expect(await server.refusal('PUT', target, { body })).to.equal(refusal);
    });
  }

  it('patches a lease with or without its version, and not under another', async () => {
    const server = new MemoryServer();
    const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    const made = await server.ask('POST', leases, { body: { metadata: { name: 'l' } } });
    const { resourceVersion } = made.json['metadata'] as { resourceVersion: string };
    const patch = (metadata: object) => ({
      headers: { 'content-type': 'application/merge-patch+json' },
      body: { metadata, spec: { holderIdentity: JSON.stringify(metadata) } },
    });
    const [named, unnamed] = [patch({ resourceVersion }), patch({})];
    const answers = [
      await server.ask('PATCH', `${leases}/l`, named),
      await server.ask('PATCH', `${leases}/l`, unnamed),
    ];
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 200]);
    expect(await server.refusal('PATCH', `${leases}/l`, named)).to.equal(
      '409 Operation cannot be fulfilled on leases.coordination.k8s.io "l": the object has been modified; please apply your changes to the latest version and try again',
    );
  });

  it('refuses another uid, by storage’s own words', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const body = configMap('m', { metadata: { name: 'm', uid: 'other' } });
    expect(await server.refusal('PUT', `${configMaps}/m`, { body })).to.match(
      /^409 Operation cannot be fulfilled on configmaps "m": StorageError: invalid object, Code: 4, Key: \/registry\/configmaps\/default\/m, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: /,
    );
  });

  it('lets a pod’s image change and nothing else of its containers', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: pod('p') });
    const headers = { 'Content-Type': 'application/strategic-merge-patch+json' };
    const image = await server.ask('PATCH', `${pods}/p`, {
      headers,
      body: { spec: { containers: [{ name: 'c', image: 'j' }] } },
    });
    const args = await server.refusal('PATCH', `${pods}/p`, {
      headers,
      body: { spec: { containers: [{ name: 'c', args: ['x'] }] } },
    });
    expect([image.status, args.slice(0, 90)]).to.deep.equal([
      200,
      '422 Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `spe',
    ]);
  });

  it('creates by PUT where kube-apiserver does', async () => {
    const answer = await new MemoryServer().ask('PUT', '/apis/coordination.k8s.io/v1/namespaces/default/leases/l', {
      body: { metadata: { name: 'l' } },
    });
    expect(answer.status).to.equal(201);
  });
});

describe('patching', () => {
  const refusals: readonly [type: string, body: string, query: string, refusal: string][] = [
    ['json-patch+json', '{}', '', '400 json: cannot unmarshal object into Go value of type jsonpatch.Patch'],
    [
      'json-patch+json',
      '[{"op":"remove","path":"/nope"}]',
      '',
      '422 the server rejected our request due to an error in our request',
    ],
    ['merge-patch+json', '[]', '', '400 Invalid JSON Patch'],
    ['strategic-merge-patch+json', '{', '', '400 unexpected end of JSON input'],
    [
      'merge-patch+json',
      '{"data":{"a":1}}',
      '',
      '422  "" is invalid: patch: Invalid value: "{\\"data\\":{\\"a\\":1}}": json: cannot unmarshal number into Go struct field ConfigMap.data of type string',
    ],
    [
      'merge-patch+json',
      '{"nope":1}',
      'fieldValidation=Strict',
      '422  "" is invalid: patch: Invalid value: "{\\"nope\\":1}": strict decoding error: unknown field "nope"',
    ],
    [
      'merge-patch+json',
      '{}',
      'force=true',
      '422 PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
    ],
    [
      'merge-patch+json',
      '{"metadata":{"resourceVersion":"1"}}',
      '',
      '409 Operation cannot be fulfilled on configmaps "m": the object has been modified; please apply your changes to the latest version and try again',
    ],
    [
      'merge-patch+json',
      '{"metadata":{"name":"x"}}',
      '',
      '400 the name of the object (x) does not match the name on the URL (m)',
    ],
    ['nope', '{}', '', '415 415: Unsupported Media Type'],
  ];
  for (const [type, body, query, refusal] of refusals) {
    it(`refuses ${type} ${body} ${query}`, async () => {
      const server = new MemoryServer();
      await server.ask('POST', configMaps, { body: configMap('m') });
      const headers = { 'Content-Type': `application/${type}` };
      expect(await server.refusal('PATCH', `${configMaps}/m?${query}`, { headers, body })).to.equal(refusal);
    });
  }

  it('scales through the subresource, and says what it made', async () => {
    const server = new MemoryServer();
    await server.ask('POST', deployments, { body: deployment() });
    const headers = { 'Content-Type': 'application/merge-patch+json' };
    const answer = await server.ask('PATCH', `${deployments}/d/scale`, { headers, body: { spec: { replicas: 4 } } });
    const read = await server.ask('GET', `${deployments}/d/scale`);
    expect(answer.json).to.deep.equal(read.json);
    expect([read.json['kind'], read.json['spec'], read.json['status']]).to.deep.equal([
      'Scale',
      { replicas: 4 },
      { replicas: 0, selector: 'a=1' },
    ]);
  });

  it('answers a patch as a table, if asked', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const headers = { 'Content-Type': 'application/merge-patch+json', Accept: tableAccept };
    const answer = await server.ask('PATCH', `${configMaps}/m`, { headers, body: { data: { b: '2' } } });
    expect((answer.json['rows'] as { cells: unknown[] }[])[0]?.cells).to.deep.equal(['m', 2, '0s']);
  });
});
