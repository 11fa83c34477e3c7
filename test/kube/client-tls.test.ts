// The client of an apiserver over TLS: whose credential is on which connection, and who is trusted.

import { createServer as createTlsServer } from 'node:https';
import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { generateAuthority, generateClient, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Endpoint } from '../../src/kube/credential.ts';
import { fixedCertificate, fixedToken } from '../../src/kube/sources.ts';
import { codeOf, reply, useClients } from './support/clients.ts';

describe('KubeClient over TLS', () => {
  const { listen, clientOf } = useClients();

  let authority: KeyPairPem;
  let serving: KeyPairPem;
  let impersonator: KeyPairPem;
  let other: KeyPairPem;

  before(async () => {
    authority = await generateAuthority({ commonName: 'ca' });
    [serving, impersonator, other] = await Promise.all([
      generateServing(authority, { commonName: 'api', dnsNames: ['api.example'], ipAddresses: ['127.0.0.1'] }),
      generateClient(authority, { commonName: 'impersonator' }),
      generateAuthority({ commonName: 'other' }),
    ]);
  });

  async function tlsEndpoint(): Promise<Endpoint> {
    const server = createTlsServer(
      { cert: serving.cert, key: serving.key, ca: authority.cert, requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        const { subject } = (request.socket as TLSSocket).getPeerCertificate();
        const subjectName: unknown = (subject as { CN?: unknown } | undefined)?.CN ?? null;
        reply(response, 200, { peer: subjectName, authorization: request.headers.authorization ?? null });
      },
    );
    const port = await listen(server);
    return { url: `https://127.0.0.1:${port}`, ca: authority.cert, isVerified: true, servername: undefined };
  }

  it('never mixes credentials: each client has its own connections', async () => {
    const endpoint = await tlsEndpoint();
    const none = clientOf(endpoint);
    const certificate = clientOf(endpoint, { kind: 'certificate', certificate: fixedCertificate(impersonator) });
    const token = clientOf(endpoint, { kind: 'token', token: fixedToken('kexer') });
    const forged = [['Authorization', 'Bearer caller'] as const];
    const ask = async (client: KubeClient): Promise<unknown> =>
      JSON.parse(
        (await client.exchange({ method: 'GET', target: '/', headers: forged, timeoutMs: 5000 })).body.toString(),
      );
    expect([await ask(certificate), await ask(none), await ask(token), await ask(none)]).to.deep.equal([
      { peer: 'impersonator', authorization: 'Bearer caller' },
      { peer: null, authorization: 'Bearer caller' },
      { peer: null, authorization: 'Bearer kexer' },
      { peer: null, authorization: 'Bearer caller' },
    ]);
  });

  it('verifies the certificate against its CA and name only', async () => {
    const endpoint = await tlsEndpoint();
    const codes = await Promise.all(
      [
        { ...endpoint, ca: other.cert },
        { ...endpoint, ca: undefined },
        { ...endpoint, servername: 'wrong.example' },
        { ...endpoint, servername: 'api.example' },
        { ...endpoint, ca: other.cert, isVerified: false },
      ].map((changed) =>
        codeOf(
          clientOf(changed)
            .json({ target: '/' })
            .then(() => 'no error'),
        ),
      ),
    );
    expect(codes).to.deep.equal(['tls', 'tls', 'tls', 'no error', 'no error']);
  });

  it('uses a rotated certificate for the next call', async () => {
    const endpoint = await tlsEndpoint();
    const rotated = await generateClient(authority, { commonName: 'rotated' });
    let current = { ...impersonator, version: '1' };
    const client = clientOf(endpoint, { kind: 'certificate', certificate: { read: () => Promise.resolve(current) } });
    const before = await client.json({ target: '/' });
    current = { ...rotated, version: '2' };
    expect(
      [before, await client.json({ target: '/' })].map((answer) => (answer as { peer: string }).peer),
    ).to.deep.equal(['impersonator', 'rotated']);
  });

  it('tells how to dial it', async () => {
    const endpoint: Endpoint = {
      url: 'https://[::1]:6443/base',
      ca: authority.cert,
      isVerified: true,
      servername: 'api.example',
    };
    const settings = await clientOf(endpoint, { kind: 'token', token: fixedToken('t') }).dialSettings();
    expect(settings).to.deep.equal({
      isTls: true,
      host: '::1',
      port: 6443,
      servername: 'api.example',
      ca: [authority.cert],
      isVerified: true,
      authority: '[::1]:6443',
      basePath: '/base',
      headers: [['Authorization', 'Bearer t']],
    });
  });
});
