import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { EarlyBytes } from '../../src/streams/early-bytes.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { quiet } from './support/rig.ts';

describe('EarlyBytes', () => {
  it('keeps the head and what follows it, in order, and leaves the socket paused', async () => {
    const [client, inner] = duplexPair();
    const early = new EarlyBytes(inner, Buffer.from('head '));
    client.write('one ');
    await quiet();
    client.write('two');
    await quiet();
    expect(early.release().toString()).to.equal('head one two');
    client.write('later');
    await quiet();
    expect([inner.isPaused(), String(inner.read())]).to.deep.equal([true, 'later']);
    expect(early.gone.aborted).to.equal(false);
    client.destroy();
    inner.destroy();
  });

  it('reads no further than its bound', async () => {
    const [client, inner] = duplexPair({ highWaterMark: 16 * 1024 });
    const early = new EarlyBytes(inner, Buffer.alloc(0));
    for (let index = 0; index < 100; index += 1) client.write(Buffer.alloc(16 * 1024));
    await quiet();
    expect(early.release().length).to.be.lessThan(128 * 1024);
    client.destroy();
    inner.destroy();
  });

  for (const [what, leave] of [
    ['closes', (client: { end(): void }): void => client.end()],
    ['resets', (client: { destroy(): void }): void => client.destroy()],
  ] as const) {
    it(`notices a client that ${what}`, async () => {
      const [client, inner] = duplexPair();
      const early = new EarlyBytes(inner, Buffer.alloc(0));
      leave(client);
      await quiet();
      expect([early.gone.aborted, codeOf(early.gone.reason)]).to.deep.equal([true, 'clientGone']);
      client.destroy();
      inner.destroy();
    });
  }
});
