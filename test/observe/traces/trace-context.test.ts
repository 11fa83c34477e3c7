import { expect } from 'chai';

import { readTraceContext, writeTraceContext } from '../../../src/observe/traces/trace-context.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';

describe('readTraceContext', () => {
  it('reads what the specification shows', () => {
    const headers = [
      ['TraceParent', `00-${traceId}-${spanId}-01`],
      ['tracestate', 'congo=t61rcWkgMzE'],
      ['tracestate', 'rojo=00f067aa0ba902b7'],
    ] as const;
    const state = 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7';
    expect(readTraceContext(headers)).to.deep.equal({ traceId, spanId, isSampled: true, state });
  });

  it('takes only the one bit it knows of the flags, and a later version by its known part', () => {
    expect(readTraceContext([['traceparent', `00-${traceId}-${spanId}-fe`]])?.isSampled).to.equal(false);
    expect(readTraceContext([['traceparent', `cc-${traceId}-${spanId}-01-what-the-future-has`]])?.isSampled).to.equal(
      true,
    );
  });

  const refused: readonly string[] = [
    '',
    `00-${traceId}-${spanId}`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId.slice(1)}-${spanId}-01`,
  ];
  for (const value of refused) {
    it(`ignores ${JSON.stringify(value)}`, () => {
      expect(readTraceContext([['traceparent', value]])).to.equal(undefined);
    });
  }

  it('ignores two, which have no one reading', () => {
    const header = ['traceparent', `00-${traceId}-${spanId}-01`] as const;
    expect(readTraceContext([header, header])).to.equal(undefined);
  });

  it('drops a state that is too long or could break a header', () => {
    const of = (state: string): string | undefined =>
      readTraceContext([
        ['traceparent', `00-${traceId}-${spanId}-01`],
        ['tracestate', state],
      ])?.state;
    expect([of('a=b'), of(`a=${'b'.repeat(511)}`), of('a=\u00e9')]).to.deep.equal(['a=b', '', '']);
  });
});

describe('writeTraceContext', () => {
  it('writes what it reads', () => {
    const context = { traceId, spanId, isSampled: false, state: 'a=b' };
    expect(writeTraceContext(context)).to.deep.equal([
      ['Traceparent', `00-${traceId}-${spanId}-00`],
      ['Tracestate', 'a=b'],
    ]);
    expect(readTraceContext(writeTraceContext(context))).to.deep.equal(context);
  });
});
