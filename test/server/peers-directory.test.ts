// Where the other kexers are, read of EndpointSlices as Kubernetes writes them: which endpoints count, by which port, under which name, and how often
// anybody looks.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { addressesOf, hostPort, PeerDirectory } from '../../src/server/peers-directory.ts';
import { FakeClock } from '../support/fake-clock.ts';

const https = { name: 'https', protocol: 'TCP', port: 8443 };

interface Endpoint {
  readonly addresses: unknown;
  readonly conditions?: unknown;
  readonly targetRef?: unknown;
}

function slice(endpoints: readonly (Endpoint | null)[] | undefined, ports: unknown = [https]): KubeObject {
  return { metadata: { name: 'kexer-abc' }, addressType: 'IPv4', endpoints, ports };
}

function pod(name: string, address: string, conditions?: unknown): Endpoint {
  return {
    addresses: [address],
    ...(conditions === undefined ? {} : { conditions }),
    targetRef: { kind: 'Pod', namespace: 'kexec-system', name },
  };
}

describe('addressesOf', () => {
  const counted: readonly (readonly [what: string, conditions: unknown, isCounted: boolean])[] = [
    ['ready', { ready: true, serving: true, terminating: false }, true],
    ['without conditions', undefined, true],
    ['with empty conditions', {}, true],
    // Older apiservers do not know `serving`.
    ['ready, of an older apiserver', { ready: true }, true],
    ['not ready, of an older apiserver', { ready: false }, false],
    ['not serving', { ready: false, serving: false, terminating: false }, false],
    ['serving while it terminates', { ready: false, serving: true, terminating: true }, true],
    // It carries its sessions to their end, whatever its probes say.
    ['terminating and not serving', { ready: false, serving: false, terminating: true }, true],
    ['ready and not serving, which nobody writes', { ready: true, serving: false }, false],
  ];
  for (const [what, conditions, isCounted] of counted) {
    it(`${isCounted ? 'counts' : 'leaves out'} an endpoint that is ${what}`, () => {
      const found = addressesOf(slice([pod('kexer-1', '10.0.0.1', conditions)]), 'a/kexer');
      expect(found).to.deep.equal(isCounted ? [{ name: 'kexer-1', host: '10.0.0.1', port: 8443 }] : []);
    });
  }

  const ports: readonly (readonly [what: string, ports: unknown, port: number | undefined])[] = [
    ['the only one, whatever it is called', [{ name: 'web', port: 443, protocol: 'TCP' }], 443],
    ['the only one, without a name or a protocol', [{ port: 443 }], 443],
    ['the one called https', [{ name: 'metrics', port: 9090, protocol: 'TCP' }, https], 8443],
    [
      'the only one of TCP',
      [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'web', port: 443 },
      ],
      443,
    ],
    [
      'none of two without the name',
      [
        { name: 'a', port: 1 },
        { name: 'b', port: 2 },
      ],
      undefined,
    ],
    ['none of UDP', [{ name: 'https', port: 443, protocol: 'UDP' }], undefined],
    ['none where all are meant', null, undefined],
    ['none of an entry without a number', [{ name: 'https' }], undefined],
  ];
  for (const [what, given, port] of ports) {
    it(`takes ${what}`, () => {
      const read = (): unknown => addressesOf(slice([pod('kexer-1', '10.0.0.1')], given), 'a/kexer');
      if (port === undefined) expect(read).to.throw(KexerError, 'Cannot tell the port of the Service "a/kexer"');
      else expect(read()).to.deep.equal([{ name: 'kexer-1', host: '10.0.0.1', port }]);
    });
  }

  it('needs no port where there is nobody to ask', () => {
    expect(addressesOf(slice([], null), 'a/kexer')).to.deep.equal([]);
    expect(addressesOf(slice(undefined, null), 'a/kexer')).to.deep.equal([]);
    expect(addressesOf(slice([pod('x', '10.0.0.1', { serving: false })], []), 'a/kexer')).to.deep.equal([]);
  });

  it('names an endpoint by its address where it tells no pod, and passes over what has none', () => {
    const endpoints = [
      { addresses: ['10.0.0.1'] },
      { addresses: ['2001:db8::1'], targetRef: { kind: 'Node', name: 'n1' } },
      { addresses: ['10.0.0.2'], targetRef: { kind: 'Pod', name: '' } },
      { addresses: [] },
      { addresses: [7] },
      { addresses: null },
      null,
    ];
    expect(addressesOf(slice(endpoints), 'a/kexer').map(({ name, host }) => [name, host])).to.deep.equal([
      ['10.0.0.1:8443', '10.0.0.1'],
      ['[2001:db8::1]:8443', '2001:db8::1'],
      ['10.0.0.2:8443', '10.0.0.2'],
    ]);
  });
});

