// Policies as kube-apiserver reads them: what a rule matches, which of several counts, and everything that is wrong with a file at once.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { loadPolicyFile, parsePolicy } from '../../../src/observe/audit/policy-file.ts';
import { type AuditAttributes, defaultPolicy, documentPolicy } from '../../../src/observe/audit/policy.ts';
import { useTempDir } from '../../support/temp-dir.ts';

function attributes(method: string, target: string, more: Partial<AuditAttributes> = {}): AuditAttributes {
  const [path = '', query = ''] = target.split('?');
  return {
    user: makeUser({ name: 'alice', groups: ['dev', 'system:authenticated'] }),
    info: parseRequestInfo(method, path.slice(1).split('/'), new URLSearchParams(query)),
    isOwn: false,
    isSession: false,
    isRefused: false,
    ...more,
  };
}

async function isRecorded(rule: string, given: AuditAttributes): Promise<boolean> {
  const document = await parsePolicy(
    `apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, ${rule}}\n`,
    'policy.yaml',
  );
  return documentPolicy(document).decide(given).isRecorded;
}

const exec = attributes('POST', '/api/v1/namespaces/default/pods/demo/exec');
const pods = attributes('GET', '/api/v1/namespaces/default/pods');
const nodes = attributes('GET', '/api/v1/nodes/n1');
const scale = attributes('PATCH', '/apis/apps/v1/namespaces/default/deployments/web/scale');
const version = attributes('GET', '/version');
const stranger = attributes('GET', '/version', { user: undefined });
const unreadable = attributes('GET', '/', { user: undefined, info: undefined });

describe('documentPolicy', () => {
  const cases: readonly (readonly [rule: string, given: AuditAttributes, isMatched: boolean])[] = [
    ['users: [alice]', exec, true],
    ['users: [bob]', exec, false],
    ['users: [alice]', stranger, false],
    ['userGroups: [ops, dev]', exec, true],
    ['userGroups: [ops]', exec, false],
    ['userGroups: [dev]', stranger, false],
    ['verbs: [create]', exec, true],
    ['verbs: [get]', exec, false],
    ['verbs: [list]', pods, true],
    ['verbs: [get]', unreadable, false],
    ['resources: [{group: "", resources: [pods/exec]}]', exec, true],
    ['resources: [{group: "", resources: [pods]}]', exec, false],
    ['resources: [{group: "", resources: [pods]}]', pods, true],
    ['resources: [{group: "", resources: [pods/*]}]', exec, true],
    ['resources: [{group: "", resources: [pods/*]}]', pods, true],
    ['resources: [{group: "", resources: ["*/exec"]}]', exec, true],
    ['resources: [{group: "", resources: ["*/exec"]}]', pods, false],
    ['resources: [{group: "", resources: ["*"]}]', exec, true],
    ['resources: [{group: ""}]', exec, true],
    ['resources: [{resources: [pods/exec]}]', exec, true],
    ['resources: [{group: apps}]', exec, false],
    ['resources: [{group: apps, resources: ["*/scale"]}]', scale, true],
    ['resources: [{group: "", resources: [nodes]}, {group: apps, resources: [deployments/scale]}]', scale, true],
    ['resources: [{group: "", resources: [pods/exec], resourceNames: [demo]}]', exec, true],
    ['resources: [{group: "", resources: [pods/exec], resourceNames: [other]}]', exec, false],
    ['namespaces: [default]', exec, true],
    ['namespaces: [other]', exec, false],
    ['namespaces: [""]', nodes, true],
    ['namespaces: [""]', pods, false],
    ['namespaces: [default]', version, false],
    ['namespaces: [other], resources: [{group: ""}]', exec, false],
    ['nonResourceURLs: [/version]', version, true],
    ['nonResourceURLs: ["/ver*"]', version, true],
    ['nonResourceURLs: ["*"]', version, true],
    ['nonResourceURLs: [/versions]', version, false],
    ['nonResourceURLs: ["*"]', exec, false],
    ['nonResourceURLs: ["*"]', unreadable, false],
    ['omitManagedFields: true', unreadable, true],
  ];
  for (const [rule, given, isMatched] of cases) {
    it(`{${rule}} ${isMatched ? 'matches' : 'does not match'} ${given.info?.verb ?? 'an unreadable path'} ${given.info?.path ?? ''}`, async () => {
      expect(await isRecorded(rule, given)).to.equal(isMatched);
    });
  }

  it('takes the first rule that matches, and nothing means None', async () => {
    const policy = documentPolicy(
      await parsePolicy(
        [
          'apiVersion: audit.k8s.io/v1',
          'kind: Policy',
          'metadata: {name: mine}',
          'omitStages: [RequestReceived]',
          'omitManagedFields: true',
          'rules:',
          '- level: None',
          '  users: [bob]',
          '- level: RequestResponse',
          '  resources: [{group: "", resources: [pods/exec]}]',
          '  omitStages: [ResponseStarted]',
        ].join('\n'),
        'policy.yaml',
      ),
    );
    const bob = { ...exec, user: makeUser({ name: 'bob' }) };
    const decisions = [exec, bob, pods].map((given) => {
      const { isRecorded, omitStages } = policy.decide(given);
      return [isRecorded, ...omitStages];
    });
    expect(decisions).to.deep.equal([
      [true, 'RequestReceived', 'ResponseStarted'],
      [false, 'RequestReceived'],
      [false],
    ]);
  });
});

