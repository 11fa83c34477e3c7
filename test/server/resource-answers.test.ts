// get, list and watch of a resource of kexer's own, over real HTTP: the bytes kubectl and client libraries read.

import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { parseRequestInfo } from '../../src/kube/request-info.ts';
import { statusOf, StatusError } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { fromRawHeaders } from '../../src/protocol/raw-headers.ts';
import { RefusalWithHeaders, sendAnswer, statusAnswer } from '../../src/server/answer.ts';
import { ResourceAnswers } from '../../src/server/resource-answers.ts';
import { ResourceFeed } from '../../src/server/resource-feed.ts';
import type { ResourceKind, ResourceObject } from '../../src/server/resource-kind.ts';
import { FakeClock } from '../support/fake-clock.ts';

interface Thing extends ResourceObject {
  readonly spec: { readonly color: string };
}

const kind: ResourceKind<Thing> = {
  group: 'backup.cv.io',
  version: 'v1',
  resource: 'things',
  kind: 'Thing',
  columns: [
    { name: 'Name', type: 'string', format: 'name', description: 'Name.', priority: 0 },
    { name: 'Color', type: 'string', format: '', description: 'Color.', priority: 1 },
  ],
  cells: ({ metadata, spec }) => [metadata.name, spec.color],
  fields: ['spec.color'],
  inOtherNamespace: (object, namespace) =>
    object.metadata.name === 'everywhere' ? { ...object, metadata: { ...object.metadata, namespace } } : undefined,
};

const base = '/apis/backup.cv.io/v1';
const tables =
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';

function thing(name: string, color = 'red', namespace = 'a', labels?: Record<string, string>): Thing {
  return {
    kind: 'Thing',
    apiVersion: 'backup.cv.io/v1',
    metadata: {
      name,
      namespace,
      uid: `uid-${name}`,
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...(labels === undefined ? {} : { labels }),
    },
    spec: { color },
  };
}

interface Listed {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly { readonly metadata: { readonly name: string; readonly namespace: string } }[];
}

