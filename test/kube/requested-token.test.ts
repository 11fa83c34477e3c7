import { expect } from 'chai';

import { RequestedToken } from '../../src/kube/requested-token.ts';
import { KexerError } from '../../src/base/errors.ts';
import { failure, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

const hourMs = 3_600_000;
const account = { namespace: 'kexec-system', name: 'kexer-impersonator', purpose: "kexer's impersonator" };

interface Ask {
  readonly method?: string;
  readonly target: string;
  readonly body?: unknown;
  answer(value: unknown): void;
  fail(error: unknown): void;
}

/** An apiserver whose answers the test gives one by one. */
class Apiserver {
  readonly asked: Ask[] = [];

  json(call: { method?: string; target: string; body?: unknown }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.asked.push({ ...call, answer: resolve, fail: reject });
    });
  }
}

function granted(token: string, expirationSeconds = 3600): unknown {
  return {
    kind: 'TokenRequest',
    spec: { audiences: ['api'], expirationSeconds },
    // What it says is not looked at: the two clocks may differ by years.
    status: { token, expirationTimestamp: '1999-01-01T00:00:00Z' },
  };
}

function rig(options: { random?: () => number } = {}) {
  const clock = new FakeClock();
  const apiserver = new Apiserver();
  const failures: unknown[] = [];
  const token = new RequestedToken(
    { client: apiserver, clock, random: options.random ?? (() => 0), onFailure: (error) => failures.push(error) },
    account,
  );
  /** The n-th question, counted from 1, is there and answered. */
  const grant = async (nth: number, text: string, seconds?: number): Promise<void> => {
    expect(apiserver.asked).to.have.length(nth);
    apiserver.asked[nth - 1]?.answer(granted(text, seconds));
    await settled();
  };
  const refuse = async (nth: number, error: unknown): Promise<void> => {
    expect(apiserver.asked).to.have.length(nth);
    apiserver.asked[nth - 1]?.fail(error);
    await settled();
  };
  return { clock, apiserver, failures, token, grant, refuse };
}

/** All that is settled has been told to whoever waits for it. */
async function settled(): Promise<void> {
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('It should have been refused');
}

const down = (): KexerError => new KexerError('unreachable', 'Cannot reach the apiserver');
const status = (code: number): StatusError =>
  new StatusError(failure(code, '', 'User "system:serviceaccount:kexec-system:kexer" cannot do this'));