describe('hostPort', () => {
  it('puts an IPv6 address into brackets', () => {
    expect([hostPort('10.0.0.1', 1), hostPort('::1', 2)]).to.deep.equal(['10.0.0.1:1', '[::1]:2']);
  });
});

describe('PeerDirectory', () => {
  let clock: FakeClock;
  let targets: string[];
  let answer: () => Promise<unknown>;
  let directory: PeerDirectory;

  const listOf =
    (...slices: KubeObject[]) =>
    async (): Promise<unknown> => ({
      kind: 'EndpointSliceList',
      metadata: { resourceVersion: '1' },
      items: slices.map((one, index) => ({ ...one, metadata: { name: `s${index}` } })),
    });

  beforeEach(() => {
    clock = new FakeClock();
    targets = [];
    answer = listOf();
    directory = new PeerDirectory(
      {
        clock,
        client: {
          json: ({ target }) => {
            targets.push(target);
            return answer();
          },
        },
      },
      { namespace: 'kexec-system', service: 'kexer', ownName: 'kexer-0' },
    );
  });

  async function names(): Promise<string[]> {
    return (await directory.others()).map(({ name, host }) => `${name} ${host}`);
  }

  it('asks for the slices of its Service, and leaves itself out', async () => {
    answer = listOf(slice([pod('kexer-0', '10.0.0.1'), pod('kexer-1', '10.0.0.2')]));
    expect(await names()).to.deep.equal(['kexer-1 10.0.0.2']);
    expect(targets).to.deep.equal([
      '/apis/discovery.k8s.io/v1/namespaces/kexec-system/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkexer',
    ]);
  });

  it('asks a pod of two address families once, by the first', async () => {
    answer = listOf(
      slice([pod('kexer-0', '10.0.0.1'), pod('kexer-1', '10.0.0.2')]),
      slice([pod('kexer-0', '2001:db8::1'), pod('kexer-1', '2001:db8::2')]),
    );
    expect(await names()).to.deep.equal(['kexer-1 10.0.0.2']);
  });

  it('asks an address once, under whichever names it stands', async () => {
    answer = listOf(
      slice([pod('kexer-1', '10.0.0.2'), pod('kexer-1-before', '10.0.0.2', { terminating: true })]),
      slice([{ addresses: ['10.0.0.3'] }, { addresses: ['10.0.0.3'] }]),
    );
    expect(await names()).to.deep.equal(['kexer-1 10.0.0.2', '10.0.0.3:8443 10.0.0.3']);
  });

  it('looks again after two seconds, once for all who ask meanwhile', async () => {
    answer = listOf(slice([pod('kexer-1', '10.0.0.2')]));
    await Promise.all([names(), names()]);
    clock.advance(1999);
    await names();
    expect(targets).to.have.length(1);
    clock.advance(1);
    answer = listOf(slice([pod('kexer-2', '10.0.0.3')]));
    expect(await Promise.all([names(), names()])).to.deep.equal([['kexer-2 10.0.0.3'], ['kexer-2 10.0.0.3']]);
    expect(targets).to.have.length(2);
  });

  it('says that it could not look, and looks again at once', async () => {
    answer = async () => {
      throw new KexerError('unreachable', 'away');
    };
    expect(await directory.others().catch((error: unknown) => error)).to.have.property('code', 'unreachable');
    answer = async () => ({ kind: 'Status' });
    expect(await directory.others().catch((error: unknown) => error)).to.have.property('code', 'badGateway');
    answer = listOf(slice([pod('kexer-1', '10.0.0.2')], []));
    expect(await directory.others().catch((error: unknown) => error)).to.have.property('code', 'badGateway');
    answer = listOf(slice([pod('kexer-1', '10.0.0.2')]));
    expect(await names()).to.deep.equal(['kexer-1 10.0.0.2']);
  });
});
