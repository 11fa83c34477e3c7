import { expect } from 'chai';

import { JsonLines } from '../../src/kube/json-lines.ts';

describe('JsonLines', () => {
  const bytes = Buffer.from('{"a":"ü"}\n\n{"b":[1,2]}\n{"c":null}\n');
  const want = [{ a: 'ü' }, { b: [1, 2] }, { c: null }];

  it('gives the same values however the bytes are split', () => {
    for (let at = 0; at <= bytes.length; at += 1) {
      const lines = new JsonLines({ maxLineBytes: 100 });
      const values = [...lines.acceptChunk(bytes.subarray(0, at)), ...lines.acceptChunk(bytes.subarray(at))];
      expect(values, `split at ${at}`).to.deep.equal(want);
      expect(lines.isMidLine).to.equal(false);
    }
    const single = new JsonLines({ maxLineBytes: 100 });
    expect(Array.from(bytes, (byte) => single.acceptChunk(Buffer.of(byte))).flat()).to.deep.equal(want);
  });

  it('knows an unfinished line, refuses a long one and one that is no JSON', () => {
    const lines = new JsonLines({ maxLineBytes: 10 });
    expect(lines.acceptChunk(Buffer.from('{"a":'))).to.deep.equal([]);
    expect(lines.isMidLine).to.equal(true);
    expect(() => lines.acceptChunk(Buffer.alloc(6, 0x20))).to.throw(/longer than 10 bytes/);
    expect(() => new JsonLines({ maxLineBytes: 10 }).acceptChunk(Buffer.from('nope\n'))).to.throw(/want JSON/);
  });
});
