// An upgrade from its call to the point where both legs are open and the 101 may be written: preflight, negotiation, kubelet. The order
// is the promise: nothing of what kexer itself finds out is told before kube-apiserver's answer, no kubelet is asked for a stream before
// kube-apiserver has allowed it, no 101 is written before the kubelet's, and the legs are not joined before the pod is known to be the one asked for.

import { Buffer } from 'node:buffer';

import type { Readable } from 'node:stream';
import type { Authorizer } from '../auth/authorize.ts';
import type { Clock } from '../base/clock.ts';
import type { Call } from '../clusters/call.ts';
import type { Detour } from '../clusters/detour.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { parseQuery } from '../protocol/query.ts';
import { negotiateWebSocket, type StreamKind, takeBearerProtocol } from '../protocol/subprotocols.ts';
import { readWebSocketRequest, websocketAccepted } from '../protocol/websocket/handshake.ts';
import type { Announced } from './announce.ts';
import { openDetourLeg } from './detour-leg.ts';
import { detourOf, type Detours } from './detour.ts';
import { ExecRelay } from './exec-relay.ts';
import { ExecTranslate } from './exec-translate.ts';
import { openKubeletLeg, streamProtocol } from './kubelet-leg.ts';
import { refusalAnswer } from './kubelet-refusal.ts';
import { apiserverName, kubeletName, type Leg, type RunningStream } from './leg.ts';
import { LogSocket } from './log-socket.ts';
import { logSubject, openLog } from './log-source.ts';
import { negotiate, plainAnswer, type Protocol } from './negotiation.ts';
import { kubeletQuery, parseStreamOptions, portsOf, preflightQuery, type StreamOptions } from './options.ts';
import { PortChannels } from './port-channels.ts';
import { PortRelay } from './port-relay.ts';
import type { PodWatches } from './pod-watch.ts';
import { askStream } from './preflight.ts';
import type { SessionRegistry } from './registry.ts';
import { requireSamePod } from './same-pod.ts';
import { runSession } from './run-session.ts';
import type { Session, SessionSubject } from './session.ts';
import type { DialledKubelet, SpareKubelets } from './spare-kubelets.ts';
import { findPlace, type Place, type Target, targetOf } from './target.ts';
import { TunnelDuplex } from './tunnel.ts';
import { canBeToldLate, VouchedStream } from './vouched-stream.ts';

export interface UpgradeDeps {
  readonly clock: Clock;
  readonly sessions: SessionRegistry;
  readonly pods: Pick<PodWatches, 'follow'>;
  readonly authorizer: Pick<Authorizer, 'authorize'>;
  readonly detours: Pick<Detours, 'note'>;
  readonly kubelets: Pick<SpareKubelets, 'dial' | 'prepare'>;
  readonly version: string;
}

/** Everything is open; the client's socket is still to be joined. */
export interface OpenStream {
  readonly subject: SessionSubject;
  /** What the session reads from; destroyed when nothing comes of it. */
  readonly backend: Readable;
  /** Writes the 101 and joins the legs; resolves when both are closed. Must be called soon: the kubelet's leg is waiting. */
  run(client: Leg, announced: Announced): Promise<void>;
}

const noBytes = Buffer.alloc(0);

/** From 1.35 on kube-apiserver itself asks for `create` when the method of an upgrade means `get`. */
const createCheckedSince = { major: 1, minor: 35 };

/**
 * @returns the open stream, or the answer that the client gets instead of a 101.
 * @throws StatusError | KexerError for failures that kexer itself found
 */
export async function openStream(
  deps: UpgradeDeps,
  call: Call,
  kind: StreamKind,
  signal: AbortSignal,
): Promise<OpenStream | HttpAnswer> {
  if (kind === 'log') return openLogSocket(deps, call, signal);
  const options = parseStreamOptions(kind, parseQuery(call.inner.rawQuery));
  const placing = findStreamPlace(call, options, signal);
  const detour = await detourOf(call, kind, placing, signal);
  return detour === undefined
    ? openDirect(deps, call, { options, placing }, signal)
    : openDetour(deps, call, { options, placing, detour }, signal);
}

interface Asked {
  readonly options: StreamOptions;
  /** Never goes unhandled; its failure is told after kube-apiserver's answer, if at all. */
  readonly placing: Promise<Place>;
}

