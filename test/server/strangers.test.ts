// Connections of nobody known: how many of one address, for how long, and that each is counted by itself.

import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';

import { expect } from 'chai';

import { Strangers } from '../../src/server/strangers.ts';

/** A socket as far as strangers look at it. */
function socketOf(localAddress: string, remotePort: number): Socket & { readonly isDestroyed: () => boolean } {
  let isDestroyed = false;
  const socket = Object.assign(new EventEmitter(), {
    localAddress,
    localPort: 6443,
    remoteAddress: '192.0.2.7',
    remotePort,
    destroy: () => {
      isDestroyed = true;
      socket.emit('close');
    },
    isDestroyed: () => isDestroyed,
  });
  return socket as unknown as Socket & { readonly isDestroyed: () => boolean };
}

describe('Strangers', () => {
  const deadlineMs = 3_600_000;

  it('bounds those of one address, and has room again when one is known or gone', () => {
    const strangers = new Strangers({ perSource: 2, deadlineMs });
    const [first, second, third] = [1, 2, 3].map((port) => socketOf('10.0.0.1', port));
    if (first === undefined || second === undefined || third === undefined) throw new Error('three were made');
    const admitted = [first, second, third].map((socket) => strangers.admit(socket));
    const markKnown = strangers.follow(first, () => {});
    markKnown();
    second.destroy();
    admitted.push(strangers.admit(third));
    expect([admitted, strangers.size, strangers.refused]).to.deep.equal([[true, true, false, true], 1, 1]);
    third.destroy();
    expect(strangers.size).to.equal(0);
  });

  it('knows two connections of one port to two addresses of this machine apart', () => {
    const strangers = new Strangers({ perSource: 2, deadlineMs });
    const one = socketOf('10.0.0.1', 5000);
    const other = socketOf('10.0.0.2', 5000);
    strangers.admit(one);
    strangers.admit(other);
    strangers.follow(one, () => {})();
    // The other one is still a stranger's, and it alone.
    expect(strangers.size).to.equal(1);
    other.destroy();
    one.destroy();
    const room = [6000, 6001].map((port) => strangers.admit(socketOf('10.0.0.1', port)));
    expect([strangers.size, room]).to.deep.equal([2, [true, true]]);
  });
});
