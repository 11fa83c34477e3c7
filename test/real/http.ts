// Raw calls of one user by one way: over HTTP/2 as Go clients do, with the answer's head, and with bodies that are hashed and not kept.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';

import { contextOf, type Stage, type UserName, type Way } from './stage.ts';

interface ConfigFile {
  readonly clusters: readonly { name: string; cluster: { server: string; 'certificate-authority-data': string } }[];
  readonly users: readonly { name: string; user: Readonly<Record<string, string>> }[];
}

const headBytes = 4096;

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | number | undefined>>;
  /** Of the body. */
  readonly bytes: number;
  /** Of the body without a list's own resourceVersion, which counts what is written anywhere meanwhile. */
  readonly sha256: string;
  /** Its first 4 KiB. */
  readonly text: string;
}

export class RawClient {
  readonly #connect: () => ClientHttp2Session;
  #session: ClientHttp2Session;
  readonly #basePath: string;
  readonly #token: string | undefined;

  private constructor(connect: () => ClientHttp2Session, basePath: string, token: string | undefined) {
    this.#connect = connect;
    this.#session = connect();
    this.#basePath = basePath;
    this.#token = token;
  }

  /** @param basePath, origin other than those of the way */
  static open(stage: Stage, way: Way, user: UserName, basePath?: string, origin?: string): RawClient {
    const config = JSON.parse(readFileSync(stage.kubeconfig, 'utf8')) as ConfigFile;
    const cluster = config.clusters.find(({ name }) => name === way)?.cluster;
    const account = config.users.find(({ name }) => name === user)?.user;
    if (cluster === undefined || account === undefined) throw new Error(`there is no context ${contextOf(way, user)}`);
    const decode = (text: string | undefined): string => Buffer.from(text ?? '', 'base64').toString();
    const url = new URL(cluster.server);
    const certificate =
      account['token'] === undefined
        ? { cert: decode(account['client-certificate-data']), key: decode(account['client-key-data']) }
        : {};
    const begin = (): ClientHttp2Session => {
      const session = connect(origin ?? url.origin, {
        ca: decode(cluster['certificate-authority-data']),
        ...certificate,
      });
      session.on('error', () => {}); // each stream has it too
      return session;
    };
    return new RawClient(begin, basePath ?? (url.pathname === '/' ? '' : url.pathname), account['token']);
  }

  close(): void {
    this.#session.destroy();
  }

  /** Opens a call; `path` is that of the cluster. */
  begin(method: string, path: string, headers: Readonly<Record<string, string>> = {}): ClientHttp2Stream {
    // Another connection after a GOAWAY; streams that run go on over the one that got it.
    if (this.#session.closed || this.#session.destroyed) this.#session = this.#connect();
    return this.#session.request(
      {
        ':method': method,
        ':path': this.#basePath + path,
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        ...headers,
      },
      { endStream: method === 'GET' || method === 'DELETE' },
    );
  }

  /** A whole call. @throws Error if the connection or the stream is lost */
  ask(method: string, path: string, body?: object, type = 'application/json'): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      const stream = this.begin(method, path, body === undefined ? {} : { 'content-type': type });
      let answer: RawAnswer['headers'] = {};
      const pieces: Buffer[] = [];
      stream.once('response', (headers) => (answer = headers));
      stream.on('data', (piece: Buffer) => pieces.push(piece));
      stream.once('error', reject);
      stream.once('end', () => {
        const body = Buffer.concat(pieces);
        const head = body.toString('latin1', 0, headBytes);
        const sha256 = createHash('sha256')
          .update(head.replace(/("metadata":\{"resourceVersion":")\d+/, '$1'), 'latin1')
          .update(body.subarray(headBytes))
          .digest('hex');
        resolve({
          status: Number(answer[':status']),
          headers: answer,
          bytes: body.length,
          sha256,
          text: body.toString('utf8', 0, headBytes),
        });
      });
      stream.once('close', () => reject(new Error(`the stream ended early (${stream.rstCode})`)));
      if (body !== undefined) stream.end(JSON.stringify(body));
    });
  }

  /** An open watch: counts its events, and knows whether it has ended. */
  watch(path: string): { status: Promise<number>; events: () => number; hasEnded: () => boolean; close: () => void } {
    const stream = this.begin('GET', path);
    let events = 0;
    let hasEnded = false;
    const status = new Promise<number>((resolve, reject) => {
      stream.once('response', (headers) => resolve(Number(headers[':status'])));
      stream.once('error', reject);
      stream.once('close', () => {
        hasEnded = true;
        reject(new Error('the watch ended before its head'));
      });
    });
    status.catch(() => {}); // who asks for it hears of it
    stream.on('data', (piece: Buffer) => {
      for (const byte of piece) if (byte === 0x0a) events += 1;
    });
    return { status, events: () => events, hasEnded: () => hasEnded, close: () => stream.destroy() };
  }
}
