import { expect } from 'chai';

import { KexerError, codeOf, describeError } from '../../src/base/errors.ts';
import { quote } from '../../src/base/quote.ts';

describe('describeError', () => {
  it('joins causes, and the errors of an aggregate without a message', () => {
    const cause = new AggregateError([
      new Error('connect ECONNREFUSED ::1:1'),
      new Error('connect ECONNREFUSED 127.0.0.1:1'),
    ]);
    const error = new KexerError('unreachable', 'Cannot reach "node1"', { cause });
    expect([codeOf(error), describeError(error)]).to.deep.equal([
      'unreachable',
      'Cannot reach "node1": connect ECONNREFUSED ::1:1; connect ECONNREFUSED 127.0.0.1:1',
    ]);
  });

  it('calls everything else internal', () => {
    expect([codeOf(new Error('x')), codeOf('x'), describeError('x')]).to.deep.equal(['internal', 'internal', 'x']);
  });
});

describe('quote', () => {
  it('escapes control characters and bounds the length', () => {
    expect([quote('a\r\n"'), quote('abcdef', 3)]).to.deep.equal([String.raw`"a\r\n\""`, '"abc…"']);
  });
});