async function openDirect(
  deps: UpgradeDeps,
  call: Call,
  { options, placing }: Asked,
  signal: AbortSignal,
): Promise<OpenStream | HttpAnswer> {
  const reached = reachKubelet(deps, call, placing, signal);
  let isTaken = false;
  try {
    const preflight = await askStream(call, { query: preflightQuery(options), version: deps.version, signal });
    if (!preflight.isAllowed) return preflight.answer;
    if (!(await isCreateChecked(call, signal))) await requireVerb(deps, call, 'create', signal);
    const protocol = negotiate(call, options);
    if ('status' in protocol) return protocol;
    const { target, dialled } = await reached;
    // A webhook that came while the preflight was under way may have changed what was allowed; as late as can be, since a watch lags.
    const late = call.cluster.streamRoute.detourOf(options.kind);
    if (late !== undefined) return await openDetour(deps, call, { options, placing, detour: late }, signal);
    isTaken = true;
    const request = { kind: options.kind, query: kubeletQuery(options), userAgent: `kexer/${deps.version}`, signal };
    const outcome = await call.stages.run(
      'upgrade',
      () => openKubeletLeg(deps, call.cluster.kubelet, target, dialled, request),
      (opened) => (opened.isOpen ? 101 : opened.refusal.status),
    );
    if (!outcome.isOpen) {
      return refusalAnswer(outcome.refusal, {
        node: target.node,
        verb: 'create',
        isSpdyClient: protocol.transport === 'spdy',
        auditId: call.auditId,
      });
    }
    const { leg } = outcome;
    const vouch = (until: AbortSignal): Promise<void> => requireSamePod(call.cluster, target, leg.socket, until);
    const isVouchedLate = !leg.isUidCompared && canBeToldLate(options.kind, protocol);
    if (!leg.isUidCompared && !isVouchedLate) await vouch(signal);
    deps.kubelets.prepare(call.cluster.kubelet, target);
    const opened = { options, place: target, protocol, backend: leg, backendName: kubeletName(target.node) };
    return openedStream(deps, call, { ...opened, detour: undefined }, isVouchedLate ? vouch : undefined);
  } finally {
    // What was dialled beside a preflight that came to nothing; a failure to dial then concerns nobody.
    if (!isTaken) {
      void reached.then(
        ({ dialled }) => dialled.socket.destroy(),
        () => {},
      );
    }
  }
}

/** By kube-apiserver's own streaming: its answer is the only judgement. No command runs before the legs are joined and streams opened. */
async function openDetour(
  deps: UpgradeDeps,
  call: Call,
  { options, placing, detour }: Asked & { detour: Detour },
  signal: AbortSignal,
): Promise<OpenStream | HttpAnswer> {
  const { kind } = options;
  deps.detours.note({ call, kind, detour });
  const request = { kind, query: preflightQuery(options), version: deps.version, signal };
  const backend = await call.stages.run(
    'upgrade',
    (trace) => openDetourLeg(deps, call, { ...request, trace: trace() }),
    (opened) => ('status' in opened ? opened.status : 101),
  );
  if ('status' in backend) return backend;
  try {
    // kube-apiserver was asked by POST, which it takes for `create`; it would have wanted `get` as well of a client that came by GET.
    if (call.method === 'GET') await requireVerb(deps, call, 'get', signal);
    const protocol = negotiate(call, options);
    if ('status' in protocol) {
      backend.socket.destroy();
      return protocol;
    }
    // Only for the session's record: kube-apiserver has found the pod itself.
    const place = (await placing.catch(() => undefined)) ?? unknownPlace(call, options);
    return openedStream(deps, call, { options, place, protocol, backend, backendName: apiserverName, detour });
  } catch (error) {
    backend.socket.destroy();
    throw error;
  }
}

/** @param vouch what must resolve before the legs may be joined, where that is not known yet. */
function openedStream(
  deps: UpgradeDeps,
  call: Call,
  opened: Opened,
  vouch?: (signal: AbortSignal) => Promise<void>,
): OpenStream {
  const subject = subjectOf(call, opened);
  const start = (session: Session, client: Leg): RunningStream => {
    client.socket.write(opened.protocol.accepted);
    const joined = (kubelet: Leg, isRefusal: boolean): RunningStream =>
      join(deps, session, { ...opened, backend: kubelet }, client, isRefusal);
    if (vouch === undefined) return joined(opened.backend, false);
    return new VouchedStream({ session, client, kubelet: opened.backend, vouch, join: joined });
  };
  return {
    subject,
    backend: opened.backend.socket,
    run: (client, announced) => runSession(deps, call, { subject, announced }, (session) => start(session, client)),
  };
}

/** A log has no leg to upgrade: its kubelet is asked by a plain GET. */
async function openLogSocket(deps: UpgradeDeps, call: Call, signal: AbortSignal): Promise<OpenStream | HttpAnswer> {
  const { headers } = takeBearerProtocol(call.headers);
  const offer = readWebSocketRequest(call.method, headers);
  const choice = negotiateWebSocket('log', offer.protocols);
  const log = await openLog(deps, call, signal);
  if ('status' in log) return log;
  if (!choice.isAccepted) {
    log.body.destroy();
    return plainAnswer(choice);
  }
  const subject = logSubject(call, log, `websocket ${choice.protocol}`.trim());
  return {
    subject,
    backend: log.body,
    run: (client, announced) =>
      runSession(deps, call, { subject, announced }, (session) => {
        client.socket.write(websocketAccepted(offer.key, choice.protocol));
        const { isBase64 } = choice;
        return new LogSocket({ clock: deps.clock, session }, { client, log }, { isBase64 });
      }),
  };
}

/** Beside what kube-apiserver is asked: a lookup with kexer's own rights. */
function findStreamPlace(call: Call, options: StreamOptions, signal: AbortSignal): Promise<Place> {
  const { namespace, name: pod } = call.inner.info;
  const container = options.kind === 'portforward' ? undefined : options.container;
  const placing = findPlace(call.cluster, { namespace, pod, container }, signal);
  placing.catch(() => {});
  return placing;
}

