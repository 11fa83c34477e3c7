// A clock that is wrong, here or there, is told from a certificate that is wrong: the sentence has both times.

import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { PeerIdentity } from '../../src/auth/peer-identity.ts';
import { systemClock } from '../../src/base/clock.ts';
import { describeError } from '../../src/base/errors.ts';
import { generateAuthority, generateClient, generateServing } from '../../src/certs/generate.ts';
import { CaBundle } from '../../src/certs/verify-chain.ts';
import { KubeClient } from '../../src/kube/client.ts';

const hourMs = 60 * 60 * 1000;
const iso = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;

describe('a clock that is wrong', () => {
  for (const [name, fromMs, toMs, text] of [
    ['behind', hourMs, 2 * hourMs, 'certificate is not yet valid'],
    ['ahead', -2 * hourMs, -hourMs, 'certificate has expired'],
  ] as const) {
    it(`${name} that of kube-apiserver's certificate is named in the error`, async () => {
      const authority = await generateAuthority({ commonName: 'ca' });
      const nowMs = Date.now();
      const pair = await generateServing(authority, {
        commonName: 'kubernetes',
        dnsNames: ['localhost'],
        notBefore: new Date(nowMs + fromMs),
        notAfter: new Date(nowMs + toMs),
      });
      const server = createServer(pair);
      await new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', resolve);
      });
      const { port } = server.address() as AddressInfo;
      const client = new KubeClient(
        { clock: systemClock },
        {
          endpoint: { url: `https://127.0.0.1:${port}`, ca: authority.cert, isVerified: true, servername: 'localhost' },
          credential: { kind: 'none' },
          userAgent: 'test',
        },
      );
      const seen = await client.json({ target: '/version' }).then(String, describeError);
      await client.close();
      await new Promise((resolve) => {
        server.close(resolve);
      });
      expect(seen).to.match(
        new RegExp(`^Cannot trust the apiserver at 127\\.0\\.0\\.1:${port} by a clock that shows ${iso}: ${text}$`),
      );
    });
  }

  it("or a client's certificate that is early is told with both times", async () => {
    const authority = await generateAuthority({ commonName: 'ca' });
    const nowMs = Date.now();
    const { cert } = await generateClient(authority, {
      commonName: 'alice',
      notBefore: new Date(nowMs + hourMs),
      notAfter: new Date(nowMs + 2 * hourMs),
    });
    const peer = new PeerIdentity([new X509Certificate(cert)]);
    const { isTrusted, reason } = peer.check(new CaBundle(authority.cert), nowMs);
    expect(isTrusted).to.equal(false);
    expect(reason).to.match(
      new RegExp(`^it counts from ${iso} to ${iso}, with its issuers, and this machine's clock shows ${iso}$`),
    );
  });
});
