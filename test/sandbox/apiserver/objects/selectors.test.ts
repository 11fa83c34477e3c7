import { expect } from 'chai';
import { StatusError } from '../../../../src/kube/status.ts';
import { parseFieldSelector } from '../../../../src/kube/field-selector.ts';
import { parseLabelSelector } from '../../../../src/kube/label-selector.ts';
import { selectableFieldsOf } from '../../../../src/sandbox/apiserver/objects/field-selector.ts';
import { labelSelectorOf } from '../../../../src/sandbox/apiserver/objects/label-selector.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';

function refusal(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return error instanceof StatusError ? `${error.status.code} ${error.status.message}` : String(error);
  }
}

describe('parseLabelSelector', () => {
  const labels = { app: 'web', tier: 'front', n: '5', in: 'x' };
  const cases: readonly [selector: string, matches: boolean][] = [
    ['', true],
    ['app=web', true],
    ['app==web,tier=back', false],
    ['app!=web', false],
    ['missing!=web', true],
    ['app in (db, web)', true],
    ['app notin (db,web)', false],
    ['missing notin (a)', true],
    ['app', true],
    ['!app', false],
    ['!missing', true],
    ['n>4,n<6', true],
    ['n>5', false],
    ['app>4', false],
    ['app=', false],
    ['missing in ()', false],
    ['in=x', true],
    ['app in (,web)', true],
    ['example.com/app=web', false],
  ];
  for (const [selector, matches] of cases) {
    it(`${JSON.stringify(selector)} ${matches ? 'matches' : 'does not match'}`, () => {
      expect(parseLabelSelector(selector)?.(labels) ?? true).to.equal(matches);
    });
  }

  const errors: readonly [selector: string, message: string][] = [
    ['a===', "unable to parse requirement: found '=', expected: identifier"],
    ['=a', "found '=', expected: !, identifier, or 'end of string'"],
    ['a b', "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    ['a in b', "unable to parse requirement: found 'b' expected: '('"],
    ['a in (b', "unable to parse requirement: found '', expected: ',' or ')'"],
    ['a=b,', "found '', expected: identifier after ','"],
    ['a=b)', "found ')', expected: ',' or 'end of string'"],
    [
      'a>b',
      `unable to parse requirement: values[0]: Invalid value: "b": for 'Gt', 'Lt' operators, the value must be an integer`,
    ],
  ];
  for (const [selector, message] of errors) {
    it(`refuses ${JSON.stringify(selector)}`, () => {
      expect(refusal(() => parseLabelSelector(selector))).to.equal(`400 ${message}`);
    });
  }

  it('refuses keys and values that no label can have', () => {
    expect(refusal(() => parseLabelSelector('-a=b'))).to.match(
      /^400 unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of/,
    );
    expect(refusal(() => parseLabelSelector('a=-b'))).to.match(
      /^400 unable to parse requirement: values\[0\]\[a\]: Invalid value: "-b": a valid label must be/,
    );
  });
});

describe('labelSelectorOf', () => {
  it('selects by labels and expressions; nothing without a selector, everything with an empty one', () => {
    const matches = (selector: unknown): boolean => labelSelectorOf(selector)({ app: 'web' });
    expect([
      matches(undefined),
      matches({}),
      matches({ matchLabels: { app: 'web' } }),
      matches({ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] }),
      matches({
        matchExpressions: [
          { key: 'x', operator: 'DoesNotExist' },
          { key: 'app', operator: 'Exists' },
        ],
      }),
    ]).to.deep.equal([false, true, true, false, true]);
  });
});

describe('parseFieldSelector', () => {
  const pods = { group: '', resource: 'pods' };
  const pod: KubeObject = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'ns' },
    spec: { nodeName: 'node1' },
    status: { phase: 'Running' },
  };
  const cases: readonly [selector: string, matches: boolean][] = [
    ['metadata.name=a', true],
    ['metadata.name==b', false],
    ['spec.nodeName=node1,status.phase!=Running', false],
    ['spec.nodeName!=', true],
    ['status.podIP=', true],
    ['spec.hostNetwork=false', true],
  ];
  for (const [selector, matches] of cases) {
    it(`${selector} ${matches ? 'matches' : 'does not match'}`, () => {
      expect(parseFieldSelector(selector, selectableFieldsOf(pods))?.(pod)).to.equal(matches);
    });
  }

  it('reads an escaped comma as part of the value', () => {
    const matches = parseFieldSelector(String.raw`metadata.name=a\,b`, selectableFieldsOf(pods));
    expect(matches?.({ ...pod, metadata: { name: 'a,b' } })).to.equal(true);
  });

  it('says what cannot be selected by, and what is no selector', () => {
    const maps = { group: '', resource: 'configmaps' };
    expect([
      refusal(() => parseFieldSelector('nope=1', selectableFieldsOf(pods))),
      refusal(() => parseFieldSelector('data.a=1', selectableFieldsOf(maps))),
      refusal(() => parseFieldSelector('nope', selectableFieldsOf(pods))),
    ]).to.deep.equal([
      '400 field label not supported: nope',
      '400 "data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
      `400 invalid selector: 'nope'; can't understand 'nope'`,
    ]);
  });

  it('selects events by the object they are about, and by their source', () => {
    const event: KubeObject = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'e' },
      involvedObject: { kind: 'Pod', name: 'a', uid: 'u' },
      reportingComponent: 'kubelet',
    };
    const selector = 'involvedObject.name=a,involvedObject.uid=u,source=kubelet';
    expect(parseFieldSelector(selector, selectableFieldsOf({ group: '', resource: 'events' }))?.(event)).to.equal(true);
  });
});
