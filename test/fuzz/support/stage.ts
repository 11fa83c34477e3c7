// A kexer in a process of its own between peers that are all the test's: its kubelet is a script, chosen by the command of each exec. A witness
// session runs through everything: whatever one peer does, the others must not notice.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { once } from 'node:events';

import { systemClock } from '../../../src/base/clock.ts';
import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateServing } from '../../../src/certs/generate.ts';
import { SpdyConnection, type SpdyStream } from '../../../src/net/spdy-connection.ts';
import { nodeObject } from '../../../src/sandbox/kubelet/node-object.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import type { SessionTarget } from '../../faults/sessions/session.ts';
import { KexerProcess } from '../../faults/support/kexer-process.ts';
import { clusterPath, pause } from '../../faults/support/stage.ts';
import { within } from './cases.ts';
import { openWebSocket, type WebSocketClient } from '../../support/websocket-client.ts';

/** Takes a kubelet's connection over after the head of the request has come. */
export type KubeletScript = (socket: TLSSocket) => void;

/** A kubelet as it should be: replies to streams and sends stdin back on stdout. */
export function echoingKubelet(socket: TLSSocket): void {
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n',
  );
  let stdout: SpdyStream | undefined;
  const connection: SpdyConnection = new SpdyConnection(
    { socket, clock: systemClock },
    { role: 'server' },
    {
      onStream: (stream) => {
        stream.reply();
        const type = stream.headers.find(([name]) => name === 'streamtype')?.[1];
        if (type === 'stdout') stdout = stream;
        if (type !== 'stdin') return;
        stream.setHandlers({
          onData: (bytes) => {
            if (stdout?.write(bytes) !== false) return;
            connection.pause();
            connection.onDrain(() => connection.resume());
          },
        });
      },
      onEnd: () => connection.destroy(),
    },
  );
}

const podName = 'fuzz';

export class FuzzStage {
  readonly sandbox: Sandbox;
  readonly kexer: KexerProcess;
  readonly target: SessionTarget;
  readonly scripts: Map<string, KubeletScript>;
  readonly witness: WebSocketClient;
  readonly #scope: Scope;
  #echoed = 0;

  private constructor(
    scope: Scope,
    parts: {
      sandbox: Sandbox;
      kexer: KexerProcess;
      target: SessionTarget;
      scripts: Map<string, KubeletScript>;
      witness: WebSocketClient;
    },
  ) {
    this.#scope = scope;
    this.sandbox = parts.sandbox;
    this.kexer = parts.kexer;
    this.target = parts.target;
    this.scripts = parts.scripts;
    this.witness = parts.witness;
  }

