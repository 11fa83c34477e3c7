// Whose an answer of another cluster is: the caller's, or one about the Secret.

import { expect } from 'chai';

import { remoteJudge } from '../../src/clusters/remote-judge.ts';
import { encodeStatus, forbidden, unauthorized } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';

const outer = '/apis/backup.cv.io/v1/namespaces/clusters/clusters/far/exec';
const json = [['Content-Type', 'application/json']] as const;
const html = [['Content-Type', 'text/html; charset=utf-8']] as const;
const pods = '/api/v1/namespaces/default/pods';
const proxied = '/api/v1/namespaces/default/services/web/proxy/login';

const expiredText = 'cluster "clusters/far" does not accept the credential of its Secret (401): it may have expired';
const redirectText =
  'cluster "clusters/far" answers with a redirect (302), which is not followed: the "endpointUrl" of its Secret leads to no kube-apiserver';
const pageText =
  'cluster "clusters/far" answers with a page for people (200): the "endpointUrl" of its Secret leads to no kube-apiserver';
const actText =
  'cluster "clusters/far" does not let the account of its Secret act as this user: it needs the verb "impersonate" on users, groups there';

function refuseTo(user: string, verb: string): Buffer {
  const text = `User "${user}" cannot ${verb} resource "users" in API group "" at the cluster scope`;
  return encodeStatus(forbidden({ group: '', resource: 'users' }, 'hub:alice', text));
}

describe('remoteJudge', () => {
  const user = makeUser({ name: 'hub:alice', groups: ['hub:devs'] });
  const account = 'system:serviceaccount:kexer-remote:kexer';

  type Headers = typeof json | typeof html | readonly [];
  const cases: readonly (readonly [
    what: string,
    path: string,
    status: number,
    headers: Headers,
    body: Buffer,
    text: string | undefined,
  ])[] = [
    ['an answer', pods, 200, json, Buffer.from('{}'), undefined],
    ['a 401', pods, 401, json, encodeStatus(unauthorized()), expiredText],
    ['a 401 without a Status', pods, 401, [], Buffer.from('no'), expiredText],
    ['a 401 of a target behind a proxy', proxied, 401, html, Buffer.from('log in'), undefined],
    ['a 401 of the apiserver to a proxied call', proxied, 401, json, encodeStatus(unauthorized()), expiredText],
    ['a refusal to impersonate', pods, 403, json, refuseTo(account, 'impersonate'), actText],
    ["the user's own refusal", pods, 403, json, refuseTo('hub:alice', 'list'), undefined],
    ["the user's own refusal to impersonate", pods, 403, json, refuseTo('hub:alice', 'impersonate'), undefined],
    ['a redirect', pods, 302, [], Buffer.alloc(0), redirectText],
    ['a redirect of a target behind a proxy', proxied, 302, [], Buffer.alloc(0), undefined],
    ['what has not changed', pods, 304, [], Buffer.alloc(0), undefined],
    ['a page for people', pods, 200, html, Buffer.from('<html>'), pageText],
    ['a page at /version', '/version', 200, html, Buffer.from('<html>'), pageText],
    ['a page of a target behind a proxy', proxied, 200, html, Buffer.from('<html>'), undefined],
    ['a page that is one', '/logs/', 200, html, Buffer.from('<pre>'), undefined],
  ];
  for (const [what, path, status, headers, body, text] of cases) {
    it(`${text === undefined ? 'passes' : 'says what is wrong with'} ${what}`, () => {
      const judge = remoteJudge({ name: 'clusters/far', inner: innerOf(path), impersonated: user });
      const head = { status, headers };
      const refusal = judge.mayRefuse(head) ? judge.refusal(head, body) : undefined;
      expect([refusal?.status.code, refusal?.status.message]).to.deep.equal([
        text === undefined ? undefined : 502,
        text,
      ]);
      expect(JSON.stringify(refusal?.status ?? '')).to.not.contain(account);
    });
  }

  it('leaves every 403 to a shared account as it is', () => {
    const judge = remoteJudge({ name: 'clusters/far', inner: innerOf(pods), impersonated: undefined });
    expect(judge.mayRefuse({ status: 403, headers: json })).to.equal(false);
  });
});

function innerOf(path: string): Parameters<typeof remoteJudge>[0]['inner'] {
  const parsed = parseRequestPath('GET', `${outer}${path}`);
  if (parsed.kind !== 'cluster') throw new Error('no cluster');
  return parsed.inner;
}
