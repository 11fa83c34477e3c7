import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';

describe('Scope', () => {
  it('disposes in reverse order, once, and awaits each', async () => {
    const order: string[] = [];
    const scope = new Scope();
    scope.add(() => void order.push('first'));
    scope.add(async () => {
      await Promise.resolve();
      order.push('second');
    });
    await Promise.all([scope.close(), scope.close()]);
    expect(order).to.deep.equal(['second', 'first']);
  });

  it('disposes a late newcomer at once', async () => {
    const scope = new Scope();
    await scope.close();
    let isDisposed = false;
    scope.add(() => {
      isDisposed = true;
    });
    expect(isDisposed).to.equal(true);
  });

  it('runs every disposer when one throws, and throws the first error', async () => {
    const order: string[] = [];
    const scope = new Scope();
    scope.add(() => void order.push('oldest'));
    scope.add(() => {
      throw new Error('boom');
    });
    const error = await scope.close().catch((reason: unknown) => reason);
    expect([order, String(error)]).to.deep.equal([['oldest'], 'Error: boom']);
  });

  it('closes a child with its parent and forgets a child that closed earlier', async () => {
    const order: string[] = [];
    const parent = new Scope();
    const early = parent.child();
    const late = parent.child();
    early.add(() => void order.push('early'));
    late.add(() => void order.push('late'));
    await early.close();
    await parent.close();
    expect(order).to.deep.equal(['early', 'late']);
  });

  it('aborts its signal when it starts to close', async () => {
    const scope = new Scope();
    let seen = false;
    scope.add(() => {
      seen = scope.signal.aborted;
    });
    await scope.close();
    expect(seen).to.equal(true);
  });
});
