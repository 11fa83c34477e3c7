import { expect } from 'chai';
import { applyJsonPatch, JsonPatchError } from '../../../../src/sandbox/apiserver/patches/json-patch.ts';
import { applyMergePatch } from '../../../../src/sandbox/apiserver/patches/merge-patch.ts';
import { applyStrategicMerge, StrategicPatchError } from '../../../../src/sandbox/apiserver/patches/strategic-merge.ts';
import { schemaOfKind } from '../../../../src/sandbox/apiserver/schemas/definitions.ts';

type Json = Record<string, unknown>;

describe('applyJsonPatch', () => {
  const document = { a: { b: [1, 2], 'x/y': 1, 'm~n': 2 } };
  const cases: readonly [name: string, patch: Json[], result: unknown][] = [
    ['adds a key', [{ op: 'add', path: '/c', value: 1 }], { ...document, c: 1 }],
    ['adds into a list', [{ op: 'add', path: '/a/b/1', value: 9 }], { a: { ...document.a, b: [1, 9, 2] } }],
    ['appends to a list', [{ op: 'add', path: '/a/b/-', value: 9 }], { a: { ...document.a, b: [1, 2, 9] } }],
    ['removes', [{ op: 'remove', path: '/a/b' }], { a: { 'x/y': 1, 'm~n': 2 } }],
    [
      'replaces by an escaped pointer',
      [{ op: 'replace', path: '/a/x~1y', value: 5 }],
      { a: { ...document.a, 'x/y': 5 } },
    ],
    ['reads ~0 as a tilde', [{ op: 'remove', path: '/a/m~0n' }], { a: { b: [1, 2], 'x/y': 1 } }],
    ['moves', [{ op: 'move', from: '/a/b', path: '/z' }], { a: { 'x/y': 1, 'm~n': 2 }, z: [1, 2] }],
    ['copies', [{ op: 'copy', from: '/a/b/0', path: '/z' }], { ...document, z: 1 }],
    [
      'tests, then goes on',
      [
        { op: 'test', path: '/a/b', value: [1, 2] },
        { op: 'add', path: '/k', value: null },
      ],
      { ...document, k: null },
    ],
    ['replaces the whole', [{ op: 'replace', path: '', value: { n: 1 } }], { n: 1 }],
  ];
  for (const [name, patch, result] of cases) {
    it(name, () => {
      expect(applyJsonPatch(document, patch)).to.deep.equal(result);
    });
  }

  const failures: readonly Json[] = [
    { op: 'test', path: '/a/b', value: [1] },
    { op: 'remove', path: '/nope' },
    { op: 'replace', path: '/nope', value: 1 },
    { op: 'add', path: '/nope/deep', value: 1 },
    { op: 'add', path: '/a/b/7', value: 1 },
    { op: 'remove', path: '/a/b/01' },
    { op: 'frobnicate', path: '/a' },
    { op: 'add', path: 'a' },
  ];
  for (const operation of failures) {
    it(`refuses ${JSON.stringify(operation)} and leaves the document alone`, () => {
      const before = structuredClone(document);
      expect(() => applyJsonPatch(document, [{ op: 'add', path: '/ok', value: 1 }, operation])).to.throw(
        JsonPatchError,
      );
      expect(document).to.deep.equal(before);
    });
  }
});

describe('applyMergePatch', () => {
  // The table of RFC 7386, appendix A, as far as it is about objects.
  const cases: readonly [original: unknown, patch: Json, result: unknown][] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [original, patch, result] of cases) {
    it(`${JSON.stringify(original)} with ${JSON.stringify(patch)}`, () => {
      expect(applyMergePatch(original, patch)).to.deep.equal(result);
    });
  }

  it('does not touch the prototype', () => {
    const patch = JSON.parse('{"__proto__":{"polluted":true}}') as Json;
    const result = applyMergePatch({}, patch);
    expect((result as { polluted?: boolean }).polluted).to.equal(undefined);
  });
});

