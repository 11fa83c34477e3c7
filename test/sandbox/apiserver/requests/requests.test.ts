import { expect } from 'chai';
import { StatusError } from '../../../../src/kube/status.ts';
import { GoJsonError, parseGoJson } from '../../../../src/sandbox/apiserver/requests/go-json.ts';
import { type AnswerForm, negotiate, wantsPretty } from '../../../../src/sandbox/apiserver/requests/negotiation.ts';
import { schemaOfKind } from '../../../../src/sandbox/apiserver/schemas/definitions.ts';
import { DecodeError, decodeObject } from '../../../../src/sandbox/apiserver/schemas/strict-decoding.ts';

describe('parseGoJson', () => {
  const cases: readonly [text: string, message: string][] = [
    ['', 'unexpected end of JSON input'],
    ['{', 'unexpected end of JSON input'],
    ['{nope', "invalid character 'n' looking for beginning of object key string"],
    ['{"a"}', "invalid character '}' after object key"],
    ['{"a":1 "b":2}', `invalid character '"' after object key:value pair`],
    ['[1 2]', "invalid character '2' after array element"],
    ['{"a":}', "invalid character '}' looking for beginning of value"],
    ['{"a":tru}', "invalid character '}' in literal true (expecting 'e')"],
    ['{} x', "invalid character 'x' after top-level value"],
    ['{"a":-}', "invalid character '}' in numeric literal"],
    ['{"a":"\u0001"}', String.raw`invalid character '\u0001' in string literal`],
    [String.raw`{"a":"\q"}`, "invalid character 'q' in string escape code"],
    ["'a'", String.raw`invalid character '\'' looking for beginning of value`],
  ];
  for (const [text, message] of cases) {
    it(JSON.stringify(text), () => expect(() => parseGoJson(text)).to.throw(GoJsonError, message));
  }
});

describe('negotiate', () => {
  const forms: readonly AnswerForm[] = ['Table', 'PartialObjectMetadata'];
  const cases: readonly [accept: string | undefined, result: string][] = [
    [undefined, 'plain application/json'],
    ['', 'plain application/json'],
    ['*/*', 'plain application/json'],
    ['application/json', 'plain application/json'],
    ['application/yaml', 'plain application/yaml'],
    ['application/vnd.kubernetes.protobuf,application/json', 'plain application/json'],
    ['application/json;as=Table;v=v1;g=meta.k8s.io,application/json', 'Table application/json'],
    ['application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json', 'plain application/json'],
    ['application/json;as=Other;v=v1;g=meta.k8s.io', '406'],
    ['application/json;q=0.1,application/yaml', 'plain application/yaml'],
    ['application/vnd.kubernetes.protobuf', '406'],
    ['text/csv', '406'],
  ];
  for (const [accept, result] of cases) {
    it(`${accept} is ${result}`, () => {
      let found: string;
      try {
        const { form, mediaType } = negotiate(accept, forms);
        found = `${form} ${mediaType}`;
      } catch (error) {
        found = error instanceof StatusError ? String(error.status.code) : String(error);
      }
      expect(found).to.equal(result);
    });
  }
});

describe('wantsPretty', () => {
  it('follows the query, else guesses by user agent', () => {
    const of = (query: string, agent?: string): boolean => wantsPretty(new URLSearchParams(query), agent);
    expect([of(''), of('pretty=true'), of('', 'curl/8'), of('pretty=0', 'curl/8'), of('', 'kubectl/v1')]).to.deep.equal(
      [false, true, true, false, false],
    );
  });
});

describe('decodeObject', () => {
  const pod = schemaOfKind({ group: '', version: 'v1', kind: 'Pod' });

  it('drops null and unknown fields, and says where they were', () => {
    const decoded = decodeObject(
      {
        metadata: { name: 'p', creationTimestamp: null, labels: { a: null } },
        nope: 1,
        spec: { containers: [{ name: 'a', imagee: 'x' }], hostIpc: true },
      },
      pod,
    );
    expect(decoded).to.deep.equal({
      value: { metadata: { name: 'p', labels: { a: '' } }, spec: { containers: [{ name: 'a' }] } },
      strictErrors: [
        'unknown field "nope"',
        'unknown field "spec.containers[0].imagee"',
        'unknown field "spec.hostIpc"',
      ],
    });
  });

  const misfits: readonly [value: Record<string, unknown>, message: string][] = [
    [
      { spec: { hostNetwork: 'yes' } },
      'json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool',
    ],
    [
      { spec: { containers: {} } },
      'json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container',
    ],
    [
      { spec: { containers: [{ ports: [{ containerPort: 'http' }] }] } },
      'json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32',
    ],
    [
      { spec: { priority: 1.5 } },
      'json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32',
    ],
    [
      { metadata: { labels: { a: 1 } } },
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
    ],
    [
      { metadata: { creationTimestamp: 'now' } },
      'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"',
    ],
    [
      { spec: { containers: [{ resources: { limits: { cpu: 'lots' } } }] } },
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
  ];
  for (const [value, message] of misfits) {
    it(`refuses ${JSON.stringify(value)}`, () => expect(() => decodeObject(value, pod)).to.throw(DecodeError, message));
  }
});
