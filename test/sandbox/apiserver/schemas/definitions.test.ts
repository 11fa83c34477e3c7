import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import {
  allDefinitionNames,
  definitionName,
  describeField,
  findDefinition,
} from '../../../../src/sandbox/apiserver/schemas/definitions.ts';
import { resourceDefinitions } from '../../../../src/sandbox/apiserver/resources/catalog.ts';
import { definitionsFile, generateDefinitions } from './generate-definitions.ts';

describe('schemas/definitions', () => {
  it('is what the generator makes of the installed client-node', () => {
    expect(JSON.parse(readFileSync(definitionsFile, 'utf8'))).to.deep.equal(generateDefinitions());
  });

  it('knows every kind the catalog serves', () => {
    const missing = resourceDefinitions.filter((it) => findDefinition(definitionName(it)) === undefined);
    expect(missing.map((it) => it.kind)).to.deep.equal([]);
  });

  it('has a definition for every type a field refers to', () => {
    const unknown = allDefinitionNames().flatMap((name) =>
      [...(findDefinition(name)?.fields ?? [])]
        .filter(([, { schema }]) => schema.type === 'any')
        .map(([field]) => `${name}.${field}`),
    );
    expect(unknown.map((name) => name.slice(name.lastIndexOf('.', name.lastIndexOf('.') - 1) + 1))).to.deep.equal([
      'ControllerRevision.data',
      'ManagedFieldsEntry.fieldsV1',
    ]);
  });

  it('reads types, keys of lists and what is required', () => {
    const container = findDefinition('io.k8s.api.core.v1.Container');
    const ports = container?.fields.get('ports');
    expect({
      name: container?.fields.get('name')?.isRequired,
      ports: ports?.schema,
      merge: ports?.merge,
    }).to.deep.equal({
      name: true,
      ports: { type: 'list', items: { type: 'object', definition: 'io.k8s.api.core.v1.ContainerPort' } },
      merge: { mergeKey: 'containerPort', mapKeys: ['containerPort', 'protocol'], retainsKeys: false },
    });
  });

  it('describes the fields that become columns', () => {
    expect(describeField('io.k8s.api.core.v1.ConfigMap', 'data')).to.match(/^Data contains the configuration data\./);
    expect(describeField('io.k8s.api.apps.v1.DeploymentSpec', 'selector')).to.match(/^Label selector for pods\./);
  });
});
