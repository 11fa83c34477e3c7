// /exec, /attach and /portForward: everything between an authorized request and a taken-over socket, in the order of the kubelet and
// the CRI server behind it, because the order decides which of several errors a client sees.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { describeError, KexerError } from '../../../base/errors.ts';
import type { StatusSpelling } from '../../../protocol/exit-status.ts';
import { encodeResponseHead } from '../../../protocol/http-head.ts';
import { getHeader, hasToken, type RawHeaders, withHeader } from '../../../protocol/raw-headers.ts';
import { negotiateSpdy, negotiateWebSocket, spdyProtocolHeader } from '../../../protocol/subprotocols.ts';
import { websocketAccepted } from '../../../protocol/websocket/handshake.ts';
import type { PodWorker } from '../pods/pod-worker.ts';
import { podFullName, podUid } from '../pods/pod.ts';
import type { Container } from '../runtime/container.ts';
import type { PtyHost } from '../runtime/pty.ts';
import { type Answer, podNotFound, sendRefusal, textAnswer, upgradeRequired } from './answers.ts';
import { serveExecOverSpdy } from './exec-over-spdy.ts';
import { serveExecOverWebSocket } from './exec-over-websocket.ts';
import type { PodDirectory } from './pod-directory.ts';
import { servePortForwardOverSpdy } from './port-forward-spdy.ts';
import { servePortForwardOverChannels, servePortForwardTunnel } from './port-forward-websocket.ts';
import type { StreamEndpoint } from './routes.ts';
import type { SessionPlan } from './session-pump.ts';

export interface StreamDeps {
  readonly clock: Clock;
  readonly pods: PodDirectory;
  readonly pty: PtyHost;
}

export interface StreamOptions {
  readonly generation: '1.36' | '1.35';
  readonly spelling: StatusSpelling;
}

export interface StreamRequest {
  readonly kind: StreamEndpoint;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly container: string;
  readonly query: URLSearchParams;
  readonly headers: RawHeaders;
}

/** What a request comes to: an answer, or a protocol that takes the socket over after its 101. */
export type StreamOutcome =
  | { readonly answer: Answer }
  | { readonly head: Buffer; readonly protocol: string; takeOver(socket: Duplex, head: Buffer): void };

function refuse(status: number, text: string): { answer: Answer } {
  return { answer: textAnswer(status, text) };
}

/** Only the literal `1` counts. */
function isSet(query: URLSearchParams, name: string): boolean {
  return query.get(name) === '1';
}

function isUpgrade(headers: RawHeaders): boolean {
  return hasToken(headers, 'Connection', 'upgrade');
}

function isWebSocket(headers: RawHeaders): boolean {
  return isUpgrade(headers) && hasToken(headers, 'Upgrade', 'websocket');
}

/** Only the first header line, as x/net reads it. */
function offeredProtocols(headers: RawHeaders): string[] {
  const line = getHeader(headers, 'Sec-WebSocket-Protocol');
  if (line === undefined) return [];
  return line.split(',').map((item) => item.trim());
}

function spdyAccepted(protocol: string, nowMs: number): Buffer {
  const headers: RawHeaders = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'SPDY/3.1'],
    [spdyProtocolHeader, protocol],
    ['Date', new Date(nowMs).toUTCString()],
  ];
  return encodeResponseHead({ status: 101, headers });
}

export class StreamEndpoints {
  readonly #deps: StreamDeps;
  readonly #options: StreamOptions;

  constructor(deps: StreamDeps, options: StreamOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Judges a request of an authorized caller; nothing has been started when it returns. */
  judge(request: StreamRequest): StreamOutcome {
    return request.kind === 'portForward' ? this.#portForward(request) : this.#session(request);
  }

  #session(request: StreamRequest): StreamOutcome {
    const { query, headers } = request;
    const isTerminal = isSet(query, 'tty');
    const wanted = {
      stdin: isSet(query, 'input'),
      stdout: isSet(query, 'output'),
      // A terminal has one output; asking for both drops stderr silently.
      stderr: isSet(query, 'error') && !isTerminal,
    };
    if (!wanted.stdin && !wanted.stdout && !wanted.stderr) {
      return refuse(400, 'you must specify at least 1 of stdin, stdout, stderr');
    }
    const worker = this.#deps.pods.find(request.namespace, request.pod);
    if (worker === undefined) return { answer: podNotFound };
    // Of exec the real one takes the container by the pod's name, whatever UID is asked for (findContainer, Pods.FindPod).
    const hasUid = request.kind === 'exec' || request.uid === '' || request.uid === podUid(worker.pod);
    const container = hasUid ? worker.slot(request.container)?.running : undefined;
    const plan =
      request.kind === 'exec'
        ? this.#planExec(request, container, wanted, isTerminal)
        : this.#planAttach(request, worker, container, wanted);
    if ('answer' in plan) return plan;
    if (!isUpgrade(headers)) return { answer: upgradeRequired };
    return isWebSocket(headers) ? this.#websocketSession(request, plan) : this.#spdySession(request, plan);
  }

