// Writes through the resource server: defaults against a recorded pod, refusals by their text, what an update may change, deletion.

import { expect } from 'chai';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { readAnswers } from '../../../support/recordings.ts';
import { configMap, configMaps, MemoryServer, tableAccept } from '../memory-exchange.ts';

type Json = Record<string, unknown>;

const pods = '/api/v1/namespaces/default/pods';
const deployments = '/apis/apps/v1/namespaces/default/deployments';

function pod(name: string, spec: Json = {}): Json {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
  };
}

function deployment(more: Json = {}): Json {
  const template = { metadata: { labels: { a: '1' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: { selector: { matchLabels: { a: '1' } }, template, ...more },
  };
}

describe('creating', () => {
  it('fills a pod as the recorded one was filled', async () => {
    const recorded = JSON.parse(
      readAnswers('apiserver-answers').find((it) => it.name === 'pod')?.response.body ?? '{}',
    ) as KubeObject;
    const applied = JSON.parse(
      recorded.metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'] ?? '{}',
    ) as Json;
    const answer = await new MemoryServer().ask('POST', pods, { body: applied });
    const neutral = (spec: unknown): unknown => {
      const { nodeName: _node, ...rest } = spec as Json;
      // OpenShift projects one more ConfigMap into every pod.
      return JSON.parse(
        JSON.stringify(rest)
          .replaceAll(/kube-api-access-\w{5}/g, 'kube-api-access')
          .replace(
            ',{"configMap":{"name":"openshift-service-ca.crt","items":[{"key":"service-ca.crt","path":"service-ca.crt"}]}}',
            '',
          ),
      );
    };
    expect(neutral(answer.json['spec'])).to.deep.equal(neutral(recorded['spec']));
    expect(answer.json['status']).to.deep.equal({ phase: 'Pending', qosClass: 'BestEffort' });
  });

  const policies: readonly [image: string, policy: string][] = [
    ['a', 'Always'],
    ['a:latest', 'Always'],
    ['a:1', 'IfNotPresent'],
    ['host:5000/a', 'Always'],
    ['a@sha256:0', 'IfNotPresent'],
  ];
  for (const [image, policy] of policies) {
    it(`pulls ${image} ${policy}`, async () => {
      const answer = await new MemoryServer().ask('POST', pods, {
        body: pod('p', { containers: [{ name: 'c', image }] }),
      });
      expect((answer.json['spec'] as { containers: Json[] }).containers[0]?.['imagePullPolicy']).to.equal(policy);
    });
  }

  it('fills a deployment, a service and a secret', async () => {
    const server = new MemoryServer();
    const made = await server.ask('POST', deployments, { body: deployment() });
    const { template: _template, ...spec } = made.json['spec'] as Json;
    expect(spec).to.deep.equal({
      selector: { matchLabels: { a: '1' } },
      replicas: 1,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } },
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
    });
    const service = await server.ask('POST', '/api/v1/namespaces/default/services', {
      body: { metadata: { name: 's' }, spec: { type: 'NodePort', ports: [{ port: 80 }] } },
    });
    expect(service.json['spec']).to.deep.equal({
      type: 'NodePort',
      ports: [{ port: 80, protocol: 'TCP', targetPort: 80, nodePort: 30000 }],
      sessionAffinity: 'None',
      externalTrafficPolicy: 'Cluster',
      internalTrafficPolicy: 'Cluster',
      clusterIP: '10.96.0.10',
      clusterIPs: ['10.96.0.10'],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
    });
    const secret = await server.ask('POST', '/api/v1/namespaces/default/secrets', {
      body: { metadata: { name: 's' }, stringData: { a: 'b' } },
    });
    expect([secret.json['type'], secret.json['data'], secret.json['stringData']]).to.deep.equal([
      'Opaque',
      { a: 'Yg==' },
      undefined,
    ]);
  });

  it('makes a name from generateName', async () => {
    const answer = await new MemoryServer().ask('POST', configMaps, {
      body: configMap('', { metadata: { generateName: 'x-' } }),
    });
    expect((answer.json['metadata'] as Json)['name']).to.match(/^x-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  });

  it('stores nothing in a dry run', async () => {
    const server = new MemoryServer();
    const before = server.store.resourceVersion;
    const answer = await server.ask('POST', `${configMaps}?dryRun=All`, { body: configMap('m') });
    expect([
      answer.status,
      server.store.resourceVersion,
      (answer.json['metadata'] as Json)['resourceVersion'],
    ]).to.deep.equal([201, before, undefined]);
  });

  it('warns of unknown fields, refuses them when strict, ignores them when told to', async () => {
    const server = new MemoryServer();
    const body = (name: string): Json => configMap(name, { nope: 1, data: { a: '1' } });
    const warned = await server.ask('POST', configMaps, { body: body('a') });
    const ignored = await server.ask('POST', `${configMaps}?fieldValidation=Ignore`, { body: body('b') });
    expect([warned.headers, ignored.headers, warned.json['nope']]).to.deep.equal([
      [['Warning', String.raw`299 - "unknown field \"nope\""`]],
      [],
      undefined,
    ]);
    expect(await server.refusal('POST', `${configMaps}?fieldValidation=Strict`, { body: body('c') })).to.equal(
      '400 ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "nope"',
    );
  });

  const refusals: readonly [name: string, target: string, body: unknown, refusal: string][] = [
    [
      'no name',
      configMaps,
      configMap(''),
      '422 ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    ],
    [
      'another namespace',
      configMaps,
      configMap('a', { metadata: { name: 'a', namespace: 'x' } }),
      '400 the namespace of the provided object does not match the namespace sent on the request',
    ],
    [
      'a version',
      configMaps,
      configMap('a', { metadata: { name: 'a', resourceVersion: '1' } }),
      '500 resourceVersion should not be set on objects to be created',
    ],
    [
      'another group',
      configMaps,
      { ...configMap('a'), apiVersion: 'v2' },
      '400 the API version in the data (v2) does not match the expected API version (v1)',
    ],
    [
      'a kind nobody knows',
      configMaps,
      { ...configMap('a'), kind: 'Foo' },
      '400 Foo in version "v1" cannot be handled as a ConfigMap: no kind "Foo" is registered for version "v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"',
    ],
    [
      'a bad key',
      configMaps,
      configMap('a', { data: { 'a b': '1' } }),
      `422 ConfigMap "a" is invalid: data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`,
    ],
    ['no containers', pods, pod('p', { containers: [] }), '422 Pod "p" is invalid: spec.containers: Required value'],
    [
      'no image, twice the name',
      pods,
      pod('p', { containers: [{ name: 'c' }, { name: 'c', image: 'i' }] }),
      '422 Pod "p" is invalid: [spec.containers[0].image: Required value, spec.containers[1].name: Duplicate value: "c"]',
    ],
    [
      'a mount without volume',
      pods,
      pod('p', { containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'v', mountPath: '/v' }] }] }),
      '422 Pod "p" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ],
    [
      'a bad restart policy',
      pods,
      pod('p', { restartPolicy: 'Often' }),
      '422 Pod "p" is invalid: spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never"',
    ],
    [
      'an unknown account',
      pods,
      pod('p', { serviceAccountName: 'x' }),
      '403 pods "p" is forbidden: error looking up service account default/x: serviceaccount "x" not found',
    ],
    [
      'labels that do not match',
      deployments,
      deployment({ selector: { matchLabels: { b: '2' } } }),
      '422 Deployment.apps "d" is invalid: spec.template.metadata.labels: Invalid value: {"a":"1"}: `selector` does not match template `labels`',
    ],
    [
      'no ports',
      '/api/v1/namespaces/default/services',
      { metadata: { name: 's' }, spec: {} },
      '422 Service "s" is invalid: spec.ports: Required value',
    ],
    [
      'bad base64',
      '/api/v1/namespaces/default/secrets',
      { metadata: { name: 's' }, data: { a: 'a!' } },
      '400 Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 1',
    ],
    [
      'a bad dry run',
      `${configMaps}?dryRun=Some`,
      configMap('a'),
      '422 CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"',
    ],
    [
      'a list',
      configMaps,
      '[]',
      '400 the object provided is unrecognized (must be of type ConfigMap): couldn\'t get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" } (5b5d)',
    ],
    [
      'all namespaces',
      '/api/v1/configmaps',
      configMap('a'),
      '405 the server does not allow this method on the requested resource',
    ],
  ];
  for (const [name, target, body, refusal] of refusals) {
    it(`refuses ${name}`, async () =>
      expect(await new MemoryServer().refusal('POST', target, { body })).to.equal(refusal));
  }

  it('asks admission, which may change or refuse', async () => {
    const seen: string[] = [];
    const server = new MemoryServer({
      admit: ({ operation, object, oldObject }) => {
        seen.push(`${operation} ${object?.metadata.name} ${oldObject?.metadata.name}`);
        return Promise.resolve(object === undefined ? undefined : { ...object, data: { admitted: 'yes' } });
      },
    });
    const created = await server.ask('POST', configMaps, { body: configMap('m') });
    await server.ask('DELETE', `${configMaps}/m`);
    expect([created.json['data'], seen]).to.deep.equal([
      { admitted: 'yes' },
      ['CREATE m undefined', 'DELETE undefined m'],
    ]);
  });
});

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

