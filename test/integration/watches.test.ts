// Hundreds of watches through one kexer: they share connections to kube-apiserver, by HTTP/2, and nothing of one is another's: not its
// events, not its slowness, not its identity. A broken connection breaks them off and never ends them.

import { readFile } from 'node:fs/promises';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { until } from './support/stage.ts';

const cluster = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const configmaps = { group: '', resource: 'configmaps' };
const large = 'x'.repeat(64 * 1024);

/** A watch as an informer holds it. */
class Watch {
  readonly stream: ClientHttp2Stream;
  status = 0;
  names: string[] = [];
  /** `end` or `cut`; '' while it goes on. */
  outcome = '';
  #text = '';
  readonly #waiters = new Set<() => void>();

  constructor(session: ClientHttp2Session, path: string, headers: Readonly<Record<string, string>>) {
    this.stream = session.request({ ':path': `${cluster}${path}`, ...headers });
    this.stream.on('response', (answer) => this.#changed(() => (this.status = answer[':status'] ?? 0)));
    this.stream.setEncoding('utf8').on('data', (text: string) => this.#changed(() => this.#read(text)));
    this.stream.on('error', () => {});
    this.stream.on('close', () =>
      this.#changed(() => (this.outcome = this.stream.rstCode === 0 && this.stream.readableEnded ? 'end' : 'cut')),
    );
  }

  async until(isSo: (watch: this) => boolean): Promise<this> {
    while (!isSo(this)) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
    return this;
  }

  #read(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as { type: string; object: { metadata: { name: string } } };
      this.names.push(`${type} ${object.metadata.name}`);
    }
  }

  #changed(change: () => void): void {
    change();
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}

