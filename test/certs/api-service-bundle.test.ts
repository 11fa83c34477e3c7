// What kexer writes into the caBundle of its APIService, and what it leaves alone.

import { createHash } from 'node:crypto';

import { expect } from 'chai';

import { ApiServiceBundle, bundleAnnotation } from '../../src/certs/api-service-bundle.ts';
import { containsAll, extendBundle, verifiesChain } from '../../src/certs/ca-bundle.ts';
import { CertificateStats } from '../../src/certs/certificate-stats.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { isRecord } from '../../src/kube/objects.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { ObjectApi } from './support/object-api.ts';

const collection = '/apis/apiregistration.k8s.io/v1/apiservices';
const path = `${collection}/v1.backup.cv.io`;
const service = { namespace: 'kexec-system', name: 'kexer' };
const encode = (pem: string): string => Buffer.from(pem).toString('base64');
const digest = (pem: string): string => createHash('sha256').update(pem).digest('hex');

let one: KeyPairPem;
let two: KeyPairPem;
let three: KeyPairPem;
let leaf: KeyPairPem;

before(async () => {
  [one, two, three] = (await Promise.all(
    ['one', 'two', 'three'].map((commonName) => generateAuthority({ commonName })),
  )) as [KeyPairPem, KeyPairPem, KeyPairPem];
  leaf = await generateServing(one, { commonName: 'kexer', dnsNames: ['kexer.kexec-system.svc'] });
});

