// Every manifest against Kubernetes' OpenAPI, and proof that the check sees what is wrong.

import { parse } from 'yaml';
import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { needsKubectl } from '../support/kubectl.ts';
import {
  applicableFolders,
  filesBelow,
  kustomize,
  type Manifest,
  nameOf,
  parseManifests,
  readManifests,
  root,
} from './support/manifests.ts';
import { complaintsAbout } from './support/openapi.ts';

/** Files that are no objects of Kubernetes by themselves. */
const isObjectFile = (file: string): boolean =>
  !file.endsWith('kustomization.yaml') && !file.startsWith('config/chart/') && !file.endsWith('kubeconfig.yaml');

describe('manifests', () => {
  before(needsKubectl);

  for (const folder of applicableFolders()) {
    it(`${folder} is valid, object by object`, async function (this: Mocha.Context) {
      this.timeout(60_000);
      const manifests = await kustomize(folder);
      expect(manifests.length).to.be.greaterThan(15);
      expect(manifests.flatMap(complaintsAbout)).to.deep.equal([]);
      const names = manifests.map(nameOf);
      expect(names).to.have.length(new Set(names).size);
    });
  }

  for (const file of [...filesBelow('config', '.yaml'), ...filesBelow('sample', '.yaml')].filter(isObjectFile)) {
    it(`${file} is valid`, () => {
      const manifests = readManifests(file);
      expect(manifests).not.to.have.length(0);
      expect(manifests.flatMap(complaintsAbout)).to.deep.equal([]);
    });
  }

  it('names in each kustomization every file of its folder', () => {
    const unnamed = filesBelow('config', 'kustomization.yaml').flatMap((file) => {
      const folder = file.slice(0, file.lastIndexOf('/'));
      const { resources = [] } = parse(readFileSync(join(root, file), 'utf8')) as { resources?: string[] };
      return filesBelow(folder, '.yaml')
        .map((each) => each.slice(folder.length + 1))
        .filter((name) => !name.includes('/') && name !== 'kustomization.yaml' && !resources.includes(name))
        .map((name) => `${folder}/${name}`);
    });
    // What an operator fills in and applies by itself.
    expect(unnamed.filter((file) => !handMade.includes(file))).to.deep.equal([]);
  });

  describe('the check', () => {
    const valid = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: b, labels: {c: d}}
spec:
  selector: {matchLabels: {c: d}}
  template: {spec: {containers: [{name: x, ports: [{containerPort: 1}]}]}}
`;
    const [deployment] = parseManifests(valid);

    it('takes what is right', () => {
      expect(deployment === undefined ? ['no object'] : complaintsAbout(deployment)).to.deep.equal([]);
    });

    const mistakes: readonly (readonly [name: string, from: string, to: string, complaint: string])[] = [
      [
        'an unknown field',
        '{name: x,',
        '{name: x, imagePullPolcy: Always,',
        'imagePullPolcy: V1Container has no such field',
      ],
      ['a string for a number', 'containerPort: 1', 'containerPort: "1"', 'it is "1", want a whole number'],
      ['a number for a string', '{c: d}}\nspec', '{c: 1}}\nspec', 'it is 1, want a string'],
      ['a map for a list', '[{name: x, ports: [{containerPort: 1}]}]', '{name: x}', 'want a list'],
      ['a missing field', 'selector: {matchLabels: {c: d}}', 'replicas: 1', 'Deployment.spec.selector: it is required'],
      ['a kind that does not exist', 'kind: Deployment', 'kind: Deploymnt', 'there is no such kind'],
      ['a version that does not exist', 'apps/v1', 'apps/v2', 'there is no such kind'],
      ['no namespace', ', namespace: b', '', 'it needs a namespace'],
    ];
    for (const [name, from, to, complaint] of mistakes) {
      it(`refuses ${name}`, () => {
        const text = valid.replace(from, to);
        expect(text).not.to.equal(valid);
        expect(parseManifests(text).flatMap(complaintsAbout).join('\n')).to.contain(complaint);
      });
    }

    it('refuses an unknown field of a custom kind', () => {
      const monitor = {
        apiVersion: 'monitoring.coreos.com/v1',
        kind: 'ServiceMonitor',
        metadata: { name: 'a', namespace: 'b' },
        spec: { selector: { matchLabels: {} }, endpoints: [{ port: 'https', schema: 'https' }] },
      } satisfies Manifest;
      expect(complaintsAbout(monitor).join()).to.contain('schema');
    });
  });
});

const handMade = ['config/kexer-serving-cert.yaml'];
