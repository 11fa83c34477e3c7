import { expect } from 'chai';

import type { SpdyFrame } from '../../../src/protocol/spdy/frame.ts';
import { readOutput } from '../../support/recordings.ts';
import { decodeAll, encodeAll, joined, recordedSpdy } from './frames.ts';

/** One line a frame, short enough to read in a failure. */
function outline(frames: readonly SpdyFrame[]): string[] {
  return frames.map((frame) => {
    const fin = 'fin' in frame && frame.fin ? ' fin' : '';
    if (frame.type === 'data') return `${frame.streamId}: ${frame.bytes.length} bytes${fin}`;
    if ('headers' in frame) {
      return `${frame.type} ${frame.streamId}${fin} ${frame.headers.map((pair) => pair.join('=')).join(' ')}`.trim();
    }
    return Object.values(frame).join(' ');
  });
}

describe('SPDY recordings of a real kubelet', () => {
  const recordings = recordedSpdy();

  it('are all there', () => {
    expect(recordings.map(({ name }) => name)).to.deep.equal(
      [
        'attach-spdy',
        'exec-spdy-exit3',
        'exec-spdy-large',
        'exec-spdy-nocmd',
        'exec-spdy-stdin',
        'exec-spdy-tty',
        'portforward-spdy',
        'portforward-spdy-refused',
        'portforward-tunnel',
      ].flatMap((name) => [`${name} from client`, `${name} from kubelet`]),
    );
  });

  for (const { name, chunks, bytes } of recordings) {
    describe(name, () => {
      const whole = joined(decodeAll([bytes]));

      it('decode alike whole, as read, byte by byte and split at every offset of the first KiB', () => {
        const expected = outline(whole);
        expect(outline(joined(decodeAll(chunks)))).to.deep.equal(expected);
        const single = Array.from({ length: bytes.length }, (_, index) => bytes.subarray(index, index + 1));
        // All of them for the short ones; for the one of 256 KiB enough to pass its first frames.
        const head = single.slice(0, 16 * 1024);
        expect(outline(joined(decodeAll([...head, bytes.subarray(head.length)])))).to.deep.equal(expected);
        for (let at = 0; at <= Math.min(1024, bytes.length); at += 1) {
          const frames = joined(decodeAll([bytes.subarray(0, at), bytes.subarray(at)]));
          expect(outline(frames), `split at ${at}`).to.deep.equal(expected);
        }
      });

      it('give the same frames when written again and read again', () => {
        expect(joined(decodeAll([encodeAll(whole)]))).to.deep.equal(whole);
      });
    });
  }

  it('carry what kubectl printed', () => {
    const large = recordings.find(({ name }) => name === 'exec-spdy-large from kubelet')!;
    const stdout = decodeAll(large.chunks).flatMap((frame) =>
      frame.type === 'data' && frame.streamId === 3 ? [frame.bytes] : [],
    );
    expect(Buffer.concat(stdout).equals(readOutput('exec-spdy-large', 'stdout'))).to.equal(true);
  });

  it('read as the reference says an exec with stdin goes', () => {
    const direction = (from: string): string[] =>
      outline(decodeAll([recordings.find(({ name }) => name === `exec-spdy-stdin from ${from}`)!.bytes]));
    expect({ client: direction('client'), kubelet: direction('kubelet') }).to.deep.equal({
      client: [
        'synStream 1 streamtype=error',
        'synStream 3 streamtype=stdin',
        'synStream 5 streamtype=stdout',
        'synStream 7 streamtype=stderr',
        '3: 12 bytes',
        '3: 0 bytes fin',
      ],
      kubelet: [
        'synReply 1',
        'synReply 3',
        'synReply 5',
        'synReply 7',
        '5: 12 bytes',
        '5: 4 bytes',
        '5: 0 bytes fin',
        '7: 0 bytes fin',
        '1: 34 bytes',
        'rstStream 1 5',
        'rstStream 3 5',
        'goaway 7 0',
      ],
    });
  });
});
