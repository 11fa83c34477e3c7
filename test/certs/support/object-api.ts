// An apiserver that holds single objects, as far as those who keep certificates need it: list and watch by name, merge patches that lock by
// resourceVersion, and apply. It answers in memory and counts what it was asked, so that tests may run in virtual time.

import type { AnswerSink, KubeClient } from '../../../src/kube/client.ts';
import { isRecord, type KubeObject } from '../../../src/kube/objects.ts';
import { failure, StatusError } from '../../../src/kube/status.ts';

interface Write {
  readonly by: string;
  readonly contentType: string;
  readonly path: string;
  readonly code: number;
}

/** A verb on a collection that is refused: `patch /api/v1/namespaces/ns/secrets`. */
type Refusal = { readonly code: number; readonly reason: string; readonly message: string };

export class ObjectApi {
  readonly writes: Write[] = [];
  /** By `VERB COLLECTION`. */
  readonly refusals = new Map<string, Refusal>();
  /** Nothing is answered: as if nobody listened. */
  isDown = false;
  /** Runs before each patch is looked at: where another replica may be quicker. */
  beforePatch: (() => void) | undefined;
  readonly #objects = new Map<string, KubeObject>();
  readonly #watches = new Set<{ readonly collection: string; readonly sink: AnswerSink }>();
  /** Since the start: what a watch that begins at an old version is told first. */
  readonly #events: { readonly version: number; readonly collection: string; readonly line: Buffer }[] = [];
  #version = 1;

  /** @param path collection and name */
  put(path: string, object: object): KubeObject {
    const before = this.#objects.get(path);
    const [, collection = '', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? [];
    const namespace = /\/namespaces\/([^/]+)\//.exec(path)?.[1];
    this.#version += 1;
    const metadata = 'metadata' in object && isRecord(object.metadata) ? object.metadata : {};
    const next: KubeObject = {
      ...object,
      metadata: {
        ...metadata,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        resourceVersion: String(this.#version),
      },
    };
    this.#objects.set(path, next);
    this.#tell(collection, before === undefined ? 'ADDED' : 'MODIFIED', next);
    return next;
  }

  get(path: string): KubeObject | undefined {
    return this.#objects.get(path);
  }

  delete(path: string): void {
    const object = this.#objects.get(path);
    if (object === undefined) return;
    this.#objects.delete(path);
    this.#version += 1;
    this.#tell(path.slice(0, path.lastIndexOf('/')), 'DELETED', object);
  }

  /** Ends every watch, as an apiserver that dies. */
  cut(): void {
    const error = new Error('connection lost');
    const watches = Array.from(this.#watches);
    this.#watches.clear();
    for (const { sink } of watches) sink.onError(error);
  }

  client(by = 'kexer'): Pick<KubeClient, 'json' | 'stream' | 'userAgent'> {
    return {
      userAgent: by,
      json: async (call) => {
        await Promise.resolve();
        if (this.isDown) throw new Error('connect ECONNREFUSED');
        const url = new URL(call.target, 'https://kubernetes');
        if (call.method === 'PATCH') return this.#patch(by, url, call.contentType ?? '', call.body);
        this.#refuse('list', url.pathname);
        const name = url.searchParams.get('fieldSelector')?.split('=')[1];
        const items = [...this.#objects].filter(([path]) => path === `${url.pathname}/${name ?? ''}`);
        return { metadata: { resourceVersion: String(this.#version) }, items: items.map(([, object]) => object) };
      },
      stream: (request, sink) => {
        const { pathname, searchParams } = new URL(request.target, 'https://kubernetes');
        const from = Number(searchParams.get('resourceVersion'));
        const watch = { collection: pathname, sink };
        const controller = {
          pause: () => {},
          resume: () => {},
          abort: (reason: Error) => {
            if (this.#watches.delete(watch)) sink.onError(reason);
          },
        };
        if (this.isDown) queueMicrotask(() => sink.onError(new Error('connect ECONNREFUSED')));
        else {
          this.#watches.add(watch);
          const missed = this.#events.filter(({ version, collection }) => version > from && collection === pathname);
          queueMicrotask(() => {
            sink.onHead({ status: 200, reason: 'OK', headers: [] }, controller);
            for (const { line } of missed) sink.onData(line);
          });
        }
        return controller;
      },
    };
  }

  #patch(by: string, url: URL, contentType: string, body: unknown): KubeObject {
    const collection = url.pathname.slice(0, url.pathname.lastIndexOf('/'));
    const note = (code: number): void => void this.writes.push({ by, contentType, path: url.pathname, code });
    try {
      this.beforePatch?.();
      this.#refuse('patch', collection);
      const before = this.#objects.get(url.pathname);
      if (!isRecord(body) || !isRecord(body['metadata']))
        throw new StatusError(failure(400, 'BadRequest', 'no object'));
      const isApply = contentType === 'application/apply-patch+yaml';
      if (before === undefined && !isApply) throw new StatusError(failure(404, 'NotFound', 'not found'));
      if (before !== undefined && isApply) throw new StatusError(failure(409, 'Conflict', 'owned by somebody else'));
      const { resourceVersion } = body['metadata'];
      if (resourceVersion !== undefined && resourceVersion !== before?.metadata.resourceVersion) {
        throw new StatusError(failure(409, 'Conflict', 'the object has been modified'));
      }
      note(200);
      return this.put(url.pathname, asRecord(merged(before ?? {}, body)));
    } catch (error) {
      note(error instanceof StatusError ? error.status.code : 0);
      throw error;
    }
  }

  #refuse(verb: string, collection: string): void {
    const refusal = this.refusals.get(`${verb} ${collection}`);
    if (refusal !== undefined) throw new StatusError(failure(refusal.code, refusal.reason, refusal.message));
  }

  #tell(collection: string, type: string, object: KubeObject): void {
    const line = Buffer.from(`${JSON.stringify({ type, object })}\n`);
    this.#events.push({ version: this.#version, collection, line });
    for (const watch of this.#watches) if (watch.collection === collection) watch.sink.onData(line);
  }
}

/** RFC 7396. */
function merged(before: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = { ...asRecord(before) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}

function asRecord(value: unknown): Record<string, unknown> {
  return isRecord(value) ? value : {};
}
