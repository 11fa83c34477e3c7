// What is in use at once, by key and in total.

import { expect } from 'chai';

import { Slots } from '../../src/base/slots.ts';

describe('Slots', () => {
  it('has room up to either limit, and one key at its limit takes nothing from another', () => {
    const slots = new Slots({ perKey: 2, total: 3 });
    const held = [slots.take('a'), slots.take('a')];
    expect([slots.fullFor('a'), slots.fullFor('b')]).to.deep.equal(['key', undefined]);
    held.push(slots.take('b'));
    expect([slots.fullFor('b'), slots.total]).to.deep.equal(['total', 3]);
    held[0]?.release();
    held[0]?.release();
    expect([slots.fullFor('a'), slots.count('a'), slots.total]).to.deep.equal([undefined, 1, 2]);
  });

  it('has no limit where it is 0', () => {
    const slots = new Slots({ perKey: 0, total: 0 });
    for (let index = 0; index < 100; index += 1) slots.take('a');
    expect([slots.fullFor('a'), slots.count('a')]).to.deep.equal([undefined, 100]);
  });

  it('moves a slot to another key, which then gives it back', () => {
    const slots = new Slots({ perKey: 1, total: 0 });
    const slot = slots.take('a');
    slot.moveTo('a');
    slot.moveTo('b');
    expect([slot.key, slots.count('a'), slots.count('b'), slots.total]).to.deep.equal(['b', 0, 1, 1]);
    slot.release();
    slot.moveTo('a');
    expect([slots.count('a'), slots.count('b'), slots.total]).to.deep.equal([0, 0, 0]);
  });
});
