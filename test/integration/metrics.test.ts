// A real kexer process, scraped as Prometheus scrapes it: who may, in which formats, and that everything which dashboard, alerts and docs name is
// there while and after sessions run. Its traces go to a collector of the test.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { expect } from 'chai';

import { catalogue } from '../../src/observe/metrics/catalogue.ts';
import { contentTypes } from '../../src/observe/metrics/exposition.ts';
import { Scope } from '../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { allExpressions, familyOf } from '../observe/support/monitoring.ts';
import { type ParsedFamily, parseExposition } from '../observe/support/parse-exposition.ts';
import { readPromql } from '../observe/support/promql.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { KexerProcess, type LogLine } from './support/kexer-process.ts';
import { kubectl } from './support/kubectl.ts';
import { until } from './support/stage.ts';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly links?: readonly { readonly traceId: string }[];
}

/** What OTLP's JSON has, as far as the test reads it. */
interface ExportRequest {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[];
}

/** An OTLP receiver over HTTP. */
class Collector {
  readonly spans: Span[] = [];
  readonly #server: Server;
  #wake: () => void = () => {};

  constructor(server: Server) {
    this.#server = server;
    server.on('request', (incoming, response) => {
      let body = '';
      incoming.setEncoding('utf8').on('data', (text: string) => (body += text));
      incoming.on('end', () => {
        expect([incoming.method, incoming.url, incoming.headers['content-type']]).to.deep.equal([
          'POST',
          '/v1/traces',
          'application/json',
        ]);
        const { resourceSpans } = JSON.parse(body) as ExportRequest;
        this.spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)));
        response.setHeader('Content-Type', 'application/json');
        response.end('{}');
        this.#wake();
      });
    });
  }

  static async start(): Promise<Collector> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Collector(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** As soon as there is such a span. */
  async until(isIt: (span: Span) => boolean): Promise<Span> {
    for (;;) {
      const found = this.spans.find(isIt);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

describe('/metrics of a kexer process', function () {
  this.timeout(60_000);
  const scope = new Scope();
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let collector: Collector;
  let ca: string;

  before(needsKubectl);
  before(async () => {
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    collector = await Collector.start();
    scope.add(() => collector.stop());
    ca = await readFile(sandbox.files.servingCaFile, 'utf8');
    kexer = await KexerProcess.start(sandbox, [
      `--audit-log-path=${join(sandbox.dir, 'kexer-audit.log')}`,
      '--shutdown-grace-period=0s',
      `--tracing-endpoint=${collector.url}`,
      '--tracing-sampling-rate-per-million=1000000',
    ]);
    scope.add(async () => void (await kexer.stop()));
    const bound = await run(
      ['create', 'clusterrolebinding', 'scraper', '--clusterrole=system:monitoring', '--user=viewer'],
      'cluster',
    );
    expect(bound.code, bound.stderr).to.equal(0);
  });

  after(() => scope.close());

  const run = (args: readonly string[], context = 'kexer') =>
    kubectl(args, { kubeconfig: sandbox.files.kubeconfig, context, home: sandbox.dir });

  function ask(path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET'): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { host: '127.0.0.1', port: kexer.port, path, method, ca, headers, agent: false },
        (answer) => {
          let body = '';
          answer.setEncoding('utf8').on('data', (text: string) => (body += text));
          answer.on('end', () =>
            resolve({ status: answer.statusCode ?? 0, type: answer.headers['content-type'] ?? '', body }),
          );
          answer.on('error', reject);
        },
      );
      outgoing.on('error', reject).end();
    });
  }

  const bearer = (token: string): Record<string, string> => ({ Authorization: `Bearer ${token}` });

  async function scrape(): Promise<Map<string, ParsedFamily>> {
    const { status, body } = await ask('/metrics', bearer(sandbox.tokens.viewer));
    expect(status, body).to.equal(200);
    return parseExposition(body, 'text');
  }

  function valueOf(families: ReadonlyMap<string, ParsedFamily>, name: string, labels: Record<string, string>): number {
    const samples = families.get(name)?.samples ?? [];
    const found = samples.filter((sample) =>
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
    return found.reduce((sum, { value }) => sum + value, 0);
  }

  it('is for those whom RBAC allows the path, with kube-apiserver’s words for others', async () => {
    const anonymous = await ask('/metrics');
    const alice = await ask('/metrics', bearer(sandbox.tokens.alice));
    const trailing = await ask('/metrics/', bearer(sandbox.tokens.alice));
    const posted = await ask('/metrics', bearer(sandbox.tokens.viewer), 'POST');
    expect([anonymous.status, alice.status, trailing.status, posted.status]).to.deep.equal([401, 403, 403, 403]);
    expect((JSON.parse(alice.body) as { message: string }).message).to.equal(
      'forbidden: User "alice" cannot get path "/metrics"',
    );
  });

  it('speaks the format that the scraper prefers', async () => {
    const token = bearer(sandbox.tokens.viewer);
    const text = await ask('/metrics', { ...token, Accept: 'text/plain' });
    const openmetrics = await ask('/metrics', {
      ...token,
      Accept: 'application/openmetrics-text;version=1.0.0,*/*;q=0.1',
    });
    expect([text.type, openmetrics.type]).to.deep.equal([contentTypes.text, contentTypes.openmetrics]);
    const names = [...parseExposition(text.body, 'text').keys()];
    const others = parseExposition(openmetrics.body, 'openmetrics');
    expect([...others].map(([name, { type }]) => (type === 'counter' ? `${name}_total` : name))).to.deep.equal(names);
  });

  it('has what the catalogue has, and while a session and a watch run every series that dashboard and alerts ask for', async () => {
    // A log that is followed, an exec that waits for its stdin, a watch: each ended by closing its kubectl.
    const waiting: Promise<unknown>[] = [];
    const hold: ChildProcessWithoutNullStreams[] = [];
    const start = async (args: readonly string[]): Promise<void> => {
      const env = { PATH: process.env['PATH'] ?? '', HOME: sandbox.dir, KUBECONFIG: sandbox.files.kubeconfig };
      const child = spawn('kubectl', ['--context', 'kexer', ...args], { env });
      hold.push(child);
      waiting.push(once(child, 'close'));
      await once(child.stdout, 'data');
    };
    try {
      await start(['exec', '-i', 'demo', '--', 'sh', '-c', 'echo ready; cat']);
      await start(['logs', '-f', 'ticker']);
      await start(['get', 'pods', '--watch']);
      const failed = await run(['exec', 'demo', '--', 'sh', '-c', 'echo hello; exit 3']);
      expect(failed.code).to.equal(3);
      await run(['exec', 'demo', '-c', 'nobody', '--', 'true']);
      // What a stream is refused before it begins has a line of its own.
      const isRefusal = (line: LogLine): boolean => line.msg === 'request refused' && line['status'] === 400;
      await until(() => kexer.log.some(isRefusal));
      const families = await scrape();
      const documented = catalogue.flatMap(({ metrics }) => metrics);
      expect([...families.keys()]).to.deep.equal(
        documented.map(({ name }) => name).toSorted((a, b) => (a < b ? -1 : 1)),
      );
      for (const { name, kind, labels } of documented) {
        const family = families.get(name);
        expect(family?.type, name).to.equal(kind);
        for (const sample of family?.samples ?? []) {
          const own = Object.keys(sample.labels).filter((label) => label !== 'le');
          expect(
            own.toSorted((a, b) => (a < b ? -1 : 1)),
            name,
          ).to.deep.equal(Object.keys(labels).toSorted((a, b) => (a < b ? -1 : 1)));
        }
      }
      const asked = new Set(allExpressions().flatMap((expr) => readPromql(expr).selectors.map(({ metric }) => metric)));
      asked.delete('up');
      const sampled = new Set([...families.values()].flatMap(({ samples }) => samples.map(({ name }) => name)));
      expect([...asked].filter((metric) => !sampled.has(metric))).to.deep.equal([]);
      expect([...asked].every((metric) => families.has(familyOf(metric)))).to.equal(true);

      const active = (kind: string): number =>
        valueOf(families, 'kexer_sessions_active', { kind, leg: 'kubelet', cluster: 'local' });
      expect([active('exec'), active('log')]).to.deep.equal([1, 1]);
      expect(valueOf(families, 'apiserver_longrunning_requests', { verb: 'WATCH', resource: 'pods' })).to.equal(1);
      expect(valueOf(families, 'kexer_session_end_total', { kind: 'exec', reason: 'normal' })).to.equal(1);
      // kubectl asks by WebSocket, then by SPDY.
      expect(valueOf(families, 'kexer_preflights_total', { outcome: 'invalid' })).to.equal(2);
      expect(valueOf(families, 'kexer_session_start_seconds', { stage: 'dial' })).to.be.above(0);
      // `ready\n` of the one that runs, `hello\n` of the one that has ended.
      expect(valueOf(families, 'kexer_session_bytes_total', { kind: 'exec', direction: 'out' })).to.equal(12);
      const text = (await ask('/metrics', bearer(sandbox.tokens.viewer))).body;
      expect(text.replaceAll(/^#.*$/gm, '')).to.not.match(/demo|ticker|nobody|alice|viewer|127\.0\.0\.1/);
      expect(valueOf(families, 'kexer_connections', {})).to.be.at.least(3);
    } finally {
      for (const child of hold) child.kill('SIGKILL');
      await Promise.all(waiting);
    }
  });

  it('sends a span for each stage of a session, all of one trace', async () => {
    const { code, stderr } = await run(['exec', 'demo', '--', 'true']);
    expect(code, stderr).to.equal(0);
    const isExec = ({ name }: Span): boolean => name.endsWith('/pods/{:name}/exec');
    const session = await collector.until(({ name }) => name === 'session');
    const root = await collector.until((span) => isExec(span) && span.traceId === session.traceId);
    const children = collector.spans.filter(({ parentSpanId }) => parentSpanId === root.spanId);
    expect(root.parentSpanId).to.equal(undefined);
    expect([...new Set(children.map(({ name }) => name))].toSorted((a, b) => (a < b ? -1 : 1))).to.deep.equal([
      'authn',
      'authz',
      'dial',
      'preflight',
      'session',
      'upgrade',
    ]);
    expect(children.every(({ traceId }) => traceId === root.traceId)).to.equal(true);
  });

  it('takes part in the trace of nobody but those whom kube-apiserver trusts with theirs', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const headers = { ...bearer(sandbox.tokens.alice), traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    await ask(
      '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/pods/demo',
      headers,
    );
    const linked = await collector.until(({ links }) => links?.[0]?.traceId === traceId);
    expect(linked.traceId).to.not.equal(traceId);
    expect(collector.spans.some((span) => span.traceId === traceId)).to.equal(false);
  });
});
