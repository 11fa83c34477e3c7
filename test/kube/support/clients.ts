// Clients of an apiserver, and servers for them that end with their test. Called inside `describe`, so that its hooks are that suite's alone.

import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { Server } from 'node:net';

import { systemClock } from '../../../src/base/clock.ts';
import { KexerError } from '../../../src/base/errors.ts';
import { Scope } from '../../../src/base/scope.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import type { Credential, Endpoint } from '../../../src/kube/credential.ts';
import { listening } from '../../support/listening.ts';

export interface Clients {
  /** @returns the port. */
  readonly listen: (server: Server) => Promise<number>;
  readonly httpEndpoint: (listener: RequestListener, basePath?: string) => Promise<Endpoint>;
  readonly clientOf: (endpoint: Endpoint, credential?: Credential, clock?: typeof systemClock) => KubeClient;
}

export function useClients(): Clients {
  let scope = new Scope();
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(() => scope.close());
  const listen = (server: Server): Promise<number> => listening(scope, server);
  return {
    listen,
    httpEndpoint: async (listener, basePath = '') => {
      const port = await listen(createServer(listener));
      return { url: `http://127.0.0.1:${port}${basePath}`, ca: undefined, isVerified: true, servername: undefined };
    },
    clientOf: (endpoint, credential = { kind: 'none' }, clock = systemClock) => {
      const client = new KubeClient({ clock }, { endpoint, credential, userAgent: 'kexer/test' });
      scope.add(() => client.close());
      return client;
    },
  };
}

export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => error,
  );
}

export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await failureOf(promise);
  return error instanceof KexerError ? error.code : error;
}

export function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
}
