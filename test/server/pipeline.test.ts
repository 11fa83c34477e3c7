// What is thrown anywhere on the way of a request becomes one answer, over real HTTP: with the headers that a refusal has besides its Status.

import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { notFound, StatusError } from '../../src/kube/status.ts';
import { RefusalWithHeaders } from '../../src/server/answer.ts';
import { Pipeline } from '../../src/server/pipeline.ts';
import { type Arrival, RequestContext } from '../../src/server/request-context.ts';
import { FakeClock } from '../support/fake-clock.ts';

const missing = notFound({ group: 'backup.cv.io', resource: 'sessions' }, 'nope');

describe('Pipeline', () => {
  let scope: Scope;
  let thrown: unknown;
  let told: [string, number, unknown][];
  let port: number;

  beforeEach(async () => {
    scope = new Scope();
    told = [];
    const pipeline = new Pipeline(
      {
        clock: new FakeClock(),
        observer: {
          requestFailed: ({ stage }, status, error) => told.push([stage, status, error]),
          defect: (error) => told.push(['defect', 0, error]),
        },
      },
      {
        filters: [{ name: 'first', apply: () => {} }],
        route: () => {
          throw thrown;
        },
      },
    );
    const server = createServer((request, response) => {
      const arrival = { auditId: 'audit-1', signal: scope.signal } as Arrival;
      void pipeline.handle(new RequestContext(arrival, { kind: 'request', request, response }));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.add(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
        }),
    );
    port = (server.address() as AddressInfo).port;
  });
  afterEach(() => scope.close());

  async function ask(): Promise<{ status: number | undefined; warning: unknown; type: unknown; body: string }> {
    return new Promise((resolve, reject) => {
      const asked = get({ host: '127.0.0.1', port, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        const { statusCode: status, headers } = response;
        response.once('end', () =>
          resolve({ status, warning: headers['warning'], type: headers['content-type'], body }),
        );
      });
      asked.once('error', reject);
    });
  }

  it('answers a refusal with the headers it has besides, and tells of it as of any', async () => {
    thrown = new RefusalWithHeaders(missing, [['Warning', '299 - "somebody is silent"']]);
    const { status, warning, type, body } = await ask();
    expect([status, warning, type]).to.deep.equal([404, '299 - "somebody is silent"', 'application/json']);
    expect(JSON.parse(body)).to.deep.include({ kind: 'Status', reason: 'NotFound', code: 404 });
    expect(told).to.deep.equal([['call', 404, thrown]]);
  });

  it('answers any other error with its Status alone, and a defect without its words', async () => {
    thrown = new StatusError(missing);
    expect(await ask()).to.deep.include({ status: 404, warning: undefined });
    thrown = new Error('secret');
    const { status, body } = await ask();
    expect([status, body.includes('secret')]).to.deep.equal([500, false]);
    expect(told.map(([stage, code]) => [stage, code])).to.deep.equal([
      ['call', 404],
      ['call', 500],
    ]);
  });
});
