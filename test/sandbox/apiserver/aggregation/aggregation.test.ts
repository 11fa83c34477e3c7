// The aggregation layer against a scripted extension apiserver in kexer's place.

import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, createSecureServer, type Http2ServerResponse } from 'node:http2';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { expect } from 'chai';

import { generateAuthority } from '../../../../src/certs/generate.ts';
import { dialTls } from '../../../../src/net/dial.ts';
import { readBody, requestUpgrade } from '../../../../src/net/upgrade.ts';
import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import { ask, refusal } from '../support/ask.ts';

const group = 'apiregistration.k8s.io';
const base = '/apis/backup.cv.io/v1';
const discoveryType = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** Header pairs as they came, lower-case names, without the pseudo headers of HTTP/2. */
function pairs({ rawHeaders }: IncomingMessage): [string, string][] {
  const all = Array.from({ length: rawHeaders.length / 2 }, (_, index): [string, string] => [
    (rawHeaders[index * 2] ?? '').toLowerCase(),
    rawHeaders[index * 2 + 1] ?? '',
  ]);
  return all.filter(([name]) => !name.startsWith(':'));
}

/** Breaks an answer off: a socket that closes, or a stream that is cancelled. */
function breakOff(response: ServerResponse | Http2ServerResponse): void {
  if ('stream' in response) response.stream.close(constants.NGHTTP2_CANCEL);
  else response.destroy();
}

