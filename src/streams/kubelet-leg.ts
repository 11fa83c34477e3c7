// The upgrade of a connected kubelet socket: always SPDY/3.1 by POST, since every kubelet of every version speaks it, stdin can be
// half-closed on it and its exit status is the runtime's own. Gives an open leg or the kubelet's refusal; never writes to a client.

import { Buffer } from 'node:buffer';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KubeletAccess } from '../clusters/cluster.ts';
import { addressText } from '../net/dial.ts';
import { readBody, requestUpgrade } from '../net/upgrade.ts';
import { getHeader, type RawHeaders } from '../protocol/raw-headers.ts';
import { upgradeDoubted } from './doubted-spare.ts';
import { dialKubelet, kubeletCredential } from './kubelet-dial.ts';
import { isUid } from './names.ts';
import type { UpgradeKind } from './options.ts';
import type { DialledKubelet } from './spare-kubelets.ts';
import type { Target } from './target.ts';

/** The runtime may take its time to make a container ready for exec: its own requests may last two minutes. */
const upgradeTimeoutMs = 120_000;
/** A refusal is a sentence of text; what is beyond this is cut off. */
const maxRefusalBytes = 50_000;
const refusalBodyTimeoutMs = 10_000;

/** What a kubelet says when the pod of that name, or (port-forward) of that UID, is gone: the 404s that are true answers. */
const podGoneTexts: ReadonlySet<string> = new Set(['pod does not exist', 'pod not found']);

export interface KubeletLeg {
  readonly socket: TLSSocket;
  /** Bytes that came with the 101. */
  readonly head: Buffer;
  /**
   * The kubelet has compared the pod's UID, so that this is the pod that was asked for. For an exec it never does: it takes the container by
   * the pod's name alone, whatever UID the path has (findContainer and Pods.FindPod, v1.26 to v1.36).
   */
  readonly isUidCompared: boolean;
}

