import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { ClusterHealth, type NamedProbe } from '../../src/clusters/cluster-health.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { badGateway, serviceUnavailable, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('ClusterHealth', () => {
  let clock: FakeClock;
  let health: ClusterHealth;
  let asked: string[];

  beforeEach(() => {
    clock = new FakeClock();
    health = new ClusterHealth({ clock });
    asked = [];
  });

  function probe(key: string, answer: () => unknown = () => 'v1.36.0'): NamedProbe {
    const cluster = {
      readVersion: async () => {
        asked.push(key);
        clock.advance(7);
        const gitVersion = await answer();
        return { major: 1, minor: 36, gitVersion };
      },
    } as unknown as Cluster;
    return { key, cluster: () => cluster };
  }

  const look = (...probes: NamedProbe[]): Promise<[string, unknown][]> =>
    health.look(probes).then((found) => [...found]);

  it('asks once within some seconds, and again after them', async () => {
    const far = probe('clusters/far');
    const answer = [['clusters/far', { isReachable: true, version: 'v1.36.0', latencyMs: 7 }]];
    expect(await look(far)).to.deep.equal(answer);
    clock.advance(4900);
    expect(await look(far)).to.deep.equal(answer);
    clock.advance(100);
    await look(far);
    expect(asked).to.have.length(2);
  });

  it('asks another content of a Secret at once', async () => {
    await look(probe('clusters/far'));
    await look(probe('clusters/far'));
    expect(asked).to.have.length(2);
  });

  it('asks once for all who ask at the same time', async () => {
    const far = probe('clusters/far');
    await Promise.all([look(far), look(far)]);
    expect(asked).to.have.length(1);
  });

  it('gives no answer of the content before, which was asked when another took its place', async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const before = look(probe('clusters/far', () => promise));
    const after = look(probe('clusters/far', () => 'v1.36.1'));
    resolve('v1.30.0');
    const answer = (version: string): unknown => [['clusters/far', { isReachable: true, version, latencyMs: 7 }]];
    expect([await before, await after]).to.deep.equal([answer('v1.30.0'), answer('v1.36.1')]);
  });

  const failures: readonly (readonly [error: Error, reason: string])[] = [
    [new KexerError('unreachable', 'Cannot reach it', { cause: new Error('ECONNREFUSED') }), 'Unreachable'],
    [new KexerError('timeout', 'Cannot wait'), 'Timeout'],
    [new KexerError('tls', 'Cannot trust it'), 'NotTrusted'],
    [new KexerError('badGateway', 'Cannot read it'), 'BadAnswer'],
    [new StatusError(badGateway('its Secret')), 'Refused'],
    [new StatusError(badGateway('Cannot reach it'), { cause: new KexerError('unreachable', '') }), 'Unreachable'],
  ];
  for (const [error, reason] of failures) {
    it(`says ${reason}`, async () => {
      const [[, found] = []] = await look(probe('clusters/far', () => Promise.reject(error)));
      expect(found).to.deep.include({ isReachable: false, reason });
      expect(found)
        .to.have.property('message')
        .that.matches(/^(Cannot|its)/);
    });
  }

  it('does not ask what cannot be used', async () => {
    const found = await look({
      key: 'clusters/bad',
      cluster: () => {
        throw new StatusError(serviceUnavailable('no key'));
      },
    });
    expect(found).to.deep.equal([['clusters/bad', { isReachable: false, reason: 'Refused', message: 'no key' }]]);
  });

  it('asks for no longer than some seconds', async () => {
    const slow = Array.from({ length: 100 }, (_, index) =>
      probe(`clusters/c${index}`, async () => {
        await Promise.resolve();
        clock.advance(1000);
        return 'v1';
      }),
    );
    expect((await look(...slow)).length).to.be.lessThan(64);
  });

  it('asks many at once, and not all of them', async () => {
    let running = 0;
    let most = 0;
    const wait = (): Promise<string> => {
      running += 1;
      most = Math.max(most, running);
      return new Promise((resolve) => {
        setImmediate(() => {
          running -= 1;
          resolve('v1');
        });
      });
    };
    const found = await look(...Array.from({ length: 100 }, (_, index) => probe(`clusters/c${index}`, wait)));
    expect([found.length, most]).to.deep.equal([100, 32]);
  });
});
