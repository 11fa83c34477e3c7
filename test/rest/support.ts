// A front that forwards whatever arrives, as kexer's listener hands it over, to an upstream the test writes byte by byte. Everything between
// is real: TLS, both HTTP versions, the local cluster's clients.

import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

import { makeUser } from '../../src/kube/user.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Scope } from '../../src/base/scope.ts';
import type { Call } from '../../src/clusters/call.ts';
import { LocalCluster } from '../../src/clusters/local-cluster.ts';
import { createKubeletAccess } from '../../src/clusters/kubelet-access.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { Endpoint } from '../../src/kube/credential.ts';
import { statusOf } from '../../src/kube/status.ts';
import { abortResponse } from '../../src/net/http-answer.ts';
import { fromRawHeaders } from '../../src/protocol/raw-headers.ts';
import { noAudit } from '../../src/observe/audit/call-audit.ts';
import { noStages } from '../../src/observe/stages.ts';
import { forwardUpgrade } from '../../src/rest/forward-upgrade.ts';
import { forward } from '../../src/rest/forward.ts';
import { sendAnswer, statusAnswer } from '../../src/server/answer.ts';
import { Listener } from '../../src/server/listener.ts';
import { parseRequestPath } from '../../src/server/request-path.ts';
import type { Exchange } from '../../src/server/request-context.ts';
import { servingPair } from '../support/serving-pair.ts';
import { FakeStreamRoute } from '../support/stream-route.ts';

export const outer = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

export interface Front {
  readonly port: number;
  readonly ca: string;
  /** A TLS connection for HTTP/1.1, and everything it received, as latin1. */
  connect(): Promise<RawClient>;
  connectHttp2(): ClientHttp2Session;
}

export class RawClient {
  readonly socket: TLSSocket | Socket;
  received = '';
  isEnded = false;
  isClosed = false;
  #wake: () => void = () => {};

  constructor(socket: TLSSocket | Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.received += text;
      this.#wake();
    });
    socket.on('end', () => {
      this.isEnded = true;
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  write(text: string | Buffer): void {
    this.socket.write(text, 'latin1');
  }

  /** Resolves when `condition` holds; no time limit but the test's. */
  async until(condition: (client: RawClient) => boolean): Promise<this> {
    while (!condition(this)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this;
  }

  untilReceived(text: string): Promise<this> {
    return this.until((client) => client.received.includes(text));
  }

  untilClosed(): Promise<this> {
    return this.until((client) => client.isClosed);
  }
}

/** An upstream whose every connection is the test's to answer; it is told of each by `onConnection`. */
export async function startUpstream(
  scope: Scope,
  onConnection: (peer: RawClient, index: number) => void,
): Promise<number> {
  let count = 0;
  const sockets = new Set<Socket>();
  const server: NetServer = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    onConnection(new RawClient(socket), count);
    count += 1;
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  scope.add(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  });
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

export interface FrontOptions {
  readonly maxBodyBytes: number;
  /** Of every call. */
  readonly accepted: () => void;
  /** Where the cluster's apiserver is, over TLS and by HTTP/2 too. */
  readonly endpoint?: Endpoint;
}

/** @param upstreamPort where the cluster's apiserver is, over plain HTTP, if there is no endpoint. */
export async function startFront(
  scope: Scope,
  upstreamPort: number,
  options: FrontOptions = { maxBodyBytes: 0, accepted: () => {} },
): Promise<Front> {
  const pair = await servingPair();
  const clientOf = (): KubeClient => {
    const client = new KubeClient(
      { clock: systemClock },
      {
        endpoint: options.endpoint ?? {
          url: `http://127.0.0.1:${upstreamPort}`,
          ca: undefined,
          isVerified: true,
          servername: undefined,
        },
        isHttp2Used: options.endpoint !== undefined,
        credential: { kind: 'none' },
        userAgent: 'kexer/test',
      },
    );
    scope.add(() => client.close());
    return client;
  };
  const cluster = new LocalCluster({
    clock: systemClock,
    own: clientOf(),
    bare: clientOf(),
    impersonator: undefined,
    identities: { resolve: () => Promise.reject(new Error('not asked here')) },
    nodes: { get: () => undefined },
    streamRoute: new FakeStreamRoute(),
    kubelet: createKubeletAccess(
      { clock: systemClock },
      {
        ca: undefined,
        caSource: 'none',
        isVerified: true,
        preferredAddressTypes: [],
        certificate: undefined,
        token: undefined,
        accountName: 'none',
      },
    ),
    remoteHeaderNames: () => ({ names: [], prefixes: [] }),
  });
  const listener = new Listener(
    { pair },
    {
      onExchange: (exchange, { remoteAddress }) => void serve(cluster, exchange, remoteAddress, options),
      onConnectionError: () => {},
    },
  );
  const port = await listener.listen({ host: '127.0.0.1', port: 0 });
  scope.add(async () => {
    const drained = listener.drain();
    listener.destroy();
    await drained;
  });
  return {
    port,
    ca: pair.ca,
    async connect() {
      // Half-open, which Node knows and its types do not: a client that sees our end may still write.
      const tlsOptions = { host: '127.0.0.1', port, ca: pair.ca, ALPNProtocols: ['http/1.1'], allowHalfOpen: true };
      const socket = connectTls(tlsOptions);
      scope.add(() => void socket.destroy());
      const client = new RawClient(socket);
      await new Promise<void>((resolve) => {
        socket.once('secureConnect', resolve);
      });
      return client;
    },
    connectHttp2() {
      const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca });
      session.on('error', () => {});
      scope.add(() => session.destroy());
      return session;
    },
  };
}

async function serve(
  cluster: LocalCluster,
  exchange: Exchange,
  remoteAddress: string,
  { maxBodyBytes, accepted }: FrontOptions,
): Promise<void> {
  const { request } = exchange;
  const controller = new AbortController();
  (exchange.kind === 'request' ? exchange.response : exchange.socket).once('close', () => controller.abort());
  try {
    const method = request.method ?? 'GET';
    const path = parseRequestPath(method, request.url ?? '');
    if (path.kind !== 'cluster') throw new Error('want a path of a cluster');
    const call: Call = {
      id: 'test',
      caller: { via: 'token', user: makeUser({ name: 'alice' }), token: 'alices-token' },
      clusterNamespace: path.namespace,
      cluster,
      identity: {
        headers: [['Authorization', 'Bearer alices-token']],
        credential: 'none',
        effectiveUser: makeUser({ name: 'alice' }),
        isEffectiveProven: true,
      },
      method,
      inner: path.inner,
      headers: fromRawHeaders(request.rawHeaders),
      httpVersion: request.httpVersionMajor === 2 ? '2.0' : '1.1',
      isUpgrade: exchange.kind === 'upgrade',
      remoteAddress,
      auditId: 'audit-1',
      audit: noAudit,
      stages: noStages,
      signal: controller.signal,
      receivedAtMs: 0,
      accepted,
    };
    if (exchange.kind === 'request') await forward(call, exchange.request, exchange.response, { maxBodyBytes });
    else {
      const deps = { clock: systemClock, beforeSwitch: async () => {}, onSwitched: () => {} };
      await forwardUpgrade(deps, call, exchange.request, exchange.socket, exchange.head);
    }
  } catch (error) {
    if (controller.signal.aborted) return;
    if (exchange.kind === 'request' && exchange.response.headersSent) abortResponse(exchange.response);
    else sendAnswer({ clock: systemClock }, exchange, statusAnswer(statusOf(error)), 'audit-1');
  }
}