describe('RequestedToken', () => {
  it('asks for a token of one account, for an hour, for no audience of its own', async () => {
    const { token, apiserver, grant } = rig();
    const reading = token.read();
    await grant(1, 'one');
    expect(await reading).to.equal('one');
    const [{ method, target, body } = {}] = apiserver.asked;
    expect({ method, target, body }).to.deep.equal({
      method: 'POST',
      target: '/api/v1/namespaces/kexec-system/serviceaccounts/kexer-impersonator/token',
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: 3600 },
      },
    });
  });

  it('asks once for all who wait', async () => {
    const { token, grant } = rig();
    const readings = [token.read(), token.read(), token.read()];
    await grant(1, 'one');
    expect(await Promise.all(readings)).to.deep.equal(['one', 'one', 'one']);
    expect(token.counts).to.deep.equal({ requested: 1, failed: 0 });
  });

  it('uses a token until four fifths of its life have passed, then renews it while nobody waits', async () => {
    const { token, clock, apiserver, grant } = rig();
    void token.read();
    await grant(1, 'one');
    clock.advance(0.8 * hourMs - 1);
    expect(await token.read()).to.equal('one');
    expect(apiserver.asked).to.have.length(1);
    clock.advance(1);
    expect(await Promise.all([token.read(), token.read()])).to.deep.equal(['one', 'one']);
    await grant(2, 'two');
    expect(await token.read()).to.equal('two');
    clock.advance(0.8 * hourMs - 1);
    expect(await token.read()).to.equal('two');
    expect(apiserver.asked).to.have.length(2);
  });

  it('renews up to ten seconds earlier, by chance', async () => {
    const { token, clock, apiserver, grant } = rig({ random: () => 0.5 });
    void token.read();
    await grant(1, 'one');
    clock.advance(0.8 * hourMs - 5001);
    await token.read();
    expect(apiserver.asked).to.have.length(1);
    clock.advance(1);
    await token.read();
    await grant(2, 'two');
  });

  it('goes by the life that was given, not the one it asked for', async () => {
    const { token, clock, apiserver, grant } = rig();
    void token.read();
    await grant(1, 'one', 600);
    clock.advance(480_000);
    await token.read();
    expect(apiserver.asked).to.have.length(2);
  });

  it('counts the life of a token from the question, however long the answer took', async () => {
    const { token, clock, apiserver, grant } = rig();
    const reading = token.read();
    clock.advance(0.8 * hourMs);
    await grant(1, 'one');
    expect(await reading).to.equal('one');
    await token.read();
    expect(apiserver.asked).to.have.length(2);
  });

  it('uses the old token while it lives when a renewal fails, and tries again every ten seconds', async () => {
    const { token, clock, apiserver, failures, grant, refuse } = rig();
    void token.read();
    await grant(1, 'one');
    clock.advance(0.8 * hourMs);
    expect(await token.read()).to.equal('one');
    await refuse(2, down());
    clock.advance(9_999);
    expect(await token.read()).to.equal('one');
    expect(apiserver.asked).to.have.length(2);
    clock.advance(1);
    expect(await token.read()).to.equal('one');
    await refuse(3, status(403));
    expect(failures).to.have.length(2);
    expect(token.counts).to.deep.equal({ requested: 3, failed: 2 });
    clock.advance(10_000);
    void token.read();
    await grant(4, 'two');
    expect(await token.read()).to.equal('two');
  });

  it('has nothing to give when the old token has ended and no other is had', async () => {
    const { token, clock, grant, refuse } = rig();
    void token.read();
    await grant(1, 'one');
    clock.advance(hourMs);
    const reading = errorOf(token.read());
    await refuse(2, down());
    expect(await reading).to.include({ code: 'unreachable' });
    const next = token.read();
    await grant(3, 'two');
    expect(await next).to.equal('two');
  });

  it('renews once for a 401, and who asks then waits for it', async () => {
    const { token, clock, apiserver, grant } = rig();
    void token.read();
    await grant(1, 'one');
    token.invalidate();
    token.invalidate();
    const readings = [token.read(), token.read()];
    await grant(2, 'two');
    expect(await Promise.all(readings)).to.deep.equal(['two', 'two']);
    // Another account could have been made of the same name in between, but a new token that is refused too is no reason to ask and ask.
    token.invalidate();
    expect(await token.read()).to.equal('two');
    expect(apiserver.asked).to.have.length(2);
    clock.advance(999);
    expect(await token.read()).to.equal('two');
    expect(apiserver.asked).to.have.length(2);
    clock.advance(1);
    const reading = token.read();
    await grant(3, 'three');
    expect(await reading).to.equal('three');
  });

  it('uses the refused token again when no other is had: it may have been a moment of kube-apiserver', async () => {
    const { token, grant, refuse } = rig();
    void token.read();
    await grant(1, 'one');
    token.invalidate();
    const reading = token.read();
    await refuse(2, down());
    expect(await reading).to.equal('one');
  });

  const refusals: readonly [code: number, message: string][] = [
    [401, "Cannot get a token of kexer's impersonator: kube-apiserver does not accept kexer's own credential"],
    [
      403,
      'Cannot get a token of kexer\'s impersonator: kexer needs the verb "create" on "serviceaccounts/token" of its account',
    ],
    [404, "Cannot get a token of kexer's impersonator: its service account does not exist"],
    [422, "Cannot get a token of kexer's impersonator: the apiserver answered 422"],
  ];
  for (const [code, message] of refusals) {
    it(`tells a ${code} to callers as a 502 without the name of an account, and the cause to the log`, async () => {
      const { token, failures, refuse } = rig();
      const reading = errorOf(token.read());
      const refused = status(code);
      await refuse(1, refused);
      const error = await reading;
      expect(error).to.be.instanceOf(StatusError);
      expect(error).to.deep.include({ status: failure(502, '', message), cause: refused });
      expect(failures).to.deep.equal([error]);
    });
  }

  it('takes a 429 and a 503 for an absence', async () => {
    for (const code of [429, 503]) {
      const { token, refuse } = rig();
      const reading = errorOf(token.read());
      await refuse(1, status(code));
      expect(await reading).to.include({
        code: 'unreachable',
        message: `Cannot get a token of kexer's impersonator: the apiserver answered ${code}`,
      });
    }
  });

  it('refuses an answer that is no token', async () => {
    const noTokens: unknown[] = [
      undefined,
      'token',
      {},
      granted(''),
      granted('two words'),
      granted('line\nend'),
      granted('one', 0),
      granted('one', -1),
      granted('one', Number.NaN),
      { ...Object(granted('one')), spec: {} },
    ];
    for (const answer of noTokens) {
      const { token, apiserver } = rig();
      const reading = errorOf(token.read());
      apiserver.asked[0]?.answer(answer);
      expect(await reading).to.include({ code: 'badGateway' });
    }
  });

  it('says nothing of a request that kexer itself ended', async () => {
    const { token, failures, refuse } = rig();
    const reading = errorOf(token.read());
    await refuse(1, new KexerError('draining', 'Cannot send a request: the client is closed'));
    expect(await reading).to.include({ code: 'draining' });
    expect(failures).to.deep.equal([]);
  });
});
