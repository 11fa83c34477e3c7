// Clients that cannot be installed here, made of raw WebSockets: each offers the subprotocols, sends the frames and closes as the
// library named in it does. A text frame, an unknown channel or an empty message where the library fails on one fails here too.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';

import { Scope } from '../../../src/base/scope.ts';
import { channels } from '../../../src/protocol/channel.ts';
import type { Stage } from '../../integration/support/stage.ts';
import { openWebSocket, type WebSocketClient } from '../../support/websocket-client.ts';
import { type Client, type ExecInput, firstSize, type Outcome, secondSize, type StdinEnd } from './client.ts';

const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const timeoutMs = 30_000;

export interface RawHabits {
  readonly name: string;
  /** Offered for exec. */
  readonly exec: readonly string[];
  /** Offered for attach and port-forward; undefined: as for exec. */
  readonly others?: readonly string[];
  /** What the answer may choose; anything else fails. */
  readonly accepts: readonly string[];
  /** Bytes in one frame of stdin. */
  readonly frameBytes: number;
  /** Sends Close as soon as the status has come, whatever else is still to come. */
  readonly closesOnStatus: boolean;
  /** Keys of a resize message. */
  readonly resizeKeys: readonly [width: string, height: string];
}

/** `https://HOST/…/pods/POD/VERB?QUERY` through kexer. */
export function podUrl(stage: Stage, pod: string, rest: string): string {
  return `https://127.0.0.1:${stage.port}${clusterPath}/api/v1/namespaces/default/pods/${pod}/${rest}`;
}

export async function withRawSocket<T>(
  stage: Stage,
  options: { url: string; protocols: readonly string[]; channelCount?: number },
  use: (socket: WebSocketClient) => Promise<T>,
): Promise<T> {
  const scope = new Scope();
  try {
    const ca = await readFile(stage.sandbox.files.servingCaFile, 'utf8');
    const credential = { ca, token: stage.sandbox.tokens.alice, timeoutMs };
    return await use(await openWebSocket(scope, { ...credential, ...options }));
  } finally {
    await scope.close();
  }
}

export function execQuery(verb: 'exec' | 'attach', command: readonly string[], flags: readonly string[]): string {
  const query = [
    ...flags.map((flag) => `${flag}=true`),
    ...command.map((word) => `command=${encodeURIComponent(word)}`),
  ];
  return `${verb}?${query.join('&')}`;
}

class RawClient implements Client {
  readonly name: string;
  readonly stdinEnd: StdinEnd;
  readonly #habits: RawHabits;

  constructor(habits: RawHabits) {
    this.name = habits.name;
    this.stdinEnd = habits.accepts.includes('v5.channel.k8s.io') ? 'half-close' : 'none';
    this.#habits = habits;
  }

  missing(): undefined {
    return undefined;
  }

  exec(stage: Stage, { pod, command, stdin }: ExecInput): Promise<Outcome> {
    const flags = ['stdout', 'stderr', ...(stdin === undefined ? [] : ['stdin'])];
    const url = podUrl(stage, pod, execQuery('exec', command, flags));
    return withRawSocket(stage, { url, protocols: this.#habits.exec }, async (socket) => {
      this.#checkProtocol(socket);
      if (stdin !== undefined) await this.#sendStdin(socket, stdin);
      return await this.#outcome(socket);
    });
  }

  terminal(stage: Stage, { pod, command }: ExecInput): Promise<Outcome> {
    const url = podUrl(stage, pod, execQuery('exec', command, ['stdin', 'stdout', 'tty']));
    return withRawSocket(stage, { url, protocols: this.#habits.exec }, async (socket) => {
      this.#checkProtocol(socket);
      this.#resize(socket, firstSize);
      await socket.waitFor(() => socket.stdout.includes('first'));
      this.#resize(socket, secondSize);
      return await this.#outcome(socket);
    });
  }

  attach(stage: Stage, { pod, line }: { pod: string; line: string }): Promise<void> {
    const url = podUrl(stage, pod, execQuery('attach', [], ['stdin', 'stdout', 'stderr']));
    const protocols = this.#habits.others ?? this.#habits.exec;
    return withRawSocket(stage, { url, protocols }, async (socket) => {
      this.#checkProtocol(socket);
      socket.send(channels.stdin, `${line}\n`);
      await socket.waitFor(() => socket.stdout.includes(line));
      socket.close(1000);
      await socket.ended;
    });
  }

