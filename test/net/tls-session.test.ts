import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { withoutPeerCertificate } from '../../src/net/tls-session.ts';

describe('tls session', () => {
  let scope: Scope;
  let authority: KeyPairPem;
  let serving: KeyPairPem;
  before(async () => {
    authority = await generateAuthority({ commonName: 'kubelet-ca' });
    serving = await generateServing(authority, { commonName: 'node1', ipAddresses: ['127.0.0.1'] });
  });
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(() => scope.close());

  async function listen(maxVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<number> {
    const server = createServer({ cert: serving.cert, key: serving.key, maxVersion }, (socket) => {
      socket.on('error', () => {});
      scope.add(() => void socket.destroy());
      socket.write('hello');
    });
    scope.add(async () => {
      server.close();
      await once(server, 'close');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** A verified connection behind the server's first bytes, and its session. */
  async function dial(port: number, session?: Buffer): Promise<{ socket: TLSSocket; session: Buffer }> {
    const options = session === undefined ? {} : { session };
    const socket = connect({ host: '127.0.0.1', port, ca: authority.cert, ...options });
    scope.add(() => void socket.destroy());
    const given = once(socket, 'session') as Promise<[Buffer]>;
    const greeted = once(socket, 'data');
    if (session === undefined) return { socket, session: (await given)[0] };
    given.catch(() => {});
    await greeted;
    return { socket, session };
  }

  it('resumes without the certificate, as verified', async () => {
    const port = await listen('TLSv1.3');
    const { socket: first, session } = await dial(port);
    const kept = withoutPeerCertificate(session);
    expect(first.getPeerCertificate().raw.length).to.be.at.most(session.length - kept.length);
    const { socket } = await dial(port, kept);
    expect([socket.isSessionReused(), socket.authorized, socket.getPeerCertificate()]).to.deep.equal([true, true, {}]);
  });

  it('stays bound to the name it was verified for', async () => {
    const port = await listen('TLSv1.3');
    const { session } = await dial(port);
    const kept = withoutPeerCertificate(session);
    const socket = connect({ host: '127.0.0.1', port, ca: authority.cert, servername: 'another', session: kept });
    scope.add(() => void socket.destroy());
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).to.equal('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it('leaves the certificate in a session of TLS 1.2, which Node would not take without', async () => {
    const port = await listen('TLSv1.2');
    const { session } = await dial(port);
    const kept = withoutPeerCertificate(session);
    expect(kept).to.deep.equal(session);
    const { socket } = await dial(port, kept);
    expect([socket.isSessionReused(), socket.authorized]).to.deep.equal([true, true]);
  });

  it('has memory of its own', async () => {
    const port = await listen('TLSv1.3');
    const { session } = await dial(port);
    const kept = [withoutPeerCertificate(session), withoutPeerCertificate(Buffer.from('no session'))];
    expect(kept.map(({ buffer }) => buffer.byteLength)).to.deep.equal(kept.map(({ length }) => length));
  });

  it('reads the bare form of older versions of Node', async () => {
    const port = await listen('TLSv1.3');
    const { session } = await dial(port);
    const nameEnd = session.indexOf('127.0.0.1') + '127.0.0.1'.length;
    const bare = nameEnd < '127.0.0.1'.length ? session : session.subarray(nameEnd);
    const kept = withoutPeerCertificate(session);
    expect(withoutPeerCertificate(bare)).to.deep.equal(kept.subarray(session.length - bare.length));
  });

  it('copies as it is whatever is cut or of another form', async () => {
    const port = await listen('TLSv1.3');
    const { session } = await dial(port);
    for (let length = 0; length < session.length; length += 1) {
      const cut = session.subarray(0, length);
      expect(withoutPeerCertificate(cut)).to.deep.equal(cut);
    }
    const longer = Buffer.concat([session, Buffer.of(0)]);
    expect(withoutPeerCertificate(longer)).to.deep.equal(longer);
    const without = withoutPeerCertificate(session);
    expect(withoutPeerCertificate(without)).to.deep.equal(without);
  });
});
