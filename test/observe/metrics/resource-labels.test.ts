import { expect } from 'chai';

import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { type ResourceLabels, ResourceNames } from '../../../src/observe/metrics/resource-labels.ts';

const info = (path: string) => parseRequestInfo('GET', path.slice(1).split('/'), new URLSearchParams());
const shown = ({ group, version, resource, subresource }: ResourceLabels): unknown => ({
  group,
  version,
  resource,
  subresource,
});
const other = { group: 'other', version: 'other', resource: 'other', subresource: 'other' };

describe('ResourceNames', () => {
  it('knows the resources of Kubernetes', () => {
    const names = new ResourceNames();
    expect(shown(names.labelsOf(info('/api/v1/namespaces/a/pods/b/exec')))).to.deep.equal({
      group: '',
      version: 'v1',
      resource: 'pods',
      subresource: 'exec',
    });
    expect(names.labelsOf(info('/apis/apps/v1/deployments')).resource).to.equal('deployments');
  });

  it('has no labels for what is no resource, or could not be read', () => {
    const empty = { group: '', version: '', resource: '', subresource: '' };
    const names = new ResourceNames();
    expect(shown(names.labelsOf(info('/healthz/secret')))).to.deep.equal(empty);
    expect(shown(names.labelsOf(undefined))).to.deep.equal(empty);
  });

  it('calls what nobody was ever given other, and learns what was', () => {
    const names = new ResourceNames();
    const path = info('/apis/example.org/v1/namespaces/a/widgets/b/status');
    expect(shown(names.labelsOf(path))).to.deep.equal(other);
    names.labelsOf(path, true);
    expect(shown(names.labelsOf(path))).to.deep.equal({
      group: 'example.org',
      version: 'v1',
      resource: 'widgets',
      subresource: 'status',
    });
    // Its neighbours are as unknown as before.
    expect(shown(names.labelsOf(info('/apis/example.org/v1/namespaces/a/widgets')))).to.deep.equal(other);
  });

  it('learns no more than a bound', () => {
    const names = new ResourceNames();
    for (let index = 0; index < 600; index += 1) names.labelsOf(info(`/apis/x/v1/r${index}`), true);
    const known = Array.from({ length: 600 }, (_, index) => names.labelsOf(info(`/apis/x/v1/r${index}`)).resource);
    expect(known.filter((name) => name !== 'other')).to.have.length(500);
  });
});
