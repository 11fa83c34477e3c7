import { Buffer } from 'node:buffer';

import { expect } from 'chai';
import fc from 'fast-check';

import { ByteQueue } from '../../src/base/byte-queue.ts';

describe('ByteQueue', () => {
  it('takes bytes across chunks in order', () => {
    const queue = new ByteQueue();
    for (const part of ['ab', '', 'cde', 'f']) queue.push(Buffer.from(part));
    expect([queue.take(1), queue.take(3), queue.take(2)].map(String)).to.deep.equal(['a', 'bcd', 'ef']);
    expect(queue.length).to.equal(0);
  });

  it('does not copy what lies in one chunk', () => {
    const queue = new ByteQueue();
    const chunk = Buffer.from('abcdef');
    queue.push(chunk);
    const taken = queue.take(3);
    expect([taken.buffer === chunk.buffer, taken.byteOffset - chunk.byteOffset]).to.deep.equal([true, 0]);
  });

  it('refuses to take more than it holds', () => {
    const queue = new ByteQueue();
    queue.push(Buffer.from('ab'));
    expect(() => queue.take(3)).to.throw(RangeError, 'Cannot take 3 bytes: 2 are held');
  });

  it('gives back what was pushed, however it is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 300 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 30 })),
        (chunks, sizes) => {
          const queue = new ByteQueue();
          for (const chunk of chunks) queue.push(Buffer.from(chunk));
          const out: Buffer[] = [];
          while (queue.length > 0) {
            const size = sizes.next().value ?? 1;
            out.push(size % 2 === 0 ? queue.take(Math.min(size, queue.length)) : queue.takeUpTo(size));
          }
          expect(Buffer.concat(out)).to.deep.equal(Buffer.concat(chunks));
        },
      ),
    );
  });
});
