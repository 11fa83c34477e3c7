import { expect } from 'chai';

import { AdmissionWatch } from '../../src/clusters/admission-watch.ts';
import { type ConnectKind, connectKinds } from '../../src/kube/admission-rules.ts';
import type { AnswerController, AnswerSink, RawRequest } from '../../src/kube/client.ts';
import { failure, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

const group = '/apis/admissionregistration.k8s.io';
const webhooksPath = `${group}/v1/mutatingwebhookconfigurations`;
const notServed = (): Error => new StatusError(failure(404, 'NotFound', 'the server could not find the resource'));
const refused = (): Error => new StatusError(failure(403, 'Forbidden', 'kexer may not list this'));

const execRule = { operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] };
const configuration = (name: string, rules: object[]): object => ({
  metadata: { name, resourceVersion: '7' },
  webhooks: [{ name: 'rewrite.example.com', rules }],
});
const policy = (name: string, rules: object[] = [execRule]): object => ({
  metadata: { name, resourceVersion: '7' },
  spec: { matchConstraints: { resourceRules: rules } },
});
const binding = (policyName: string, matchResources?: object): object => ({
  metadata: { name: `${policyName}-binding`, resourceVersion: '7' },
  spec: { policyName, matchResources },
});

/** The lists of an apiserver by path; its watches stay open until the test breaks or feeds them. */
class ListedApi {
  readonly userAgent = 'kexer/test';
  readonly lists = new Map<string, object[] | (() => Error)>();
  readonly watches = new Map<string, AnswerSink>();
  watchStatus = 200;

  async json({ target }: { target: string }): Promise<unknown> {
    const path = target.split('?')[0] ?? '';
    const list = this.lists.get(path) ?? notServed;
    if (typeof list === 'function') throw list();
    return { metadata: { resourceVersion: '10' }, items: list };
  }

  stream(request: RawRequest, sink: AnswerSink): AnswerController {
    const path = request.target.split('?')[0] ?? '';
    const controller: AnswerController = {
      pause() {},
      resume() {},
      abort: (reason) => {
        if (this.watches.delete(path)) sink.onError(reason);
      },
    };
    this.watches.set(path, sink);
    queueMicrotask(() => {
      sink.onHead({ status: this.watchStatus, reason: '', headers: [] }, controller);
      if (this.watchStatus !== 200 && this.watches.delete(path)) sink.onEnd();
    });
    return controller;
  }

  event(path: string, type: string, object: object): void {
    this.watches.get(path)?.onData(Buffer.from(`${JSON.stringify({ type, object })}\n`));
  }

  cut(path: string): void {
    const sink = this.watches.get(path);
    this.watches.delete(path);
    sink?.onError(new Error('reset'));
  }
}

const settle = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

