import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { AnswerController, AnswerSink, RawRequest } from '../../src/kube/client.ts';
import { Informer, type InformerOptions, type KubeObject } from '../../src/kube/informer.ts';
import { failure, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** One question of the informer that the test answers. */
type Asked =
  | { kind: 'list'; target: string; resolve: (page: unknown) => void; reject: (error: Error) => void }
  | { kind: 'watch'; target: string; sink: AnswerSink; aborted: () => boolean };

const noController: AnswerController = { pause() {}, resume() {}, abort() {} };

/** An apiserver without a socket: the test takes each question and answers it. */
class ScriptedApi {
  readonly userAgent = 'kexer/test';
  readonly #asked: Asked[] = [];
  #waiting: ((asked: Asked) => void) | undefined;

  json(call: { target: string; signal?: AbortSignal }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      call.signal?.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
      this.#ask({ kind: 'list', target: call.target, resolve, reject });
    });
  }

  stream(request: RawRequest, sink: AnswerSink): AnswerController {
    let isAborted = false;
    const controller: AnswerController = {
      pause: () => {},
      resume: () => {},
      abort: (reason) => {
        if (isAborted) return;
        isAborted = true;
        sink.onError(reason);
      },
    };
    setImmediate(() => this.#ask({ kind: 'watch', target: request.target, sink, aborted: () => isAborted }));
    return controller;
  }

  #ask(asked: Asked): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#asked.push(asked);
    else waiting(asked);
  }

  #next(): Promise<Asked> {
    const asked = this.#asked.shift();
    if (asked !== undefined) return Promise.resolve(asked);
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  async list(): Promise<Extract<Asked, { kind: 'list' }>> {
    const asked = await this.#next();
    if (asked.kind !== 'list') throw new Error(`want a list, got a watch of ${asked.target}`);
    return asked;
  }

  async watch(): Promise<Extract<Asked, { kind: 'watch' }>> {
    const asked = await this.watchUnanswered();
    asked.sink.onHead({ status: 200, reason: 'OK', headers: [] }, noController);
    return asked;
  }

  async watchUnanswered(): Promise<Extract<Asked, { kind: 'watch' }>> {
    const asked = await this.#next();
    if (asked.kind !== 'watch') throw new Error(`want a watch, got a list of ${asked.target}`);
    return asked;
  }
}

const node = (name: string, resourceVersion: string, extra: object = {}): KubeObject => ({
  metadata: { name, resourceVersion },
  ...extra,
});
const page = (resourceVersion: string, items: KubeObject[], next = ''): object => ({
  kind: 'NodeList',
  metadata: next === '' ? { resourceVersion } : { resourceVersion, continue: next },
  items,
});
const line = (type: string, object: object): Buffer => Buffer.from(`${JSON.stringify({ type, object })}\n`);
const settle = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