export interface KubeletRefusal {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

export type UpgradeOutcome =
  | { readonly isOpen: true; readonly leg: KubeletLeg }
  | { readonly isOpen: false; readonly refusal: KubeletRefusal };

export interface KubeletRequest {
  readonly kind: UpgradeKind;
  readonly query: string;
  readonly userAgent: string;
  readonly signal: AbortSignal;
}

const kubeletPaths: Readonly<Record<UpgradeKind, string>> = {
  exec: 'exec',
  attach: 'attach',
  portforward: 'portForward',
};

/** The protocol that a backend leg speaks after SPDY/3.1. */
export function streamProtocol(kind: UpgradeKind): string {
  return kind === 'portforward' ? 'portforward.k8s.io' : 'v4.channel.k8s.io';
}

/** `/exec/NS/POD/UID/CONTAINER` and its like; every part was checked by `findTarget` or is checked here. */
export function kubeletPath(kind: UpgradeKind, target: Target, hasUid: boolean): string {
  const parts = [kubeletPaths[kind], target.namespace, target.pod];
  if (hasUid) parts.push(target.podUid);
  if (kind !== 'portforward') parts.push(target.container);
  return `/${parts.map(encodeURIComponent).join('/')}`;
}

/**
 * Whether the kubelet can be asked for this pod by UID. exec translates the UID of a mirror pod; attach and port-forward compare it with the
 * static pod's own.
 */
function canNameUid(kind: UpgradeKind, target: Target): boolean {
  return isUid(target.podUid) && (kind === 'exec' || !target.isMirror);
}

/**
 * @param dialled taken over, and destroyed if no leg comes of it. One that had been waiting may be doubled; a second try dials anew.
 * @throws KexerError timeout, unreachable, tls, badGateway, clientGone
 */
export async function openKubeletLeg(
  deps: { clock: Clock },
  access: KubeletAccess,
  target: Target,
  { socket, isSpare }: DialledKubelet,
  request: KubeletRequest,
): Promise<UpgradeOutcome> {
  const hasUid = canNameUid(request.kind, target);
  const ask = (on: TLSSocket, signal: AbortSignal): Promise<UpgradeOutcome> =>
    tryUpgrade(deps, access, target, on, { ...request, hasUid, signal });
  const onSpare = (): Promise<UpgradeOutcome> => ask(socket, request.signal);
  const afresh = async (until: AbortSignal): Promise<UpgradeOutcome> =>
    ask(await dialKubelet(deps, access, target, until), until);
  const outcome = await (isSpare ? upgradeDoubted(deps, { socket, onSpare, afresh }, request.signal) : onSpare());
  if (outcome.isOpen || !hasUid || !isUnknownPath(outcome.refusal)) return outcome;
  // A kubelet that does not know the UID form (virtual-kubelet): ask once without it.
  const second = await dialKubelet(deps, access, target, request.signal);
  return tryUpgrade(deps, access, target, second, { ...request, hasUid: false });
}

function isUnknownPath(refusal: KubeletRefusal): boolean {
  return refusal.status === 404 && !podGoneTexts.has(refusal.body.toString('utf8').trim());
}

async function tryUpgrade(
  deps: { clock: Clock },
  access: KubeletAccess,
  target: Target,
  socket: TLSSocket,
  request: KubeletRequest & { readonly hasUid: boolean },
): Promise<UpgradeOutcome> {
  const path = kubeletPath(request.kind, target, request.hasUid);
  const credential = await kubeletCredential(access).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
  const { head, rest } = await requestUpgrade(
    socket,
    {
      method: 'POST',
      target: request.query === '' ? path : `${path}?${request.query}`,
      headers: [
        // Not the socket's address: that may be a proxy's.
        ['Host', addressText(target)],
        ['User-Agent', request.userAgent],
        ['Content-Length', '0'],
        ...credential,
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', streamProtocol(request.kind)],
      ],
    },
    { timeoutMs: upgradeTimeoutMs, signal: request.signal, clock: deps.clock },
  ).catch((error: unknown) => {
    throw named(error, target);
  });
  if (head.status !== 101) {
    if (head.status === 401) access.tokenRefused?.();
    const limits = { maxBytes: maxRefusalBytes, timeoutMs: refusalBodyTimeoutMs, method: 'POST', clock: deps.clock };
    const body = await readBody(socket, head, rest, limits).finally(() => socket.destroy());
    return { isOpen: false, refusal: { status: head.status, headers: head.headers, body } };
  }
  const problem = upgradeProblem(head.headers, streamProtocol(request.kind));
  if (problem === undefined) {
    const isUidCompared = request.hasUid && request.kind !== 'exec';
    return { isOpen: true, leg: { socket, head: rest, isUidCompared } };
  }
  socket.destroy();
  return { isOpen: false, refusal: { status: 101, headers: [], body: Buffer.from(problem) } };
}

/** A user who reads "the peer closed the connection" would look for the fault in kexer. */
function named(error: unknown, target: Target): unknown {
  if (!(error instanceof KexerError) || error.code === 'clientGone') return error;
  const what = error.message.replace(/^Cannot upgrade: /, '');
  const options = error.cause === undefined ? {} : { cause: error.cause };
  return new KexerError(error.code, `Cannot open the stream at the kubelet of node ${target.node}: ${what}`, options);
}

/** Without these a SPDY peer is not what stands at the other end, whatever the status says. */
export function upgradeProblem(headers: RawHeaders, wanted: string): string | undefined {
  const upgrade = getHeader(headers, 'Upgrade') ?? '';
  if (upgrade.toLowerCase() !== 'spdy/3.1') return `Upgrade ${JSON.stringify(upgrade)}, want SPDY/3.1`;
  const protocol = getHeader(headers, 'X-Stream-Protocol-Version') ?? '';
  // Very old runtimes do not echo it; what they speak is then unknown, so that this is no session either.
  return protocol === wanted ? undefined : `X-Stream-Protocol-Version ${JSON.stringify(protocol)}, want ${wanted}`;
}
