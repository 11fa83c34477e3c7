// The audit log of kexer as a whole: the policy that says what is recorded, redaction, and the sinks events go to. Recording never makes
// anybody wait, but for the one event that must be safe before a session may begin (--audit-strict).

import { KexerError } from '../../base/errors.ts';
import { StatusError, serviceUnavailable } from '../../kube/status.ts';
import type { Redactor } from '../redact.ts';
import { type EventFacts, eventJson } from './event.ts';
import type { AuditAttributes, AuditDecision, AuditPolicy } from './policy.ts';
import type { AuditSink, SinkCounts } from './sink.ts';

export interface AuditLogDeps {
  /** None: nothing is recorded. */
  readonly sinks: readonly AuditSink[];
  readonly policy: AuditPolicy;
  readonly redactor: Redactor;
  /** A session was refused because it cannot be recorded. Must not throw. */
  readonly onRefused: (error: unknown) => void;
}

export class AuditLog {
  readonly redactor: Redactor;
  /** No session without a record of its start. */
  readonly isStrict: boolean;
  readonly #sinks: readonly AuditSink[];
  readonly #policy: AuditPolicy;
  readonly #onRefused: (error: unknown) => void;

  constructor(deps: AuditLogDeps, options: { isStrict: boolean }) {
    this.redactor = deps.redactor;
    this.#sinks = deps.sinks;
    this.#policy = deps.policy;
    this.#onRefused = deps.onRefused;
    this.isStrict = options.isStrict;
  }

  get isEnabled(): boolean {
    return this.#sinks.length > 0;
  }

  decide(attributes: AuditAttributes): AuditDecision {
    return this.#policy.decide(attributes);
  }

  /** Never throws and never waits. */
  record(facts: EventFacts): void {
    const event = eventJson(facts);
    for (const sink of this.#sinks) sink.write(event);
  }

  /**
   * The event without which a session may not begin.
   * @throws StatusError 503 if sessions need a record that is safe, and one of the sinks could not say that it is
   */
  async recordStart(facts: EventFacts): Promise<void> {
    if (!this.isStrict) {
      this.record(facts);
      return;
    }
    const event = eventJson(facts);
    const results = await Promise.allSettled(this.#sinks.map((sink) => sink.writeSafely(event)));
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    if (failures.length === 0) return;
    const cause = new AggregateError(failures);
    this.#onRefused(new KexerError('overLimit', 'Cannot begin a session without an audit record', { cause }));
    throw new StatusError(
      serviceUnavailable(
        // No Retry-After: client-go would wait and try ten times, and tell nobody why.
        'kexer cannot write the audit record of this session now, and no session may begin without one',
      ),
      { cause },
    );
  }

  /** By sink, for metrics. */
  counts(): ReadonlyMap<AuditSink['name'], SinkCounts> {
    return new Map(this.#sinks.map((sink) => [sink.name, sink.counts]));
  }
}
