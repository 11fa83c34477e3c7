// A kexer under observation: what it logs, what it answers to callers of every kind, and a wait for a line.

import { get } from 'node:https';
import { Writable } from 'node:stream';
import { getAllHeaders } from '../../../src/protocol/raw-headers.ts';
import { type Answer, type Credential, HttpClient } from './http-client.ts';

const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
export const pods = '/api/v1/namespaces/default/pods';

const spdy: readonly (readonly [string, string])[] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
];

/** A service account as the aggregation layer tells of it, with a token that is bound to a pod. */
const boundAccount: readonly (readonly [string, string])[] = [
  ['X-Remote-User', 'system:serviceaccount:default:builder'],
  ['X-Remote-Uid', 'b1'],
  ['X-Remote-Group', 'system:serviceaccounts'],
  ['X-Remote-Group', 'system:authenticated'],
  ['X-Remote-Extra-Authentication.kubernetes.io%2Fcredential-Id', 'JTI=1'],
  ['X-Remote-Extra-Authentication.kubernetes.io%2Fnode-Name', 'node1'],
  ['X-Remote-Extra-Authentication.kubernetes.io%2Fnode-Uid', 'n1'],
  ['X-Remote-Extra-Authentication.kubernetes.io%2Fpod-Name', 'builder-1'],
  ['X-Remote-Extra-Authentication.kubernetes.io%2Fpod-Uid', 'p1'],
];

/** `token` has every right in the namespace by itself, `viewer` those of kexer-user and may read; the others are cluster admins. */
export type Who = 'token' | 'viewer' | 'certificate' | 'frontProxy';

/** A kexer under observation: what it logs, and what it answers. */
export class Kexer {
  port: number;
  whenReady: (signal: AbortSignal) => Promise<void>;
  readonly logLines: Writable;
  readonly #credentials: Readonly<Record<Who, Credential>>;
  readonly #ca: string;
  readonly #seen: string[];
  readonly #clients: HttpClient[];
  #wake: () => void;

  constructor(options: {
    ca: string;
    frontProxy: { cert: string; key: string };
    admin: { cert: string; key: string };
    token: string;
    viewerToken: string;
  }) {
    this.port = 0;
    this.whenReady = () => Promise.resolve();
    this.#ca = options.ca;
    this.#credentials = {
      token: { token: options.token },
      viewer: { token: options.viewerToken },
      certificate: { certificate: options.admin },
      frontProxy: { certificate: options.frontProxy, headers: boundAccount },
    };
    this.#seen = [];
    this.#clients = [];
    this.#wake = () => {};
    this.logLines = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.see(chunk.toString());
        done();
      },
    });
  }

  see(line: string): void {
    this.#seen.push(line.trimEnd());
    this.#wake();
  }

  seen(): string {
    return this.#seen.join('\n');
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  /** Until /readyz would say ok. */
  async ready(): Promise<void> {
    await this.whenReady(new AbortController().signal);
  }

  /** Until a line of the log has this text, then how ready kexer is. */
  async untilLogged(text: string): Promise<void> {
    await this.#untilSeen(text);
    const answer = await this.#client('token', '')
      .ask({ method: 'GET', path: '/readyz' })
      // Without its certificate it is another authority's.
      .catch((error: unknown) => this.see(`no answer: ${String(error)}`));
    if (answer !== undefined) this.#note(answer);
  }

  async get(who: Who, path: string, headers: readonly (readonly [string, string])[] = []): Promise<void> {
    this.#note(await this.#client(who, clusterPath).ask({ method: 'GET', path, headers }));
  }

  /** @returns the status. */
  async ask(who: Who, path: string, method = 'GET'): Promise<number> {
    const answer = await this.#client(who, '').ask({ method, path });
    this.#note(answer);
    return answer.status;
  }

  async exec(who: Who): Promise<void> {
    const path = `${pods}/demo/exec?command=true&stdout=true`;
    this.#note(await this.#client(who, clusterPath).upgrade({ method: 'POST', path, headers: spdy }));
  }

  /** A followed log that lives until the log has this text. */
  async longExec(text: string): Promise<void> {
    const outgoing = get({
      host: '127.0.0.1',
      port: this.port,
      ca: this.#ca,
      path: `${clusterPath}${pods}/ticker/log?follow=true`,
      headers: { Authorization: `Bearer ${this.#credentials.token.token ?? ''}` },
      agent: false,
    });
    outgoing.on('response', (response) => response.on('error', () => {}).resume());
    outgoing.on('error', () => {}); // it is cut below
    await this.#untilSeen(text);
    outgoing.destroy();
  }

  async #untilSeen(text: string): Promise<void> {
    while (!this.seen().includes(text)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #note({ status, headers, body }: Answer): void {
    for (const warning of getAllHeaders(headers, 'Warning')) this.see(`warning ${warning}`);
    this.see(`answer ${status} ${body.toString()}`);
  }

  #client(who: Who, basePath: string): HttpClient {
    const client = new HttpClient({ port: this.port, ca: this.#ca, basePath }, this.#credentials[who]);
    this.#clients.push(client);
    return client;
  }
}
