// Field ownership against managedFields of a real apiserver, and server-side apply's rules.

import { expect } from 'chai';
import { FieldSet } from '../../../../src/sandbox/apiserver/ownership/field-set.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { readAnswers } from '../../../support/recordings.ts';
import { configMap, configMaps, MemoryServer } from '../memory-exchange.ts';

type Json = Record<string, unknown>;

const apply = { 'Content-Type': 'application/apply-patch+yaml' };
const recordedPod = JSON.parse(
  readAnswers('apiserver-answers').find((it) => it.name === 'pod')?.response.body ?? '{}',
) as KubeObject;

function fieldsOf(object: Json, manager: string): unknown {
  const { managedFields = [] } = object['metadata'] as KubeObject['metadata'];
  return managedFields.find((entry) => entry.manager === manager)?.fieldsV1;
}

describe('FieldSet', () => {
  const json = { 'f:a': { '.': {}, 'f:b': {} }, 'f:c': { 'k:{"name":"x"}': { '.': {}, 'f:d': {} } } };

  it('survives reading and writing', () => {
    expect(FieldSet.fromJson(json).toJson()).to.deep.equal(json);
  });

  it('names its members as messages do', () => {
    expect(FieldSet.fromJson(json).paths()).to.deep.equal(['.a', '.a.b', '.c[name="x"]', '.c[name="x"].d']);
  });

  it('adds, subtracts and intersects', () => {
    const set = FieldSet.fromJson({ 'f:a': {}, 'f:b': { 'f:c': {} } });
    const other = FieldSet.fromJson({ 'f:b': { 'f:c': {}, 'f:d': {} } });
    expect(set.intersection(other).toJson()).to.deep.equal({ 'f:b': { 'f:c': {} } });
    expect(FieldSet.fromJson(set.toJson()).subtract(other).toJson()).to.deep.equal({ 'f:a': {} });
    expect(FieldSet.fromJson(set.toJson()).add(other).toJson()).to.deep.equal({
      'f:a': {},
      'f:b': { 'f:c': {}, 'f:d': {} },
    });
  });
});

describe('managedFields', () => {
  it('of a created pod are the recorded ones', async () => {
    const server = new MemoryServer();
    const { annotations = {} } = recordedPod.metadata;
    const body = JSON.parse(annotations['kubectl.kubernetes.io/last-applied-configuration'] ?? '{}') as KubeObject;
    body.metadata.annotations = annotations;
    const target = '/api/v1/namespaces/default/pods?fieldManager=kubectl-client-side-apply';
    const created = await server.ask('POST', target, { body });
    expect(fieldsOf(created.json, 'kubectl-client-side-apply')).to.deep.equal(
      fieldsOf(recordedPod, 'kubectl-client-side-apply'),
    );
  });

  it('take a changed field from its owner, and forget a removed one', async () => {
    const server = new MemoryServer();
    await server.ask('POST', `${configMaps}?fieldManager=one`, {
      body: configMap('m', { data: { a: '1', b: '1', c: '1' } }),
    });
    const headers = { 'Content-Type': 'application/merge-patch+json' };
    const answer = await server.ask('PATCH', `${configMaps}/m?fieldManager=two`, {
      headers,
      body: { data: { a: '2', b: null } },
    });
    expect([fieldsOf(answer.json, 'one'), fieldsOf(answer.json, 'two')]).to.deep.equal([
      { 'f:data': { '.': {}, 'f:c': {} } },
      { 'f:data': { 'f:a': {} } },
    ]);
  });

  it('name the user agent, or nobody known', async () => {
    const server = new MemoryServer();
    const headers = { 'User-Agent': 'kubectl/v1.32.4 (linux/amd64)' };
    const first = await server.ask('POST', configMaps, { headers, body: configMap('a') });
    const second = await server.ask('POST', configMaps, { body: configMap('b') });
    expect([fieldsOf(first.json, 'kubectl'), fieldsOf(second.json, 'unknown')]).to.deep.equal([
      { 'f:data': { '.': {}, 'f:a': {} } },
      { 'f:data': { '.': {}, 'f:a': {} } },
    ]);
  });

  it('keep status apart from the rest', async () => {
    const server = new MemoryServer();
    const body = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } };
    await server.ask('POST', '/api/v1/nodes?fieldManager=one', { body });
    const status = { conditions: [{ type: 'Ready', status: 'True' }] };
    const answer = await server.ask('PUT', '/api/v1/nodes/n/status?fieldManager=kubelet', {
      body: { ...body, spec: { unschedulable: true }, status },
    });
    const { managedFields = [] } = answer.json['metadata'] as KubeObject['metadata'];
    expect(
      managedFields.map(({ manager, subresource, fieldsV1 }) => ({ manager, subresource, fieldsV1 })),
    ).to.deep.equal([
      {
        manager: 'kubelet',
        subresource: 'status',
        fieldsV1: {
          'f:status': { 'f:conditions': { '.': {}, 'k:{"type":"Ready"}': { '.': {}, 'f:status': {}, 'f:type': {} } } },
        },
      },
    ]);
    expect(answer.json['spec']).to.deep.equal({});
  });
});

