// A trace that others may join: what a caller says of theirs, and what of it kube-apiserver is told. Whoever could decide that their requests are
// sampled could make kexer and everybody behind it work and store; so only those may whom kube-apiserver itself trusts with it.

import { expect } from 'chai';

import { getAllHeaders } from '../../src/protocol/raw-headers.ts';
import { type Credential, HttpClient } from './support/http-client.ts';
import type { KexerProcess } from './support/kexer-process.ts';
import { clusterPath, useStage } from './support/stage.ts';
import type { Wiretap } from './support/wiretap.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const theirs = [
  ['traceparent', `00-${traceId}-00f067aa0ba902b7-01`],
  ['tracestate', 'vendor=1'],
] as const;
const demo = '/api/v1/namespaces/default/pods/demo';
const spdy = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
] as const;

describe('a trace context', () => {
  const stage = useStage();

  /** Trace headers of the one ordinary call, and of the preflight, that a caller with `theirs` caused. */
  async function passedOn(kexer: KexerProcess, tap: Wiretap, credential: Credential): Promise<string[][]> {
    const client = new HttpClient({ port: kexer.port, ca: stage().ca, basePath: clusterPath }, credential);
    const mark = tap.mark();
    try {
      expect((await client.ask({ method: 'GET', path: demo, headers: theirs })).status).to.equal(200);
      const path = `${demo}/exec?command=true&stdout=true`;
      expect((await client.upgrade({ method: 'POST', path, headers: [...spdy, ...theirs] })).status).to.equal(101);
    } finally {
      client.close();
    }
    const requests = tap.forwarded(mark).filter(({ target }) => target === demo || target.startsWith(`${demo}/exec`));
    expect(requests.map(({ method }) => method)).to.deep.equal(['GET', 'POST']);
    return requests.map(({ headers }) => [
      ...getAllHeaders(headers, 'Traceparent'),
      ...getAllHeaders(headers, 'Tracestate'),
    ]);
  }

  it('of anybody is theirs to kube-apiserver without tracing, and kexer’s own questions have none', async () => {
    const { token } = await stage().account();
    const [call, preflight] = await passedOn(stage().kexer, stage().tap, { token });
    expect([call, preflight]).to.deep.equal([theirs.map(([, value]) => value), []]);
  });

  describe('with tracing', () => {
    let another: { kexer: KexerProcess; tap: Wiretap; stop: () => Promise<void> };

    before(async () => {
      // Nobody is there: spans that cannot be exported are nobody's wait.
      another = await stage().another(['--tracing-endpoint', 'http://127.0.0.1:9']);
    });

    after(() => another?.stop());

    it('of a user is not joined, not sampled, and not passed on', async () => {
      const { token } = await stage().account();
      for (const headers of await passedOn(another.kexer, another.tap, { token })) {
        expect(headers).to.have.length(1);
        expect(headers[0])
          .to.match(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
          .and.not.contain(traceId);
      }
    });

    it('is not joined for whoever claims to be trusted', async () => {
      const { token } = await stage().account();
      const claims = [
        ['X-Remote-User', 'admin'],
        ['X-Remote-Group', 'system:masters'],
      ] as const;
      for (const headers of await passedOn(another.kexer, another.tap, { token, headers: claims })) {
        expect(headers[0]).to.not.contain(traceId);
      }
    });

    it('of system:monitoring is joined: each request is a span of kexer’s in their trace', async () => {
      const { certificate } = await stage().user({ groups: ['system:monitoring'] });
      const passed = await passedOn(another.kexer, another.tap, { certificate });
      for (const [parent = '', state] of passed) {
        expect(parent)
          .to.match(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`))
          .and.not.contain('00f067aa0ba902b7');
        expect(state).to.equal('vendor=1');
      }
      expect(new Set(passed.map(([parent]) => parent)).size).to.equal(2);
    });
  });
});