describe('Informer', () => {
  let api: ScriptedApi;
  let clock: FakeClock;
  let informer: Informer<string>;
  let errors: string[];
  let changes: string[];

  function start(options: Partial<InformerOptions<string>> = {}): void {
    informer = new Informer(
      { client: api, clock, random: () => 0 },
      {
        path: '/api/v1/nodes',
        project: ({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`,
        onError: (error) => errors.push(String(error)),
        ...options,
      },
    );
    informer.onChange(({ type, key, object }) => changes.push(`${type} ${key} ${object}`));
    informer.start();
  }

  beforeEach(() => {
    api = new ScriptedApi();
    clock = new FakeClock();
    errors = [];
    changes = [];
  });
  afterEach(async () => {
    await informer.stop();
    expect(clock.pendingCount).to.equal(0);
  });

  it('lists by pages, then watches from the version of the list', async () => {
    start();
    const synced = informer.whenSynced();
    const first = await api.list();
    first.resolve(page('10', [node('a', '1')], 'next/page'));
    const second = await api.list();
    expect(informer.hasSynced).to.equal(false);
    second.resolve(page('10', [node('b', '2')]));
    await synced;
    const watch = await api.watch();
    watch.sink.onData(Buffer.concat([line('ADDED', node('c', '11')), line('MODIFIED', node('a', '12'))]));
    watch.sink.onData(line('DELETED', node('b', '13')));
    expect([first.target, second.target, watch.target]).to.deep.equal([
      '/api/v1/nodes?limit=500',
      '/api/v1/nodes?limit=500&continue=next%2Fpage',
      '/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion=10&timeoutSeconds=300',
    ]);
    expect(informer.list()).to.deep.equal(['a@12', 'c@11']);
    expect([informer.get('a'), informer.get('b')]).to.deep.equal(['a@12', undefined]);
    expect(changes).to.deep.equal(['set a a@1', 'set b b@2', 'set c c@11', 'set a a@12', 'delete b b@2']);
    expect(errors).to.deep.equal([]);
  });

  it('goes on from the last version it saw, bookmarks included, when a watch ends', async () => {
    start();
    (await api.list()).resolve(page('10', []));
    const first = await api.watch();
    first.sink.onData(line('ADDED', node('a', '11')));
    first.sink.onData(line('BOOKMARK', { metadata: { resourceVersion: '20' } }));
    first.sink.onEnd();
    const second = await api.watch();
    expect(second.target).to.include('resourceVersion=20&');
    second.sink.onData(line('MODIFIED', node('a', '21')));
    second.sink.onError(new KexerError('cut', 'gone'));
    await settle();
    clock.advance(800);
    expect((await api.watch()).target).to.include('resourceVersion=21&');
    expect([informer.list(), errors]).to.deep.equal([['a@21'], ['KexerError: gone']]);
  });

  for (const how of ['an ERROR event', 'a refused watch'] as const) {
    it(`lists again after 410 by ${how}, and drops what is gone`, async () => {
      start();
      (await api.list()).resolve(page('10', [node('a', '1'), node('b', '2')]));
      const watch = await api.watch();
      const gone = failure(410, 'Expired', 'too old resource version');
      if (how === 'an ERROR event') watch.sink.onData(line('ERROR', gone));
      else {
        watch.sink.onHead({ status: 410, reason: 'Gone', headers: [] }, { pause() {}, resume() {}, abort() {} });
        watch.sink.onData(Buffer.from(JSON.stringify(gone)));
        watch.sink.onEnd();
      }
      await settle();
      clock.advance(800);
      changes.length = 0;
      (await api.list()).resolve(page('30', [node('b', '2'), node('c', '3')]));
      expect((await api.watch()).target).to.include('resourceVersion=30&');
      expect(changes).to.deep.equal(['set c c@3', 'delete a a@1']);
      expect(errors).to.deep.equal([]);
    });
  }

  it('keeps what it has while the apiserver is away, and backs off up to half a minute', async () => {
    start();
    (await api.list()).resolve(page('10', [node('a', '1')]));
    let watch = await api.watch();
    const delays: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      watch.sink.onError(new KexerError('unreachable', 'away'));
      await settle();
      const next = api.watch();
      let waited = 0;
      for (let isThere = false; !isThere; waited += 100) {
        clock.advance(100);
        await settle();
        isThere = await Promise.race([next.then(() => true), settle().then(() => false)]);
      }
      delays.push(waited);
      watch = await next;
    }
    expect(delays).to.deep.equal([800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    expect([informer.list(), informer.hasSynced, errors.length]).to.deep.equal([['a@1'], true, 8]);
  });

  it('begins its pauses anew after a watch that was open for a while, events or none', async () => {
    start();
    (await api.list()).resolve(page('10', []));
    let watch = await api.watch();
    const delays: number[] = [];
    for (const openMs of [0, 0, 3000, 0, 60_000]) {
      clock.advance(openMs);
      watch.sink.onError(new KexerError('unreachable', 'away'));
      await settle();
      const next = api.watch();
      let waited = 0;
      for (let isThere = false; !isThere; waited += 100) {
        clock.advance(100);
        await settle();
        isThere = await Promise.race([next.then(() => true), settle().then(() => false)]);
      }
      delays.push(waited);
      watch = await next;
    }
    // 3 s are less than the pause that would come next.
    expect(delays).to.deep.equal([800, 1600, 3200, 6400, 800]);
  });

  it('does not run in a circle when watches end at once without an event', async () => {
    start();
    (await api.list()).resolve(page('10', []));
    (await api.watch()).sink.onEnd();
    await settle();
    expect(clock.pendingCount).to.equal(1);
    clock.advance(800);
    (await api.watch()).sink.onEnd();
    await settle();
    clock.advance(1599);
    await settle();
    expect(clock.pendingCount).to.equal(1);
    clock.advance(1);
    await api.watch();
  });

  it('tries the first list again until it succeeds', async () => {
    start();
    (await api.list()).reject(new StatusError(failure(403, 'Forbidden', 'no')));
    await settle();
    expect(informer.hasSynced).to.equal(false);
    clock.advance(800);
    (await api.list()).resolve({ kind: 'NodeList' });
    await settle();
    clock.advance(1600);
    (await api.list()).resolve(page('1', []));
    await informer.whenSynced();
    expect(errors).to.deep.equal([
      'StatusError: no',
      "KexerError: Cannot use the apiserver's list: it has no metadata",
    ]);
  });

  it('counts an API that is not served as synced and empty, and looks again', async () => {
    start();
    (await api.list()).reject(new StatusError(failure(404, 'NotFound', 'no such API')));
    await informer.whenSynced();
    expect([informer.isNotServed, informer.list(), errors]).to.deep.equal([true, [], []]);
    clock.advance(60_000);
    (await api.list()).resolve(page('1', [node('a', '1')]));
    await api.watch();
    expect([informer.isNotServed, informer.list()]).to.deep.equal([false, ['a@1']]);
  });

  it('follows one object only, whatever the apiserver sends', async () => {
    start({ name: 'a' });
    const list = await api.list();
    expect(list.target).to.equal('/api/v1/nodes?limit=500&fieldSelector=metadata.name%3Da');
    list.resolve(page('1', [node('a', '1'), node('b', '1')]));
    const watch = await api.watch();
    expect(watch.target).to.match(/&fieldSelector=metadata\.name%3Da$/);
    watch.sink.onData(line('ADDED', node('c', '2')));
    expect(informer.list()).to.deep.equal(['a@1']);
  });

  it('drops an object that cannot be projected, and reports it', async () => {
    start({
      project: ({ metadata, bad }) => {
        if (bad === true) throw new Error(`bad ${metadata.name}`);
        return metadata.name;
      },
    });
    (await api.list()).resolve(page('1', [node('a', '1'), node('b', '1', { bad: true })]));
    const watch = await api.watch();
    watch.sink.onData(line('MODIFIED', node('a', '2', { bad: true })));
    expect([informer.list(), errors, changes]).to.deep.equal([
      [],
      ['Error: bad b', 'Error: bad a'],
      ['set a a', 'delete a a'],
    ]);
  });

  it('ends a watch that sends garbage, and goes on from what it saw', async () => {
    start();
    (await api.list()).resolve(page('1', []));
    const watch = await api.watch();
    watch.sink.onData(line('ADDED', node('a', '2')));
    watch.sink.onData(Buffer.from('{"type":"ADDED","object":{"metadata":{}}}\n'));
    expect(watch.aborted()).to.equal(true);
    await settle();
    clock.advance(800);
    expect((await api.watch()).target).to.include('resourceVersion=2&');
    expect(errors).to.deep.equal(['KexerError: Cannot read an event of the watch']);
  });

  it('does not wait for ever on a dead connection', async () => {
    start();
    (await api.list()).resolve(page('1', []));
    const watch = await api.watch();
    clock.advance(330_000);
    expect(watch.aborted()).to.equal(true);
    await settle();
    expect(errors[0]).to.match(/did not end it in time/);
  });

  it('tells that it has tried from that it has synced', async () => {
    start();
    const tried = informer.whenTried();
    (await api.list()).reject(new StatusError(failure(403, 'Forbidden', 'no list')));
    await tried;
    expect([informer.hasTried, informer.hasSynced, informer.isCurrent]).to.deep.equal([true, false, false]);
    await informer.whenTried();
    clock.advance(800);
    (await api.list()).resolve(page('1', []));
    await informer.whenSynced();
    expect([informer.hasSynced, informer.isCurrent]).to.deep.equal([true, true]);
    await api.watch();
  });

  it('is current until its watch has failed for 30 s, and again once a watch is open', async () => {
    start();
    (await api.list()).resolve(page('1', []));
    (await api.watch()).sink.onError(new KexerError('unreachable', 'away'));
    await settle();
    const states: boolean[] = [];
    let elapsedMs = 0;
    for (const delayMs of [800, 1600, 3200, 6400, 12_800, 25_600]) {
      clock.advance(delayMs);
      elapsedMs += delayMs;
      states.push(informer.isCurrent);
      const watch = await api.watchUnanswered();
      if (elapsedMs < 50_000) watch.sink.onError(new KexerError('unreachable', 'away'));
      else watch.sink.onHead({ status: 200, reason: 'OK', headers: [] }, noController);
      await settle();
    }
    expect([states, informer.isCurrent]).to.deep.equal([[true, true, true, true, true, false], true]);
  });

  it('stops at any point, and a wait for the first list can be given up', async () => {
    start();
    await api.list();
    const giveUp = new AbortController();
    const waiting = informer.whenSynced(giveUp.signal).catch(String);
    giveUp.abort();
    expect(await waiting).to.match(/Cannot wait longer for the first list of \/api\/v1\/nodes/);
    await informer.stop();
    expect(errors).to.deep.equal([]);
  });
});
