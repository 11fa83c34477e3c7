// The certificate that replicas share in a Secret: who makes it, who renews it, and what is never written. In virtual time, against an
// apiserver in memory; with a real one in test/integration/certs.test.ts.

import { X509Certificate } from 'node:crypto';

import { expect } from 'chai';

import { CertificateStats } from '../../src/certs/certificate-stats.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { issueAuthority, issueLeaf } from '../../src/certs/issue.ts';
import { ServingSecret, type ServingSecretOptions } from '../../src/certs/serving-secret.ts';
import { isRecord } from '../../src/kube/objects.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { ObjectApi } from './support/object-api.ts';

const collection = '/api/v1/namespaces/kexec-system/secrets';
const path = `${collection}/kexer-serving-cert`;
const servicePath = '/api/v1/namespaces/kexec-system/services/kexer';
const dayMs = 24 * 60 * 60 * 1000;

async function until(isSo: () => boolean): Promise<void> {
  const startMs = performance.now();
  while (!isSo()) {
    if (performance.now() - startMs > 8000) throw new Error(`it did not come to be: ${String(isSo)}`);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Time passes in steps, with everything that each step sets going. */
async function pass(clock: FakeClock, ms: number, steps = 8): Promise<void> {
  for (let step = 0; step < steps; step += 1) {
    clock.advance(ms / steps);
    for (let turn = 0; turn < 20; turn += 1) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }
}

const base64 = (data: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));

class Replica {
  readonly stats = new CertificateStats();
  readonly events: string[] = [];
  failures = 0;
  readonly secret: ServingSecret;

  constructor(
    api: ObjectApi,
    clock: FakeClock,
    options: Partial<ServingSecretOptions> & { name?: string; random?: number } = {},
  ) {
    const { name = 'kexer', random = 0.5, ...rest } = options;
    this.secret = new ServingSecret(
      {
        client: api.client(name),
        clock,
        stats: this.stats,
        random: () => random,
        observer: {
          informerFailed: () => (this.failures += 1),
          taken: ({ isFirst }) => this.events.push(isFirst ? 'loaded' : 'reloaded'),
          issued: ({ reason }) => this.events.push(`issued: ${reason}`),
          unusable: (error) => this.events.push(`unusable: ${String(error)}`),
          notWritten: (error) => this.events.push(`not written: ${String(error)}`),
          deleted: ({ isRecreated }) => this.events.push(isRecreated ? 'made again' : 'gone'),
          namesMissing: (names) => this.events.push(`lacks ${names.join()}`),
        },
      },
      {
        secret: { namespace: 'kexec-system', name: 'kexer-serving-cert' },
        service: { namespace: 'kexec-system', name: 'kexer' },
        extraNames: [],
        ...rest,
      },
    );
    this.secret.start();
  }

  get leaf(): X509Certificate {
    return new X509Certificate(this.secret.current?.pair.cert ?? '');
  }

  async loaded(): Promise<void> {
    await until(() => this.secret.current !== undefined);
  }
}

describe('ServingSecret', () => {
  let api: ObjectApi;
  let clock: FakeClock;
  const replicas: Replica[] = [];
  const start = (options: ConstructorParameters<typeof Replica>[2] = {}): Replica => {
    const replica = new Replica(api, clock, options);
    replicas.push(replica);
    return replica;
  };
  const dataIn = (): Record<string, string> => {
    const data = api.get(path)?.['data'];
    return Object.fromEntries(
      Object.entries(isRecord(data) ? data : {}).map(([key, text]) => [
        key,
        Buffer.from(String(text), 'base64').toString(),
      ]),
    );
  };

  beforeEach(() => {
    api = new ObjectApi();
    clock = new FakeClock(Date.now());
    api.put(servicePath, { spec: { clusterIP: '10.96.0.2', clusterIPs: ['10.96.0.2'] } });
  });
  afterEach(async () => {
    await Promise.all(replicas.splice(0).map(({ secret }) => secret.stop()));
    expect(clock.pendingCount).to.equal(0);
  });

  it('fills an empty Secret with an authority for ten years and a leaf with the names of the Service', async () => {
    api.put(path, {});
    const replica = start({ extraNames: ['kexer.example.com', '192.0.2.7'] });
    await replica.loaded();
    const { leaf } = replica;
    const authority = new X509Certificate(replica.secret.current?.ca ?? '');
    expect(leaf.subjectAltName?.split(', ')).to.have.members([
      'DNS:kexer.kexec-system.svc',
      'DNS:kexer',
      'DNS:kexer.kexec-system',
      'DNS:kexer.kexec-system.svc.cluster.local',
      'DNS:kexer.example.com',
      'DNS:localhost',
      'IP Address:10.96.0.2',
      'IP Address:192.0.2.7',
      'IP Address:127.0.0.1',
      'IP Address:0:0:0:0:0:0:0:1',
    ]);
    expect(leaf.verify(authority.publicKey)).to.equal(true);
    expect(Math.round((authority.validToDate.getTime() - clock.now()) / dayMs)).to.equal(3650);
    expect(Math.round((leaf.validToDate.getTime() - clock.now()) / dayMs)).to.equal(90);
    expect(Object.keys(dataIn())).to.have.members(['tls.crt', 'tls.key', 'ca.crt', 'kexer-ca.key']);
    expect(replica.events).to.deep.equal(['issued: the Secret is empty', 'loaded']);
    expect([replica.secret.problem, replica.stats.counts.renewals, replica.stats.isStale.serving]).to.deep.equal([
      '',
      1,
      false,
    ]);
    expect(replica.stats.expiry.get('serving')?.notAfterMs).to.equal(leaf.validToDate.getTime());
  });

  it('agrees on one pair when replicas start at once', async () => {
    api.put(path, {});
    const all = [1, 2, 3].map((number) => start({ name: `replica-${number}` }));
    await Promise.all(all.map((replica) => replica.loaded()));
    await pass(clock, 10_000);
    const certificates = new Set(all.map((replica) => replica.secret.current?.pair.cert));
    expect([...certificates]).to.deep.equal([dataIn()['tls.crt']]);
    expect(api.writes.filter(({ code }) => code === 200)).to.have.length(1);
    expect(all.reduce((sum, { stats }) => sum + stats.counts.renewalFailures, 0)).to.equal(0);
  });

  it('keeps what the winner wrote when it loses the race', async () => {
    const authority = await issueAuthority(clock.now());
    const winner = await issueLeaf(authority, ['kexer.kexec-system.svc'], clock.now());
    api.put(path, {});
    api.beforePatch = () => {
      api.beforePatch = undefined;
      api.put(path, {
        data: base64({
          'tls.crt': winner.cert,
          'tls.key': winner.key,
          'ca.crt': authority.cert,
          'kexer-ca.key': authority.key,
        }),
      });
    };
    const replica = start({ service: undefined });
    await replica.loaded();
    expect(replica.secret.current?.pair.cert).to.equal(winner.cert);
    expect(api.writes.map(({ code }) => code)).to.deep.equal([409]);
  });

  it('renews the leaf alone, once for all replicas, when two thirds of its life are over', async () => {
    api.put(path, {});
    const first = start({ name: 'first', random: 0.1 });
    const second = start({ name: 'second', random: 0.9 });
    await Promise.all([first.loaded(), second.loaded()]);
    const { ca, pair } = first.secret.current ?? {};
    await pass(clock, 59 * dayMs, 20);
    expect(first.secret.current?.pair.cert).to.equal(pair?.cert);
    const writes = api.writes.length;
    await pass(clock, 2 * dayMs, 20);
    await until(() => first.stats.counts.reloads.serving === 1 && second.stats.counts.reloads.serving === 1);
    expect(first.secret.current?.pair.cert).not.to.equal(pair?.cert);
    expect([first.secret.current, first.secret.current?.ca]).to.deep.equal([second.secret.current, ca]);
    expect(api.writes.slice(writes).map(({ by, code }) => `${by} ${code}`)).to.deep.equal(['first 200']);
    expect(first.events.at(-2)).to.equal('issued: two thirds of its life are over');
  });

  it('issues anew when the Service gets an address, once for all replicas, and keeps the authority', async () => {
    api.put(path, {});
    const all = [start({ random: 0.1 }), start({ random: 0.6 })];
    await Promise.all(all.map((replica) => replica.loaded()));
    const ca = all[0]?.secret.current?.ca;
    const writes = api.writes.length;
    api.put(servicePath, {
      spec: { clusterIP: '10.96.0.2', externalIPs: ['192.0.2.9'] },
      status: { loadBalancer: { ingress: [{ ip: '198.51.100.4' }, { hostname: 'LB.example.com' }] } },
    });
    await pass(clock, 1600, 8);
    await until(() => all.every(({ stats }) => stats.counts.reloads.serving === 1));
    await pass(clock, 10_000);
    for (const { leaf } of all) {
      expect(leaf.checkHost('lb.example.com')).to.equal('lb.example.com');
      expect([leaf.checkIP('198.51.100.4'), leaf.checkIP('192.0.2.9'), leaf.checkIP('10.96.0.2')]).not.to.include(
        undefined,
      );
    }
    expect(all[1]?.secret.current?.ca).to.equal(ca);
    expect(api.writes.slice(writes)).to.have.length(1);
  });

  it('does not take turns with a replica that was given other names, as in a rollout', async () => {
    api.put(path, {});
    const old = start({ name: 'old', extraNames: ['old.example.com'], random: 0.1 });
    await old.loaded();
    const next = start({ name: 'new', extraNames: ['new.example.com'], random: 0.2 });
    await next.loaded();
    await pass(clock, 5000, 4);
    await until(() => old.leaf.checkHost('new.example.com') !== undefined);
    const writes = api.writes.length;
    await pass(clock, dayMs, 20);
    expect([old.leaf.checkHost('old.example.com'), next.leaf.checkHost('new.example.com')]).to.deep.equal([
      'old.example.com',
      'new.example.com',
    ]);
    expect(api.writes.length).to.equal(writes);
  });

  it('follows what an operator puts there, and never writes it', async () => {
    const authority = await generateAuthority({ commonName: 'corp' });
    const serving = (name: string): Promise<KeyPairPem> =>
      generateServing(authority, {
        commonName: name,
        dnsNames: ['kexer.kexec-system.svc'],
        notAfter: new Date(clock.now() + 40 * dayMs),
      });
    const [one, two] = await Promise.all([serving('one'), serving('two')]);
    const put = (pair: KeyPairPem, more: object = {}): void =>
      void api.put(path, {
        type: 'kubernetes.io/tls',
        data: base64({ 'tls.crt': pair.cert, 'tls.key': pair.key, ...more }),
      });
    put(one, { 'ca.crt': authority.cert });
    const replica = start();
    await replica.loaded();
    expect(replica.secret.current).to.deep.equal({ pair: one, ca: authority.cert });
    put(two);
    await until(() => replica.secret.current?.pair.cert === two.cert);
    expect(replica.secret.current?.ca).to.equal(undefined);
    await pass(clock, 39 * dayMs, 20);
    expect([api.writes, replica.stats.counts.renewals]).to.deep.equal([[], 0]);
    expect(replica.events).to.deep.equal(['loaded', 'reloaded']);
  });

  it("warns of an operator's certificate that kube-aggregator would refuse", async () => {
    const authority = await generateAuthority({ commonName: 'corp' });
    const pair = await generateServing(authority, { commonName: 'x', dnsNames: ['kexer.example.com'] });
    api.put(path, { data: base64({ 'tls.crt': pair.cert, 'tls.key': pair.key }) });
    const replica = start();
    await replica.loaded();
    expect(replica.events).to.deep.equal(['loaded', 'lacks kexer.kexec-system.svc']);
  });

  it('keeps the last good pair while what is in the Secret cannot be used, tells once, and takes it when it is whole', async () => {
    const authority = await generateAuthority({ commonName: 'corp' });
    const [one, two] = await Promise.all(
      ['one', 'two'].map((name) =>
        generateServing(authority, { commonName: name, dnsNames: ['kexer.kexec-system.svc'] }),
      ),
    );
    const put = (cert = '', key = ''): void =>
      void api.put(path, { data: base64({ 'tls.crt': cert, 'tls.key': key }) });
    put(one?.cert, one?.key);
    const replica = start();
    await replica.loaded();
    put(two?.cert, one?.key);
    await until(() => replica.stats.isStale.serving);
    await pass(clock, dayMs);
    expect(replica.secret.current?.pair).to.deep.equal(one);
    expect(replica.secret.problem).to.match(/it is not the key of the certificate/);
    expect([replica.stats.counts.reloadFailures.serving, api.writes]).to.deep.equal([1, []]);
    expect(replica.events).to.have.length(2);
    put(two?.cert, two?.key);
    await until(() => !replica.stats.isStale.serving);
    expect([replica.secret.current?.pair, replica.secret.problem]).to.deep.equal([two, '']);
  });

  it('issues another leaf when its own is damaged, and leaves a damaged authority to people', async () => {
    api.put(path, {});
    const replica = start();
    await replica.loaded();
    const { pair, ca } = replica.secret.current ?? {};
    api.put(path, { data: base64({ ...dataIn(), 'tls.key': 'half' }) });
    await until(() => replica.stats.counts.reloads.serving === 1);
    expect([replica.secret.current?.ca, replica.secret.current?.pair.cert === pair?.cert]).to.deep.equal([ca, false]);
    const writes = api.writes.length;
    api.put(path, { data: base64({ ...dataIn(), 'kexer-ca.key': 'half' }) });
    await until(() => replica.stats.isStale.serving);
    expect(replica.secret.problem).to.match(
      /kexer-ca\.key of the Secret kexec-system\/kexer-serving-cert.*restore it, or empty the Secret/,
    );
    expect(replica.secret.problem).not.to.contain('PRIVATE');
    expect(api.writes.length).to.equal(writes);
  });

  it('goes on with its pair when the Secret is deleted, and makes it again if it may', async () => {
    api.put(path, {});
    const replica = start();
    await replica.loaded();
    const { current } = replica.secret;
    api.refusals.set(`patch ${collection}`, {
      code: 403,
      reason: 'Forbidden',
      message:
        'secrets "kexer-serving-cert" is forbidden: User "kexer" cannot create resource "secrets" in API group "" in the namespace "kexec-system"',
    });
    api.delete(path);
    await until(() => replica.events.includes('gone'));
    expect([replica.secret.current, replica.secret.problem]).to.deep.equal([
      current,
      'the Secret kexec-system/kexer-serving-cert is not there',
    ]);
    api.refusals.clear();
    await pass(clock, 61_000);
    await until(() => replica.events.includes('made again'));
    expect([dataIn()['tls.crt'], dataIn()['ca.crt']]).to.deep.equal([current?.pair.cert, current?.ca]);
    expect(api.get(path)?.['type']).to.equal('Opaque');
    expect(replica.secret.current).to.deep.equal(current);
  });

  it('keeps its authority when the Secret was deleted and an empty one is there again', async () => {
    api.put(path, { metadata: { uid: 'one' } });
    const replica = start();
    await replica.loaded();
    const before = replica.secret.current?.ca;
    api.refusals.set(`patch ${collection}`, { code: 403, reason: 'Forbidden', message: 'no' });
    api.delete(path);
    await until(() => replica.events.includes('gone'));
    api.refusals.clear();
    api.put(path, { metadata: { uid: 'two' } });
    await until(() => replica.stats.counts.reloads.serving === 1);
    expect([replica.secret.current?.ca, dataIn()['ca.crt'], replica.secret.problem]).to.deep.equal([
      before,
      before,
      '',
    ]);
    expect(replica.events.at(-2)).to.equal('issued: the Secret is another one, and empty');
  });

  it('takes a new authority when the Secret is emptied on purpose', async () => {
    api.put(path, {});
    const replica = start();
    await replica.loaded();
    const before = replica.secret.current?.ca;
    api.put(path, {});
    await until(() => replica.stats.counts.reloads.serving === 1);
    expect(replica.secret.current?.ca).not.to.equal(before);
    expect(replica.events).to.deep.equal([
      'issued: the Secret is empty',
      'loaded',
      'issued: the Secret is empty',
      'reloaded',
    ]);
  });

  it('names the right that is missing, and tells it once', async () => {
    const message = (verb: string): string =>
      `secrets "kexer-serving-cert" is forbidden: User "system:serviceaccount:kexec-system:kexer" cannot ${verb} resource "secrets" in API group "" in the namespace "kexec-system"`;
    api.refusals.set(`list ${collection}`, { code: 403, reason: 'Forbidden', message: message('list') });
    api.put(path, {});
    const replica = start();
    await until(() => replica.failures > 0);
    const lacks = (verb: string): string =>
      `system:serviceaccount:kexec-system:kexer lacks a right: ${verb} secrets named "kexer-serving-cert" in the namespace "kexec-system"`;
    expect(replica.secret.problem).to.equal(lacks('list'));
    api.refusals.clear();
    api.refusals.set(`patch ${collection}`, { code: 403, reason: 'Forbidden', message: message('patch') });
    await pass(clock, 10_000);
    await until(() => replica.stats.counts.renewalFailures > 0);
    await pass(clock, 10_000);
    expect(replica.secret.problem).to.equal(lacks('patch'));
    expect(replica.events.filter((event) => event.startsWith('not written'))).to.have.length(1);
    api.refusals.clear();
    await pass(clock, 120_000);
    await replica.loaded();
  });

  it('serves on through an outage of the apiserver, and renews after it', async () => {
    api.put(path, {});
    const replica = start();
    await replica.loaded();
    api.isDown = true;
    api.cut();
    await pass(clock, 70 * dayMs, 40);
    expect(replica.secret.current).not.to.equal(undefined);
    api.isDown = false;
    await pass(clock, 120_000, 40);
    await until(() => replica.stats.counts.renewals === 2);
  });

  it('starts with an expired leaf of its own: a new one under the same authority', async () => {
    const past = clock.now() - 200 * dayMs;
    const authority = await issueAuthority(past);
    const old = await issueLeaf(authority, ['kexer.kexec-system.svc'], past);
    api.put(path, {
      data: base64({
        'tls.crt': old.cert,
        'tls.key': old.key,
        'ca.crt': authority.cert,
        'kexer-ca.key': authority.key,
      }),
    });
    const replica = start();
    await replica.loaded();
    expect([replica.secret.current?.ca, replica.events[0]]).to.deep.equal([
      authority.cert,
      'issued: there is no good certificate',
    ]);
  });

  it('makes a new authority in the last month of the old one', async () => {
    const past = clock.now() - 3640 * dayMs;
    const authority = await issueAuthority(past);
    const old = await issueLeaf(authority, ['kexer.kexec-system.svc'], clock.now() - 80 * dayMs);
    api.put(path, {
      data: base64({
        'tls.crt': old.cert,
        'tls.key': old.key,
        'ca.crt': authority.cert,
        'kexer-ca.key': authority.key,
      }),
    });
    const replica = start();
    await until(() => replica.stats.counts.renewals === 1);
    expect(replica.secret.current?.ca).not.to.equal(authority.cert);
    expect(dataIn()['ca.crt']).to.equal(replica.secret.current?.ca);
  });

  it('waits for a certificate of a clock that is ahead, instead of making another, and says so', async () => {
    const ahead = clock.now() + 60 * 60 * 1000;
    const authority = await issueAuthority(ahead);
    // With all the names that are wanted, or a new one would be on its way as soon as this one is good.
    const pair = await issueLeaf(authority, ['localhost', '127.0.0.1', '::1'], ahead);
    api.put(path, {
      data: base64({
        'tls.crt': pair.cert,
        'tls.key': pair.key,
        'ca.crt': authority.cert,
        'kexer-ca.key': authority.key,
      }),
    });
    const replica = start({ service: undefined });
    await until(() => replica.events.length > 0);
    expect(replica.secret.problem).to.match(/it is valid from .* on, and this machine's clock shows/);
    await pass(clock, 60 * 60 * 1000, 20);
    await replica.loaded();
    expect([replica.secret.current?.pair.cert, api.writes]).to.deep.equal([pair.cert, []]);
  });
});
