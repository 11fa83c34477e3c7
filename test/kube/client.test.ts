// The client of an apiserver over HTTP: what it sends, how it keeps connections, and how each failure is told.

import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { PassThrough } from 'node:stream';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { Endpoint } from '../../src/kube/credential.ts';
import { StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { codeOf, failureOf, reply, useClients } from './support/clients.ts';

describe('KubeClient.exchange', () => {
  const { listen, httpEndpoint, clientOf } = useClients();

  it('sends path, query and headers as they are, repeated ones apart, and reads the answer', async () => {
    const seen: { url?: string | undefined; headers?: string[] } = {};
    const endpoint = await httpEndpoint((request, response) => {
      seen.url = request.url;
      seen.headers = request.rawHeaders;
      response.writeHead(202, 'Fine', ['X-A', '1', 'X-A', '2']).end('body');
    }, '/prefix');
    const answer = await clientOf(endpoint).exchange({
      method: 'GET',
      target: '/a%2Fb/../c//?x=%zz;y',
      headers: [
        ['Impersonate-Group', 'a,b'],
        ['impersonate-group', 'c'],
        ['X-Latin', 'j\u00c3\u00b6e'],
        ['Host', 'evil.example'],
        ['Connection', 'Impersonate-Group'],
        ['Transfer-Encoding', 'chunked'],
        ['Content-Length', '7'],
        ['Upgrade', 'h2c'],
        ['Expect', '100-continue'],
      ],
      timeoutMs: 10_000,
    });
    const authority = endpoint.url.replace('http://', '').replace('/prefix', '');
    expect(seen).to.deep.equal({
      url: '/prefix/a%2Fb/../c//?x=%zz;y',
      headers: [
        'Host',
        authority,
        'Impersonate-Group',
        'a,b',
        'impersonate-group',
        'c',
        'X-Latin',
        'j\u00c3\u00b6e',
        'Connection',
        'keep-alive',
      ],
    });
    expect([answer.status, answer.reason, answer.body.toString()]).to.deep.equal([202, 'Fine', 'body']);
    expect(answer.headers.filter(([name]) => name === 'X-A')).to.deep.equal([
      ['X-A', '1'],
      ['X-A', '2'],
    ]);
  });

  it('refuses header values that would end the header', async () => {
    const endpoint = await httpEndpoint((_request, response) => response.end());
    const request = { method: 'GET', target: '/', timeoutMs: 10_000 };
    const client = clientOf(endpoint);
    expect(await codeOf(client.exchange({ ...request, headers: [['A', 'x\r\nB: y']] }))).to.equal('badRequest');
    expect(await codeOf(client.exchange({ ...request, target: '/ HTTP/1.1\r\nA: b', headers: [] }))).to.equal(
      'badRequest',
    );
  });

  it('keeps a connection and uses it again', async () => {
    const ports = new Set<number | undefined>();
    const endpoint = await httpEndpoint((request, response) => {
      ports.add(request.socket.remotePort);
      response.end();
    });
    const client = clientOf(endpoint);
    for (let i = 0; i < 10; i += 1)
      await client.exchange({ method: 'POST', target: '/', headers: [], timeoutMs: 10_000 });
    // The second may go out a tick before the first connection counts as free.
    expect(ports.size).to.be.lessThan(3);
  });

  it('does not hold a request behind another that has no answer yet', async () => {
    const waiting: ServerResponse[] = [];
    const endpoint = await httpEndpoint((request, response) => {
      if (request.url === '/watch') waiting.push(response);
      else response.end();
    });
    const client = clientOf(endpoint);
    const watch = client.exchange({ method: 'GET', target: '/watch', headers: [], timeoutMs: 10_000 });
    await client.exchange({ method: 'POST', target: '/other', headers: [], timeoutMs: 10_000 });
    expect(waiting).to.have.length(1);
    waiting[0]?.end();
    await watch;
  });

  it('says unreachable when nobody listens, and names the address', async () => {
    const server = createTcpServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    const client = clientOf({
      url: `http://127.0.0.1:${port}`,
      ca: undefined,
      isVerified: true,
      servername: undefined,
    });
    const error = await failureOf(client.exchange({ method: 'GET', target: '/', headers: [], timeoutMs: 10_000 }));
    expect(error).to.be.instanceOf(KexerError).and.deep.include({ code: 'unreachable' });
    expect(String(error)).to.include(`Cannot reach the apiserver at 127.0.0.1:${port}`);
  });

  it('tries once more when a connection died before the answer, but only if it may', async () => {
    let connections = 0;
    const server = createTcpServer((socket) => {
      connections += 1;
      socket.on('error', () => {});
      socket.once('data', () => {
        if (connections === 1) socket.destroy();
        else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const port = await listen(server);
    const endpoint: Endpoint = {
      url: `http://127.0.0.1:${port}`,
      ca: undefined,
      isVerified: true,
      servername: undefined,
    };
    const request = { method: 'POST', target: '/', headers: [], timeoutMs: 10_000 };
    const answer = await clientOf(endpoint).exchange({ ...request, isRetriedOnce: true });
    expect([answer.status, connections]).to.deep.equal([200, 2]);
    connections = 0;
    expect(await codeOf(clientOf(endpoint).exchange(request))).to.equal('unreachable');
    expect(connections).to.equal(1);
  });

  it('does not try again after the first byte of an answer, and says cut when the body is short', async () => {
    let requests = 0;
    const port = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => {
          requests += 1;
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort');
        });
      }),
    );
    const endpoint: Endpoint = {
      url: `http://127.0.0.1:${port}`,
      ca: undefined,
      isVerified: true,
      servername: undefined,
    };
    const request = { method: 'GET', target: '/', headers: [], timeoutMs: 10_000, isRetriedOnce: true };
    expect([await codeOf(clientOf(endpoint).exchange(request)), requests]).to.deep.equal(['cut', 1]);
  });

  it('ends at its deadline, at its size limit and when the asker leaves', async () => {
    const clock = new FakeClock();
    const arrived: IncomingMessage[] = [];
    let onArrival: () => void = () => {};
    const endpoint = await httpEndpoint((request, response) => {
      if (request.url === '/large') response.end(Buffer.alloc(1000));
      else {
        arrived.push(request);
        onArrival();
      }
    });
    const client = clientOf(endpoint, { kind: 'none' }, clock);
    const request = { method: 'GET', headers: [], timeoutMs: 1000 };
    const arrival = (): Promise<void> =>
      new Promise((resolve) => {
        onArrival = resolve;
      });
    const first = arrival();
    const late = codeOf(client.exchange({ ...request, target: '/never' }));
    await first;
    clock.advance(1000);
    expect(await late).to.equal('timeout');
    const gone = new AbortController();
    const second = arrival();
    const left = codeOf(client.exchange({ ...request, target: '/never', signal: gone.signal }));
    await second;
    gone.abort();
    expect(await left).to.equal('clientGone');
    expect(await codeOf(client.exchange({ ...request, target: '/', signal: gone.signal }))).to.equal('clientGone');
    expect(await codeOf(client.exchange({ ...request, target: '/large', maxBytes: 999 }))).to.equal('badGateway');
    expect((await client.exchange({ ...request, target: '/large', maxBytes: 1000 })).body).to.have.length(1000);
    expect(clock.pendingCount).to.equal(0);
  });

  it('says badGateway when the answer is no HTTP', async () => {
    const port = await listen(createTcpServer((socket) => socket.on('error', () => {}).end('SSH-2.0-OpenSSH\r\n')));
    const endpoint: Endpoint = {
      url: `http://127.0.0.1:${port}`,
      ca: undefined,
      isVerified: true,
      servername: undefined,
    };
    expect(
      await codeOf(clientOf(endpoint).exchange({ method: 'GET', target: '/', headers: [], timeoutMs: 10_000 })),
    ).to.equal('badGateway');
  });

  it('fails what is under way when it is closed', async () => {
    const endpoint = await httpEndpoint(() => void client.close());
    const client = clientOf(endpoint);
    const request = { method: 'GET', target: '/', headers: [], timeoutMs: 10_000 };
    expect(await codeOf(client.exchange(request))).to.equal('draining');
    expect(await codeOf(client.exchange(request))).to.equal('draining');
  });
});

describe('KubeClient.json', () => {
  const { httpEndpoint, clientOf } = useClients();

  it('asks for JSON, sends JSON and parses the answer', async () => {
    const endpoint = await httpEndpoint((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () =>
        reply(response, 201, {
          method: request.method,
          type: request.headers['content-type'],
          accept: request.headers.accept,
          agent: request.headers['user-agent'],
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    expect(await clientOf(endpoint).json({ method: 'POST', target: '/x', body: { a: 'ü' } })).to.deep.equal({
      method: 'POST',
      type: 'application/json',
      accept: 'application/json',
      agent: 'kexer/test',
      body: '{"a":"ü"}',
    });
  });

  it('throws the Status of a refusal, and makes one of any other', async () => {
    const status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'pods "x" not found',
      reason: 'NotFound',
      details: { name: 'x', kind: 'pods' },
      code: 404,
    };
    const endpoint = await httpEndpoint((request, response) => {
      if (request.url === '/status') reply(response, 404, status);
      else if (request.url?.startsWith('/text') === true) response.writeHead(503).end('service unavailable\n');
      else response.writeHead(200, { 'Content-Type': 'application/json' }).end('{');
    });
    const client = clientOf(endpoint);
    const refused = await failureOf(client.json({ target: '/status' }));
    expect(refused).to.be.instanceOf(StatusError).and.deep.include({ status });
    const text = await failureOf(client.json({ target: '/text?token=secret' }));
    expect((text as StatusError).status).to.deep.include({
      code: 503,
      message: String.raw`the apiserver answered GET /text with 503: "service unavailable\n"`,
    });
    expect(await codeOf(client.json({ target: '/half' }))).to.equal('badGateway');
  });

  it('reads a refused token again before the next call', async () => {
    const tokens = ['old', 'new'];
    let invalidated = 0;
    const endpoint = await httpEndpoint((request, response) =>
      reply(response, request.headers.authorization === 'Bearer new' ? 200 : 401, {}),
    );
    const client = clientOf(endpoint, {
      kind: 'token',
      token: {
        read: () => Promise.resolve(tokens[invalidated] ?? ''),
        invalidate: () => {
          invalidated += 1;
        },
      },
    });
    expect(await failureOf(client.json({ target: '/' }))).to.have.nested.property('status.code', 401);
    expect(await client.json({ target: '/' })).to.deep.equal({});
  });
});

describe('KubeClient.stream', () => {
  const { httpEndpoint, clientOf } = useClients();

  it('streams both ways, and pauses', async () => {
    const endpoint = await httpEndpoint((request, response) => {
      response.writeHead(200, {
        'X-Framing': request.headers['transfer-encoding'] ?? request.headers['content-length'],
      });
      request.pipe(response);
    });
    const client = clientOf(endpoint);
    const run = (contentLength: number | undefined): Promise<string[]> => {
      const body = new PassThrough();
      return new Promise((resolve, reject) => {
        const log: string[] = [];
        client.stream(
          { method: 'PUT', target: '/', headers: [], body, contentLength },
          {
            onHead: (answer, controller) => {
              log.push(`head ${answer.headers.find(([name]) => name === 'X-Framing')?.[1]}`);
              controller.pause();
              setImmediate(() => {
                log.push('resumed');
                controller.resume();
              });
              body.end('cd');
            },
            onData: (chunk) => void log.push(...Array.from(chunk, (byte) => String.fromCharCode(byte))),
            onEnd: () => resolve(log),
            onError: reject,
          },
        );
        body.write('ab');
      });
    };
    expect(await run(undefined)).to.deep.equal(['head chunked', 'resumed', 'a', 'b', 'c', 'd']);
    expect(await run(4)).to.deep.equal(['head 4', 'resumed', 'a', 'b', 'c', 'd']);
  });

  it('aborts at any moment, telling the sink once', async () => {
    const endpoint = await httpEndpoint((_request, response) => void response.writeHead(200).write('x'));
    const client = clientOf(endpoint);
    const run = (when: 'at once' | 'after the head'): Promise<string[]> =>
      new Promise((resolve) => {
        const log: string[] = [];
        const controller = client.stream(
          { method: 'GET', target: '/', headers: [] },
          {
            onHead: () => {
              log.push('head');
              controller.abort(new Error('enough'));
            },
            onData: () => log.push('data'),
            onEnd: () => log.push('end'),
            onError: (error) => {
              log.push(error.message);
              setImmediate(resolve, log);
            },
          },
        );
        if (when === 'at once') {
          controller.abort(new Error('enough'));
          controller.abort(new Error('again'));
        }
      });
    expect(await run('at once')).to.deep.equal(['enough']);
    expect(await run('after the head')).to.deep.equal(['head', 'enough']);
  });
});
