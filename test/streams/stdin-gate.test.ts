import { expect } from 'chai';

import { maxHeldBytes, StdinGate } from '../../src/streams/stdin-gate.ts';
import { FakeClock } from '../support/fake-clock.ts';

const kibibyte = 1024;

describe('StdinGate', () => {
  let clock: FakeClock;
  let log: string[];
  let drain: () => void;
  let gate: StdinGate;

  beforeEach(() => {
    clock = new FakeClock();
    log = [];
    drain = () => {};
    gate = new StdinGate(
      {
        clock,
        client: {
          pause: () => log.push('pause'),
          resume: () => log.push('resume'),
          pong: () => log.push('pong'),
        },
        kubelet: {
          onDrain: (run) => {
            drain = run;
          },
        },
      },
      () => log.push('overflow'),
    );
  });

  afterEach(() => {
    gate.stop();
    expect(clock.pendingCount).to.equal(0);
  });

  it('does nothing while there is room', () => {
    gate.check(true, 100);
    clock.advance(100_000);
    expect(log).to.deep.equal([]);
  });

  it('pauses the client when there is none, and pongs every 2 s until there is', () => {
    gate.check(false, 100);
    clock.advance(5_000);
    drain();
    clock.advance(100_000);
    expect(log).to.deep.equal(['pause', 'pong', 'pong', 'resume']);
  });

  it('sips half a megabyte every 20 s', () => {
    gate.check(false, 100);
    clock.advance(20_000);
    gate.check(false, 256 * kibibyte);
    gate.check(false, 256 * kibibyte);
    clock.advance(20_000);
    expect(log.filter((line) => line !== 'pong')).to.deep.equal(['pause', 'resume', 'pause', 'resume']);
  });

  it('gives up loudly at its bound', () => {
    gate.check(false, 100);
    for (let held = 0; held < maxHeldBytes; held += 512 * kibibyte) {
      clock.advance(20_000);
      gate.check(false, 512 * kibibyte);
    }
    expect(log.filter((line) => line === 'overflow')).to.have.length(1);
  });

  it('leaves no pause behind when it is stopped while shut', () => {
    gate.check(false, 100);
    gate.stop();
    expect(log).to.deep.equal(['pause', 'resume']);
  });
});
