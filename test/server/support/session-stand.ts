// Sessions to look at: a registry whose feed is under test, and objects as another kexer would tell of its own.

import { Redactor } from '../../../src/observe/redact.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { SessionsFeed } from '../../../src/server/sessions-feed.ts';
import { sessionObject, type SessionObject } from '../../../src/server/sessions-object.ts';
import { SessionRegistry } from '../../../src/streams/registry.ts';
import { Session, type SessionSubject } from '../../../src/streams/session.ts';
import { FakeClock } from '../../support/fake-clock.ts';

export const plainSubject: SessionSubject = {
  kind: 'exec',
  user: makeUser({ name: 'alice', groups: ['dev'], extra: new Map([['secret', ['value']]]) }),
  clusterNamespace: 'tools',
  cluster: 'local',
  namespace: 'shop',
  pod: 'db',
  podUid: 'pod-uid',
  container: 'main',
  node: 'node1',
  command: ['mysql', '-phunter2'],
  clientProtocol: 'websocket v5.channel.k8s.io',
  kubeletProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  remoteAddress: '192.0.2.7',
  auditId: 'audit-1',
};

/** What another kexer tells of a session of its own. */
export function toldSession(
  name: string,
  more: Partial<SessionSubject> & { bytesOut?: number; replica?: string } = {},
): SessionObject {
  const { bytesOut = 0, replica = 'kexer-1', ...subject } = more;
  const clock = new FakeClock();
  const session = new Session(
    { clock },
    { id: name, subject: { ...plainSubject, ...subject }, endByRequest: () => {} },
  );
  session.bytesOut = bytesOut;
  return sessionObject(session, { uid: `uid-${name}`, replica, command: ['sleep', '60'] });
}

/** A process with sessions. */
export class SessionStand {
  readonly clock: FakeClock;
  readonly feed: SessionsFeed;
  readonly registry: SessionRegistry;
  /** `ADDED shop/NAME` and so on, in order. */
  readonly events: string[];
  /** What clients of sessions that were ended were told. */
  readonly ends: string[];
  #next: number;

  constructor() {
    this.clock = new FakeClock();
    this.events = [];
    this.ends = [];
    this.#next = 0;
    const redactor = new Redactor({ commands: 'redacted', patterns: [] });
    this.feed = new SessionsFeed({ clock: this.clock, redactor }, { replica: 'kexer-0' });
    this.feed.feed.onEvent(({ type, object: { metadata } }) => {
      this.events.push(`${type} ${metadata.namespace}/${metadata.name}`);
    });
    this.registry = new SessionRegistry({ clock: this.clock, observer: this.feed });
  }

  /** Sessions are called `s1`, `s2` and so on, unless said otherwise. */
  open(more: Partial<SessionSubject> = {}, name?: string): Session {
    this.#next += 1;
    const id = name ?? `s${this.#next}`;
    const record = { ended: () => {} };
    return this.registry.open({ ...plainSubject, ...more }, (message) => this.ends.push(message), { id, record });
  }

  finish(session: Session): void {
    this.registry.finish(session, { cause: 'normal', message: 'the command exited' });
  }

  /** Names of what lists show. */
  names(): string[] {
    return this.feed.feed.list().map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  }
}
