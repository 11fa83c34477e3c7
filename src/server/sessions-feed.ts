// The sessions of this kexer, and what others told of theirs, as objects that lists and watches read. Observes the registry; an object is made
// only when somebody asks, or watches, so that a kexer whose sessions nobody looks at pays nothing for it.

import { randomUUID } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { localName } from '../clusters/secret-watch.ts';
import type { Redactor } from '../observe/redact.ts';
import type { SessionObserver } from '../streams/registry.ts';
import type { Session } from '../streams/session.ts';

import { ResourceFeed } from './resource-feed.ts';
import { type SessionIdentity, type SessionObject, sessionObject } from './sessions-object.ts';

/** A session of this process, with what its object has besides. */
interface LocalSession {
  readonly session: Session;
  /** Made with the first object. */
  identity: SessionIdentity | undefined;
}

export class SessionsFeed implements SessionObserver {
  readonly feed: ResourceFeed<SessionObject>;
  readonly #clock: Clock;
  readonly #redactor: Pick<Redactor, 'command'>;
  readonly #replica: string;
  readonly #local: Map<string, LocalSession>;
  /** What each of the others told, by its name and then by the session's. */
  readonly #remote: Map<string, Map<string, SessionObject>>;
  readonly #waiting: Map<string, Set<() => void>>;
  #isLive: boolean;

  /** @param options.replica how this kexer is called in objects. */
  constructor(deps: { clock: Clock; redactor: Pick<Redactor, 'command'> }, options: { replica: string }) {
    this.feed = new ResourceFeed({ clock: deps.clock });
    this.#clock = deps.clock;
    this.#redactor = deps.redactor;
    this.#replica = options.replica;
    this.#local = new Map();
    this.#remote = new Map();
    this.#waiting = new Map();
    this.#isLive = false;
  }

  sessionStarted(session: Session): void {
    const entry: LocalSession = { session, identity: undefined };
    this.#local.set(session.id, entry);
    if (this.#isLive) this.feed.set(this.#objectOf(entry));
  }

  sessionEnded(session: Session): void {
    const entry = this.#local.get(session.id);
    if (entry === undefined) return;
    this.#local.delete(session.id);
    if (entry.identity !== undefined) {
      // Whoever watches sees its last numbers go with it.
      if (this.#isLive) this.feed.set(this.#objectOf(entry));
      const { metadata } = this.#objectOf(entry);
      this.feed.delete(metadata.namespace, metadata.name);
    }
    const waiting = this.#waiting.get(session.id);
    this.#waiting.delete(session.id);
    for (const resolve of waiting ?? []) resolve();
  }

  /** Whether starts shall be told as they happen; ends are always. */
  setLive(isLive: boolean): void {
    this.#isLive = isLive;
    if (isLive) this.refresh();
  }

  /** Brings this process's sessions up to date, counters included. */
  refresh(): void {
    for (const entry of this.#local.values()) this.feed.set(this.#objectOf(entry));
  }

  /** A session of this process and its object as it is now; undefined if it has none of that name there. */
  local(namespace: string, name: string): { session: Session; object: SessionObject } | undefined {
    const entry = this.#local.get(name);
    if (entry === undefined) return undefined;
    const object = this.#objectOf(entry);
    return object.metadata.namespace === namespace ? { session: entry.session, object } : undefined;
  }

  /** The sessions of this process in a namespace, '' being all of them. */
  localObjects(namespace: string): SessionObject[] {
    return [...this.#local.values()]
      .map((entry) => this.#objectOf(entry))
      .filter(({ metadata }) => namespace === '' || metadata.namespace === namespace);
  }

  /** How many run in a cluster: here now, and at the others as they last told. Those of the local one are under any namespace. */
  countIn(clusterNamespace: string, cluster: string): number {
    const isThere = (namespace: string, name: string): boolean =>
      name === cluster && (name === localName || namespace === clusterNamespace);
    let count = 0;
    for (const { session } of this.#local.values()) {
      if (isThere(session.subject.clusterNamespace, session.subject.cluster)) count += 1;
    }
    for (const objects of this.#remote.values()) {
      for (const { spec } of objects.values()) if (isThere(spec.cluster.namespace, spec.cluster.name)) count += 1;
    }
    return count;
  }

  /** Resolves when this process has no session of that name, or after so long. */
  async whenOver(name: string, limitMs: number): Promise<void> {
    if (!this.#local.has(name)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(name) ?? new Set();
    waiting.add(resolve);
    this.#waiting.set(name, waiting);
    const timer = this.#clock.after(limitMs, resolve);
    await promise;
    timer.cancel();
    waiting.delete(resolve);
    if (waiting.size === 0) this.#waiting.delete(name);
  }

  /**
   * What another kexer told of its sessions in a namespace ('' for all of them): those it does not name any more are over.
   * @param peer which one, the same for each of its answers.
   * @param options.isBrief leaves alone those of which nothing but numbers changed.
   */
  accept(peer: string, namespace: string, objects: readonly SessionObject[], options: { isBrief: boolean }): void {
    const before = this.#remote.get(peer) ?? new Map<string, SessionObject>();
    const now = new Map([...before].filter(([, { metadata }]) => namespace !== '' && metadata.namespace !== namespace));
    for (const object of objects) {
      const { name } = object.metadata;
      // What is here is known better here.
      if (this.#local.has(name)) continue;
      const known = before.get(name);
      const isKept = options.isBrief && known !== undefined && known.status.phase === object.status.phase;
      now.set(name, isKept ? known : object);
      if (!isKept) this.feed.set(object);
    }
    this.#replace(peer, before, now);
  }

  /** Another kexer is gone, or has not answered for long: nothing is known of its sessions. */
  forget(peer: string): void {
    const before = this.#remote.get(peer);
    if (before !== undefined) this.#replace(peer, before, new Map());
  }

  /** A session of another kexer is over, as that one said. */
  remoteEnded(peer: string, name: string): void {
    const before = this.#remote.get(peer);
    if (before === undefined) return;
    const now = new Map(before);
    now.delete(name);
    this.#replace(peer, before, now);
  }

  /** Which of the others last told of a session of this name. */
  ownerOf(namespace: string, name: string): string | undefined {
    for (const [peer, objects] of this.#remote) {
      if (objects.get(name)?.metadata.namespace === namespace) return peer;
    }
    return undefined;
  }

  #replace(peer: string, before: ReadonlyMap<string, SessionObject>, now: Map<string, SessionObject>): void {
    for (const [name, { metadata }] of before) {
      // What is here is known better here.
      if (!now.has(name) && !this.#local.has(name)) this.feed.delete(metadata.namespace, name);
    }
    if (now.size === 0) this.#remote.delete(peer);
    else this.#remote.set(peer, now);
  }

  #objectOf(entry: LocalSession): SessionObject {
    entry.identity ??= {
      uid: randomUUID(),
      replica: this.#replica,
      command: this.#redactor.command(entry.session.subject.command),
    };
    return sessionObject(entry.session, entry.identity);
  }
}