describe('applyStrategicMerge', () => {
  const pod = schemaOfKind({ group: '', version: 'v1', kind: 'Pod' });
  const containers = [
    { name: 'a', image: '1', env: [{ name: 'X', value: '1' }] },
    { name: 'b', image: '2' },
  ];
  const patched = (original: Json, patch: Json): unknown => applyStrategicMerge(original, patch, pod);

  const cases: readonly [name: string, original: Json, patch: Json, result: Json][] = [
    [
      'merges items of a list by their key, at every depth',
      { spec: { containers } },
      { spec: { containers: [{ name: 'a', image: '9', env: [{ name: 'Y', value: '2' }] }] } },
      {
        spec: {
          containers: [
            {
              name: 'a',
              image: '9',
              env: [
                { name: 'X', value: '1' },
                { name: 'Y', value: '2' },
              ],
            },
            containers[1],
          ],
        },
      },
    ],
    [
      'deletes an item that says so',
      { spec: { containers } },
      { spec: { containers: [{ name: 'a', $patch: 'delete' }] } },
      { spec: { containers: [containers[1]] } },
    ],
    [
      'replaces a list that says so',
      { spec: { containers } },
      { spec: { containers: [{ $patch: 'replace' }, { name: 'z', image: '0' }] } },
      { spec: { containers: [{ name: 'z', image: '0' }] } },
    ],
    [
      'replaces an object that says so',
      { metadata: { labels: { a: '1', b: '2' } } },
      { metadata: { labels: { $patch: 'replace', c: '3' } } },
      { metadata: { labels: { c: '3' } } },
    ],
    [
      'replaces a list that has no key',
      { spec: { tolerations: [{ key: 'a' }] } },
      { spec: { tolerations: [{ key: 'b' }] } },
      { spec: { tolerations: [{ key: 'b' }] } },
    ],
    [
      'removes with null',
      { spec: { nodeName: 'n', priority: 1 } },
      { spec: { nodeName: null } },
      { spec: { priority: 1 } },
    ],
    [
      'adds to a set of scalars once',
      { metadata: { finalizers: ['a'] } },
      { metadata: { finalizers: ['b', 'a'] } },
      { metadata: { finalizers: ['a', 'b'] } },
    ],
    [
      'takes values out of a set of scalars',
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['a'] } },
      { metadata: { finalizers: ['b'] } },
    ],
    [
      'orders the items it knows and keeps the others in their place',
      { spec: { containers: [{ name: 'a' }, { name: 'mine' }, { name: 'b' }] } },
      {
        spec: {
          '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }],
          containers: [{ name: 'b', image: '2' }],
        },
      },
      { spec: { containers: [{ name: 'mine' }, { name: 'b', image: '2' }, { name: 'a' }] } },
    ],
    [
      'keeps only the keys that $retainKeys names',
      { spec: { volumes: [{ name: 'v', emptyDir: {} }] } },
      { spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }] } },
      { spec: { volumes: [{ name: 'v', hostPath: { path: '/x' } }] } },
    ],
    [
      'drops directives and nulls of what it adds',
      {},
      {
        spec: {
          containers: [
            { name: 'a', image: null },
            { name: 'b', $patch: 'delete' },
          ],
          '$setElementOrder/containers': [{ name: 'a' }],
        },
      },
      { spec: { containers: [{ name: 'a' }] } },
    ],
  ];
  for (const [name, original, patch, result] of cases) {
    it(name, () => {
      const before = structuredClone(original);
      expect(patched(original, patch)).to.deep.equal(result);
      expect(original).to.deep.equal(before);
    });
  }

  it('refuses items without their key and lists that are none', () => {
    expect(() => patched({ spec: { containers } }, { spec: { containers: [{ image: 'x' }] } })).to.throw(
      StrategicPatchError,
      'does not contain declared merge key: name',
    );
    expect(() =>
      patched({ metadata: { finalizers: ['a'] } }, { metadata: { '$deleteFromPrimitiveList/finalizers': 'a' } }),
    ).to.throw(StrategicPatchError);
    expect(() => patched({ spec: {} }, { spec: { $retainKeys: 'x' } })).to.throw(StrategicPatchError);
  });
});
