// An upgrade from its call to the point where both legs are open and the 101 may be written: preflight, negotiation, kubelet. The order
// is the promise: nothing of what kexer itself finds out is told before kube-apiserver's answer, no kubelet is asked for a stream before
// kube-apiserver has allowed it, and no 101 is written before the kubelet's.

import { Buffer } from 'node:buffer';
import type { TLSSocket } from 'node:tls';

import type { Authorizer } from '../auth/authorize.ts';
import type { Clock } from '../base/clock.ts';
import { quote } from '../base/quote.ts';
import type { Call } from '../clusters/call.ts';
import { badRequest } from '../kube/status.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import { parseQuery } from '../protocol/query.ts';
import { listItems } from '../protocol/raw-headers.ts';
import {
  negotiateSpdy,
  negotiateWebSocket,
  type SpdyChoice,
  type StreamKind,
  takeBearerProtocol,
  type UpgradeRefusal,
  type WebSocketChoice,
} from '../protocol/subprotocols.ts';
import { readWebSocketRequest, websocketAccepted } from '../protocol/websocket/handshake.ts';
import { statusAnswer } from './answer.ts';
import { ExecRelay } from './exec-relay.ts';
import { ExecTranslate } from './exec-translate.ts';
import { dialKubelet } from './kubelet-dial.ts';
import { type KubeletLeg, kubeletProtocol, openKubeletLeg } from './kubelet-leg.ts';
import { refusalAnswer } from './kubelet-refusal.ts';
import type { Leg, RunningStream } from './leg.ts';
import { LogSocket } from './log-socket.ts';
import { logSubject, openLog } from './log-source.ts';
import { kubeletQuery, parseStreamOptions, portsOf, preflightQuery, type StreamOptions } from './options.ts';
import { maxChannelPorts, PortChannels } from './port-channels.ts';
import { PortRelay } from './port-relay.ts';
import type { PodWatches } from './pod-watch.ts';
import { askStream } from './preflight.ts';
import type { SessionRegistry } from './registry.ts';
import { runSession } from './run-session.ts';
import type { Session, SessionSubject } from './session.ts';
import { findTarget, type Target } from './target.ts';
import { TunnelDuplex } from './tunnel.ts';

export interface UpgradeDeps {
  readonly clock: Clock;
  readonly sessions: SessionRegistry;
  readonly pods: Pick<PodWatches, 'follow'>;
  readonly authorizer: Pick<Authorizer, 'authorize'>;
  readonly version: string;
}

/** Everything is open; the client's socket is still to be joined. */
export interface OpenStream {
  /** Writes the 101 and joins the legs; resolves when both are closed. Must be called at once: the kubelet's leg is waiting. */
  run(client: Leg): Promise<void>;
  /** Instead of `run`, when there is no client any more. */
  discard(): void;
}

type Protocol =
  | { readonly transport: 'spdy'; readonly choice: SpdyChoice; readonly accepted: Buffer }
  | { readonly transport: 'webSocket'; readonly choice: WebSocketChoice; readonly accepted: Buffer };

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
  const reached = reachKubelet(deps, call, options, signal);
  let isTaken = false;
  try {
    const preflight = await askStream(call, { query: preflightQuery(options), version: deps.version, signal });
    if (!preflight.isAllowed) return preflight.answer;
    await requireCreate(deps, call, signal);
    const protocol = negotiate(call, options);
    if ('status' in protocol) return protocol;
    const { target, socket } = await reached;
    isTaken = true;
    const outcome = await openKubeletLeg(deps, call.cluster.kubelet, target, socket, {
      kind,
      query: kubeletQuery(options),
      userAgent: `kexer/${deps.version}`,
      signal,
    });
    if (!outcome.isOpen) {
      return refusalAnswer(outcome.refusal, {
        node: target.node,
        verb: 'create',
        isSpdyClient: protocol.transport === 'spdy',
        auditId: call.auditId,
      });
    }
    const { leg } = outcome;
    return {
      run: (client) => run(deps, call, { options, target, protocol, kubelet: leg }, client),
      discard: () => leg.socket.destroy(),
    };
  } finally {
    // What was dialled beside a preflight that came to nothing; a failure to dial then concerns nobody.
    if (!isTaken) {
      void reached.then(
        ({ socket }) => socket.destroy(),
        () => {},
      );
    }
  }
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
  return {
    discard: () => log.body.destroy(),
    run: (client) => {
      const subject = logSubject(call, log.target, `websocket ${choice.protocol}`.trim());
      return runSession(deps, call, subject, (session) => {
        client.socket.write(websocketAccepted(offer.key, choice.protocol));
        const { isBase64 } = choice;
        return new LogSocket({ clock: deps.clock, session }, { client, body: log.body }, { isBase64 });
      });
    },
  };
}

/** Beside the preflight: a lookup and a handshake, no request to the kubelet yet. The promise never goes unhandled. */
function reachKubelet(
  deps: UpgradeDeps,
  call: Call,
  options: StreamOptions,
  signal: AbortSignal,
): Promise<{ target: Target; socket: TLSSocket }> {
  const reach = async (): Promise<{ target: Target; socket: TLSSocket }> => {
    const { namespace, name: pod } = call.inner.info;
    const container = options.kind === 'portforward' ? undefined : options.container;
    const target = await findTarget(call.cluster, { namespace, pod, container }, signal);
    return { target, socket: await dialKubelet(deps, call.cluster.kubelet, target, signal) };
  };
  const reached = reach();
  reached.catch(() => {}); // reported by whoever awaits it, after the preflight's answer
  return reached;
}

