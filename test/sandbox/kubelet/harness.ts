// A kubelet of the sandbox with a store of its own and raw TLS clients, for the tests beside this file. Everything a test opens is
// registered in the harness's scope; `close` leaves nothing running.

import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { systemClock } from '../../../src/base/clock.ts';
import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateClient, generateServing, type KeyPairPem } from '../../../src/certs/generate.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { Store } from '../../../src/sandbox/apiserver/store.ts';
import { Kubelet, type KubeletOptions } from '../../../src/sandbox/kubelet/kubelet.ts';
import { asPod, type Pod, podResource } from '../../../src/sandbox/kubelet/pods/pod.ts';

/** Names of the recordings' client certificates. */
export type ClientName = 'kubelet-client' | 'sched' | 'nobody';

interface Certificates {
  readonly serving: KeyPairPem;
  readonly servingCa: string;
  readonly clientCa: string;
  readonly clients: Readonly<Record<'kubelet-client' | 'sched', KeyPairPem>>;
}

async function makeCertificates(): Promise<Certificates> {
  const [servingCa, clientCa] = await Promise.all([
    generateAuthority({ commonName: 'kubelet-serving' }),
    generateAuthority({ commonName: 'clients' }),
  ]);
  const [serving, kubeletClient, sched] = await Promise.all([
    generateServing(servingCa, { commonName: 'node1', dnsNames: ['node1', 'localhost'], ipAddresses: ['127.0.0.1'] }),
    generateClient(clientCa, { commonName: 'kubelet-client', organizations: ['system:masters'] }),
    generateClient(clientCa, { commonName: 'system:kube-scheduler' }),
  ]);
  const clients = { 'kubelet-client': kubeletClient, sched };
  return { serving, servingCa: servingCa.cert, clientCa: clientCa.cert, clients };
}

let certificates: Promise<Certificates> | undefined; // RSA keys take half a second: once for all files of the run

/** One answer as bytes on the wire say it. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

export interface RawRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly as?: ClientName;
}

export class Harness {
  readonly store: Store;
  readonly kubelet: Kubelet;
  readonly dir: string;
  readonly scope: Scope;
  readonly lines: string[] = [];
  readonly #certificates: Certificates;

  private constructor(certs: Certificates, options: Partial<KubeletOptions>) {
    this.#certificates = certs;
    this.scope = new Scope();
    this.dir = mkdtempSync(path.join(tmpdir(), 'kexer-kubelet-'));
    this.store = new Store({ clock: systemClock });
    this.kubelet = new Kubelet(
      {
        store: this.store,
        clock: systemClock,
        serving: certs.serving,
        clientCa: certs.clientCa,
        reviewToken: (token) =>
          Promise.resolve(token === 'good' ? makeUser({ name: 'token-user', groups: ['system:masters'] }) : undefined),
        reviewAccess: (user) => Promise.resolve({ allowed: user.groups.includes('system:masters') }),
        log: (line) => this.lines.push(line),
      },
      { nodeName: 'node1', generation: '1.36', ...options, dir: path.join(this.dir, 'node1') },
    );
  }

  static async start(options: Partial<KubeletOptions> = {}): Promise<Harness> {
    certificates ??= makeCertificates();
    const harness = new Harness(await certificates, options);
    harness.scope.add(() => rm(harness.dir, { recursive: true, force: true }));
    harness.scope.add(() => harness.kubelet.stop());
    await harness.kubelet.start();
    return harness;
  }

  close(): Promise<void> {
    return this.scope.close();
  }

  /** Creates a pod bound to the node. */
  createPod(name: string, spec: object, metadata: object = {}): Pod {
    const object = this.store.create(podResource, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', ...metadata },
      spec: { restartPolicy: 'Always', nodeName: 'node1', ...spec },
      status: { phase: 'Pending' },
    });
    return asPod(object)!;
  }

  /** A pod of one container. */
  createSimplePod(name: string, container: object, spec: object = {}): Pod {
    return this.createPod(name, { ...spec, containers: [{ name, image: 'busybox', ...container }] });
  }

  pod(name: string): Pod | undefined {
    return asPod(this.store.get({ ...podResource, namespace: 'default', name }));
  }

  /** Settles when `isIt` holds for the pod (undefined: it is gone), looking at every change. */
  waitForPod(name: string, isIt: (pod: Pod | undefined) => boolean): Promise<Pod | undefined> {
    return new Promise((resolve) => {
      const look = (): boolean => {
        const pod = this.pod(name);
        if (!isIt(pod)) return false;
        unwatch();
        resolve(pod);
        return true;
      };
      const unwatch = this.store.watch(podResource, undefined, () => void look());
      look();
    });
  }

  waitUntilReady(name: string): Promise<Pod | undefined> {
    return this.waitForPod(name, (pod) =>
      (pod?.status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True'),
    );
  }

  /** Marks the pod as the API server's DELETE does. */
  deletePod(name: string, graceSeconds: number): void {
    this.store.mutate({ ...podResource, namespace: 'default', name }, (draft) => {
      draft.metadata.deletionTimestamp = new Date().toISOString();
      draft.metadata.deletionGracePeriodSeconds = graceSeconds;
    });
  }

  async dial(as: ClientName = 'kubelet-client'): Promise<TLSSocket> {
    const { servingCa, clients } = this.#certificates;
    const socket = connect({
      host: '127.0.0.1',
      port: this.kubelet.port,
      servername: 'node1',
      ca: servingCa,
      ALPNProtocols: ['http/1.1'],
      ...(as === 'nobody' ? {} : clients[as]),
    });
    this.scope.add(() => void socket.destroy());
    socket.setNoDelay(true);
    await once(socket, 'secureConnect');
    return socket;
  }

  /** Sends one request and reads its whole answer; the head alone for a 101, and a chunked body up to `maxBody` bytes. */
  async ask(request: RawRequest, maxBody = Infinity): Promise<RawAnswer> {
    const socket = await this.dial(request.as);
    socket.on('error', () => {});
    socket.write(requestHead(request));
    const answer = await readAnswer(socket, maxBody);
    socket.destroy();
    return answer;
  }
}