for (const protocol of ['http/1.1', 'h2'] as const)
  describe(`sandbox apiserver: the aggregation layer, with a backend that speaks ${protocol}`, () => {
    let sandbox: Sandbox;
    let backend: Server;
    const versions = new Set<string>();
    const seen: { method: string; url: string; headers: [string, string][]; peer: string }[] = [];
    let handle: (request: IncomingMessage, response: ServerResponse) => void;
    let upgrade: (request: IncomingMessage, socket: Duplex) => void;

    const healthy = (request: IncomingMessage, response: ServerResponse): void => {
      if (request.url === '/apis') {
        const version = {
          version: 'v1',
          resources: [{ resource: 'clusters', scope: 'Namespaced' }],
          freshness: 'Current',
        };
        response.setHeader('Content-Type', discoveryType);
        response.end(JSON.stringify({ items: [{ metadata: { name: 'backup.cv.io' }, versions: [version] }] }));
        return;
      }
      response.setHeader('Content-Type', 'application/json');
      response.end('{"hello":"world"}');
    };

    before(async () => {
      sandbox = await startSandbox({ hasKubelets: false });
      const { files } = sandbox;
      handle = healthy;
      const tls = {
        allowHTTP1: true, // upgrades want it whatever else is offered
        cert: readFileSync(files.kexerCertFile),
        key: readFileSync(files.kexerKeyFile),
        ca: readFileSync(files.frontProxyCaFile),
        requestCert: true,
        rejectUnauthorized: false,
      };
      const answer = (request: IncomingMessage, response: ServerResponse): void => {
        versions.add(request.httpVersion);
        const socket = request.socket as TLSSocket;
        const peer = socket.authorized ? String(socket.getPeerCertificate().subject.CN) : '';
        seen.push({ method: request.method ?? '', url: request.url ?? '', headers: pairs(request), peer });
        handle(request, response);
      };
      // The compat objects of HTTP/2 have what is used of HTTP/1.1's here.
      backend =
        protocol === 'h2' ? (createSecureServer(tls, answer as never) as never as Server) : createServer(tls, answer);

      backend.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
        socket.on('error', () => {});
        seen.push({ method: request.method ?? '', url: request.url ?? '', headers: pairs(request), peer: '' });
        upgrade(request, socket);
      });
      await new Promise<void>((resolve) => {
        backend.listen(0, '127.0.0.1', resolve);
      });
      await sandbox.registerKexer({ port: (backend.address() as AddressInfo).port });
      await available('True');
    });

    after(async () => {
      await sandbox.stop();
      await new Promise<void>((resolve) => {
        backend.close(() => resolve());
      });
    });

    beforeEach(() => {
      seen.length = 0;
      handle = healthy;
    });

    const condition = (): Record<string, string> | undefined => {
      const object = sandbox.store.get({ group, resource: 'apiservices', namespace: '', name: 'v1.backup.cv.io' });
      const status = object?.['status'] as { conditions?: Record<string, string>[] } | undefined;
      return status?.conditions?.[0];
    };

    function available(status: string): Promise<void> {
      return new Promise((resolve) => {
        const stop = sandbox.store.watch({ group, resource: 'apiservices' }, undefined, check);
        function check(): void {
          if (condition()?.['status'] !== status) return;
          stop();
          resolve();
        }
        check();
      });
    }

    /** A new check, as any change of the Service makes one. */
    function recheck(): void {
      sandbox.store.mutate({ group: '', resource: 'services', namespace: 'kexec-system', name: 'kexer' }, (draft) => {
        draft.metadata.annotations = { touched: `${Number(draft.metadata.annotations?.['touched'] ?? '0') + 1}` };
      });
    }

    /** What the backend saw of the last request that was not the aggregator's own. */
    const proxied = () =>
      seen.findLast(({ headers }) => !headers.some(([, value]) => value.startsWith('Go-http-client')));

    it('speaks what the backend offers', async () => {
      await ask(sandbox, { path: `${base}/namespaces/default/clusters` });
      expect([...versions]).to.deep.equal([protocol === 'h2' ? '2.0' : '1.1']);
    });

    it('says who calls by the front proxy alone', async () => {
      const answer = await ask(sandbox, {
        path: `${base}/namespaces/default/clusters/local/exec/api/v1/nodes?b=2&a=1&a=%20x`,
        as: { token: sandbox.tokens.alice },
        headers: {
          'X-Remote-User': 'admin',
          'x-remote-group': 'system:masters',
          'X-Forwarded-For': '10.1.2.3',
          'Audit-Id': 'agg-1',
          'X-Custom': 'kept',
          'Keep-Alive': 'gone',
        },
      });
      const request = proxied();
      expect([answer.status, answer.text, answer.headers['audit-id']]).to.deep.equal([
        200,
        '{"hello":"world"}',
        'agg-1',
      ]);
      expect([request?.peer, request?.url]).to.deep.equal([
        'front-proxy-client',
        `${base}/namespaces/default/clusters/local/exec/api/v1/nodes?a=1&a=+x&b=2`,
      ]);
      const kept = request?.headers.filter(([name]) => !/^(host|connection|x-forwarded-host)$/.test(name));
      expect(kept).to.deep.equal([
        ['x-custom', 'kept'],
        ['x-remote-user', 'alice'],
        ['x-remote-group', 'system:authenticated'],
        ['audit-id', 'agg-1'],
        ['x-forwarded-for', '10.1.2.3, 127.0.0.1'],
        ['x-forwarded-proto', 'https'],
        ['x-forwarded-uri', `${base}/namespaces/default/clusters/local/exec/api/v1/nodes`],
      ]);
    });

    it('resolves impersonation before, and escapes extra keys', async () => {
      await ask(sandbox, {
        path: `${base}/namespaces/default/clusters`,
        headers: {
          'Impersonate-User': 'bob',
          'Impersonate-Group': ['system:masters', 'a,b'],
          'Impersonate-Uid': '7',
          'Impersonate-Extra-example.com%2Fscope': ['x', 'y'],
        },
      });
      const identity = proxied()?.headers.filter(([name]) => /^(x-remote|impersonate|authorization)/.test(name));
      expect(identity).to.deep.equal([
        ['x-remote-user', 'bob'],
        ['x-remote-uid', '7'],
        ['x-remote-group', 'system:masters'],
        ['x-remote-group', 'a,b'],
        ['x-remote-group', 'system:authenticated'],
        ['x-remote-extra-example.com%2fscope', 'x'],
        ['x-remote-extra-example.com%2fscope', 'y'],
      ]);
    });

    it('authorizes the outer path first', async () => {
      const answer = await ask(sandbox, {
        path: `${base}/namespaces/kube-system/clusters/local/exec/api/v1/pods`,
        as: { token: sandbox.tokens.viewer },
      });
      expect(refusal(answer)).to.equal(
        '403 clusters.backup.cv.io "local" is forbidden: User "viewer" cannot get resource "clusters/exec" in API group "backup.cv.io" in the namespace "kube-system"',
      );
      expect(proxied()).to.equal(undefined);
    });

    it('loses an encoded slash, as Go does', async () => {
      await ask(sandbox, { path: `${base}/namespaces/default/clusters/a%2Fb/exec/x%20y` });
      expect(proxied()?.url).to.equal(`${base}/namespaces/default/clusters/a/b/exec/x%20y`);
    });

    it('sends bodies on and streams answers', async () => {
      handle = (request, response) => void request.pipe(response);
      const answer = await ask(sandbox, {
        method: 'POST',
        path: `${base}/namespaces/default/clusters`,
        body: { a: 'ü' },
      });
      expect(answer.text).to.equal('{"a":"ü"}');
    });

    it('breaks off what the backend broke off', async () => {
      handle = (_request, response) => {
        response.write('part');
        setImmediate(() => breakOff(response));
      };
      const error = await ask(sandbox, { path: `${base}/namespaces/default/clusters` }).catch((cause: Error) => cause);
      expect(error).to.be.instanceOf(Error);
    });

    it('refuses redirects of the backend', async () => {
      handle = (_request, response) => void response.writeHead(302, { Location: 'https://example.com' }).end();
      expect(refusal(await ask(sandbox, { path: `${base}/namespaces/default/clusters` }))).to.equal(
        '502 the backend attempted to redirect this request, which is not permitted',
      );
    });

    describe('upgrades', () => {
      async function open(
        headers: readonly (readonly [string, string])[],
      ): Promise<{ socket: TLSSocket; status: number; body: string }> {
        const socket = await dialTls({
          host: '127.0.0.1',
          port: sandbox.apiserver.port,
          ca: [readFileSync(sandbox.files.servingCaFile, 'utf8')],
          isVerified: true,
          alpn: ['http/1.1'],
          timeoutMs: 5000,
        });
        const { head, rest } = await requestUpgrade(
          socket,
          {
            method: 'POST',
            target: `${base}/namespaces/default/clusters/local/exec/x`,
            headers: [['Host', 'front'], ['Authorization', `Bearer ${sandbox.tokens.alice}`], ...headers],
          },
          { timeoutMs: 5000 },
        );
        const body =
          head.status === 101
            ? Buffer.alloc(0)
            : await readBody(socket, head, rest, { maxBytes: 1000, timeoutMs: 5000 });
        return { socket, status: head.status, body: body.toString() };
      }

      it('become a tunnel with the Connection header of the client and the identity of the front proxy', async () => {
        upgrade = (_request, socket) => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
          socket.pipe(socket);
        };
        const { socket, status } = await open([
          ['Connection', 'Upgrade, X-Remote-User'],
          ['Upgrade', 'test'],
          ['X-Remote-User', 'admin'],
        ]);
        const echo = new Promise<string>((resolve) => {
          socket.once('data', (chunk: Buffer) => resolve(chunk.toString()));
        });
        socket.write('ping');
        expect([status, await echo]).to.deep.equal([101, 'ping']);
        const headers = proxied()?.headers.filter(([name]) => /^(connection|x-remote|authorization)/.test(name));
        expect(headers).to.deep.equal([
          ['connection', 'Upgrade, X-Remote-User'],
          ['x-remote-user', 'alice'],
          ['x-remote-group', 'system:authenticated'],
        ]);
        const closed = new Promise((resolve) => {
          socket.once('close', resolve);
        });
        socket.end();
        await closed;
      });

      for (const { status, told } of [
        { status: 403, told: [403, 'no'] },
        { status: 200, told: [503, 'invalid upgrade response: status code 200\n'] },
      ]) {
        it(`are refused with ${told[0]} when the backend says ${status}`, async () => {
          upgrade = (_request, socket) =>
            void socket.end(`HTTP/1.1 ${status} Whatever\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno`);
          const refused = await open([
            ['Connection', 'Upgrade'],
            ['Upgrade', 'test'],
          ]);
          refused.socket.destroy();
          expect([refused.status, refused.body]).to.deep.equal(told);
        });
      }
    });

    describe('discovery', () => {
      it('lists the group in /apis, /apis/GROUP and the aggregated form', async () => {
        const aggregated = await ask(sandbox, { path: '/apis', headers: { Accept: discoveryType } });
        const items = aggregated.json?.['items'] as { metadata: { name: string }; versions: object[] }[];
        const groups = (await ask(sandbox, { path: '/apis' })).json?.['groups'] as { name: string }[];
        const one = await ask(sandbox, { path: '/apis/backup.cv.io' });
        const version = { groupVersion: 'backup.cv.io/v1', version: 'v1' };
        expect([
          items.find(({ metadata }) => metadata.name === 'backup.cv.io')?.versions,
          groups.find(({ name }) => name === 'backup.cv.io'),
          one.json,
        ]).to.deep.equal([
          [{ version: 'v1', resources: [{ resource: 'clusters', scope: 'Namespaced' }], freshness: 'Current' }],
          { name: 'backup.cv.io', versions: [version], preferredVersion: version },
          { kind: 'APIGroup', apiVersion: 'v1', name: 'backup.cv.io', versions: [version], preferredVersion: version },
        ]);
      });
    });

    describe('availability', () => {
      it('says what the discovery check got, refuses with 503, and recovers', async () => {
        const url = `https://127.0.0.1:${(backend.address() as AddressInfo).port}${base}`;
        handle = (_request, response) => void response.writeHead(500).end();
        recheck();
        await available('False');
        const seenCondition = condition();
        const refused = await ask(sandbox, { path: `${base}/namespaces/default/clusters` });
        handle = healthy;
        await available('True');
        const recovered = await ask(sandbox, { path: `${base}/namespaces/default/clusters` });
        expect([
          seenCondition?.['reason'],
          seenCondition?.['message'],
          refusal(refused),
          recovered.status,
        ]).to.deep.equal([
          'FailedDiscoveryCheck',
          `failing or missing response from ${url}: bad status from ${url}: 500`,
          '503 service unavailable',
          200,
        ]);
        expect(condition()).to.deep.include({ reason: 'Passed', message: 'all checks passed' });
      });

      it('names what is missing of the Service', async () => {
        const slice = {
          group: 'discovery.k8s.io',
          resource: 'endpointslices',
          namespace: 'kexec-system',
          name: 'kexer-1',
        };
        const before = sandbox.store.get(slice);
        sandbox.store.mutate(slice, (draft) => {
          draft['endpoints'] = [{ addresses: ['127.0.0.1'], conditions: { ready: false } }];
        });
        await available('False');
        expect(condition()).to.deep.include({
          reason: 'MissingEndpoints',
          message: 'endpointslices for service/kexer in "kexec-system" have no addresses with port name "https"',
        });
        sandbox.store.mutate(slice, (draft) => {
          draft['endpoints'] = structuredClone(before?.['endpoints']);
        });
        await available('True');
      });

      it('verifies the backend for SVC.NS.svc against the caBundle, though the check does not', async () => {
        const other = await generateAuthority({ commonName: 'other' });
        const port = (backend.address() as AddressInfo).port;
        await sandbox.registerKexer({ port, caPem: other.cert });
        await available('True');
        const refused = await ask(sandbox, { path: `${base}/namespaces/default/clusters` });
        await sandbox.registerKexer({ port });
        expect(refusal(refused)).to.equal(
          '503 error trying to reach service: tls: failed to verify certificate: x509: certificate signed by unknown authority',
        );
        expect((await ask(sandbox, { path: `${base}/namespaces/default/clusters` })).status).to.equal(200);
      });
    });
  });