describe('ResourceAnswers', () => {
  let scope: Scope;
  let clock: FakeClock;
  let feed: ResourceFeed<Thing>;
  let refreshed: unknown[];
  let watched: boolean[];
  let warnings: string[];
  let port: number;

  beforeEach(async () => {
    scope = new Scope();
    clock = new FakeClock();
    feed = new ResourceFeed({ clock });
    refreshed = [];
    watched = [];
    warnings = [];
    const answers = new ResourceAnswers(
      {
        clock,
        feed,
        refresh: async (wanted) => {
          refreshed.push(wanted);
          return { warnings };
        },
        onWatched: (isWatched) => watched.push(isWatched),
      },
      kind,
    );
    const server = createServer((request, response) => {
      const [path = '', rawQuery = ''] = (request.url ?? '').split('?');
      const query = new URLSearchParams(rawQuery);
      const answer = answers.answer({
        info: parseRequestInfo(request.method ?? '', path.slice(1).split('/'), query),
        query,
        headers: fromRawHeaders(request.rawHeaders),
        user: makeUser({ name: 'alice' }),
        originalUser: undefined,
        remoteAddress: '',
        auditId: 'audit-1',
        signal: scope.signal,
        readBody: () => Promise.reject(new Error('nobody reads it')),
      });
      const exchange = { kind: 'request', request, response } as const;
      answer
        .then((given) => {
          if ('run' in given) return given.run(response);
          sendAnswer({ clock }, exchange, given, 'audit-1');
          return undefined;
        })
        .catch((error: unknown) => {
          if (!(error instanceof StatusError)) throw error;
          const headers = error instanceof RefusalWithHeaders ? error.headers : [];
          sendAnswer({ clock }, exchange, statusAnswer(statusOf(error), headers), 'audit-1');
        });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.add(
      () =>
        new Promise<void>((resolve) => {
          server.closeAllConnections();
          server.close(() => resolve());
        }),
    );
    ({ port } = server.address() as AddressInfo);
  });

  afterEach(() => scope.close());

  function open(path: string, accept = 'application/json', method = 'GET'): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      get({ port, path, method, agent: false, headers: { Accept: accept } }, resolve).on('error', reject);
    });
  }

  async function ask(
    path: string,
    accept?: string,
    method?: string,
  ): Promise<{ status: number; body: unknown; warning: unknown }> {
    const answer = await open(path, accept, method);
    let text = '';
    for await (const chunk of answer) text += String(chunk);
    const { statusCode = 0, headers } = answer;
    return { status: statusCode, body: text === '' ? '' : JSON.parse(text), warning: headers['warning'] };
  }

  async function list(path: string): Promise<string[]> {
    const { body } = await ask(path);
    return (body as Listed).items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  }

  /** Events of a watch, one after the other. */
  async function watch(
    path: string,
    accept?: string,
  ): Promise<{ answer: IncomingMessage; next: () => Promise<unknown> }> {
    const answer = await open(path, accept);
    answer.setEncoding('utf8');
    answer.on('error', () => {});
    let rest = '';
    const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<string>;
    const next = async (): Promise<unknown> => {
      for (;;) {
        const end = rest.indexOf('\n');
        if (end !== -1) {
          const line = rest.slice(0, end);
          rest = rest.slice(end + 1);
          return JSON.parse(line);
        }
        const { value, done } = await chunks.next();
        if (done === true) return 'end';
        rest += value;
      }
    };
    return { answer, next };
  }

  const short = (event: unknown): unknown => {
    const { type, object } = event as {
      type: string;
      object: { metadata: { name: string }; spec?: { color: string } };
    };
    return `${type} ${object.metadata.name} ${object.spec?.color ?? ''}`.trim();
  };

  it('gives one object, in every form', async () => {
    feed.set(thing('x'));
    const path = `${base}/namespaces/a/things/x`;
    const stored = feed.get('a', 'x');
    expect(await ask(path)).to.deep.include({ status: 200, body: stored });
    expect(refreshed).to.deep.equal([{ namespace: 'a', name: 'x' }]);
    const row = {
      cells: ['x', 'red'],
      object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: stored?.metadata },
    };
    const table = {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { resourceVersion: stored?.metadata.resourceVersion },
      columnDefinitions: kind.columns,
      rows: [row],
    };
    expect((await ask(path, tables)).body).to.deep.equal(table);
    expect((await ask(`${path}?includeObject=None`, tables)).body).to.deep.equal({
      ...table,
      rows: [{ ...row, object: null }],
    });
    expect((await ask(`${path}?includeObject=Object`, tables)).body).to.deep.equal({
      ...table,
      rows: [{ ...row, object: stored }],
    });
    expect((await ask(path, 'application/json;as=Table;v=v1beta1;g=meta.k8s.io')).body).to.have.property(
      'apiVersion',
      'meta.k8s.io/v1beta1',
    );
    expect((await ask(path, 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io')).body).to.deep.equal(
      row.object,
    );
    expect((await ask(`${base}/namespaces/b/things/x`)).body).to.deep.include({
      code: 404,
      message: 'things.backup.cv.io "x" not found',
    });
  });

  it('lists a namespace or all, with a version, and with warnings', async () => {
    for (const [name, namespace] of [
      ['x', 'a'],
      ['y', 'b'],
      ['everywhere', 'a'],
    ] as const)
      feed.set(thing(name, 'red', namespace));
    expect(await list(`${base}/things`)).to.deep.equal(['a/everywhere', 'a/x', 'b/y']);
    expect(await list(`${base}/namespaces/b/things?limit=1`)).to.deep.equal(['b/everywhere', 'b/y']);
    warnings = ['one "of" them \\ is\naway'];
    const { body, warning } = await ask(`${base}/things`);
    expect(body).to.deep.include({ kind: 'ThingList', apiVersion: 'backup.cv.io/v1' });
    expect(Number((body as Listed).metadata.resourceVersion)).to.be.at.least(clock.now() * 1000);
    expect(warning).to.equal(String.raw`299 - "one \"of\" them \\ is away"`);
    const partial = (await ask(`${base}/things`, 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io'))
      .body;
    expect(partial).to.deep.include({ kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1' });
    expect(partial).to.have.nested.property('items[0].kind', 'PartialObjectMetadata');
    expect((await ask(`${base}/things`, tables)).body).to.have.nested.property('rows.length', 3);
  });

  it('says with a 404 what it could not find out', async () => {
    warnings = ['a replica is silent'];
    const missing = await ask(`${base}/namespaces/a/things/nope`);
    expect(missing).to.deep.include({ status: 404, warning: '299 - "a replica is silent"' });
    expect(missing.body).to.deep.include({ message: 'things.backup.cv.io "nope" not found', reason: 'NotFound' });
    warnings = [];
    expect(await ask(`${base}/namespaces/a/things/nope`)).to.deep.include({ status: 404, warning: undefined });
  });

  it('selects by fields and labels', async () => {
    feed.set(thing('x', 'red', 'a', { env: 'prod' }));
    feed.set(thing('y', 'blue'));
    const select = (selector: string): Promise<string[]> => list(`${base}/namespaces/a/things?${selector}`);
    expect(await select('fieldSelector=metadata.name%3Dx')).to.deep.equal(['a/x']);
    expect(refreshed.at(-1)).to.deep.equal({ namespace: 'a', name: 'x' });
    expect(await select('fieldSelector=spec.color!%3Dred')).to.deep.equal(['a/y']);
    expect(await select('labelSelector=env%20in%20(prod,test)')).to.deep.equal(['a/x']);
    expect(await select('labelSelector=!env')).to.deep.equal(['a/y']);
  });

  const refused: readonly (readonly [what: string, path: string, code: number, message: string])[] = [
    ['an unknown field', '/things?fieldSelector=spec.size%3D1', 400, 'field label not supported: spec.size'],
    [
      'a bad label selector',
      '/things?labelSelector=a%3D%3D%3D',
      400,
      "unable to parse requirement: found '=', expected: identifier",
    ],
    ['a continue token', '/things?continue=abc', 400, 'continue key is not valid: '],
    [
      'a bad version',
      '/things?watch=1&resourceVersion=x',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersion: Invalid value: "x"',
    ],
    [
      'a watch that begins with a list, as a server without WatchList',
      '/things?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true',
      422,
      'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
    ],
    ['a subresource', '/namespaces/a/things/x/status', 404, 'the server could not find the requested resource'],
    [
      'an unknown includeObject',
      '/namespaces/a/things/x?includeObject=All',
      400,
      'unrecognized includeObject value: "All"',
    ],
  ];
  for (const [what, path, code, message] of refused) {
    it(`refuses ${what}`, async () => {
      const { status, body } = await ask(`${base}${path}`, path.includes('includeObject') ? tables : undefined);
      expect(status).to.equal(code);
      expect((body as { message: string }).message).to.satisfy((text: string) => text.startsWith(message));
    });
  }

  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    it(`refuses ${method}`, async () => {
      expect((await ask(`${base}/namespaces/a/things/x`, undefined, method)).status).to.equal(405);
    });
  }

  it('refuses other media types, and answers HEAD without a body', async () => {
    expect((await ask(`${base}/things`, 'application/vnd.kubernetes.protobuf')).status).to.equal(406);
    expect(await ask(`${base}/things`, undefined, 'HEAD')).to.deep.include({ status: 200, body: '' });
  });

  it('goes on with a watch where a list ended', async () => {
    feed.set(thing('x'));
    const { resourceVersion } = ((await ask(`${base}/namespaces/a/things`)).body as Listed).metadata;
    feed.set(thing('x', 'blue'));
    feed.set(thing('other', 'red', 'b'));
    const { next } = await watch(`${base}/namespaces/a/things?watch=true&resourceVersion=${resourceVersion}`);
    expect(short(await next())).to.equal('MODIFIED x blue');
    feed.set(thing('y'));
    expect(short(await next())).to.equal('ADDED y red');
    feed.delete('a', 'x');
    expect(short(await next())).to.equal('DELETED x blue');
  });

  for (const start of ['', '&resourceVersion=0']) {
    it(`begins a watch with what is there${start}`, async () => {
      feed.set(thing('x'));
      const { answer, next } = await watch(`${base}/things?watch=1${start}`);
      expect([answer.statusCode, answer.headers['content-type']]).to.deep.equal([200, 'application/json']);
      expect(short(await next())).to.equal('ADDED x red');
    });
  }

  it('tells a watch from too old a version to list again', async () => {
    const { next } = await watch(`${base}/things?watch=1&resourceVersion=5`);
    expect(await next())
      .to.deep.include({ type: 'ERROR' })
      .with.nested.property('object.code', 410);
    expect(await next()).to.equal('end');
  });

  it('watches one object by name, and what begins and ceases to match', async () => {
    feed.set(thing('x'));
    feed.set(thing('y'));
    const one = await watch(`${base}/namespaces/a/things?watch=1&fieldSelector=metadata.name%3Dx`);
    expect(short(await one.next())).to.equal('ADDED x red');
    const old = await watch(`${base}/watch/namespaces/a/things/x`);
    expect(short(await old.next())).to.equal('ADDED x red');
    const blue = await watch(`${base}/namespaces/a/things?watch=1&fieldSelector=spec.color%3Dblue`);
    feed.set(thing('y', 'blue'));
    expect(short(await blue.next())).to.equal('ADDED y blue');
    feed.set(thing('x', 'blue'));
    feed.set(thing('y', 'red'));
    expect([short(await blue.next()), short(await blue.next())]).to.deep.equal(['ADDED x blue', 'DELETED y blue']);
    expect([short(await one.next()), short(await old.next())]).to.deep.equal(['MODIFIED x blue', 'MODIFIED x blue']);
  });

  it('writes tables of one row, with columns in the first only', async () => {
    feed.set(thing('x'));
    feed.set(thing('y'));
    const { next } = await watch(`${base}/things?watch=1`, tables);
    expect(await next()).to.have.nested.property('object.columnDefinitions.length', 2);
    expect(await next()).to.have.nested.property('object.columnDefinitions', null);
  });

  it('says that it is alive, and ends in its time', async () => {
    const { next } = await watch(
      `${base}/things?watch=1&allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion=${feed.version}`,
    );
    clock.advance(60_000);
    expect(await next())
      .to.deep.include({ type: 'BOOKMARK' })
      .with.nested.property('object.kind', 'Thing');
    clock.advance(30_000);
    expect(await next()).to.equal('end');
    expect([watched, clock.pendingCount]).to.deep.equal([[true, false], 0]);
  });

  it('keeps nothing of a client that has left', async () => {
    const first = await watch(`${base}/things?watch=1`);
    const second = await watch(`${base}/things?watch=1`);
    expect(watched).to.deep.equal([true]);
    first.answer.destroy();
    second.answer.destroy();
    await new Promise<void>((resolve) => {
      const look = (): void => void (watched.length === 2 ? resolve() : setImmediate(look));
      look();
    });
    expect([watched, clock.pendingCount]).to.deep.equal([[true, false], 0]);
  });
});
