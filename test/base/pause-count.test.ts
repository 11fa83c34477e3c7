// One stream, several reasons to hold it.

import { expect } from 'chai';

import { PauseCount } from '../../src/base/pause-count.ts';

describe('PauseCount', () => {
  it('pauses with the first reason and resumes with the last, and never unasked', () => {
    const calls: string[] = [];
    const pauses = new PauseCount({ pause: () => calls.push('pause'), resume: () => calls.push('resume') });
    pauses.resume();
    pauses.pause();
    pauses.pause();
    pauses.resume();
    calls.push('-');
    pauses.resume();
    pauses.resume();
    pauses.pause();
    expect(calls).to.deep.equal(['pause', '-', 'resume', 'pause']);
  });
});