function unknownPlace(call: Call, options: StreamOptions): Place {
  const { namespace, name: pod } = call.inner.info;
  return { namespace, pod, podUid: '', isMirror: false, container: options.container, node: '' };
}

/** Beside the preflight: a handshake, no request to the kubelet yet. The promise never goes unhandled. */
function reachKubelet(
  deps: UpgradeDeps,
  call: Call,
  placing: Promise<Place>,
  signal: AbortSignal,
): Promise<{ target: Target; dialled: DialledKubelet }> {
  const reach = async (): Promise<{ target: Target; dialled: DialledKubelet }> => {
    const target = await targetOf(call.cluster, await placing, signal);
    return { target, dialled: await deps.kubelets.dial(call, call.cluster.kubelet, target, signal) };
  };
  const reached = reach();
  reached.catch(() => {}); // reported by whoever awaits it, after the preflight's answer
  return reached;
}

async function isCreateChecked(call: Call, signal: AbortSignal): Promise<boolean> {
  if (call.method !== 'GET') return true;
  const { major, minor } = await call.cluster.serverVersion(signal);
  return major > createCheckedSince.major || (major === createCheckedSince.major && minor >= createCheckedSince.minor);
}

/** Asks about the effective user, who is proven by now: kube-apiserver has taken the call. */
async function requireVerb(deps: UpgradeDeps, call: Call, verb: 'create' | 'get', signal: AbortSignal): Promise<void> {
  const { info } = call.inner;
  if (call.cluster.requireVerb !== undefined) {
    await call.cluster.requireVerb(call, verb, signal);
    return;
  }
  await deps.authorizer.authorize(call.identity.effectiveUser, {
    isResourceRequest: true,
    path: info.path,
    verb,
    apiGroup: info.apiGroup,
    apiVersion: info.apiVersion,
    resource: info.resource,
    subresource: info.subresource,
    namespace: info.namespace,
    name: info.name,
  });
}

interface Opened {
  readonly options: StreamOptions;
  readonly place: Place;
  readonly protocol: Protocol;
  readonly backend: Leg;
  readonly backendName: string;
  readonly detour: Detour | undefined;
}

/** @param isRefusal it is joined only to be ended: the backend leads nowhere. */
function join(deps: UpgradeDeps, session: Session, opened: Opened, client: Leg, isRefusal: boolean): RunningStream {
  const { options, protocol, backend: kubelet, backendName: backend } = opened;
  const parts = { clock: deps.clock, session };
  const legs = { client, kubelet };
  if (options.kind !== 'portforward') {
    return protocol.transport === 'spdy'
      ? new ExecRelay(parts, legs, {
          version: protocol.choice.version,
          hasTty: options.hasTty,
          streamCount: streamCountOf(options, protocol.choice.version),
          backend,
          isRefusal,
        })
      : new ExecTranslate(parts, legs, {
          version: protocol.choice.version,
          isBase64: protocol.choice.isBase64,
          hasStdin: options.hasStdin,
          hasStdout: options.hasStdout,
          hasStderr: options.hasStderr,
          hasTty: options.hasTty,
          backend,
        });
  }
  if (protocol.transport === 'spdy') return new PortRelay(parts, legs, { backend });
  if (protocol.choice.form === 'tunnel') {
    const tunnel = new TunnelDuplex(deps, client);
    return new PortRelay(parts, { client: { socket: tunnel, head: noBytes }, kubelet }, { backend });
  }
  return new PortChannels(parts, legs, { ports: portsOf(options), isBase64: protocol.choice.isBase64, backend });
}

/** As kubelets count what they wait for: the error stream, each that is asked for, and the size of a terminal since v3. */
function streamCountOf({ hasStdin, hasStdout, hasStderr, hasTty }: StreamOptions, version: number): number {
  const asked = [hasStdin, hasStdout, hasStderr && !hasTty, hasTty && version >= 3];
  return 1 + asked.filter(Boolean).length;
}

function subjectOf(call: Call, opened: Opened): SessionSubject {
  const { options, place, protocol, detour } = opened;
  const { effectiveUser } = call.identity;
  const transport = protocol.transport === 'spdy' ? 'SPDY/3.1' : 'websocket';
  return {
    kind: options.kind,
    user: effectiveUser,
    ...(effectiveUser.name === call.caller.user.name ? {} : { originalUser: call.caller.user }),
    clusterNamespace: call.clusterNamespace,
    cluster: call.cluster.name,
    namespace: place.namespace,
    pod: place.pod,
    podUid: place.podUid,
    ...(place.isMirror ? { isMirrorPod: true } : {}),
    container: place.container,
    node: place.node,
    command: options.command,
    clientProtocol: `${transport} ${protocol.choice.protocol}`.trim(),
    kubeletProtocol: `SPDY/3.1 ${streamProtocol(options.kind)}`,
    remoteAddress: call.remoteAddress,
    auditId: call.auditId,
    ...(detour === undefined ? {} : { detour: detour.reason }),
  };
}