  static async start(): Promise<FuzzStage> {
    const scope = new Scope();
    try {
      return await FuzzStage.#start(scope);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  static async #start(scope: Scope): Promise<FuzzStage> {
    const sandbox = await startSandbox({ hasKubelets: false });
    scope.add(() => sandbox.stop());
    const authority = await generateAuthority({ commonName: 'kubelet-ca' });
    const serving = await generateServing(authority, { commonName: 'node1', ipAddresses: ['127.0.0.1'] });
    const dir = await mkdtemp(join(tmpdir(), 'kexer-fuzz-'));
    scope.add(() => rm(dir, { recursive: true, force: true }));
    const caFile = join(dir, 'kubelet-ca.crt');
    await writeFile(caFile, authority.cert);
    const scripts = new Map<string, KubeletScript>();
    const port = await startKubelet(scope, serving, scripts);
    seed(sandbox, port);
    const kexer = await KexerProcess.start({
      config: sandbox.files.kexerConfig,
      flags: ['--kubelet-certificate-authority', caFile],
    });
    scope.add(async () => {
      await kexer.stop();
    });
    const target: SessionTarget = {
      port: kexer.port,
      base: clusterPath,
      ca: await readFile(sandbox.files.servingCaFile, 'utf8'),
      certificate: {
        cert: await readFile(sandbox.files.adminCertFile, 'utf8'),
        key: await readFile(sandbox.files.adminKeyFile, 'utf8'),
      },
    };
    scripts.set('witness', echoingKubelet);
    const witness = await openWitness(scope, target);
    return new FuzzStage(scope, { sandbox, kexer, target, scripts, witness });
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** Path and query of an exec whose kubelet plays `script`. */
  execPath(script: string): string {
    return execPath(script);
  }

  /** A TLS connection to kexer with the admin's certificate; its errors are ignored. */
  async dial(): Promise<TLSSocket> {
    const { ca, certificate, port } = this.target;
    const socket = connect({ host: '127.0.0.1', port, ca, ...certificate, ALPNProtocols: ['http/1.1'] });
    socket.on('error', () => {}); // kexer may cut it off: 'close' is what tests wait for
    await once(socket, 'secureConnect');
    return socket;
  }

  /** What the witness and kexer's own books say; empty: all is well. */
  async complaints(): Promise<string[]> {
    const problems: string[] = [];
    const { kexer } = this;
    if (kexer.exit !== undefined) return [`kexer has died: ${kexer.exit} ${kexer.noise}`];
    if (kexer.noise !== '') problems.push(`kexer complains: ${kexer.noise}`);
    if (!(await this.#isWitnessServed())) problems.push('the witness session is not served any more');
    const left = await this.#sessionsLeft();
    for (const session of left) problems.push(`a session is left: ${session}`);
    for (const line of kexer.lines) {
      const isDefect =
        line.msg === 'unexpected error' || (line.msg === 'session ended' && line['cause'] === 'internal');
      if (isDefect) problems.push(`kexer logs a defect: ${JSON.stringify(line)}`);
    }
    return problems;
  }

  async #isWitnessServed(): Promise<boolean> {
    this.#echoed += 5;
    this.witness.send(0, 'hello');
    const echoed = this.witness
      .waitFor(() => this.witness.channel(1).length >= this.#echoed)
      .then(
        () => true,
        () => false,
      );
    return (await within(20_000, echoed)) ?? false;
  }

  /** Sessions besides the witness's, once they have had their time to end. */
  async #sessionsLeft(): Promise<string[]> {
    const deadline = Date.now() + 20_000;
    while (this.kexer.openSessions.length > 1 && Date.now() < deadline) await pause(10);
    const [, ...others] = this.kexer.openSessions;
    return others.map((session) => JSON.stringify(session));
  }
}

function execPath(script: string): string {
  const query = `command=${script}&stdin=true&stdout=true&stderr=true`;
  return `${clusterPath}/api/v1/namespaces/default/pods/${podName}/exec?${query}`;
}

async function openWitness(scope: Scope, target: SessionTarget): Promise<WebSocketClient> {
  const deadline = Date.now() + 25_000;
  for (;;) {
    try {
      return await openWebSocket(scope, {
        url: `https://127.0.0.1:${target.port}${execPath('witness')}`,
        ca: target.ca,
        certificate: target.certificate,
        protocols: ['v5.channel.k8s.io'],
      });
    } catch (error) {
      // Its informers are still on their way.
      if (Date.now() > deadline) throw error;
      await pause(20);
    }
  }
}

async function startKubelet(
  scope: Scope,
  serving: { cert: string; key: string },
  scripts: ReadonlyMap<string, KubeletScript>,
): Promise<number> {
  const sockets = new Set<TLSSocket>();
  const server = createServer({ ...serving, ALPNProtocols: ['http/1.1'] });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {}); // a peer that went away
    let head = '';
    const accept = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      socket.off('data', accept);
      const script = scripts.get(
        new URL(head.split(' ')[1] ?? '/', 'https://kubelet').searchParams.get('command') ?? '',
      );
      if (script === undefined) socket.destroy();
      else script(socket);
    };
    socket.on('data', accept);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.add(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return (server.address() as AddressInfo).port;
}

/** A node whose kubelet listens on `port`, and a pod that runs there. */
function seed(sandbox: Sandbox, port: number): void {
  const node = nodeObject({ name: 'node1', generation: '1.36', port, labels: {}, uid: 'node-uid', nowMs: Date.now() });
  sandbox.store.create({ group: '', resource: 'nodes' }, node);
  sandbox.store.create(
    { group: '', resource: 'pods' },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: podName, namespace: 'default' },
      spec: { nodeName: 'node1', containers: [{ name: 'main', image: 'busybox' }] },
      status: { phase: 'Running' },
    },
  );
}