async function requireCreate(deps: UpgradeDeps, call: Call, signal: AbortSignal): Promise<void> {
  if (call.method !== 'GET') return;
  const version = await call.cluster.serverVersion(signal);
  const isChecked =
    version.major > createCheckedSince.major ||
    (version.major === createCheckedSince.major && version.minor >= createCheckedSince.minor);
  if (isChecked) return;
  const { info } = call.inner;
  await deps.authorizer.authorize(call.identity.effectiveUser, {
    isResourceRequest: true,
    path: info.path,
    verb: 'create',
    apiGroup: info.apiGroup,
    apiVersion: info.apiVersion,
    resource: info.resource,
    subresource: info.subresource,
    namespace: info.namespace,
    name: info.name,
  });
}

function negotiate(call: Call, options: StreamOptions): Protocol | HttpAnswer {
  const tokens = listItems(call.headers, 'Upgrade').map((token) => token.toLowerCase());
  if (tokens.includes('websocket')) return negotiateSocket(call, options);
  if (tokens.includes('spdy/3.1')) {
    const choice = negotiateSpdy(options.kind, call.headers);
    if (!choice.isAccepted) return plainAnswer(choice);
    const accepted = encodeResponseHead({
      status: 101,
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', choice.protocol],
      ],
    });
    return { transport: 'spdy', choice, accepted };
  }
  const message = `unknown upgrade protocol ${quote(tokens.join(', '), 80)}, want SPDY/3.1 or websocket`;
  return statusAnswer(badRequest(message), call.auditId);
}

function negotiateSocket(call: Call, options: StreamOptions): Protocol | HttpAnswer {
  // The pipeline has read a token in there; it is nothing that could be chosen.
  const { headers } = takeBearerProtocol(call.headers);
  const offer = readWebSocketRequest(call.method, headers);
  const choice = negotiateWebSocket(options.kind, offer.protocols);
  if (!choice.isAccepted) return plainAnswer(choice);
  if (options.kind === 'portforward' && choice.form === 'channels') {
    const ports = portsOf(options);
    if (ports.length === 0) return statusAnswer(badRequest('query parameter "port" is required'), call.auditId);
    if (ports.length > maxChannelPorts || ports.includes(0)) {
      const message = `cannot forward these ports over one WebSocket: want up to ${maxChannelPorts} from 1 to 65535`;
      return statusAnswer(badRequest(message), call.auditId);
    }
  }
  return { transport: 'webSocket', choice, accepted: websocketAccepted(offer.key, choice.protocol) };
}

function plainAnswer(refusal: UpgradeRefusal): HttpAnswer {
  return { status: refusal.status, headers: refusal.headers, body: Buffer.from(refusal.body) };
}

interface Opened {
  readonly options: StreamOptions;
  readonly target: Target;
  readonly protocol: Protocol;
  readonly kubelet: KubeletLeg;
}

function run(deps: UpgradeDeps, call: Call, opened: Opened, client: Leg): Promise<void> {
  return runSession(deps, call, subjectOf(call, opened), (session) => {
    client.socket.write(opened.protocol.accepted);
    return join(deps, session, opened, client);
  });
}

function join(deps: UpgradeDeps, session: Session, opened: Opened, client: Leg): RunningStream {
  const { options, target, protocol, kubelet } = opened;
  const parts = { clock: deps.clock, session };
  const { node } = target;
  const legs = { client, kubelet };
  if (options.kind !== 'portforward') {
    return protocol.transport === 'spdy'
      ? new ExecRelay(parts, legs, { version: protocol.choice.version, hasTty: options.hasTty, node })
      : new ExecTranslate(parts, legs, {
          version: protocol.choice.version,
          isBase64: protocol.choice.isBase64,
          hasStdin: options.hasStdin,
          hasStdout: options.hasStdout,
          hasStderr: options.hasStderr,
          hasTty: options.hasTty,
          node,
        });
  }
  if (protocol.transport === 'spdy') return new PortRelay(parts, legs, { node });
  if (protocol.choice.form === 'tunnel') {
    const tunnel = new TunnelDuplex(deps, client);
    return new PortRelay(parts, { client: { socket: tunnel, head: noBytes }, kubelet }, { node });
  }
  return new PortChannels(parts, legs, { ports: portsOf(options), isBase64: protocol.choice.isBase64, node });
}

function subjectOf(call: Call, opened: Opened): SessionSubject {
  const { options, target, protocol } = opened;
  const { effectiveUser } = call.identity;
  const transport = protocol.transport === 'spdy' ? 'SPDY/3.1' : 'websocket';
  return {
    kind: options.kind,
    user: effectiveUser,
    ...(effectiveUser.name === call.caller.user.name ? {} : { originalUser: call.caller.user }),
    clusterNamespace: call.clusterNamespace,
    cluster: call.cluster.name,
    namespace: target.namespace,
    pod: target.pod,
    podUid: target.podUid,
    ...(target.isMirror ? { isMirrorPod: true } : {}),
    container: target.container,
    node: target.node,
    command: options.command,
    clientProtocol: `${transport} ${protocol.choice.protocol}`.trim(),
    kubeletProtocol: `SPDY/3.1 ${kubeletProtocol(options.kind)}`,
    remoteAddress: call.remoteAddress,
    auditId: call.auditId,
  };
}
