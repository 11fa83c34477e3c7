// The resource `sessions` in kexer's group: who is streaming right now, here and at every other kexer of the same Service. Lists and watches are
// answered as for any resource; `delete` ends a session, whichever kexer carries it, and its client is told by whom.

import type { Clock, Timer } from '../base/clock.ts';
import { methodNotAllowed, notFound, serviceUnavailable, StatusError, unknownResource } from '../kube/status.ts';

import { type Answer, statusAnswer } from './answer.ts';
import type { Peers } from './peers.ts';
import {
  type OwnRequest,
  type OwnResource,
  ResourceAnswers,
  type ResourceScope,
  type WatchAnswer,
} from './resource-answers.ts';
import { checkPreconditions, deletedAnswer, readDeleteOptions } from './sessions-delete.ts';
import type { SessionsFeed } from './sessions-feed.ts';
import { type SessionObject, sessionKind, sessionsResource } from './sessions-object.ts';

export interface SessionsResourceDeps {
  readonly clock: Clock;
  readonly sessions: SessionsFeed;
  /** Undefined: this kexer knows of no others. */
  readonly peers: Pick<Peers, 'refresh' | 'end'> | undefined;
  /** Somebody ended a session. Must not throw. */
  readonly onDeleted: (fields: DeletedSession) => void;
}

/** For the log. */
export interface DeletedSession {
  readonly session: string;
  readonly kind: string;
  /** Whose it was. */
  readonly owner: string;
  readonly namespace: string;
  readonly pod: string;
  /** Who ended it. */
  readonly user: string;
  /** Who acted as them by impersonation; left out: nobody. */
  readonly originalUser?: string;
  readonly replica: string;
  readonly remoteAddress: string;
  readonly auditId: string;
}

/** While somebody watches, the others are asked this often for what began and ended... */
const pollMs = 2000;
/** ...but never so often that more than a twentieth of the time goes into asking... */
const pollShare = 20;
/** ...and numbers that grow are told about this often: each is a line to who watches. */
const briefPolls = 5;
const maxDeleteBytes = 64 * 1024;

export class SessionsResource implements OwnResource {
  readonly #deps: SessionsResourceDeps;
  readonly #answers: ResourceAnswers<SessionObject>;
  #timer: Timer | undefined;
  #polls: number;
  #isWatched: boolean;

  constructor(deps: SessionsResourceDeps) {
    this.#deps = deps;
    this.#timer = undefined;
    this.#polls = 0;
    this.#isWatched = false;
    this.#answers = new ResourceAnswers(
      {
        clock: deps.clock,
        feed: deps.sessions.feed,
        refresh: (scope) => this.#refresh(scope),
        onWatched: (isWatched) => this.#setWatched(isWatched),
      },
      sessionKind,
    );
  }

  /** @throws StatusError */
  async answer(request: OwnRequest): Promise<Answer | WatchAnswer> {
    const { info } = request;
    if (info.verb !== 'delete') return this.#answers.answer(request);
    if (info.subresource !== '' || info.parts.length > 2) return statusAnswer(unknownResource());
    // A session without a namespace does not exist.
    if (info.namespace === '') return statusAnswer(methodNotAllowed());
    return this.#delete(request);
  }

  /** Ends polling; running watches end with the server. */
  stop(): void {
    this.#setWatched(false);
  }

  async #delete(request: OwnRequest): Promise<Answer> {
    const { info, query, headers, user, originalUser } = request;
    const { namespace, name } = info;
    const options = readDeleteOptions(await request.readBody(maxDeleteBytes), headers, query);
    const object = await this.#find(namespace, name);
    checkPreconditions(object, options);
    if (!options.isDryRun) await this.#end(object, request);
    const { spec, status } = object;
    if (!options.isDryRun) {
      this.#deps.onDeleted({
        session: name,
        kind: spec.kind,
        owner: spec.user.username,
        namespace,
        pod: spec.pod?.name ?? '',
        user: user.name,
        ...(originalUser === undefined ? {} : { originalUser: originalUser.name }),
        replica: status.replica,
        remoteAddress: request.remoteAddress,
        auditId: request.auditId,
      });
    }
    return deletedAnswer(object);
  }

  /** As lists show it, with its resourceVersion. @throws StatusError 404; 503 if it may be where nobody answered. */
  async #find(namespace: string, name: string): Promise<SessionObject> {
    const { sessions, peers } = this.#deps;
    sessions.refresh();
    const isHere = sessions.local(namespace, name) !== undefined;
    const warnings = isHere || peers === undefined ? [] : await peers.refresh(namespace, { isBrief: false });
    const object = sessions.feed.get(namespace, name);
    if (object !== undefined) return object;
    const [warning] = warnings;
    // No Retry-After: client-go would try ten times and tell nobody why.
    if (warning !== undefined) {
      throw new StatusError(serviceUnavailable(`session ${JSON.stringify(name)} was not found, but ${warning}`));
    }
    throw new StatusError(notFound(sessionsResource, name));
  }

  /** @throws StatusError 404 if it ended meanwhile, 503 if its kexer could not be asked. */
  async #end({ metadata }: SessionObject, { user, originalUser, auditId }: OwnRequest): Promise<void> {
    const { sessions, peers } = this.#deps;
    const { namespace, name, uid } = metadata;
    const here = sessions.local(namespace, name);
    if (here !== undefined) {
      here.session.end(endMessage(user.name), 'user');
      return;
    }
    const owner = sessions.ownerOf(namespace, name);
    const behind = originalUser === undefined ? {} : { originalUser: originalUser.name };
    const outcome =
      owner === undefined || peers === undefined
        ? 'notFound'
        : await peers.end(owner, { namespace, name, uid, user: user.name, ...behind }, auditId);
    if (outcome === 'notFound') throw new StatusError(notFound(sessionsResource, name));
  }

  async #refresh({ namespace }: ResourceScope): Promise<{ warnings: readonly string[] }> {
    const { sessions, peers } = this.#deps;
    const warnings = (await peers?.refresh(namespace, { isBrief: false })) ?? [];
    // After the wait, so that what is here is as of now.
    sessions.refresh();
    return { warnings };
  }

  #setWatched(isWatched: boolean): void {
    if (this.#isWatched === isWatched) return;
    this.#isWatched = isWatched;
    this.#deps.sessions.setLive(isWatched);
    this.#timer?.cancel();
    this.#timer = undefined;
    if (isWatched) this.#pollLater(pollMs);
  }

  #pollLater(delayMs: number): void {
    // A watch that came while the others were being asked has set one, too.
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(delayMs, () => {
      void this.#poll().then((tookMs) => {
        if (this.#isWatched) this.#pollLater(Math.max(pollMs, tookMs * pollShare));
      });
    });
  }

  /** Never rejects. @returns how long it took. */
  async #poll(): Promise<number> {
    const { clock, sessions, peers } = this.#deps;
    const startMs = clock.monotonic();
    this.#polls += 1;
    const isBrief = this.#polls % briefPolls !== 0;
    await peers?.refresh('', { isBrief });
    if (!isBrief) sessions.refresh();
    return clock.monotonic() - startMs;
  }
}

/** What the client of an ended session is told. */
export function endMessage(user: string): string {
  return `session ended by ${user}`;
}
