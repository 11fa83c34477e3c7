// The detour: which streams take it, and how often. A stream takes it when kube-apiserver's admission might change what is run, when that is
// not known, or when an operator asks for it; it then goes by kube-apiserver's own streaming, which is never weaker.

import type { Call } from '../clusters/call.ts';
import type { Detour, DetourReason } from '../clusters/detour.ts';
import type { StreamKind } from '../protocol/subprotocols.ts';
import type { Place } from './target.ts';

/** One stream that is about to take the detour. */
export interface DetourEvent {
  readonly call: Call;
  readonly kind: StreamKind;
  readonly detour: Detour;
}

/** How many streams of each kind took the detour, and why. */
export interface DetourCount {
  readonly kind: StreamKind;
  readonly reason: DetourReason;
  readonly count: number;
}

/** Counts detours; what metrics read. */
export class Detours {
  readonly #onDetour: (event: DetourEvent) => void;
  readonly #counts: Map<string, DetourCount>;

  /** @param deps.onDetour for the log; must not throw. */
  constructor(deps: { onDetour: (event: DetourEvent) => void }) {
    this.#onDetour = deps.onDetour;
    this.#counts = new Map();
  }

  /** Once for each stream, before kube-apiserver is asked: what it refuses counts too. */
  note(event: DetourEvent): void {
    const { kind } = event;
    const { reason } = event.detour;
    const key = `${kind} ${reason}`;
    const count = (this.#counts.get(key)?.count ?? 0) + 1;
    this.#counts.set(key, { kind, reason, count });
    this.#onDetour(event);
  }

  counts(): DetourCount[] {
    return [...this.#counts.values()];
  }
}

/**
 * Why this stream takes the detour; undefined: it does not. Looks at the pod's place only where some node asks for the detour, so that
 * otherwise the preflight need not wait for it. A place or node that cannot be found has no label: the direct way will say what is wrong with it.
 */
export async function detourOf(
  call: Call,
  kind: StreamKind,
  placing: Promise<Place>,
  signal: AbortSignal,
): Promise<Detour | undefined> {
  const { streamRoute } = call.cluster;
  await streamRoute.whenKnown?.(signal);
  const known = streamRoute.detourOf(kind);
  if (known !== undefined || !streamRoute.hasNodeDetours) return known;
  const node = await placing.then(({ node: name }) => call.cluster.node(name, signal)).catch(() => undefined);
  return node === undefined ? undefined : streamRoute.detourOfNode(node);
}
