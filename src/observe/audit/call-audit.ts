// What the code that serves a call tells its audit record. An interface of plain facts, so that streams know nothing of policies, sinks or
// events, and the record nothing of streams.

/** What is known of a session when it begins. */
export interface SessionFacts {
  /** As logs and the list of sessions call it. */
  readonly id: string;
  readonly kind: string;
  readonly podUid: string;
  readonly node: string;
  readonly container: string;
  /** As the client sent it; the record redacts it. */
  readonly command: readonly string[];
  readonly clientProtocol: string;
  readonly kubeletProtocol: string;
  readonly detour?: string;
  /** What the client is answered: 101, or 200 for a log over plain HTTP. */
  readonly code: number;
}

/** How a session ended. */
export interface SessionEndFacts {
  readonly cause: string;
  /** One sentence without anything of the command. */
  readonly message: string;
  readonly exitCode?: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
}

/** A session's place in the audit log, from the moment it may begin. */
export interface SessionRecord {
  /** Exactly once, also if the session never came to run. */
  ended(end: SessionEndFacts): void;
}

export interface CallAudit {
  /**
   * A session is about to begin: nothing of it has reached the client. Resolves when it may, which is at once unless sessions need a
   * record that is safe.
   * @throws StatusError 503 if there can be no such record
   */
  sessionStarting(session: SessionFacts): Promise<SessionRecord>;
  /** An answer of somebody else's that the client gets instead of a stream. */
  answered(answer: { readonly status: number; readonly body: Buffer }): void;
  /** A failure that is answered by the code that serves the call, and not by the pipeline. */
  failed(error: unknown): void;
}

/** Of sessions that are not recorded. */
export const noRecord: SessionRecord = Object.freeze({ ended: () => {} });

/** Of calls that are not recorded. */
export const noAudit: CallAudit = Object.freeze({
  sessionStarting: async () => noRecord,
  answered: () => {},
  failed: () => {},
});
