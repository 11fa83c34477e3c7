// get, list and watch of one resource of kexer's own, as kube-apiserver answers them: selectors, tables, metadata alone, versions. Lists are whole:
// `limit` is not heeded, which a server may do, so that no list needs a second page. A watch that is to begin with a list (WatchList) is
// refused as by a server that does not know it; clients then list first.

import type { Clock } from '../base/clock.ts';
import { type ListOptions, parseListOptions } from '../kube/list-options.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { badRequest, methodNotAllowed, notFound, StatusError, unknownResource } from '../kube/status.ts';
import type { UserInfo } from '../kube/user.ts';
import type { AnyResponse } from '../net/http-answer.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

import { type Answer, jsonAnswer, RefusalWithHeaders, statusAnswer } from './answer.ts';
import type { ResourceFeed } from './resource-feed.ts';
import { writerOf } from './resource-forms.ts';
import { type ResourceKind, type ResourceObject, selectableFields, shownIn } from './resource-kind.ts';
import { ResourceWatch } from './resource-watch.ts';

/** A request for a resource of kexer's own group, authorised. */
export interface OwnRequest {
  readonly info: RequestInfo;
  readonly query: URLSearchParams;
  readonly headers: RawHeaders;
  /** Whose rights it runs with. */
  readonly user: UserInfo;
  /** Who called, if they act as `user`. */
  readonly originalUser: UserInfo | undefined;
  readonly remoteAddress: string;
  readonly auditId: string;
  /** Aborted when the client has left. */
  readonly signal: AbortSignal;
  /** The whole body. @throws KexerError tooLarge, clientGone. */
  readonly readBody: (maxBytes: number) => Promise<Buffer>;
}

/** An answer that goes on. */
export interface WatchAnswer {
  /** Writes head and events; resolves when it is over. */
  run(response: AnyResponse): Promise<void>;
}

/** Who answers for one resource. */
export interface OwnResource {
  /** @throws StatusError */
  answer(request: OwnRequest): Promise<Answer | WatchAnswer>;
}

/** What a get or list is about. */
export interface ResourceScope {
  /** '': all. */
  readonly namespace: string;
  /** '': all. */
  readonly name: string;
}

export interface ResourceAnswersDeps<T extends ResourceObject> {
  readonly clock: Clock;
  readonly feed: ResourceFeed<T>;
  /** Brings the feed up to date before it is read; bounded in time. What it could not find out it says in warnings. */
  readonly refresh: (scope: ResourceScope, signal: AbortSignal) => Promise<{ readonly warnings: readonly string[] }>;
  /** The first watch came, or the last one ended: somebody wants to know of changes meanwhile, or nobody does. */
  readonly onWatched?: (isWatched: boolean) => void;
}

export class ResourceAnswers<T extends ResourceObject> implements OwnResource {
  readonly #deps: ResourceAnswersDeps<T>;
  readonly #kind: ResourceKind<T>;
  #watches: number;

  constructor(deps: ResourceAnswersDeps<T>, kind: ResourceKind<T>) {
    this.#deps = deps;
    this.#kind = kind;
    this.#watches = 0;
  }

  async answer(request: OwnRequest): Promise<Answer | WatchAnswer> {
    const { info } = request;
    if (info.resource !== this.#kind.resource || info.subresource !== '') return statusAnswer(unknownResource());
    switch (info.verb) {
      case 'get':
        return info.parts.length < 2 ? this.#list(request) : this.#get(request);
      case 'list':
        return this.#list(request);
      case 'watch':
        return this.#watch(request);
      default:
        return statusAnswer(methodNotAllowed());
    }
  }

  async #get(request: OwnRequest): Promise<Answer> {
    const { info, query, headers, signal } = request;
    const writer = writerOf(this.#deps, this.#kind, { shape: 'single', headers, query });
    const { namespace } = info;
    const name = info.parts[1] ?? '';
    const { warnings } = await this.#deps.refresh({ namespace, name }, signal);
    const found = this.#shown(namespace).find(({ metadata }) => metadata.name === name);
    // Whoever was not asked may have it.
    if (found === undefined) throw new RefusalWithHeaders(notFound(this.#kind, name), warningHeaders(warnings));
    return withWarnings(jsonAnswer(200, writer.single(found)), warnings);
  }

  async #list(request: OwnRequest): Promise<Answer> {
    const { info, query, headers, signal } = request;
    const options = this.#optionsOf(request, false);
    const writer = writerOf(this.#deps, this.#kind, { shape: 'list', headers, query });
    const { warnings } = await this.#deps.refresh({ namespace: info.namespace, name: info.name }, signal);
    // Read in one go with the objects, so that a watch from there misses nothing.
    const version = String(this.#deps.feed.version);
    const objects = this.#shown(info.namespace).filter((object) => options.matches?.(object) ?? true);
    return withWarnings(jsonAnswer(200, writer.list(objects, version)), warnings);
  }

  async #watch(request: OwnRequest): Promise<WatchAnswer> {
    const { info, query, headers, signal } = request;
    const { clock, feed } = this.#deps;
    const options = this.#optionsOf(request, true);
    const writer = writerOf(this.#deps, this.#kind, { shape: 'watch', headers, query });
    const { warnings } = await this.#deps.refresh({ namespace: info.namespace, name: info.name }, signal);
    const head: RawHeader[] = [
      ['Audit-Id', request.auditId],
      ['Cache-Control', 'no-cache, private'],
      ['Content-Type', 'application/json'],
      ...warningHeaders(warnings),
    ];
    return {
      run: async (response) => {
        this.#countWatches(1);
        try {
          const watched = { kind: this.#kind, namespace: info.namespace, options, writer };
          await new ResourceWatch({ clock, feed, response }, watched).run(head);
        } finally {
          this.#countWatches(-1);
        }
      },
    };
  }

  #countWatches(more: 1 | -1): void {
    this.#watches += more;
    if (this.#watches === (more === 1 ? 1 : 0)) this.#deps.onWatched?.(more === 1);
  }

  #shown(namespace: string): T[] {
    const shown = this.#deps.feed.list().flatMap((object) => shownIn(this.#kind, object, namespace) ?? []);
    // What is shown in another namespace than its own stands where it would there.
    return namespace === '' ? shown : shown.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  #optionsOf({ info, query }: OwnRequest, isWatch: boolean): ListOptions<T> {
    const fields = selectableFields(this.#kind);
    const options = parseListOptions<T>(query, { fields, isWatch, hasWatchList: false });
    if (options.continueToken !== undefined) {
      throw new StatusError(badRequest('continue key is not valid: lists of this resource have no further pages'));
    }
    // `/watch/…/NAME`, the deprecated form of a watch of one object.
    const name = info.parts[1] ?? '';
    if (name === '') return options;
    const { matches } = options;
    return { ...options, matches: (object) => object.metadata.name === name && (matches?.(object) ?? true) };
  }
}

function withWarnings(answer: Answer, warnings: readonly string[]): Answer {
  return warnings.length === 0
    ? answer
    : { ...answer, headers: [...(answer.headers ?? []), ...warningHeaders(warnings)] };
}

/** RFC 9111, section 5.5; kubectl prints them. */
function warningHeaders(warnings: readonly string[]): RawHeader[] {
  return warnings.map((text) => [
    'Warning',
    `299 - "${text.replaceAll(/[^\x20-\x7e]/g, ' ').replaceAll(/["\\]/g, '\\$&')}"`,
  ]);
}
