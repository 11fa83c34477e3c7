// Creating through the resource server: defaults against a recorded pod, and refusals by their text.

import { expect } from 'chai';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { readAnswers } from '../../../support/recordings.ts';
import { configMap, configMaps, MemoryServer } from '../memory-exchange.ts';
import { deployment, deployments, type Json, pod, pods } from './bodies.ts';

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