  forward(stage: Stage, input: { pod: string; port: number; bytes: Buffer }): Promise<Buffer> {
    const { port, bytes } = input;
    const url = podUrl(stage, input.pod, `portforward?ports=${port}`);
    const protocols = this.#habits.others ?? this.#habits.exec;
    return withRawSocket(stage, { url, protocols, channelCount: 2 }, async (socket) => {
      this.#checkProtocol(socket);
      // Exactly the first two messages are the ports, one for each channel: what follows is data to these libraries.
      await socket.waitFor(() => socket.messages.length >= 2);
      const prefixes = socket.messages.slice(0, 2).map((message) => [...message]);
      const number = [port % 256, Math.floor(port / 256)];
      if (
        JSON.stringify(prefixes) !==
        JSON.stringify([
          [0, ...number],
          [1, ...number],
        ])
      )
        throw new Error(`The first two messages are ${JSON.stringify(prefixes)}`);
      for (let at = 0; at < bytes.length; at += this.#habits.frameBytes)
        socket.send(0, bytes.subarray(at, at + this.#habits.frameBytes));
      const prefixBytes = 2;
      await socket.waitFor(() => socket.channel(0).length >= bytes.length + prefixBytes);
      if (socket.channel(1).length > prefixBytes) throw new Error(socket.channel(1).subarray(prefixBytes).toString());
      if (socket.messages.some(({ length }) => length < 2)) throw new Error('An empty message came');
      socket.close(1000);
      await socket.ended;
      return socket.channel(0).subarray(prefixBytes);
    });
  }

  #checkProtocol(socket: WebSocketClient): void {
    if (this.#habits.accepts.includes(socket.protocol)) return;
    throw new Error(`The server chose ${JSON.stringify(socket.protocol)}`);
  }

  async #sendStdin(socket: WebSocketClient, stdin: Buffer): Promise<void> {
    const { frameBytes } = this.#habits;
    for (let at = 0; at < stdin.length; at += frameBytes) {
      socket.send(channels.stdin, stdin.subarray(at, at + frameBytes));
      if (socket.socket.writableNeedDrain) await once(socket.socket, 'drain');
    }
    if (socket.protocol === 'v5.channel.k8s.io') socket.halfClose();
  }

  #resize(socket: WebSocketClient, { columns, rows }: { columns: number; rows: number }): void {
    const [width, height] = this.#habits.resizeKeys;
    socket.send(channels.resize, JSON.stringify({ [width]: columns, [height]: rows }));
  }

  async #outcome(socket: WebSocketClient): Promise<Outcome> {
    const { closesOnStatus } = this.#habits;
    await socket.waitFor(() => socket.channel(channels.error).length > 0);
    // Taken here: nothing that comes after the status is seen by a library that closes at it.
    const early = socket.channel(channels.stdout);
    if (closesOnStatus) socket.close(1000);
    const end = await socket.ended;
    if (end.how !== 'close' || end.code !== 1000) throw new Error(`The connection ended with ${JSON.stringify(end)}`);
    const { status } = socket;
    return {
      code: status.kind === 'failure' ? null : status.kind === 'exit' ? status.exitCode : 0,
      stdout: closesOnStatus ? early : socket.channel(channels.stdout),
      stderr: socket.stderr,
    };
  }
}

const both = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const pascalCase = ['Width', 'Height'] as const;

export const rawClients: readonly Client[] = [
  new RawClient({
    name: 'raw, as fabric8',
    exec: ['v4.channel.k8s.io'],
    accepts: ['v4.channel.k8s.io'],
    frameBytes: 64 * 1024,
    closesOnStatus: true,
    resizeKeys: pascalCase,
  }),
  new RawClient({
    name: 'raw, as C# KubernetesClient',
    exec: ['v4.channel.k8s.io'],
    others: [],
    accepts: ['v4.channel.k8s.io', ''],
    frameBytes: 80 * 1024,
    closesOnStatus: false,
    resizeKeys: pascalCase,
  }),
  new RawClient({
    name: 'raw, as kube-rs',
    exec: both,
    accepts: both,
    frameBytes: 1024,
    closesOnStatus: false,
    resizeKeys: pascalCase,
  }),
  new RawClient({
    name: 'raw, as kubernetes-client/java',
    exec: both,
    accepts: both,
    frameBytes: 15 * 1024 * 1024,
    closesOnStatus: false,
    resizeKeys: pascalCase,
  }),
];
