import { EventEmitter } from 'node:events';
import { expect } from 'chai';

import { ignoreErrors } from '../../src/net/ignore-errors.ts';

describe('ignore errors', () => {
  it('lets an error pass that nobody listens to', () => {
    const emitter = new EventEmitter();
    ignoreErrors(emitter);
    expect(emitter.emit('error', new Error('reset'))).to.equal(true);
  });

  it('leaves one listener, the same for all, however often it is asked', () => {
    const [first, second] = [new EventEmitter(), new EventEmitter()];
    for (const emitter of [first, first, second]) ignoreErrors(emitter);
    expect(first.listeners('error')).to.have.length(1).and.to.deep.equal(second.listeners('error'));
  });

  it('takes nothing from those who listen besides', () => {
    const emitter = new EventEmitter();
    const heard: unknown[] = [];
    emitter.on('error', (error) => heard.push(error));
    ignoreErrors(emitter);
    const error = new Error('reset');
    emitter.emit('error', error);
    expect(heard).to.deep.equal([error]);
  });
});
