// An Exchange without sockets: the answer is kept, streams are read by hand. For tests of what a request means, not of transport.

import { Buffer } from 'node:buffer';
import { FakeClock } from '../../support/fake-clock.ts';
import { parseRequestInfo } from '../../../src/kube/request-info.ts';
import { makeUser } from '../../../src/kube/user.ts';
import type { Exchange, HeaderPairs } from '../../../src/sandbox/apiserver/exchange.ts';
import { ResourceServer, type ResourceServerOptions } from '../../../src/sandbox/apiserver/resource-server.ts';
import { Store } from '../../../src/sandbox/apiserver/store.ts';

export interface Question {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
  /** False: the client does not read; `resume` of the answer lets it. */
  readonly isReading?: boolean;
}

export interface MemoryAnswer {
  status: number;
  contentType: string;
  headers: HeaderPairs;
  /** Everything written so far. */
  text: string;
  /** Pieces written to a stream. */
  pieces: number;
  isEnded: boolean;
  resume(): void;
  readonly json: Record<string, unknown>;
}

/** A store with the namespace `default` and its account, and a server on it; time stands until the clock is advanced. */
export class MemoryServer {
  readonly clock = new FakeClock(Date.UTC(2026, 10, 20, 21, 37, 30));
  readonly store: Store;
  readonly server: ResourceServer;

  constructor(options: ResourceServerOptions = {}, history = 100) {
    this.store = new Store({ clock: this.clock }, { maxHistoryEvents: history });
    this.server = new ResourceServer({ store: this.store, clock: this.clock }, options);
    this.store.create(
      { group: '', resource: 'namespaces' },
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'default' },
        spec: { finalizers: ['kubernetes'] },
        status: { phase: 'Active' },
      },
    );
    this.store.create(
      { group: '', resource: 'serviceaccounts' },
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'default' } },
    );
  }

  /** Starts a request; the answer fills while it is served. */
  begin(method: string, target: string, question: Question = {}): { answer: MemoryAnswer; done: Promise<void> } {
    const url = new URL(target, 'http://memory');
    let wake: () => void = () => {};
    let isReading = question.isReading ?? true;
    const answer: MemoryAnswer = {
      status: 0,
      contentType: '',
      headers: [],
      text: '',
      pieces: 0,
      isEnded: false,
      resume() {
        isReading = true;
        wake();
      },
      get json() {
        return JSON.parse(this.text) as Record<string, unknown>;
      },
    };
    const head = (status: number, contentType: string, headers: HeaderPairs): void => {
      if (answer.status !== 0) throw new Error('answered twice');
      Object.assign(answer, { status, contentType, headers });
    };
    const path = decodeURIComponent(url.pathname);
    const exchange: Exchange = {
      method,
      path,
      query: url.searchParams,
      rawUrl: target,
      headers: Object.entries(question.headers ?? {}),
      info: parseRequestInfo(
        method,
        path.split('/').filter((segment) => segment !== ''),
        url.searchParams,
      ),
      user: makeUser({ name: 'admin' }),
      signal: question.signal ?? new AbortController().signal,
      header: (name) => Object.entries(question.headers ?? {}).find(([key]) => key.toLowerCase() === name)?.[1],
      body: () => {
        const { body } = question;
        return Promise.resolve(
          Buffer.from(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)),
        );
      },
      send(status, contentType, body, headers = []) {
        head(status, contentType, headers);
        answer.text = body.toString();
        answer.isEnded = true;
      },
      sendStatus(status) {
        head(status.code, 'application/json', []);
        answer.text = JSON.stringify(status);
        answer.isEnded = true;
      },
      stream(status, contentType, headers = []) {
        head(status, contentType, headers);
        return {
          write(chunk) {
            answer.text += chunk.toString();
            answer.pieces += 1;
            return isReading;
          },
          drained: () =>
            new Promise((resolve) => {
              if (isReading) resolve();
              else wake = resolve;
            }),
          end: () => void (answer.isEnded = true),
          abort: () => void (answer.isEnded = true),
        };
      },
    };
    return { answer, done: this.server.handle(exchange) };
  }

  async ask(method: string, target: string, question: Question = {}): Promise<MemoryAnswer> {
    const { answer, done } = this.begin(method, target, question);
    await done;
    return answer;
  }

  /** Asks and gives `CODE MESSAGE` of the refusal. */
  async refusal(method: string, target: string, question: Question = {}): Promise<string> {
    const answer = await this.ask(method, target, question);
    const { message } = answer.json;
    return `${answer.status} ${typeof message === 'string' ? message : answer.text}`;
  }
}

export const tableAccept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

export const configMaps = '/api/v1/namespaces/default/configmaps';

export function configMap(name: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { a: '1' }, ...more };
}

/** The events of a watch, one by line. */
export function watchEvents(text: string): { type: string; object: Record<string, never> }[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { type: string; object: Record<string, never> });
}
