import { expect } from 'chai';

import { wantedRights } from '../../src/cli/doctor/rights.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import {
  describe as describeRight,
  grants,
  kexerNamespace,
  type RbacObject,
  readManifests,
  readTable,
  type Right,
  rightsOf,
  type TableRight,
} from './support/rbac-table.ts';

const line = ({ account, right }: Right): string => `${account}: ${right}`;
const sorted = (rights: readonly Right[]): string[] => [...new Set(rights.map(line))].toSorted();

/** The table's rights, and the client certificate's user, who has those of the account of the same name. */
function promised(table: readonly TableRight[]): Right[] {
  return table
    .flatMap(rightsOf)
    .flatMap((right) =>
      right.account === 'kexer-kubelet' ? [right, { ...right, account: 'kexer-kubelet (User)' }] : [right],
    );
}

describe('docs/rbac.md', () => {
  let table: TableRight[];
  let manifests: { file: string; object: RbacObject }[];

  before(async () => {
    table = await readTable();
    manifests = await readManifests();
  });

  it('has a row for every right', () => {
    expect(table.length).to.be.greaterThan(20);
    expect(table.filter(({ file, without }) => file === '' || without.length === 0)).to.deep.equal([]);
    const lines = table.flatMap(rightsOf).map(line);
    expect(lines).to.have.length(new Set(lines).size);
  });

  it('says what the manifests give, no more and no less', () => {
    expect(sorted(grants(manifests.map(({ object }) => object)))).to.deep.equal(sorted(promised(table)));
  });

  it('is what kexer doctor looks for: every right of kexer’s own accounts, and its file', () => {
    const lines = (
      rights: readonly { account: string; verbs: readonly string[]; file: string; right: TableRight }[],
    ): string[] =>
      rights.flatMap(({ account, verbs, file, right }) => {
        return verbs.map((verb) => `${account}: ${describeRight({ ...right, verb })} (${file})`);
      });
    const own = table.filter(({ account }) => account.startsWith('kexer'));
    const wanted = wantedRights.map((right) => ({ ...right, account: right.holder }));
    expect(
      lines(wanted.map((right) => ({ ...right, right: { ...right, through: '', without: [] } }))).toSorted(),
    ).to.deep.equal(lines(own.map((right) => ({ ...right, right }))).toSorted());
  });

  it('names the file of each right', () => {
    const files = [...new Set(manifests.map(({ file }) => file))];
    for (const file of files) {
      const here = grants(manifests.filter((entry) => entry.file === file).map(({ object }) => object));
      expect(sorted(here), file).to.deep.equal(sorted(promised(table.filter((row) => row.file === file))));
    }
    expect(table.map(({ file }) => file).filter((file) => !files.includes(file))).to.deep.equal([]);
  });

  it("names the role of Kubernetes' own through which a right comes", () => {
    const ours = new Set(
      manifests.filter(({ object }) => object.kind.endsWith('Role')).map(({ object }) => object.metadata.name),
    );
    const foreign = manifests.flatMap(({ object }) => object.roleRef?.name ?? []).filter((name) => !ours.has(name));
    expect([...new Set(table.map(({ through }) => through).filter((name) => name !== ''))].toSorted()).to.deep.equal(
      foreign.toSorted(),
    );
  });

  it('gives the accounts that hold rights no token that nobody asked for', () => {
    const accounts = manifests.filter(({ object }) => object.kind === 'ServiceAccount').map(({ object }) => object);
    expect(accounts.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).toSorted()).to.deep.equal(
      ['kexer', 'kexer-impersonator', 'kexer-kubelet'].map((name) => `${kexerNamespace}/${name}`),
    );
    // The pod of kexer runs as `kexer`; the other two are never a pod's.
    expect(
      accounts.filter((account) => !('automountServiceAccountToken' in account)).map(({ metadata }) => metadata.name),
    ).to.deep.equal(['kexer']);
  });

  describe('in the sandbox', () => {
    let sandbox: Sandbox;

    before(async function start() {
      this.timeout(20_000);
      sandbox = await startSandbox({ hasKubelets: false });
    });
    after(() => sandbox.stop());

    it("is what the sandbox's accounts have", () => {
      const group = 'rbac.authorization.k8s.io';
      const objects = ['clusterroles', 'roles', 'clusterrolebindings', 'rolebindings'].flatMap((resource) =>
        sandbox.store.list({ group, resource }),
      );
      expect(sorted(grants(objects))).to.deep.equal(sorted(promised(table)));
    });

    it('has the accounts of the manifests', () => {
      const names = sandbox.store
        .list({ group: '', resource: 'serviceaccounts' }, kexerNamespace)
        .map(({ metadata }) => metadata.name);
      expect(names.toSorted()).to.deep.equal(['default', 'kexer', 'kexer-impersonator', 'kexer-kubelet']);
    });
  });
});
