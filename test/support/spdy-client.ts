// A raw SPDY client of exec, attach and port-forward for integration tests: it speaks as client-go does (streams one after the other,
// each waiting for its reply) but hides nothing: every byte of every stream, how each of them ended, and how the connection did.
// What client-go would make of the error stream is `exitAs`, its leniency included, since that is what users see.

import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';

import { systemClock } from '../../src/base/clock.ts';
import { readBody, requestUpgrade } from '../../src/net/upgrade.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream, type SpdyStreamEnd } from '../../src/net/spdy-connection.ts';
import { getHeader, type RawHeader } from '../../src/protocol/raw-headers.ts';
import type { HeaderList } from '../../src/protocol/spdy/frame.ts';

const timeoutMs = 8000;

export interface SpdyClientTarget {
  /** Such as https://127.0.0.1:6443/apis/…/exec; what follows the origin is sent as it is. */
  readonly url: string;
  /** PEM; without it any certificate is taken. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Bearer token. */
  readonly token?: string;
  readonly headers?: readonly RawHeader[];
  /** Offered in this order, as separate header lines; default v4 only. */
  readonly protocols?: readonly string[];
  readonly method?: 'POST' | 'GET';
}

/** The server answered something else than 101. */
export class UpgradeRefused extends Error {
  readonly status: number;
  readonly headers: readonly RawHeader[];
  readonly body: string;

