import { expect } from 'chai';

import { StatusError } from '../../../../src/kube/status.ts';
import { decodeProtobuf } from '../../../../src/sandbox/apiserver/requests/protobuf.ts';

/** A field of wire type 2, or a varint. */
function field(number: number, value: Buffer | string | number): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return Buffer.from([...bytes, rest]);
}

const message = (...fields: Buffer[]): Buffer => Buffer.concat(fields);

function envelope(apiVersion: string, kind: string, raw: Buffer): Buffer {
  const types = message(field(1, apiVersion), field(2, kind));
  return message(Buffer.from('k8s\0'), field(1, types), field(2, raw), field(3, ''), field(4, ''));
}

const time = message(field(1, 1_795_219_200), field(2, 0));

describe('sandbox decodeProtobuf', () => {
  it('reads what kubectl auth can-i posts', () => {
    // Bytes of kubectl 1.32 for `auth can-i get pods`, but for the metadata's padding.
    const attributes = message(
      field(1, 'default'),
      field(2, 'get'),
      field(3, ''),
      field(4, '*'),
      field(5, 'pods'),
      field(6, ''),
      field(7, ''),
    );
    const metadata = message(field(1, ''), field(2, ''), field(8, Buffer.alloc(0)));
    const body = envelope(
      'authorization.k8s.io/v1',
      'SelfSubjectAccessReview',
      message(field(1, metadata), field(2, field(1, attributes)), field(3, message(field(1, 0), field(2, '')))),
    );
    expect(decodeProtobuf(body)).to.deep.equal({
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      metadata: {},
      spec: { resourceAttributes: { namespace: 'default', verb: 'get', version: '*', resource: 'pods' } },
    });
  });

  it('reads maps, bytes, times, inline fields, quantities and int-or-string', () => {
    const metadata = message(
      field(1, 'x'),
      field(8, time),
      field(11, message(field(1, 'app'), field(2, 'web'))),
      field(11, message(field(1, 'tier'), field(2, ''))),
    );
    const secret = message(
      field(1, metadata),
      field(2, message(field(1, 'k'), field(2, Buffer.from([0, 255])))),
      field(3, 'Opaque'),
    );
    expect(decodeProtobuf(envelope('v1', 'Secret', secret))).to.deep.equal({
      kind: 'Secret',
      apiVersion: 'v1',
      metadata: { name: 'x', creationTimestamp: '2026-11-21T00:00:00Z', labels: { app: 'web', tier: '' } },
      data: { k: 'AP8=' },
      type: 'Opaque',
    });
    const volume = message(field(1, 'v'), field(2, field(2, message(field(1, ''), field(2, field(1, '1Gi'))))));
    const port = message(field(1, 1), field(2, 0), field(3, 'http'));
    const probe = field(1, field(2, message(field(1, '/'), field(2, port))));
    const container = message(field(1, 'c'), field(3, 'sh'), field(3, '-c'), field(10, probe));
    const pod = field(2, message(field(1, volume), field(2, container), field(4, 0), field(11, 0)));
    expect(decodeProtobuf(envelope('v1', 'Pod', pod))['spec']).to.deep.equal({
      volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Gi' } }],
      containers: [{ name: 'c', command: ['sh', '-c'], livenessProbe: { httpGet: { path: '/', port: 'http' } } }],
      terminationGracePeriodSeconds: 0,
    });
  });

  it('keeps a replica count of zero', () => {
    const spec = field(2, message(field(1, 0), field(5, 0)));
    expect(decodeProtobuf(envelope('apps/v1', 'Deployment', spec))['spec']).to.deep.equal({ replicas: 0 });
  });

  it('knows delete options in every group', () => {
    expect(
      decodeProtobuf(envelope('apps/v1', 'DeleteOptions', message(field(1, 0), field(4, 'Orphan')))),
    ).to.deep.equal({
      kind: 'DeleteOptions',
      apiVersion: 'apps/v1',
      gracePeriodSeconds: 0,
      propagationPolicy: 'Orphan',
    });
  });

  const garbage: readonly [what: string, bytes: Buffer][] = [
    ['JSON', Buffer.from('{}')],
    ['nothing', Buffer.alloc(0)],
    ['a length beyond the end', Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0x0a, 0x7f, 1])])],
    ['an unfinished varint', Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0xff, 0xff])])],
    ['a group', Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0x0b])])],
    ['an unknown kind', envelope('example.com/v1', 'Thing', Buffer.alloc(0))],
  ];
  for (const [what, bytes] of garbage) {
    it(`refuses ${what} with 400`, () => {
      expect(() => decodeProtobuf(bytes))
        .to.throw(StatusError)
        .with.nested.property('status.code', 400);
    });
  }
});