describe('deleting', () => {
  const bound = { ...pod('p', { nodeName: 'node1' }) };

  it('marks a pod on a node, and lets its kubelet remove it', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: bound });
    const answer = await server.ask('DELETE', `${pods}/p`);
    const { deletionTimestamp, deletionGracePeriodSeconds, generation } = answer.json['metadata'] as Json;
    expect({ deletionTimestamp, deletionGracePeriodSeconds, generation, kind: answer.json['kind'] }).to.deep.equal({
      deletionTimestamp: '2026-11-20T21:38:00Z',
      deletionGracePeriodSeconds: 30,
      generation: 2,
      kind: 'Pod',
    });
    const key = { group: '', resource: 'pods', namespace: 'default', name: 'p' };
    expect(server.store.delete(key).isGone).to.equal(true);
  });

  it('shortens a grace and never lengthens it', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: bound });
    const grace = async (seconds: number): Promise<unknown> => {
      const answer = await server.ask('DELETE', `${pods}/p?gracePeriodSeconds=${seconds}`);
      const { deletionTimestamp, deletionGracePeriodSeconds } = answer.json['metadata'] as Json;
      return [deletionTimestamp, deletionGracePeriodSeconds];
    };
    expect([await grace(30), await grace(60), await grace(5)]).to.deep.equal([
      ['2026-11-20T21:38:00Z', 30],
      ['2026-11-20T21:38:00Z', 30],
      ['2026-11-20T21:37:35Z', 5],
    ]);
    await server.ask('DELETE', `${pods}/p`, {
      body: { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 },
    });
    expect(await server.refusal('GET', `${pods}/p`)).to.equal('404 pods "p" not found');
  });

  it('removes a pod that no kubelet runs at once', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: pod('p') });
    const answer = await server.ask('DELETE', `${pods}/p`);
    expect([answer.json['kind'], await server.refusal('GET', `${pods}/p`)]).to.deep.equal([
      'Pod',
      '404 pods "p" not found',
    ]);
  });

  it('turns a namespace to Terminating, in which nothing new is made', async () => {
    const server = new MemoryServer();
    await server.ask('POST', '/api/v1/namespaces', { body: { metadata: { name: 'n' } } });
    const answer = await server.ask('DELETE', '/api/v1/namespaces/n');
    expect(answer.json['status']).to.deep.equal({ phase: 'Terminating' });
    expect(await server.refusal('POST', '/api/v1/namespaces/n/configmaps', { body: configMap('m') })).to.equal(
      '403 configmaps "m" is forbidden: unable to create new content in namespace n because it is being terminated',
    );
    await server.ask('PUT', '/api/v1/namespaces/n/finalize', { body: { metadata: { name: 'n' }, spec: {} } });
    expect(await server.refusal('GET', '/api/v1/namespaces/n')).to.equal('404 namespaces "n" not found');
  });

  it('refuses what may not go, what does not fit its precondition, and bad options', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    expect([
      await server.refusal('DELETE', '/api/v1/namespaces/default'),
      (await server.refusal('DELETE', `${configMaps}/m`, { body: { preconditions: { uid: 'x' } } })).slice(0, 90),
      await server.refusal('DELETE', `${configMaps}/m?propagationPolicy=Maybe`),
      await server.refusal('DELETE', `${configMaps}/m?gracePeriodSeconds=x`),
    ]).to.deep.equal([
      '403 namespaces "default" is forbidden: this namespace may not be deleted',
      '409 Operation cannot be fulfilled on ConfigMap "m": the UID in the precondition (x) does n',
      '422 DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Maybe": supported values: "Background", "Foreground", "Orphan"',
      '400 strconv.ParseInt: parsing "x": invalid syntax',
    ]);
  });

  it('leaves everything where it is in a dry run', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const answer = await server.ask('DELETE', `${configMaps}/m?dryRun=All`);
    expect([answer.json['status'], (await server.ask('GET', `${configMaps}/m`)).status]).to.deep.equal([
      'Success',
      200,
    ]);
  });

  it('deletes a collection by selector', async () => {
    const server = new MemoryServer();
    for (const name of ['a', 'b', 'c']) {
      await server.ask('POST', configMaps, { body: configMap(name, { metadata: { name, labels: { x: name } } }) });
    }
    const answer = await server.ask('DELETE', `${configMaps}?labelSelector=x!=b`);
    const left = await server.ask('GET', configMaps);
    const names = (list: Json): unknown => (list['items'] as KubeObject[]).map(({ metadata }) => metadata.name);
    expect([names(answer.json), names(left.json)]).to.deep.equal([['a', 'c'], ['b']]);
  });

  it('holds an object for its dependents when asked to', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const answer = await server.ask('DELETE', `${configMaps}/m?propagationPolicy=Foreground`);
    const { finalizers, deletionTimestamp } = answer.json['metadata'] as Json;
    expect({ finalizers, deletionTimestamp }).to.deep.equal({
      finalizers: ['foregroundDeletion'],
      deletionTimestamp: '2026-11-20T21:37:30Z',
    });
  });

  it('evicts and binds through the pod’s subresources', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: pod('p') });
    const binding = { metadata: { name: 'p' }, target: { kind: 'Node', name: 'node2' } };
    const boundTo = await server.ask('POST', `${pods}/p/binding`, { body: binding });
    const again = await server.refusal('POST', `${pods}/p/binding`, { body: binding });
    const evicted = await server.ask('POST', `${pods}/p/eviction`, { body: { metadata: { name: 'p' } } });
    const after = await server.ask('GET', `${pods}/p`);
    expect([
      boundTo.status,
      again,
      evicted.status,
      (after.json['spec'] as Json)['nodeName'],
      (after.json['metadata'] as Json)['deletionGracePeriodSeconds'],
    ]).to.deep.equal([
      201,
      '409 Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "node2"',
      201,
      'node2',
      30,
    ]);
  });
});