describe('AdmissionWatch', () => {
  let api: ListedApi;
  let clock: FakeClock;
  let watch: AdmissionWatch;
  let errors: string[];

  beforeEach(() => {
    api = new ListedApi();
    clock = new FakeClock();
    errors = [];
    watch = new AdmissionWatch({ client: api, clock, onError: (path) => errors.push(path) });
  });
  afterEach(async () => {
    await watch.stop();
    expect(clock.pendingCount).to.equal(0);
  });

  async function started(lists: Record<string, object[] | (() => Error)>): Promise<void> {
    for (const [path, list] of Object.entries(lists)) api.lists.set(path, list);
    watch.start();
    await watch.whenTried(new AbortController().signal);
    await settle();
  }

  function reasons(): Record<ConnectKind, string> {
    const say = (kind: ConnectKind): string => {
      const found = watch.mutationOf(kind);
      return found === undefined ? 'none' : `${found.reason} ${found.detail}`;
    };
    return Object.fromEntries(connectKinds.map((kind) => [kind, say(kind)])) as Record<ConnectKind, string>;
  }

  const none = { exec: 'none', attach: 'none', portforward: 'none' };
  const unsynced = (path: string): object =>
    Object.fromEntries(connectKinds.map((kind) => [kind, `notSynced ${path}`]));

  it('takes every stream for one that may be mutated until all lists are there', async () => {
    expect(watch.hasTried).to.equal(false);
    expect(reasons()).to.deep.equal(unsynced(webhooksPath));
    await started({ [webhooksPath]: [] });
    expect([watch.hasTried, reasons()]).to.deep.equal([true, none]);
  });

  it('takes an API that is not served for one without objects', async () => {
    await started({});
    expect([reasons(), errors]).to.deep.equal([none, []]);
  });

  it('names the webhook that may mutate, from its creation to its deletion', async () => {
    await started({ [webhooksPath]: [configuration('other', [{ ...execRule, operations: ['CREATE'] }])] });
    expect(reasons()).to.deep.equal(none);
    api.event(webhooksPath, 'ADDED', configuration('rewriter', [execRule]));
    expect(reasons()).to.deep.equal({ ...none, exec: 'mutatingWebhook rewriter/rewrite.example.com' });
    api.event(webhooksPath, 'DELETED', configuration('rewriter', [execRule]));
    expect(reasons()).to.deep.equal(none);
  });

  for (const version of ['v1', 'v1beta1', 'v1alpha1']) {
    it(`counts a policy of ${version} only with a binding that lets it through`, async () => {
      const policies = `${group}/${version}/mutatingadmissionpolicies`;
      const bindings = `${group}/${version}/mutatingadmissionpolicybindings`;
      await started({ [webhooksPath]: [], [policies]: [policy('p')], [bindings]: [] });
      expect(reasons()).to.deep.equal(none);
      api.event(bindings, 'ADDED', binding('another'));
      expect(reasons()).to.deep.equal(none);
      api.event(bindings, 'ADDED', binding('p', { resourceRules: [{ ...execRule, resources: ['pods/attach'] }] }));
      expect(reasons()).to.deep.equal(none);
      const wide = { ...binding('p'), metadata: { name: 'wide', resourceVersion: '12' } };
      api.event(bindings, 'ADDED', wide);
      expect(reasons()).to.deep.equal({ ...none, exec: 'mutatingPolicy p' });
    });
  }

  it('says that a list it may not read is missing, and goes on trying', async () => {
    const bindings = `${group}/v1/mutatingadmissionpolicybindings`;
    await started({ [webhooksPath]: [], [bindings]: refused });
    expect([reasons(), errors]).to.deep.equal([unsynced(bindings), [bindings]]);
    api.lists.set(bindings, []);
    clock.advance(1600);
    await settle();
    expect(reasons()).to.deep.equal(none);
  });

  it('prefers to name a webhook to saying that something else is not known', async () => {
    await started({
      [webhooksPath]: [configuration('rewriter', [execRule])],
      [`${group}/v1/mutatingadmissionpolicies`]: refused,
    });
    expect(reasons().exec).to.equal('mutatingWebhook rewriter/rewrite.example.com');
  });

  it('trusts a copy through a short outage and not through a long one', async () => {
    await started({ [webhooksPath]: [] });
    api.watchStatus = 403;
    api.cut(webhooksPath);
    await settle();
    expect(reasons()).to.deep.equal(none);
    for (let second = 0; second < 31; second += 1) {
      clock.advance(1000);
      await settle();
    }
    expect(reasons()).to.deep.equal(unsynced(webhooksPath));
    api.watchStatus = 200;
    for (let second = 0; second < 70; second += 1) {
      clock.advance(1000);
      await settle();
    }
    expect(reasons()).to.deep.equal(none);
  });

  it('looks again for an API that was not served', async () => {
    await started({});
    api.lists.set(webhooksPath, [configuration('rewriter', [execRule])]);
    clock.advance(60_000);
    await settle();
    expect(reasons().exec).to.equal('mutatingWebhook rewriter/rewrite.example.com');
  });
});
