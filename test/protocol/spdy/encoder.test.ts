import zlib from 'node:zlib';

import { expect } from 'chai';

import { spdyDictionary } from '../../../src/protocol/spdy/dictionary.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import type { HeaderList } from '../../../src/protocol/spdy/frame.ts';
import { decodeHeaderBlock } from '../../../src/protocol/spdy/header-block.ts';
import { decodeAll } from './frames.ts';

const sorted = (list: HeaderList): string[] => list.map((pair) => pair.join('=')).sort();
const hex = (bytes: Buffer): string => bytes.toString('hex');

describe('SpdyEncoder', () => {
  it('lays frames out as the draft draws them', () => {
    const encoder = new SpdyEncoder();
    const block = '00000001 0000000a 73747265616d74797065 00000005 6572726f72'.replaceAll(' ', '');
    expect({
      synStream: hex(encoder.synStream(1, [['streamtype', 'error']], { priority: 5, fin: true, associatedId: 7 })),
      synReply: hex(encoder.synReply(0x7fffffff)),
      headers: hex(encoder.headers(129, [], { fin: true })),
      unidirectional: hex(encoder.synStream(3, [], { unidirectional: true })),
      rstStream: hex(encoder.rstStream(129, 5)),
      ping: hex(encoder.ping(0xffffffff)),
      goaway: hex(encoder.goaway(0, 2)),
      data: hex(encoder.dataHeader(0x7fffffff, 0xffffff, true)),
      dataWithoutFin: hex(encoder.dataHeader(1, 65536, false)),
    }).to.deep.equal({
      // 8003 type | flags length | stream, associated stream, priority and slot | zlib head | stored block | flush
      synStream: `8003000101000035 00000001 00000007 a000 7820e3c6a7c2 001b00e4ff ${block} 000000ffff`.replaceAll(
        ' ',
        '',
      ),
      synReply: '8003000200000012 7fffffff 000400fbff 00000000 000000ffff'.replaceAll(' ', ''),
      headers: '8003000801000012 00000081 000400fbff 00000000 000000ffff'.replaceAll(' ', ''),
      unidirectional: '8003000102000018 00000003 00000000 0000 000400fbff 00000000 000000ffff'.replaceAll(' ', ''),
      rstStream: '8003000300000008 00000081 00000005'.replaceAll(' ', ''),
      ping: '8003000600000004 ffffffff'.replaceAll(' ', ''),
      goaway: '8003000700000008 00000000 00000002'.replaceAll(' ', ''),
      data: '7fffffff01ffffff',
      dataWithoutFin: '0000000100010000',
    });
  });

  it('writes header blocks that zlib inflates as one stream', () => {
    const lists: HeaderList[] = [
      [],
      [['streamtype', 'data']],
      [
        ['port', '8080'],
        ['requestid', '0'],
        ['port', '8081'],
      ],
      [['big', 'x'.repeat(150_000)]], // three stored blocks
      [['streamtype', 'error']],
    ];
    const encoder = new SpdyEncoder();
    const compressed = lists.map((list) => encoder.synReply(1, list).subarray(12));
    let inflatedBytes = 0;
    for (const [index, list] of lists.entries()) {
      const all = zlib.inflateSync(Buffer.concat(compressed.slice(0, index + 1)), {
        dictionary: spdyDictionary,
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      });
      const own = decodeHeaderBlock(all.subarray(inflatedBytes), { maxHeaders: 10 });
      inflatedBytes = all.length;
      expect(sorted(own)).to.deep.equal(sorted(list));
    }
  });

  it('writes header blocks around the 64 KiB of a stored block', () => {
    for (const length of [65_535, 65_536, 131_070, 131_071]) {
      const value = 'v'.repeat(length - 4 - 4 - 1 - 4);
      const frame = new SpdyEncoder().synReply(1, [['n', value]]);
      const inflated = zlib.inflateSync(frame.subarray(12), {
        dictionary: spdyDictionary,
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      });
      expect(inflated.length).to.equal(length);
    }
  });

  it('joins the values of a repeated name, in the order they came', () => {
    const frame = new SpdyEncoder().synReply(1, [
      ['a', '1'],
      ['b', ''],
      ['a', '2'],
    ]);
    expect(decodeAll([frame])).to.deep.equal([
      {
        type: 'synReply',
        streamId: 1,
        fin: false,
        headers: [
          ['a', '1'],
          ['a', '2'],
          ['b', ''],
        ],
      },
    ]);
  });

  it('refuses what has no form on the wire', () => {
    const encoder = new SpdyEncoder();
    const cases: [run: () => unknown, message: string][] = [
      [() => encoder.synReply(1, [['Upper', '1']]), 'Cannot write the SPDY header "Upper": want a lower-case name'],
      [() => encoder.synReply(1, [['', '1']]), 'Cannot write the SPDY header "": want a lower-case name'],
      [() => encoder.synReply(1, [['a', 'b\0c']]), 'Cannot write the SPDY header "a": its value has a NUL'],
      [() => encoder.synReply(0), 'Cannot write SPDY stream id 0: want 31 bits'],
      [() => encoder.dataHeader(0x80000000, 1, false), 'Cannot write SPDY stream id 2147483648: want 31 bits'],
      [() => encoder.dataHeader(1, 0x1000000, false), 'Cannot write a DATA frame of 16777216 bytes: want 24 bits'],
      [
        () => encoder.synReply(1, [['a', 'x'.repeat(0x1000000)]]),
        'Cannot write an SPDY frame of 16778529 bytes: want 24 bits',
      ],
    ];
    for (const [run, message] of cases) expect(run).to.throw(message);
    // None of them has counted as the first header block.
    expect(decodeAll([encoder.synReply(1)])).to.have.length(1);
  });
});