  constructor(status: number, headers: readonly RawHeader[], body: string) {
    super(`upgrade refused: ${status} ${body}`);
    this.name = 'UpgradeRefused';
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

/** One stream with everything that came on it. */
export class ClientStream {
  readonly name: string;
  readonly stream: SpdyStream;
  readonly chunks: Buffer[] = [];
  receivedBytes = 0;
  end: SpdyStreamEnd | undefined;
  /** Resolves when the peer's direction is over. */
  readonly ended: Promise<SpdyStreamEnd>;
  /** Resolves at SYN_REPLY; rejects if the stream ends before it. */
  readonly replied: Promise<void>;
  /** Called for each piece as it comes, e.g. to react to a prompt. */
  onData: ((bytes: Buffer) => void) | undefined;
  /** Set to keep no bytes, only their count. */
  isCounting = false;

  constructor(connection: SpdyConnection, name: string, headers: HeaderList) {
    this.name = name;
    const ended = Promise.withResolvers<SpdyStreamEnd>();
    const replied = Promise.withResolvers<void>();
    replied.promise.catch(() => {}); // who does not wait for it is not harmed by its failure
    this.ended = ended.promise;
    this.replied = replied.promise;
    this.stream = connection.createStream(headers, {
      onReply: () => replied.resolve(),
      onData: (bytes) => {
        this.receivedBytes += bytes.length;
        if (!this.isCounting) this.chunks.push(bytes);
        this.onData?.(bytes);
      },
      onEnd: (how) => {
        this.end = how;
        replied.reject(new Error(`stream ${name} ended by ${how} before its reply`));
        ended.resolve(how);
      },
    });
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.bytes.toString();
  }
}

/** A connection after its 101. Close it in the test's teardown; `close` is idempotent. */
export class SpdyClient {
  /** X-Stream-Protocol-Version of the answer. */
  readonly protocol: string | undefined;
  readonly responseHeaders: readonly RawHeader[];
  readonly connection: SpdyConnection;
  readonly socket: Duplex;
  /** Streams by name; the last one of a name. */
  readonly streams = new Map<string, ClientStream>();
  connectionEnd: SpdyEnd | undefined;
  readonly ended: Promise<SpdyEnd>;
  readonly closed: Promise<void>;

  constructor(
    socket: Duplex,
    options: { head: Buffer; protocol: string | undefined; headers: readonly RawHeader[]; pingIntervalMs?: number },
  ) {
    const ended = Promise.withResolvers<SpdyEnd>();
    const closed = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.closed = closed.promise;
    this.socket = socket;
    this.protocol = options.protocol;
    this.responseHeaders = options.headers;
    this.connection = new SpdyConnection(
      { socket, clock: systemClock },
      {
        role: 'client',
        head: options.head,
        ...(options.pingIntervalMs === undefined ? {} : { pingIntervalMs: options.pingIntervalMs }),
      },
      {
        onEnd: (end) => {
          this.connectionEnd = end;
          ended.resolve(end);
          socket.destroy(); // as client-go: nothing of ours is worth a wait now
        },
        onClosed: () => closed.resolve(),
      },
    );
  }

  /** Opens a stream with header `streamtype` and more, and waits for its reply. */
  async open(streamType: string, headers: HeaderList = [], name = streamType): Promise<ClientStream> {
    const stream = new ClientStream(this.connection, name, [['streamtype', streamType], ...headers]);
    this.streams.set(name, stream);
    await stream.replied;
    return stream;
  }

  /** Writes all of it under backpressure; resolves when the connection has taken it, or has ended. */
  async write(stream: ClientStream, bytes: Buffer): Promise<void> {
    const pieceBytes = 32 * 1024; // client-go copies in pieces of this size
    for (let from = 0; from < bytes.length; from += pieceBytes) {
      const isWritable = stream.stream.write(bytes.subarray(from, from + pieceBytes));
      if (isWritable || this.connection.isEnded) continue;
      const drained = new Promise<void>((resolve) => {
        this.connection.onDrain(resolve);
      });
      await Promise.race([drained, this.ended]);
    }
  }

  /** Cuts the connection at once, without GOAWAY. */
  async close(): Promise<void> {
    this.connection.destroy();
    await this.closed;
  }
}

/** Dials, upgrades and returns the connection. @throws UpgradeRefused for any answer but 101. */
export async function connectSpdy(
  target: SpdyClientTarget,
  options: { pingIntervalMs?: number } = {},
): Promise<SpdyClient> {
  const { protocol, hostname, host, port } = new URL(target.url);
  const socket = await dial(target, { isTls: protocol === 'https:', hostname, port: Number(port) });
  const headers: RawHeader[] = [
    ['Host', host],
    ['User-Agent', 'kexer-test/spdy-client'],
    ['Connection', 'Upgrade'],
    ['Upgrade', 'SPDY/3.1'],
    ...(target.protocols ?? ['v4.channel.k8s.io']).map((name): RawHeader => ['X-Stream-Protocol-Version', name]),
    ...(target.token === undefined ? [] : [['Authorization', `Bearer ${target.token}`] as const]),
    ...(target.headers ?? []),
  ];
  const method = target.method ?? 'POST';
  // Not from the URL object, which would normalise what a test wants to send.
  const path = target.url.slice(target.url.indexOf('/', 'https://'.length));
  const { head, rest } = await requestUpgrade(socket, { method, target: path, headers }, { timeoutMs });
  if (head.status !== 101) {
    const body = await readBody(socket, head, rest, { maxBytes: 1024 * 1024, timeoutMs, method });
    socket.destroy();
    throw new UpgradeRefused(head.status, head.headers, body.toString());
  }
  return new SpdyClient(socket, {
    head: rest,
    protocol: getHeader(head.headers, 'X-Stream-Protocol-Version'),
    headers: head.headers,
    ...options,
  });
}

async function dial(
  target: SpdyClientTarget,
  where: { isTls: boolean; hostname: string; port: number },
): Promise<Duplex> {
  const { hostname: host, port } = where;
  const socket = where.isTls
    ? connectTls({
        host,
        port,
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: target.ca !== undefined,
        ...(target.ca === undefined ? {} : { ca: target.ca }),
        ...(target.cert === undefined ? {} : { cert: target.cert }),
        ...(target.key === undefined ? {} : { key: target.key }),
      })
    : connectTcp({ host, port });
  await once(socket, where.isTls ? 'secureConnect' : 'connect');
  socket.setNoDelay(true);
  return socket;
}

export interface ExecOptions {
  /** Sent and then half-closed; undefined: no stdin stream. */
  readonly stdin?: Buffer | string;
  /** With `stdin`: do not half-close it. */
  readonly keepsStdinOpen?: boolean;
  readonly hasStdout?: boolean;
  readonly hasStderr?: boolean;
  /** Opens the resize stream instead of stderr, and sends this size. */
  readonly tty?: { readonly columns: number; readonly rows: number };
  readonly pingIntervalMs?: number;
  /** Called when all streams have their replies. */
  readonly onOpen?: (client: SpdyClient) => void;
  /** Keep counts of stdout and stderr instead of bytes. */
  readonly isCounting?: boolean;
}

export interface ExecResult {
  readonly protocol: string | undefined;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly stdoutBytes: number;
  /** All text of the error stream, a leading space included. */
  readonly error: string;
  readonly ends: Readonly<Record<string, SpdyStreamEnd | undefined>>;
  readonly connectionEnd: SpdyEnd;
  /** What client-go would report. */
  readonly exit: ClientGoExit;
}

/** Runs exec or attach to its end: waits for stdout and stderr, then for the error stream, then leaves by GOAWAY, as client-go does. */
export async function execSpdy(target: SpdyClientTarget, options: ExecOptions = {}): Promise<ExecResult> {
  const client = await connectSpdy(
    target,
    options.pingIntervalMs === undefined ? {} : { pingIntervalMs: options.pingIntervalMs },
  );
  try {
    const error = await client.open('error');
    const stdin = options.stdin === undefined ? undefined : await client.open('stdin');
    const outputs: ClientStream[] = [];
    if (options.hasStdout ?? true) outputs.push(await client.open('stdout'));
    if (options.tty === undefined && (options.hasStderr ?? true)) outputs.push(await client.open('stderr'));
    for (const output of outputs) output.isCounting = options.isCounting ?? false;
    if (options.tty !== undefined) {
      const resize = await client.open('resize');
      const size = { Width: options.tty.columns, Height: options.tty.rows };
      resize.stream.write(Buffer.from(`${JSON.stringify(size)}\n`));
    }
    options.onOpen?.(client);
    if (stdin !== undefined) {
      // Beside the reading, or a command that fills stdout before it reads all of stdin would stand still.
      void client.write(stdin, Buffer.from(options.stdin ?? '')).then(() => {
        if (options.keepsStdinOpen !== true) stdin.stream.end();
      });
    }
    await Promise.all(outputs.map(({ ended }) => ended));
    await error.ended;
    client.connection.goaway();
    const connectionEnd = await client.ended;
    return resultOf(client, connectionEnd);
  } finally {
    await client.close();
  }
}

function resultOf(client: SpdyClient, connectionEnd: SpdyEnd): ExecResult {
  const { streams, protocol } = client;
  const error = streams.get('error')?.text ?? '';
  return {
    protocol,
    stdout: streams.get('stdout')?.bytes ?? Buffer.alloc(0),
    stderr: streams.get('stderr')?.bytes ?? Buffer.alloc(0),
    stdoutBytes: streams.get('stdout')?.receivedBytes ?? 0,
    error,
    ends: Object.fromEntries([...streams].map(([name, stream]) => [name, stream.end])),
    connectionEnd,
    exit: exitAs(protocol, error),
  };
}

export type ClientGoExit = { readonly code: number } | { readonly failure: string };

/** What client-go makes of an error stream: empty is success; v4 is JSON, older ones text (tools/remotecommand/{v4,errorstream}.go). */
export function exitAs(protocol: string | undefined, error: string): ClientGoExit {
  if (error === '') return { code: 0 };
  if (protocol !== 'v4.channel.k8s.io') return { failure: `error executing remote command: ${error}` };
  let status: {
    status?: string;
    reason?: string;
    message?: string;
    details?: { causes?: { reason?: string; message?: string }[] };
  };
  try {
    status = JSON.parse(error) as typeof status;
  } catch (cause) {
    return { failure: `error stream protocol error: ${String(cause)} in ${JSON.stringify(error)}` };
  }
  if (status.status === 'Success') return { code: 0 };
  if (status.reason !== 'NonZeroExitCode') return { failure: status.message ?? '' };
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode');
  const code = Number(cause?.message);
  if (!Number.isInteger(code) || code < 0 || code > 255) return { failure: `bad exit code in ${error}` };
  return { code };
}

export interface ForwardResult {
  readonly data: Buffer;
  /** Text on the error stream; anything there makes client-go close the whole connection. */
  readonly error: string;
  readonly ends: { readonly data: SpdyStreamEnd | undefined; readonly error: SpdyStreamEnd | undefined };
}

/** A port-forward session; each `forward` is one connection to a port. */
export class SpdyForwarder {
  readonly client: SpdyClient;
  #requestId = 0;

  constructor(client: SpdyClient) {
    this.client = client;
  }

  /** Opens the pair of streams as client-go does: error first, half-closed at once, then data. */
  async open(port: number | string, requestId?: string): Promise<{ data: ClientStream; error: ClientStream }> {
    const id = requestId ?? String(this.#requestId);
    this.#requestId += 1;
    const headers: HeaderList = [
      ['port', String(port)],
      ['requestid', id],
    ];
    const error = await this.client.open('error', headers, `error ${id}`);
    error.stream.end();
    const data = await this.client.open('data', headers, `data ${id}`);
    return { data, error };
  }

  /** Sends `bytes`, half-closes, and waits for both streams' ends. */
  async forward(port: number, bytes: Buffer | string): Promise<ForwardResult> {
    const { data, error } = await this.open(port);
    await this.client.write(data, Buffer.from(bytes));
    data.stream.end();
    await Promise.all([data.ended, error.ended]);
    return { data: data.bytes, error: error.text, ends: { data: data.end, error: error.end } };
  }

  close(): Promise<void> {
    return this.client.close();
  }
}

/** Connects for port-forward. @throws UpgradeRefused for any answer but 101. */
export async function portForwardSpdy(target: SpdyClientTarget): Promise<SpdyForwarder> {
  return new SpdyForwarder(await connectSpdy({ protocols: ['portforward.k8s.io'], ...target }));
}
