import { expect } from 'chai';
import {
  fromRawHeaders,
  getAllHeaders,
  getHeader,
  hasHeader,
  hasToken,
  listItems,
  toRawHeaders,
  trimSpace,
  withHeader,
  withoutHeaders,
  type RawHeaders,
} from '../../src/protocol/raw-headers.ts';

const headers: RawHeaders = [
  ['X-Remote-Group', 'a,b'],
  ['connection', 'keep-alive, UPGRADE'],
  ['x-remote-group', 'c'],
  ['Empty', ''],
];

describe('raw headers', () => {
  it('keeps repeated names apart and in order, both ways', () => {
    const flat = ['A', '1', 'a', '2', 'B', '3'];
    const pairs = fromRawHeaders(flat);
    expect({ pairs, flat: toRawHeaders(pairs) }).to.deep.equal({
      pairs: [
        ['A', '1'],
        ['a', '2'],
        ['B', '3'],
      ],
      flat,
    });
  });

  it('leaves out pseudo headers of HTTP/2', () => {
    expect(fromRawHeaders([':path', '/', ':method', 'GET', 'host', 'h'])).to.deep.equal([['host', 'h']]);
  });

  it('finds values in any case and never splits them', () => {
    expect({
      first: getHeader(headers, 'x-REMOTE-group'),
      all: getAllHeaders(headers, 'X-Remote-Group'),
      none: getHeader(headers, 'Host'),
      empty: getHeader(headers, 'empty'),
      hasEmpty: hasHeader(headers, 'EMPTY'),
      hasNone: hasHeader(headers, 'Host'),
    }).to.deep.equal({ first: 'a,b', all: ['a,b', 'c'], none: undefined, empty: '', hasEmpty: true, hasNone: false });
  });

  it('reads comma lists over all lines', () => {
    const lists: RawHeaders = [
      ['P', ' a , ,b\t'],
      ['p', 'c'],
    ];
    expect(listItems(lists, 'P')).to.deep.equal(['a', 'b', 'c']);
    expect([hasToken(headers, 'Connection', 'upgrade'), hasToken(headers, 'Connection', 'close')]).to.deep.equal([
      true,
      false,
    ]);
  });

  it('removes and replaces without touching the original', () => {
    expect(withoutHeaders(headers, 'X-REMOTE-GROUP', 'Empty')).to.deep.equal([['connection', 'keep-alive, UPGRADE']]);
    expect(withHeader(headers, 'EMPTY', 'x').at(-1)).to.deep.equal(['EMPTY', 'x']);
    expect(headers).to.have.length(4);
  });

  it('trims space and tab only', () => {
    expect(trimSpace('\t \u00a0x\u00a0 \t')).to.equal('\u00a0x\u00a0');
    expect(trimSpace(' \t')).to.equal('');
  });
});
