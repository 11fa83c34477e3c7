// Attacks on whose rights count on what kexer answers itself (sessions, clusters, /metrics) by Impersonate-* headers: rights that are not the caller's,
// rights that the caller was to have given up, and headers that pass kube-apiserver's aggregation layer.

import { expect } from 'chai';

import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import type { Credential, Server } from './support/http-client.ts';
import { messageOf } from './support/raw-client.ts';
import { useStage } from './support/stage.ts';

const group = '/apis/backup.cv.io/v1/namespaces/default';
const masters: RawHeaders = [
  ['Impersonate-User', 'admin'],
  ['Impersonate-Group', 'system:masters'],
];

describe('impersonation on kexer’s own paths', () => {
  const stage = useStage();

  /** kexer itself, without a cluster in between; and the aggregation layer that leads to it. */
  const kexer = (): Server => ({ ...stage().direct, basePath: '' });
  const front = (): Server => stage().cluster;

  async function ask(
    server: Server,
    credential: Credential,
    headers: RawHeaders,
    { method = 'GET', path = `${group}/sessions` }: { method?: string; path?: string } = {},
  ): Promise<string> {
    const client = stage().client(server, credential);
    const { status, body, headers: given } = await client.ask({ method, path, headers });
    client.close();
    return status < 300 ? String(status) : `${status} ${messageOf({ status, headers: given, body: body.toString() })}`;
  }

  /** A token that may list sessions, and become whom these rules say. */
  async function deputy(...rules: readonly object[]): Promise<{ name: string; token: string }> {
    const account = await stage().account({ kexerRole: 'kexer-session-viewer' });
    const role = await stage().role(...rules);
    const [, , namespace, serviceAccount] = account.name.split(':');
    await stage().create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: stage().freshName('deputy') },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
      subjects: [{ kind: 'ServiceAccount', namespace, name: serviceAccount }],
    });
    return account;
  }

  const mayBeUsers = { apiGroups: [''], resources: ['users'], verbs: ['impersonate'] };

  it('gives nobody the rights of a user whom they may not be, and reaches no session', async () => {
    const { token } = await stage().account({ kexerRole: 'kexer-session-viewer' });
    const forged: readonly RawHeaders[] = [
      masters,
      [['Impersonate-User', 'admin']],
      [['impersonate-user', 'admin']],
      [
        ['Impersonate-User', 'admin'],
        ['Impersonate-User', 'viewer'],
      ],
      [
        ['Connection', 'Impersonate-User'],
        ['Impersonate-User', 'admin'],
      ],
      [['Impersonate-User', 'system:serviceaccount:kexec-system:kexer']],
    ];
    for (const headers of forged) {
      for (const options of [{}, { method: 'DELETE', path: `${group}/sessions/nope` }, { path: '/metrics' }]) {
        const answer = await ask(kexer(), { token }, headers, options);
        expect([headers, answer.slice(0, 3), answer.includes('cannot impersonate')]).to.deep.equal([
          headers,
          '403',
          true,
        ]);
      }
    }
  });

  it('adds no group, UID or extra that the caller may not have: system:masters least of all', async () => {
    const { token } = await deputy(mayBeUsers);
    const user = stage().freshName('nobody');
    for (const more of [
      ['Impersonate-Group', 'system:masters'],
      ['Impersonate-Uid', '0'],
      ['Impersonate-Extra-Scopes', 'all'],
    ] as const) {
      const answer = await ask(kexer(), { token }, [['Impersonate-User', user], more]);
      expect([more, answer.slice(0, 3)]).to.deep.equal([more, '403']);
    }
  });

  it('takes the caller’s own rights away: nobody keeps them beside those of the other', async () => {
    const { token } = await deputy(mayBeUsers);
    expect(await ask(kexer(), { token }, [])).to.equal('200');
    const other = stage().freshName('nobody');
    for (const headers of [
      [['Impersonate-User', other]],
      // The header stays what it is for kexer, as it does for kube-apiserver, whoever nominates it.
      [
        ['Connection', 'Impersonate-User'],
        ['Impersonate-User', other],
      ],
    ] as const) {
      expect(await ask(kexer(), { token }, headers)).to.match(
        new RegExp(`^403 sessions.backup.cv.io is forbidden: User "${other}" cannot list`),
      );
    }
  });

  it('refuses groups, UIDs and extras without a user as kube-apiserver does, to the byte', async () => {
    const { token } = await deputy(mayBeUsers);
    for (const header of [
      ['Impersonate-Group', 'system:masters'],
      ['Impersonate-Uid', '0'],
      ['Impersonate-Extra-Scopes', 'all'],
    ] as const) {
      const answers = [];
      for (const server of [kexer(), front()]) answers.push(await ask(server, { token }, [header]));
      expect(answers[0]).to.match(/^400 requested .* without impersonating a user name$/);
      expect(answers[0]).to.equal(answers[1]);
    }
  });

  it('adds nothing behind the front proxy: what is left of the headers is a wish of the user whom it names', async () => {
    const { name } = await stage().user();
    const proxied: RawHeaders = [
      ['X-Remote-User', name],
      ['X-Remote-Group', 'system:authenticated'],
    ];
    const credential = { certificate: stage().frontProxy };
    for (const path of [`${group}/sessions`, `${group}/clusters`, '/metrics']) {
      expect(await ask(kexer(), credential, [...proxied, ...masters], { path })).to.match(
        new RegExp(`^403 .*User "${name}" cannot impersonate`),
      );
    }
    // The proxy's own name is nobody's, with or without a wish.
    expect(await ask(kexer(), credential, masters)).to.equal('401 Unauthorized');
  });

  it('is resolved by the aggregation layer, once: kexer sees the other user and no header to act upon again', async () => {
    const { name: other } = await stage().user({ role: 'view' });
    const { token } = await deputy(mayBeUsers);
    // The other may see clusters and no sessions, and is nobody's deputy: a second reading of the header would be refused.
    const as: RawHeaders = [['Impersonate-User', other]];
    expect(await ask(front(), { token }, as, { path: `${group}/clusters` })).to.equal('200');
    expect(await ask(front(), { token }, as)).to.contain(`User "${other}" cannot list resource "sessions"`);
    const { token: stranger } = await stage().account({ kexerRole: 'kexer-session-viewer' });
    expect(await ask(front(), { token: stranger }, masters)).to.match(/^403 .*cannot impersonate/);
  });
});