describe('ApiServiceBundle', () => {
  let api: ObjectApi;
  let clock: FakeClock;
  let bundle: ApiServiceBundle;
  let stats: CertificateStats;
  const events: string[] = [];

  async function until(isSo: () => boolean): Promise<void> {
    const startMs = performance.now();
    while (!isSo()) {
      if (performance.now() - startMs > 8000)
        throw new Error(`it did not come to be: ${String(isSo)}; ${events.join('; ')}`);
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  const put = (spec: object, annotations: object = {}): void =>
    void api.put(path, { metadata: { annotations }, spec: { service, group: 'backup.cv.io', version: 'v1', ...spec } });
  const written = (): string => {
    const spec = api.get(path)?.['spec'];
    const caBundle = isRecord(spec) ? spec['caBundle'] : undefined;
    return typeof caBundle === 'string' ? Buffer.from(caBundle, 'base64').toString() : '';
  };
  const start = (): void => {
    stats = new CertificateStats();
    bundle = new ApiServiceBundle(
      {
        client: api.client(),
        clock,
        stats,
        observer: {
          informerFailed: () => events.push('failed'),
          written: ({ authorities }) => events.push(`written: ${authorities}`),
          foreign: ({ reason }) => events.push(`foreign: ${reason}`),
          notWritten: () => events.push('not written'),
        },
      },
      { name: 'v1.backup.cv.io', service },
    );
    bundle.start();
  };
  const announce = (ca: string | undefined = one.cert): void => bundle.announce({ pair: leaf, ca });

  beforeEach(() => {
    events.length = 0;
    api = new ObjectApi();
    clock = new FakeClock(Date.now());
  });
  afterEach(async () => {
    await bundle.stop();
    expect(clock.pendingCount).to.equal(0);
  });

  it('writes an empty one, once the certificate is known, and marks it as its own', async () => {
    put({});
    start();
    announce();
    await until(() => events.length > 0);
    expect([written(), events, stats.caBundle, bundle.problem]).to.deep.equal([
      one.cert,
      ['written: 1'],
      'current',
      '',
    ]);
    expect(api.get(path)?.metadata['annotations']).to.deep.equal({ [bundleAnnotation]: digest(one.cert) });
  });

  it('adds its next authority to its own last, and no older one', async () => {
    put(
      { caBundle: encode(two.cert + three.cert) },
      { [bundleAnnotation]: digest(two.cert + three.cert), other: 'kept' },
    );
    start();
    announce();
    await until(() => events.length > 0);
    expect([written(), events]).to.deep.equal([one.cert + two.cert, ['written: 2']]);
    expect(api.get(path)?.metadata['annotations']).to.have.property('other', 'kept');
  });

  const foreign: readonly [name: string, spec: () => object, annotations: object, reason: RegExp][] = [
    ['of somebody else', () => ({ caBundle: encode(two.cert) }), {}, /written by somebody else/],
    [
      'changed after kexer wrote it',
      () => ({ caBundle: encode(two.cert) }),
      { [bundleAnnotation]: 'x' },
      /somebody else/,
    ],
    ['that is not PEM', () => ({ caBundle: encode('rubbish') }), {}, /somebody else/],
    ['of cert-manager', () => ({}), { 'cert-manager.io/inject-ca-from': 'kexec-system/kexer' }, /cert-manager/],
    ['beside insecureSkipTLSVerify', () => ({ insecureSkipTLSVerify: true }), {}, /insecureSkipTLSVerify/],
    ['of another Service', () => ({ service: { namespace: 'other', name: 'kexer' } }), {}, /another Service/],
  ];
  for (const [name, spec, annotations, reason] of foreign) {
    it(`leaves one ${name} alone, and says so once`, async () => {
      put(spec(), annotations);
      const before = written();
      start();
      announce();
      await until(() => events.length > 0);
      put(spec(), { ...annotations, changed: 'yes' });
      announce();
      await until(() => stats.caBundle === 'foreign');
      expect([written(), api.writes, events.length]).to.deep.equal([before, [], 1]);
      expect(events[0]).to.match(reason);
      expect(bundle.problem).to.match(reason);
    });
  }

  it('has nothing to say of a foreign one that verifies the certificate', async () => {
    put({ caBundle: encode(two.cert + one.cert) }, { 'cert-manager.io/inject-ca-from': 'x/y' });
    start();
    bundle.announce({ pair: leaf, ca: undefined });
    await until(() => stats.caBundle === 'current');
    expect([api.writes, events]).to.deep.equal([[], []]);
  });

  it('cannot write an authority that nobody told it', async () => {
    put({});
    start();
    bundle.announce({ pair: leaf, ca: undefined });
    await until(() => events.length > 0);
    expect(events[0]).to.match(/the Secret has no ca\.crt/);
  });

  it('writes again when somebody empties it, and waits for an APIService that is not there', async () => {
    start();
    announce();
    expect(bundle.problem).to.match(/unwritten/);
    put({});
    await until(() => written() === one.cert);
    put({});
    await until(() => written() === one.cert && events.length === 2);
    api.delete(path);
    await until(() => stats.caBundle === 'unwritten');
    expect(bundle.problem).to.match(/the APIService is not there/);
  });

  it('tries again after a refusal, names the right, and takes a conflict for nothing special', async () => {
    put({});
    api.refusals.set(`patch ${collection}`, {
      code: 403,
      reason: 'Forbidden',
      message:
        'apiservices.apiregistration.k8s.io "v1.backup.cv.io" is forbidden: User "kexer" cannot patch resource "apiservices" in API group "apiregistration.k8s.io" at the cluster scope',
    });
    start();
    announce();
    await until(() => events.length > 0);
    expect(bundle.problem).to.match(
      /kexer lacks a right: patch apiservices\.apiregistration\.k8s\.io named "v1\.backup\.cv\.io"$/,
    );
    api.refusals.clear();
    api.beforePatch = () => {
      api.beforePatch = undefined;
      put({ versionPriority: 1 });
    };
    await until(() => clock.pendingCount > 0);
    clock.advance(2000);
    await until(() => written() === one.cert);
    expect(events).to.deep.equal(['not written', 'written: 1']);
    expect(api.writes.map(({ code }) => code)).to.deep.equal([403, 409, 200]);
  });
});

describe('a caBundle', () => {
  it('drops what is over, and knows what it holds', async () => {
    const old = await generateAuthority({
      commonName: 'old',
      notAfter: new Date(Date.now() - 1000),
      notBefore: new Date(0),
    });
    expect(extendBundle(old.cert + two.cert, one.cert, Date.now())).to.equal(one.cert + two.cert);
    expect(extendBundle('rubbish', one.cert, Date.now())).to.equal(one.cert);
    expect([containsAll(one.cert + two.cert, two.cert), containsAll(one.cert, two.cert)]).to.deep.equal([true, false]);
  });

  it('verifies by intermediates of the chain, and by nothing else', async () => {
    const middle = await generateAuthority({ commonName: 'middle' }, one);
    const under = await generateServing(middle, { commonName: 'under', dnsNames: ['a'] });
    expect([
      verifiesChain(one.cert, under.cert + middle.cert),
      verifiesChain(middle.cert, under.cert),
      verifiesChain(one.cert, under.cert),
      verifiesChain(two.cert, under.cert + middle.cert),
      verifiesChain('', leaf.cert),
      verifiesChain(one.cert, ''),
    ]).to.deep.equal([true, true, false, false, false, false]);
  });
});