  #planExec(
    request: StreamRequest,
    container: Container | undefined,
    wanted: { stdin: boolean; stdout: boolean; stderr: boolean },
    isTerminal: boolean,
  ): SessionPlan | { answer: Answer } {
    if (container === undefined) return refuse(500, `container not found ("${request.container}")`);
    if (isTerminal) {
      try {
        this.#deps.pty.check();
      } catch (error) {
        return refuse(500, error instanceof KexerError ? error.message : describeError(error));
      }
    }
    const command = request.query.getAll('command');
    return {
      ...wanted,
      isTerminal,
      failurePrefix: 'error executing command in container: ',
      open: () => container.exec(command, wanted, isTerminal),
      describeExit: (code) => `error executing command [${command.join(' ')}], exit code ${code}`,
    };
  }

  #planAttach(
    request: StreamRequest,
    worker: PodWorker,
    container: Container | undefined,
    wanted: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): SessionPlan | { answer: Answer } {
    if (container === undefined) {
      return refuse(500, `container ${request.container} not found in pod ${podFullName(worker.pod)}`);
    }
    // Whether there is a terminal is the container's to say, not the query's.
    const { isTerminal } = container.config;
    if (isTerminal && wanted.stderr) {
      return refuse(500, 'rpc error: code = InvalidArgument desc = tty and stderr cannot both be true');
    }
    return {
      ...wanted,
      isTerminal,
      failurePrefix: 'error attaching to container: ',
      open: () => Promise.resolve(container.attach(wanted)),
      describeExit: (code) => `exit code ${code}`,
    };
  }

  #spdySession(request: StreamRequest, plan: SessionPlan): StreamOutcome {
    const choice = negotiateSpdy(request.kind === 'attach' ? 'attach' : 'exec', this.#proxied(request.headers));
    if (!choice.isAccepted) return { answer: { ...choice, headers: withLength(choice) } };
    const { clock } = this.#deps;
    const { spelling } = this.#options;
    return {
      head: spdyAccepted(choice.protocol, clock.now()),
      protocol: choice.protocol,
      takeOver: (socket, head) =>
        serveExecOverSpdy({ socket, clock }, plan, { version: choice.version, head, spelling }),
    };
  }

  #websocketSession(request: StreamRequest, plan: SessionPlan): StreamOutcome {
    const { generation, spelling } = this.#options;
    const kind = request.kind === 'attach' ? 'attach' : 'exec';
    const choice = negotiateWebSocket(kind, offeredProtocols(request.headers), { generation });
    if (!choice.isAccepted) return { answer: choice };
    return {
      head: websocketAccepted(getHeader(request.headers, 'Sec-WebSocket-Key') ?? '', choice.protocol),
      protocol: choice.protocol,
      takeOver: (socket, head) => serveExecOverWebSocket(socket, plan, { choice, head, spelling }),
    };
  }

  #portForward(request: StreamRequest): StreamOutcome {
    const { headers, query } = request;
    const offered = offeredProtocols(headers);
    const isTunnel =
      this.#options.generation === '1.36' &&
      isWebSocket(headers) &&
      offered.some((item) => item.startsWith('SPDY/3.1+'));
    const ports = isWebSocket(headers) && !isTunnel ? parsePorts(query) : [];
    if (typeof ports === 'string') return refuse(400, ports);
    const worker = this.#deps.pods.find(request.namespace, request.pod);
    if (worker === undefined) return { answer: podNotFound };
    if (request.uid !== '' && request.uid !== podUid(worker.pod)) return refuse(404, 'pod not found');
    if (!isUpgrade(headers)) return { answer: upgradeRequired };
    const { clock } = this.#deps;
    const { sandboxId } = worker;
    if (!isWebSocket(headers)) {
      const choice = negotiateSpdy('portforward', this.#proxied(headers));
      if (!choice.isAccepted) return { answer: { ...choice, headers: withLength(choice) } };
      return {
        head: spdyAccepted(choice.protocol, clock.now()),
        protocol: choice.protocol,
        takeOver: (socket, head) => servePortForwardOverSpdy({ socket, clock }, { head, sandboxId, onEnd: () => {} }),
      };
    }
    const choice = negotiateWebSocket('portforward', offered, { generation: this.#options.generation });
    if (!choice.isAccepted) return { answer: choice.body === '' ? choice : { ...choice, headers: withLength(choice) } };
    const { isBase64, form } = choice;
    return {
      head: websocketAccepted(getHeader(headers, 'Sec-WebSocket-Key') ?? '', choice.protocol),
      protocol: choice.protocol,
      takeOver: (socket, head) => {
        if (form === 'tunnel') servePortForwardTunnel({ socket, clock }, { head, sandboxId });
        else servePortForwardOverChannels(socket, { head, isBase64, ports, sandboxId });
      },
    };
  }

  /** Between kubelet and CRI server a proxy has added a header; one message counts them. */
  #proxied(headers: RawHeaders): RawHeaders {
    return withHeader(headers, 'X-Forwarded-For', '127.0.0.1');
  }
}

function withLength(answer: Answer): RawHeaders {
  return [['Content-Length', String(answer.body.length)], ...answer.headers];
}

/** NewV4Options: the ports, or the error's text. */
function parsePorts(query: URLSearchParams): number[] | string {
  const values = query.getAll('port');
  if (values.length === 0) return 'query parameter "port" is required';
  const ports: number[] = [];
  for (const value of values) {
    if (value === '') return 'query parameter "port" cannot be empty';
    for (const text of value.split(',')) {
      if (!/^[0-9]+$/.test(text)) {
        return `unable to parse "${value}" as a port: strconv.ParseUint: parsing "${text}": invalid syntax`;
      }
      const port = Number(text);
      if (port > 65_535) {
        return `unable to parse "${value}" as a port: strconv.ParseUint: parsing "${text}": value out of range`;
      }
      if (port < 1) return `port "${value}" must be > 0`;
      ports.push(port);
    }
  }
  return ports;
}

/** Ends an upgrade: sends the answer, or the 101 and hands the socket over. */
export function settleUpgrade(outcome: StreamOutcome, socket: Duplex, head: Buffer, nowMs: number): void {
  if ('answer' in outcome) {
    sendRefusal(socket, outcome.answer, nowMs);
    return;
  }
  socket.write(outcome.head);
  outcome.takeOver(socket, head);
}