export function requestHead({ method, path: target, headers = {} }: RawRequest): string {
  const lines = Object.entries({ Host: 'node1', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
  return `${method} ${target} HTTP/1.1\r\n${lines.join('')}${length}\r\n`;
}

function parseHead(text: string): { status: number; headers: [string, string][] } {
  const [first = '', ...lines] = text.split('\r\n');
  const headers = lines
    .filter((line) => line !== '')
    .map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
  return { status: Number(first.split(' ')[1]), headers };
}

/** Undefined while the body is not whole. */
function bodyOf(
  headers: readonly (readonly [string, string])[],
  bytes: Buffer,
  maxBody: number,
  isOver: boolean,
): string | undefined {
  const header = (name: string): string | undefined => headers.find(([key]) => key.toLowerCase() === name)?.[1];
  const length = header('content-length');
  if (length !== undefined)
    return bytes.length >= Number(length) ? bytes.toString('utf8', 0, Number(length)) : undefined;
  if (header('transfer-encoding') !== 'chunked') return isOver ? bytes.toString() : undefined;
  let body = '';
  let at = 0;
  for (;;) {
    const end = bytes.indexOf('\r\n', at);
    if (end === -1) break;
    const size = Number.parseInt(bytes.toString('latin1', at, end), 16);
    if (size === 0) return body;
    if (bytes.length < end + 2 + size + 2) break;
    body += bytes.toString('utf8', end + 2, end + 2 + size);
    at = end + 2 + size + 2;
    if (body.length >= maxBody) return body;
  }
  return isOver ? body : undefined;
}

export async function readAnswer(socket: TLSSocket, maxBody = Infinity): Promise<RawAnswer> {
  let bytes: Buffer = Buffer.alloc(0);
  let isOver = false;
  for (;;) {
    const end = bytes.indexOf('\r\n\r\n');
    if (end !== -1) {
      const head = parseHead(bytes.toString('latin1', 0, end));
      if (head.status === 101) return { ...head, body: '' };
      const body = bodyOf(head.headers, bytes.subarray(end + 4), maxBody, isOver);
      if (body !== undefined) return { ...head, body };
    }
    if (isOver) throw new Error(`the answer was cut: ${bytes.toString()}`);
    const chunk = await nextChunk(socket);
    if (chunk === undefined) isOver = true;
    else bytes = Buffer.concat([bytes, chunk]);
  }
}

/** The next bytes, or undefined at the end. */
export function nextChunk(socket: TLSSocket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const finish = (chunk: Buffer | undefined): void => {
      socket.off('data', onData);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      socket.pause();
      resolve(chunk);
    };
    const onData = (chunk: Buffer): void => finish(chunk);
    const onEnd = (): void => finish(undefined);
    if (socket.readableEnded || socket.destroyed) return resolve(undefined);
    socket.on('data', onData);
    socket.once('end', onEnd);
    socket.once('close', onEnd);
    socket.resume();
  });
}