describe('hundreds of watches', function () {
  this.timeout(60_000);
  const scope = { current: new Scope() };
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  /** Without HTTP/2 towards the apiserver. */
  let other: KexerProcess;
  let ca: string;

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    ca = await readFile(sandbox.files.servingCaFile, 'utf8');
    kexer = await KexerProcess.start(sandbox);
    other = await KexerProcess.start(sandbox, ['--apiserver-http2=false']);
  });
  after(async () => {
    expect([await kexer.stop(), await other.stop()]).to.deep.equal([0, 0]);
    await sandbox.stop();
  });
  beforeEach(() => {
    scope.current = new Scope();
  });
  afterEach(() => scope.current.close());

  function sessionOf(kexer: KexerProcess, certificate: { cert: string; key: string } | undefined): ClientHttp2Session {
    const session = connect(`https://127.0.0.1:${kexer.port}`, { ca, ...certificate });
    session.on('error', () => {});
    scope.current.add(() => session.destroy());
    return session;
  }

  /** `count` watches of config maps, 200 on a connection. */
  async function open(
    kexer: KexerProcess,
    count: number,
    certificate?: { cert: string; key: string },
  ): Promise<Watch[]> {
    const headers: Record<string, string> =
      certificate === undefined ? { authorization: `Bearer ${sandbox.tokens.alice}` } : {};
    const watches: Watch[] = [];
    const path = `/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=${sandbox.store.resourceVersion}`;
    for (let left = count; left > 0; left -= 200) {
      const session = sessionOf(kexer, certificate);
      for (let index = 0; index < Math.min(left, 200); index += 1) watches.push(new Watch(session, path, headers));
    }
    await Promise.all(watches.map((watch) => watch.until(({ status }) => status !== 0)));
    return watches;
  }

  async function admin(): Promise<{ cert: string; key: string }> {
    const { adminCertFile, adminKeyFile } = sandbox.files;
    return { cert: await readFile(adminCertFile, 'utf8'), key: await readFile(adminKeyFile, 'utf8') };
  }

  /** Established connections to the sandbox's apiserver; nobody but kexer has any. */
  async function connections(): Promise<number> {
    const table = await readFile('/proc/net/tcp', 'utf8');
    const port = sandbox.apiserver.port.toString(16).toUpperCase().padStart(4, '0');
    return table.split('\n').filter((line) => new RegExp(`^ *\\d+: \\S+ \\S+:${port} 01 `).test(line)).length;
  }

  function create(name: string, value = ''): void {
    sandbox.store.create(configmaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace: 'default' },
      data: { value },
    });
  }

  it('share a connection for each hundred, whether by token or impersonated, and each gets every event', async () => {
    const before = await connections();
    const watches = [...(await open(kexer, 250)), ...(await open(kexer, 150, await admin()))];
    expect(new Set(watches.map(({ status }) => status))).to.deep.equal(new Set([200]));
    // Three and two; and the calls that came with them, reviews and rights, of which a slow machine has more at once. Else it would be 400.
    expect((await connections()) - before).to.be.lessThan(100);
    create('seen-by-all');
    for (const watch of watches) await watch.until(({ names }) => names.length > 0);
    expect(new Set(watches.map(({ names }) => names.join()))).to.deep.equal(new Set(['ADDED seen-by-all']));
  });

  it('are not slowed by one that is not read, and that one gets everything in the end', async () => {
    const [slow, ...others] = await open(kexer, 20);
    slow?.stream.pause();
    const names = Array.from({ length: 40 }, (_, index) => `large-${index}`);
    for (const name of names) create(name, large);
    const wanted = names.map((name) => `ADDED ${name}`);
    for (const watch of others) await watch.until((one) => one.names.length === names.length);
    expect(others.map((watch) => watch.names)).to.deep.equal(others.map(() => wanted));
    expect(slow?.names.length).to.be.lessThan(names.length);
    slow?.stream.resume();
    await slow?.until((one) => one.names.length === names.length);
    expect(slow?.names).to.deep.equal(wanted);
  });

  it('leave nothing behind at the apiserver when their clients go', async () => {
    // Besides these only informers watch, a dozen.
    await until(() => sandbox.apiserver.requestsInFlight < 50);
    const watches = await open(kexer, 100);
    expect(sandbox.apiserver.requestsInFlight).to.be.greaterThan(99);
    for (const { stream } of watches) stream.close();
    await until(() => sandbox.apiserver.requestsInFlight < 50);
  });

  it('break off when the apiserver is killed, and begin again when it is back', async () => {
    const watches = await open(kexer, 120);
    await sandbox.apiserver.kill();
    for (const watch of watches) await watch.until(({ outcome }) => outcome !== '');
    expect(new Set(watches.map(({ outcome }) => outcome))).to.deep.equal(new Set(['cut']));
    await sandbox.apiserver.restart();
    const again = await open(kexer, 120);
    expect(new Set(again.map(({ status }) => status))).to.deep.equal(new Set([200]));
  });

  it('end when the apiserver ends them', async () => {
    const session = sessionOf(kexer, undefined);
    const path = '/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1';
    const watch = new Watch(session, path, { authorization: `Bearer ${sandbox.tokens.alice}` });
    expect((await watch.until(({ outcome }) => outcome !== '')).outcome).to.equal('end');
  });

  it('are refused as on HTTP/1.1', async () => {
    const answers = async (process: KexerProcess): Promise<unknown> => {
      const session = sessionOf(process, undefined);
      const path = '/api/v1/namespaces/kube-system/secrets?watch=true';
      const stream = session.request({ ':path': cluster + path, authorization: `Bearer ${sandbox.tokens.alice}` });
      let text = '';
      stream.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      const head = await new Promise<Record<string, unknown>>((resolve) => {
        stream.on('response', resolve);
      });
      await new Promise((resolve) => {
        stream.on('end', resolve);
      });
      const { 'audit-id': _auditId, date: _date, ...rest } = head;
      return { head: { ...rest }, text };
    };
    expect(await answers(kexer)).to.deep.equal(await answers(other));
  });

  it('have a connection each where HTTP/2 is switched off', async () => {
    const before = await connections();
    await open(other, 50);
    // Some were there already, kept from earlier calls.
    expect((await connections()) - before).to.be.greaterThan(40);
  });
});
