// What a name means while Secrets come, change and go.

import { expect } from 'chai';

import type { ClusterSecret } from '../../src/clusters/cluster-secret.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { ClusterDirectory, type NamedCluster } from '../../src/clusters/directory.ts';
import type { SecretChange } from '../../src/clusters/secret-watch.ts';
import { StatusError } from '../../src/kube/status.ts';

const spec = {
  endpointUrl: 'https://far',
  ca: undefined,
  tlsServerName: undefined,
  credential: { kind: 'token', token: 'one' },
  identity: 'shared',
  identityPrefix: '',
  streams: 'apiserver',
} as const;

function secretOf(parts: Partial<ClusterSecret> = {}): ClusterSecret {
  return {
    namespace: 'clusters',
    name: 'far',
    uid: 'u1',
    creationTimestamp: '',
    labels: {},
    shown: { endpoint: '', identity: '', streams: '' },
    spec,
    ...parts,
  };
}

describe('ClusterDirectory', () => {
  const local = { name: 'local' } as Cluster;
  let hasSynced: boolean;
  let tell: (change: SecretChange) => void;
  let seen: string[];
  let directory: ClusterDirectory;

  beforeEach(() => {
    hasSynced = true;
    seen = [];
    let made = 0;
    directory = new ClusterDirectory({
      local,
      remote: {
        secrets: {
          has: (namespace) => namespace === 'clusters',
          hasSynced: () => hasSynced,
          onChange: (listener) => {
            tell = listener;
          },
        },
        make: ({ name }) => {
          made += 1;
          const id = `${name}${made}`;
          const end = (how: string) => async (): Promise<void> => void seen.push(`${how} ${id}`);
          return { name, retire: end('retire'), close: end('close') } as unknown as NamedCluster;
        },
        onGone: (namespace, name) => seen.push(`gone ${namespace}/${name}`),
      },
    });
  });

  const set = (secret: ClusterSecret): void => tell({ namespace: 'clusters', name: secret.name, secret });
  const unset = (name: string): void => tell({ namespace: 'clusters', name, secret: undefined });
  function refused(namespace: string, name: string): [number, string | undefined, number | undefined] {
    try {
      directory.find(namespace, name);
    } catch (error) {
      if (error instanceof StatusError) {
        const { code, message, details } = error.status;
        return [code, message, details?.retryAfterSeconds];
      }
    }
    throw new Error('found');
  }

  it('knows the local cluster under every namespace', () => {
    expect([directory.find('default', 'local'), directory.find('clusters', 'local')]).to.deep.equal([local, local]);
  });

  for (const name of ['far', 'Local', 'local ', 'löcal', '__proto__', 'a/b', '..', '\u0000']) {
    it(`takes ${JSON.stringify(name)} for nobody`, () => {
      const text = `clusters.backup.cv.io "${name}" not found`;
      expect(refused('clusters', name)).to.deep.equal([404, text, undefined]);
      expect(refused('default', name)).to.deep.equal([404, text, undefined]);
    });
  }

  it('does not take what it has not read yet for nothing, where it reads at all', () => {
    hasSynced = false;
    expect(refused('clusters', 'far')).to.deep.equal([
      503,
      'the Secrets of the namespace "clusters" have not been read yet',
      1,
    ]);
    expect(refused('default', 'far')[0]).to.equal(404);
  });

  it('makes one cluster of a Secret, until its content changes', () => {
    set(secretOf());
    const first = directory.find('clusters', 'far');
    set(secretOf({ labels: { env: 'prod' } }));
    expect(directory.find('clusters', 'far')).to.equal(first);
    set(secretOf({ spec: { ...spec, identity: 'impersonate' } }));
    expect(directory.find('clusters', 'far')).to.not.equal(first);
    expect(seen).to.deep.equal(['retire far1']);
  });

  it('closes what a deleted Secret named, and says so', () => {
    set(secretOf());
    directory.find('clusters', 'far');
    unset('far');
    expect([seen, refused('clusters', 'far')[0], directory.has('clusters', 'far')]).to.deep.equal([
      ['close far1', 'gone clusters/far'],
      404,
      false,
    ]);
  });

  it('takes a Secret of another UID for another cluster', () => {
    set(secretOf());
    directory.find('clusters', 'far');
    set(secretOf({ uid: 'u2' }));
    expect(seen).to.deep.equal(['close far1', 'gone clusters/far']);
  });

  it('says what is wrong with a Secret, and closes what it had been', () => {
    set(secretOf());
    directory.find('clusters', 'far');
    set(secretOf({ spec: { problem: 'has no key "endpointUrl"' } }));
    expect(refused('clusters', 'far')).to.deep.equal([
      502,
      'cluster "clusters/far" cannot be used: the Secret clusters/far has no key "endpointUrl"',
      undefined,
    ]);
    expect([seen, directory.has('clusters', 'far')]).to.deep.equal([['retire far1'], true]);
  });

  it('closes all of them in the end', async () => {
    set(secretOf());
    set(secretOf({ name: 'near', uid: 'u3' }));
    directory.find('clusters', 'far');
    await directory.close();
    expect(seen).to.deep.equal(['close far1']);
  });
});
