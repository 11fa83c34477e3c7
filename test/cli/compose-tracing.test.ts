// Spans on their way to a collector over TLS, and what stops a start.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { codeOf } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { composeTracing } from '../../src/cli/compose-tracing.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { servingPair } from '../support/serving-pair.ts';
import { useTempDir } from '../support/temp-dir.ts';

describe('composeTracing', () => {
  const folder = useTempDir();
  let scope: Scope;
  let logged: Record<string, unknown>[];

  beforeEach(() => {
    scope = new Scope();
    logged = [];
  });

  afterEach(() => scope.close());

  function deps(): Parameters<typeof composeTracing>[0] {
    const destination = new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
        done();
      },
    });
    const log = createLogger({ level: 'info', destination });
    return { clock: systemClock, log, scope, environment: {}, version: '1.2.3' };
  }

  async function collector(): Promise<{ server: Server; requests: { url: string; body: string }[] }> {
    const { cert, key } = await servingPair();
    const requests: { url: string; body: string }[] = [];
    const server = createServer({ cert, key }, (incoming: IncomingMessage, response) => {
      let body = '';
      incoming.setEncoding('utf8').on('data', (text: string) => (body += text));
      incoming.on('end', () => {
        requests.push({ url: incoming.url ?? '', body });
        response.end('{}');
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { server, requests };
  }

  async function config(endpoint: string, ca?: string): Promise<Config['tracing']> {
    const argv = [`--tracing-endpoint=${endpoint}`, '--tracing-sampling-rate-per-million=1000000'];
    if (ca !== undefined) argv.push(`--tracing-certificate-authority=${ca}`);
    return (await loadConfig({ argv, environment: {} })).tracing;
  }

  it('delivers what is queued when kexer ends, to the path that was given, over TLS by the CA that was given', async () => {
    const caFile = join(folder(), 'ca.crt');
    await writeFile(caFile, (await servingPair()).ca);
    const { server, requests } = await collector();
    const { port } = server.address() as AddressInfo;
    try {
      for (const path of ['', '/own/path']) {
        const endpoint = `https://127.0.0.1:${port}${path}`;
        const inner = new Scope();
        const { tracer, counts } = await composeTracing(
          { ...deps(), scope: inner },
          await config(endpoint, caFile),
          endpoint,
        );
        tracer.begin([]).end('GET', { status: 200 });
        await inner.close();
        expect(counts()).to.deep.equal({ exported: 1, dropped: 0 });
      }
      expect(requests.map(({ url }) => url)).to.deep.equal(['/v1/traces', '/own/path']);
      expect(requests[0]?.body).to.contain('"service.version","value":{"stringValue":"1.2.3"}');
      expect(logged).to.deep.equal([]);
    } finally {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    }
  });

  it('sends nothing to whom it cannot verify, and says so', async () => {
    const { server, requests } = await collector();
    const endpoint = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const inner = new Scope();
      const { tracer, counts } = await composeTracing({ ...deps(), scope: inner }, await config(endpoint), endpoint);
      tracer.begin([]).end('GET', { status: 200 });
      await inner.close();
      expect([counts(), requests]).to.deep.equal([{ exported: 0, dropped: 1 }, []]);
      expect(logged.map(({ msg }) => msg)).to.deep.equal(['cannot export spans']);
      expect(logged[0]?.['err']).to.match(
        /^Cannot reach the collector at 127\.0\.0\.1:\d+: unable to verify the first certificate/,
      );
    } finally {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    }
  });

  it('does not start with a CA that cannot be used', async () => {
    const garbage = join(folder(), 'garbage.crt');
    await writeFile(garbage, 'no certificate');
    for (const [file, want] of [
      ['/nowhere/ca.crt', 'Cannot read --tracing-certificate-authority "/nowhere/ca.crt"'],
      [garbage, `Cannot use --tracing-certificate-authority "${garbage}": want PEM certificates`],
    ] as const) {
      const settings = await config('https://otel', file);
      const failed = await composeTracing(deps(), settings, 'https://otel').catch((error: unknown) => error);
      expect([codeOf(failed), String(failed)]).to.deep.equal(['config', `KexerError: ${want}`]);
    }
  });
});