describe('server-side apply', () => {
  const applyTo = (
    server: MemoryServer,
    name: string,
    manager: string,
    body: object,
    more = '',
  ): ReturnType<MemoryServer['ask']> =>
    server.ask('PATCH', `${configMaps}/${name}?fieldManager=${manager}${more}`, {
      headers: apply,
      body: JSON.stringify(body),
    });

  it('creates, changes, and removes what is no longer applied', async () => {
    const server = new MemoryServer();
    const made = await applyTo(server, 'm', 'me', configMap('m', { data: { a: '1', b: '1' } }));
    const changed = await applyTo(server, 'm', 'me', configMap('m', { data: { b: '2' } }));
    expect([made.status, changed.status, changed.json['data']]).to.deep.equal([201, 200, { b: '2' }]);
    expect(fieldsOf(changed.json, 'me')).to.deep.equal({ 'f:data': { 'f:b': {} } });
  });

  it('keeps a field that another owner still has', async () => {
    const server = new MemoryServer();
    await applyTo(server, 'm', 'me', configMap('m', { data: { a: '1', b: '1' } }));
    await applyTo(server, 'm', 'other', configMap('m', { data: { a: '1' } }));
    const changed = await applyTo(server, 'm', 'me', configMap('m', { data: {} }));
    expect(changed.json['data']).to.deep.equal({ a: '1' });
  });

  it('refuses another value of an owned field, unless forced', async () => {
    const server = new MemoryServer();
    await server.ask('POST', `${configMaps}?fieldManager=one`, { body: configMap('m', { data: { a: '1', b: '1' } }) });
    const one = await applyTo(server, 'm', 'me', configMap('m', { data: { a: '2' } }));
    const two = await applyTo(server, 'm', 'me', configMap('m', { data: { a: '2', b: '2' } }));
    const forced = await applyTo(server, 'm', 'me', configMap('m', { data: { a: '2' } }), '&force=true');
    expect([one.status, one.json['message'], (one.json['details'] as Json)['causes']]).to.deep.equal([
      409,
      'Apply failed with 1 conflict: conflict with "one" using v1: .data.a',
      [{ reason: 'FieldManagerConflict', message: 'conflict with "one" using v1', field: '.data.a' }],
    ]);
    expect(two.json['message']).to.equal(
      'Apply failed with 2 conflicts: conflicts with "one" using v1:\n- .data.a\n- .data.b',
    );
    expect([forced.json['data'], fieldsOf(forced.json, 'one')]).to.deep.equal([
      { a: '2', b: '1' },
      { 'f:data': { '.': {}, 'f:b': {} } },
    ]);
  });

  it('merges lists by their keys', async () => {
    const server = new MemoryServer();
    const service = (ports: object[]): object => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 's' },
      spec: { ports },
    });
    const target = '/api/v1/namespaces/default/services/s';
    await server.ask('PATCH', `${target}?fieldManager=a`, { headers: apply, body: service([{ name: 'x', port: 80 }]) });
    const answer = await server.ask('PATCH', `${target}?fieldManager=b`, {
      headers: apply,
      body: service([{ name: 'y', port: 81 }]),
    });
    const { ports } = answer.json['spec'] as { ports: { port: number }[] };
    expect(ports.map(({ port }) => port)).to.deep.equal([80, 81]);
  });

  it('needs a manager, and no managedFields in the body', async () => {
    const server = new MemoryServer();
    const body = JSON.stringify(configMap('m'));
    expect(await server.refusal('PATCH', `${configMaps}/m`, { headers: apply, body })).to.equal(
      '422 PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
    const managed = configMap('m', { metadata: { name: 'm', managedFields: [{ manager: 'x' }] } });
    expect(await server.refusal('PATCH', `${configMaps}/m?fieldManager=x`, { headers: apply, body: managed })).to.match(
      /metadata\.managedFields must be nil/,
    );
  });
});
