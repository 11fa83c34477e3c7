import { expect } from 'chai';

import * as der from '../../src/certs/der-write.ts';

const hex = (bytes: Buffer): string => bytes.toString('hex');
const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

describe('der-write', () => {
  it('writes lengths in the fewest octets, at every border', () => {
    const heads = [0, 1, 127, 128, 255, 256, 65_535, 65_536].map((length) => {
      const whole = der.octetString(Buffer.alloc(length));
      return hex(whole.subarray(0, whole.length - length));
    });
    expect(heads).to.deep.equal(['0400', '0401', '047f', '048180', '0481ff', '04820100', '0482ffff', '0483010000']);
  });

  it('writes integers that are never negative and never longer than need be', () => {
    const cases = {
      '': '020100',
      '00': '020100',
      '01': '020101',
      '7f': '02017f',
      '80': '02020080',
      '0000ff': '020200ff',
      '0100': '02020100',
    };
    for (const [value, want] of Object.entries(cases)) {
      expect(hex(der.unsignedInteger(bytes(value))), value).to.equal(want);
    }
  });

  it('writes object identifiers as X.690 and RFC 5280 have them', () => {
    const cases = {
      '2.5.4.3': '0603550403',
      '1.2.840.113549.1.1.11': '06092a864886f70d01010b',
      '1.2.840.10045.4.3.2': '06082a8648ce3d040302',
      '1.3.6.1.4.1.57683.2': '06092b0601040183c25302',
      '2.999.3': '0603883703', // X.690, 8.19.5
    };
    for (const [text, want] of Object.entries(cases)) expect(hex(der.oid(text)), text).to.equal(want);
  });

  it('writes named bits without trailing zeros', () => {
    expect([[0], [0, 2], [0, 5, 6], [7]].map((bits) => hex(der.namedBits(bits)))).to.deep.equal([
      '03020780',
      '030205a0',
      '03020186',
      '03020001',
    ]);
  });

  it('writes times in two digits of the year until 2049, in four from 2050 on', () => {
    const text = (date: Date): string => der.time(date).toString('latin1');
    expect([
      text(new Date('2049-12-31T23:59:59.999Z')),
      text(new Date('2050-01-01T00:00:00Z')),
      text(new Date('1950-01-01T00:00:00Z')),
      text(new Date('1949-12-31T23:59:59Z')),
    ]).to.deep.equal([
      '\u0017\r491231235959Z',
      '\u0018\u000f20500101000000Z',
      '\u0017\r500101000000Z',
      '\u0018\u000f19491231235959Z',
    ]);
  });

  it('nests elements', () => {
    const value = der.sequence(
      der.explicit(3, der.boolean(true)),
      der.implicit(2, Buffer.from('a')),
      der.setOf(der.utf8String('ö')),
      der.nullElement(),
      der.bitString(bytes('ff')),
    );
    expect(hex(value)).to.equal('3014a3030101ff82016131040c02c3b60500030200ff');
  });
});