describe('defaultPolicy', () => {
  it('records sessions and refusals, not ordinary calls', () => {
    const decided = [exec, { ...exec, isSession: true }, { ...pods, isRefused: true }, unreadable].map(
      (given) => defaultPolicy.decide(given).isRecorded,
    );
    expect(decided).to.deep.equal([false, true, true, false]);
  });

  it('records who ends a session of somebody else, once: not the call inside a cluster that leads there', () => {
    const session = '/apis/backup.cv.io/v1/namespaces/default/sessions/74aa82da85';
    const decided = [
      attributes('DELETE', session, { isOwn: true }),
      attributes('DELETE', session),
      attributes('GET', session, { isOwn: true }),
      attributes('DELETE', '/livez', { isOwn: true }),
      attributes('DELETE', '/api/v1/namespaces/default/pods/demo'),
    ].map((given) => defaultPolicy.decide(given));
    expect(decided.map(({ isRecorded }) => isRecorded)).to.deep.equal([true, false, false, false, false]);
    expect([...(decided[0]?.omitStages ?? [])]).to.deep.equal(['RequestReceived']);
  });
});

describe('loadPolicyFile', () => {
  const dir = useTempDir();

  async function problemsOf(text: string): Promise<string[]> {
    const file = join(dir(), 'policy.yaml');
    await writeFile(file, text);
    try {
      await loadPolicyFile(file);
      return [];
    } catch (error) {
      expect(error).to.have.property('code', 'config');
      return (error as Error).message.split('\n').map((line) => line.replace(`${file}:`, ''));
    }
  }

  it('tells everything that is wrong, with lines', async () => {
    const text = [
      'apiVersion: audit.k8s.io/v1beta1',
      'kind: Policies',
      'omitStages: [Received]',
      'rules:',
      '- level: All',
      '- level: Metadata',
      '  user: [alice]',
      '  verbs: get',
      '- level: Metadata',
      '  resources:',
      '  - group: apps/v1',
      '    resourceNames: [a]',
      '  nonResourceURLs: [healthz, "/a*b", /ok]',
      '- Metadata',
    ].join('\n');
    expect(await problemsOf(text)).to.deep.equal([
      '1: Cannot use apiVersion: want audit.k8s.io/v1',
      '2: Cannot use kind: want Policy',
      '3: Cannot use omitStages[0]: want one of RequestReceived, ResponseStarted, ResponseComplete, Panic',
      '5: Cannot use rules[0].level: want one of None, Metadata, Request, RequestResponse',
      '7: Cannot use the key "user": a policy has no such field',
      '8: Cannot use rules[1].verbs: want a list of text',
      '11: Cannot use rules[2].resources[0].group: want an API group without a version',
      '12: Cannot use rules[2].resources[0].resourceNames: want resources with resourceNames',
      "13: Cannot use rules[2].nonResourceURLs[0]: want '*' or a path that begins with a slash",
      "13: Cannot use rules[2].nonResourceURLs[1]: want a '*' at its end only",
      '13: Cannot use rules[2].nonResourceURLs: want no resources or namespaces beside it',
      '14: Cannot use rules[3]: want a rule (level: …)',
    ]);
  });

  it('refuses what does not go together', async () => {
    const text = [
      'apiVersion: audit.k8s.io/v1',
      'kind: Policy',
      'rules:',
      '- level: Metadata',
      '  namespaces: [a]',
      '  nonResourceURLs: [/x]',
      '- level: Metadata',
      '  resources: [{group: "", resourceNames: [a]}]',
    ].join('\n');
    expect(await problemsOf(text)).to.deep.equal([
      '6: Cannot use rules[0].nonResourceURLs: want no resources or namespaces beside it',
      '8: Cannot use rules[1].resources[0].resourceNames: want resources with resourceNames',
    ]);
  });

  it('refuses no rules, no YAML, an empty file, and no file', async () => {
    expect([
      await problemsOf('apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n'),
      (await problemsOf('rules: [\n')).map((line) => line.slice(0, 21)),
      (await problemsOf('')).length,
    ]).to.deep.equal([['3: Cannot use rules: want at least one rule'], ['2: this is no YAML: F'], 3]);
    const missing = await loadPolicyFile(join(dir(), 'nope')).catch((error: unknown) => error);
    expect(missing).to.have.property('code', 'config');
  });
});
