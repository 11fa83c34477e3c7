// Aggregator hygiene, and failing closed: what kube-apiserver's own controllers ask of kexer is answered to them without a right of theirs and
// without a call to anybody, and what kexer cannot find out (who, whether, whom to trust) is a refusal, never a guess.

import { expect } from 'chai';

import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { clusterPath, useStage } from './support/stage.ts';
import { head, messageOf, RawConnection, sendUntilClosed } from './support/raw-client.ts';
import { cannedAnswer, type TappedRequest, type Wiretap } from './support/wiretap.ts';

const host = 'Host: 127.0.0.1';
const configMaps = '/api/v1/namespaces/default/configmaps';

describe('as an aggregated API server', () => {
  const stage = useStage();

  describe('discovery', () => {
    const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
    const paths: readonly (readonly [path: string, accept: string])[] = [
      ['/apis', aggregated],
      ['/apis', 'application/json'],
      ['/apis/backup.cv.io', 'application/json'],
      ['/apis/backup.cv.io/v1', 'application/json'],
    ];

    async function statuses(...lines: readonly string[]): Promise<number[]> {
      const connection = await RawConnection.open(stage().raw(stage().frontProxy));
      try {
        const seen: number[] = [];
        for (const [path, accept] of paths) {
          seen.push((await connection.ask(head(`GET ${path} HTTP/1.1`, host, `Accept: ${accept}`, ...lines))).status);
        }
        return seen;
      } finally {
        await connection.close();
      }
    }

    it('answers system:kube-aggregator, who comes without any group, and asks nobody about it', async () => {
      const mark = stage().tap.mark();
      expect(await statuses('X-Remote-User: system:kube-aggregator')).to.deep.equal([200, 200, 200, 200]);
      expect(stage().tap.requests.slice(mark)).to.deep.equal([]);
    });

    it('answers any authenticated user, and nobody else', async () => {
      expect(await statuses('X-Remote-User: somebody')).to.deep.equal([200, 200, 200, 200]);
      expect(await statuses()).to.deep.equal([401, 401, 401, 401]);
      const answers = await sendUntilClosed(
        stage().raw(),
        head('GET /apis/backup.cv.io/v1 HTTP/1.1', host, 'Connection: close'),
      );
      expect(answers.map(({ status }) => status)).to.deep.equal([401]);
    });

    it('is not a right to anything behind it', async () => {
      const lines = [
        `GET ${clusterPath}/api HTTP/1.1`,
        host,
        'Connection: close',
        'X-Remote-User: system:kube-aggregator',
      ];
      const [answer] = await sendUntilClosed(stage().raw(stage().frontProxy), head(...lines));
      expect(answer?.status).to.equal(403);
    });
  });

  it('has no OpenAPI, quietly: 404 to system:aggregator for each path, and no line above information', async () => {
    const before = stage().kexer.lines.length;
    const connection = await RawConnection.open(stage().raw(stage().frontProxy));
    try {
      for (const path of ['/openapi/v2', '/openapi/v3', '/openapi/v3/apis/backup.cv.io/v1', '/swagger.json']) {
        const { status, body } = await connection.ask(
          head(`GET ${path} HTTP/1.1`, host, 'X-Remote-User: system:aggregator', 'Accept: application/json'),
        );
        expect([path, status, body]).to.deep.equal([path, 404, '404 page not found\n']);
      }
    } finally {
      await connection.close();
    }
    const loud = stage()
      .kexer.lines.slice(before)
      .filter(({ level }) => level === 'warn' || level === 'error');
    expect(loud).to.deep.equal([]);
  });

  it('leaves exactly four paths open to everybody, and nothing below or beside them', async () => {
    const statusOf = async (path: string): Promise<number> =>
      (await sendUntilClosed(stage().raw(), head(`GET ${path} HTTP/1.1`, host, 'Connection: close')))[0]?.status ?? 0;
    const open = ['/livez', '/readyz', '/healthz', '/version'];
    const closed = [
      '/livez/ping',
      '/readyz/',
      '/%6civez',
      '/healthz/x',
      '/version/x',
      '/metrics',
      '/debug/pprof',
      '/',
      '/api',
      '/logs',
      '/configz',
    ];
    expect(await Promise.all(open.map(statusOf))).to.deep.equal([200, 200, 200, 200]);
    for (const path of closed) expect(await statusOf(path), path).to.be.oneOf([400, 401]);
    // Nor is a slash at the end another path with other rules.
    expect(await statusOf('/livez/../metrics')).to.equal(400);
  });

  describe('when it cannot find out', () => {
    const isReview = (kind: string) => (request: TappedRequest) => request.target.includes(`/${kind}`);

    /** kube-apiserver's answer about kexer's own account, which nobody else may see. */
    const ownRefusal = cannedAnswer(403, {
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      reason: 'Forbidden',
      message: 'User "system:serviceaccount:kexec-system:kexer" cannot create resource',
      code: 403,
    });

    const broken: Readonly<Record<string, Buffer>> = {
      'a 500': cannedAnswer(500, 'etcd is away'),
      'a refusal of kexer’s account': ownRefusal,
      'something else': cannedAnswer(201, { kind: 'Status', apiVersion: 'v1', status: 'Success' }),
      'no JSON': cannedAnswer(201, 'allowed'),
      'no status': cannedAnswer(201, { kind: 'SubjectAccessReview', apiVersion: 'authorization.k8s.io/v1' }),
      'a yes that is no boolean': cannedAnswer(201, {
        kind: 'SubjectAccessReview',
        apiVersion: 'authorization.k8s.io/v1',
        status: { allowed: 'true', authenticated: 'true', user: { username: 'admin' } },
      }),
    };

    async function ask(
      tap: Wiretap,
      port: number,
      headers: RawHeaders,
      intercept: (request: TappedRequest) => Buffer | undefined,
    ) {
      const lines = headers.map(([name, value]) => `${name}: ${value}`);
      tap.intercept = (request) => {
        const answer = intercept(request);
        return answer === undefined ? undefined : { answer };
      };
      try {
        const request = head(`GET ${clusterPath}${configMaps} HTTP/1.1`, host, 'Connection: close', ...lines);
        const mark = tap.mark();
        const [answer] = await sendUntilClosed({ ...stage().raw(), port }, request);
        return { answer: answer ?? { status: 0, headers: [], body: '' }, forwarded: tap.forwarded(mark) };
      } finally {
        tap.intercept = undefined;
      }
    }

    for (const [name, answer] of Object.entries(broken)) {
      it(`who it is, TokenReview answering ${name}: nobody is let in, and nobody’s token is thrown away by a 401`, async () => {
        const { token } = await stage().account();
        const { answer: got, forwarded } = await ask(
          stage().tap,
          stage().kexer.port,
          [['Authorization', `Bearer ${token}`]],
          (request) => (isReview('tokenreviews')(request) ? answer : undefined),
        );
        expect(got.status).to.be.oneOf([401, 500, 502, 503]);
        expect(got.body).not.to.contain('kexec-system');
        expect(forwarded).to.deep.equal([]);
      }).timeout(30_000);

      it(`whether they may, SubjectAccessReview answering ${name}: they may not`, async () => {
        const { token } = await stage().account();
        const { answer: got, forwarded } = await ask(
          stage().tap,
          stage().kexer.port,
          [['Authorization', `Bearer ${token}`]],
          (request) => (isReview('subjectaccessreviews')(request) ? answer : undefined),
        );
        expect(got.status).to.be.oneOf([403, 500, 502]);
        expect(got.body).not.to.contain('kexec-system');
        expect(forwarded).to.deep.equal([]);
      }).timeout(30_000);
    }

    it('whom to trust: without the ConfigMap certificates and the front proxy are nobody, and tokens go on', async () => {
      const other = await stage().another();
      try {
        // From its start on this one never got to see it; but the real stage's own has, so a new process is asked.
        const { certificate } = await stage().user();
        const isTrusted = async (): Promise<number> => {
          const request = head(`GET ${clusterPath}${configMaps} HTTP/1.1`, host, 'Connection: close');
          const target = { ...stage().raw(certificate), port: other.kexer.port };
          return (await sendUntilClosed(target, request))[0]?.status ?? 0;
        };
        while ((await isTrusted()) !== 200);
        // The map is emptied: trusted by nobody from then on, not the last good state.
        const { store } = stage().sandbox;
        const key = {
          group: '',
          resource: 'configmaps',
          namespace: 'kube-system',
          name: 'extension-apiserver-authentication',
        };
        const data = store.mustGet(key)['data'];
        store.mutate(key, (draft) => {
          draft['data'] = {};
        });
        try {
          while ((await isTrusted()) !== 401);
          const lines = [
            `GET ${clusterPath}${configMaps} HTTP/1.1`,
            host,
            'Connection: close',
            'X-Remote-User: admin',
            'X-Remote-Group: system:masters',
          ];
          const target = { ...stage().raw(stage().frontProxy), port: other.kexer.port };
          expect((await sendUntilClosed(target, head(...lines)))[0]?.status).to.equal(401);
          const { token } = await stage().account();
          const withToken = head(
            `GET ${clusterPath}${configMaps} HTTP/1.1`,
            host,
            'Connection: close',
            `Authorization: Bearer ${token}`,
          );
          expect((await sendUntilClosed({ ...stage().raw(), port: other.kexer.port }, withToken))[0]?.status).to.equal(
            200,
          );
        } finally {
          store.mutate(key, (draft) => {
            draft['data'] = data;
          });
        }
        while ((await isTrusted()) !== 200);
      } finally {
        await other.stop();
      }
    }).timeout(30_000);

    it('what kube-apiserver says to the call itself: its absence is a 503 with Retry-After, never a fallback', async () => {
      const other = await stage().another();
      try {
        const { token } = await stage().account();
        const exec = head(
          `POST ${clusterPath}/api/v1/namespaces/default/pods/demo/exec?command=true&stdout=true HTTP/1.1`,
          host,
          'Connection: Upgrade',
          'Upgrade: SPDY/3.1',
          'X-Stream-Protocol-Version: v4.channel.k8s.io',
          `Authorization: Bearer ${token}`,
        );
        const get = head(
          `GET ${clusterPath}${configMaps} HTTP/1.1`,
          host,
          'Connection: close',
          `Authorization: Bearer ${token}`,
        );
        const target = { ...stage().raw(), port: other.kexer.port };
        // Both reviews are remembered from here on.
        while ((await sendUntilClosed(target, get))[0]?.status !== 200);
        const create = head(
          `POST ${clusterPath}${configMaps}?dryRun=All HTTP/1.1`,
          host,
          'Connection: close',
          `Authorization: Bearer ${token}`,
          'Content-Length: 0',
        );
        await sendUntilClosed(target, create);
        await other.tap.stop();
        const kubelet = stage().sandbox.kubelets.get('node1');
        const before = kubelet?.requests.length;
        for (const request of [get, exec]) {
          const [answer] = await sendUntilClosed(target, request);
          expect([answer?.status, messageOf(answer ?? { status: 0, headers: [], body: '' })]).to.satisfy(
            ([status, message]: [number, string]) => status === 503 && message.startsWith('Cannot reach the apiserver'),
          );
          expect(answer?.headers.map(([name]) => name.toLowerCase())).to.include('retry-after');
        }
        expect(kubelet?.requests.length).to.equal(before);
      } finally {
        await other.stop();
      }
    }).timeout(30_000);
  });
});
