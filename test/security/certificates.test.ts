// Attacks with certificates: the two authorities of extension-apiserver-authentication mixed up, an authority removed under a connection or a
// TLS session that could be resumed, a certificate that ends while a connection lives on, and kubelets that are not who they should be.

import { expect } from 'chai';
import { once } from 'node:events';
import { connect as connectH2 } from 'node:http2';
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { readFile } from 'node:fs/promises';

import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';
import { Scope } from '../../src/base/scope.ts';
import { clusterPath, useStage } from './support/stage.ts';
import { bytes, head, messageOf, RawConnection, sendUntilClosed } from './support/raw-client.ts';

const host = 'Host: 127.0.0.1';
const configMaps = `${clusterPath}/api/v1/namespaces/default/configmaps`;
const get = (...lines: readonly string[]): string => head(`GET ${configMaps} HTTP/1.1`, host, ...lines);
const asAdmin = ['X-Remote-User: admin', 'X-Remote-Group: system:masters'];

describe('certificates', () => {
  const stage = useStage();
  const trustKey = {
    group: '',
    resource: 'configmaps',
    namespace: 'kube-system',
    name: 'extension-apiserver-authentication',
  };
  let scope: Scope;

  beforeEach(() => {
    scope = new Scope();
  });

  afterEach(() => scope.close());

  /** Adds an authority to one of the two bundles until the test is over; resolves when the cluster says so, not yet when kexer knows. */
  function trust(bundle: 'client-ca-file' | 'requestheader-client-ca-file', authority: KeyPairPem): () => void {
    const change = (edit: (text: string) => string): void => {
      stage().sandbox.store.mutate(trustKey, (draft) => {
        const data = draft['data'] as Record<string, string>;
        data[bundle] = edit(data[bundle] ?? '');
      });
    };
    change((text) => `${text.trimEnd()}\n${authority.cert}`);
    let isThere = true;
    const remove = (): void => {
      if (isThere) change((text) => text.replace(authority.cert, ''));
      isThere = false;
    };
    scope.add(remove);
    return remove;
  }

  /** Asks until the answer has this status: kexer hears of a change by its watch. The test's time limit ends it. */
  async function askUntil(wanted: number, ask: () => Promise<number>): Promise<void> {
    while ((await ask()) !== wanted);
  }

  async function statusOf(certificate: KeyPairPem | undefined, ...lines: readonly string[]): Promise<number> {
    const [answer] = await sendUntilClosed(stage().raw(certificate), get('Connection: close', ...lines));
    return answer?.status ?? 0;
  }

  describe('of mixed authorities', () => {
    it('a client certificate with the front proxy’s name is a user of that name, and its X-Remote-* are nothing', async () => {
      const certificate = await stage().sandbox.clientCertificate({ name: 'front-proxy-client' });
      const [answer] = await sendUntilClosed(stage().raw(certificate), get('Connection: close', ...asAdmin));
      expect(answer?.status).to.equal(403);
      expect(messageOf(answer ?? { status: 0, headers: [], body: '' })).to.contain(
        'User "front-proxy-client" cannot get',
      );
    });

    it('the front proxy’s authority makes no users: its certificate for admin in system:masters is a 401', async () => {
      const authority = await generateAuthority({ commonName: 'rotated-front-proxy-ca' });
      trust('requestheader-client-ca-file', authority);
      const proxy = await generateClient(authority, { commonName: 'front-proxy-client' });
      await askUntil(200, () => statusOf(proxy, ...asAdmin));
      const user = await generateClient(authority, { commonName: 'admin', organizations: ['system:masters'] });
      expect(await statusOf(user)).to.equal(401);
      // Nor does it speak for others: its name is not allowed.
      expect(await statusOf(user, ...asAdmin)).to.equal(401);
      expect(await statusOf(proxy), 'the front proxy itself').to.equal(401);
    });

    it('a front proxy’s certificate for another use, or out of its time, is none', async () => {
      const authority = await generateAuthority({ commonName: 'rotated-front-proxy-ca' });
      trust('requestheader-client-ca-file', authority);
      const commonName = 'front-proxy-client';
      await askUntil(200, async () => statusOf(await generateClient(authority, { commonName }), ...asAdmin));
      const serving = await generateClient(authority, { commonName, usages: ['serverAuth'] });
      const past = await generateClient(authority, { commonName, notAfter: new Date(Date.now() - 1000) });
      const future = await generateClient(authority, {
        commonName,
        notBefore: new Date(Date.now() + 3_600_000),
        notAfter: new Date(Date.now() + 7_200_000),
      });
      const statuses = [];
      for (const pair of [serving, past, future]) statuses.push(await statusOf(pair, ...asAdmin));
      expect(statuses).to.deep.equal([401, 401, 401]);
    });

    it('the serving authority, the kubelets’ and a stranger’s make neither users nor front proxies', async () => {
      const { files } = stage().sandbox;
      const kexerPair = {
        cert: await readFile(files.kexerCertFile, 'utf8'),
        key: await readFile(files.kexerKeyFile, 'utf8'),
      };
      const stranger = await generateAuthority({ commonName: 'sandbox-front-proxy-ca' });
      const forged = await generateClient(stranger, { commonName: 'front-proxy-client' });
      const statuses = [];
      for (const pair of [kexerPair, forged]) statuses.push(await statusOf(pair, ...asAdmin), await statusOf(pair));
      expect(statuses).to.deep.equal([401, 401, 401, 401]);
    });

    it('a chain that shows a trusted authority beside a leaf it never signed is none', async () => {
      const stranger = await generateAuthority({ commonName: 'sandbox-client-ca' });
      const forged = await generateClient(stranger, { commonName: 'admin', organizations: ['system:masters'] });
      const clientCa = await readFile(stage().sandbox.files.clientCaFile, 'utf8');
      expect(await statusOf({ cert: `${forged.cert}${clientCa}`, key: forged.key })).to.equal(401);
      // And the user of a certificate that counts is its leaf, whoever else is shown behind it.
      const { certificate } = await stage().user({ role: 'view' });
      expect(await statusOf({ cert: `${certificate.cert}${forged.cert}`, key: certificate.key })).to.equal(200);
    });
  });

  describe('of an authority that is removed', () => {
    it('count no more on a connection that stays open, by HTTP/1.1', async () => {
      const authority = await generateAuthority({ commonName: 'old-client-ca' });
      const remove = trust('client-ca-file', authority);
      const { name } = await stage().user({ role: 'view' });
      const certificate = await generateClient(authority, { commonName: name });
      await askUntil(200, () => statusOf(certificate));
      const connection = await RawConnection.open(stage().raw(certificate));
      scope.add(() => connection.close());
      const ask = async (): Promise<number> => (await connection.ask(get())).status;
      expect(await ask()).to.equal(200);
      remove();
      await askUntil(401, ask);
      expect(await statusOf(certificate), 'on a new connection').to.equal(401);
    });

    it('count no more on a connection that stays open, by HTTP/2', async () => {
      const authority = await generateAuthority({ commonName: 'old-client-ca' });
      const remove = trust('client-ca-file', authority);
      const { name } = await stage().user({ role: 'view' });
      const certificate = await generateClient(authority, { commonName: name });
      await askUntil(200, () => statusOf(certificate));
      const session = connectH2(`https://127.0.0.1:${stage().kexer.port}`, { ca: stage().ca, ...certificate });
      session.on('error', () => {});
      scope.add(async () => {
        session.destroy();
        if (!session.closed) await once(session, 'close');
      });
      const ask = async (): Promise<number> => {
        const stream = session.request({ ':path': configMaps });
        const [headers] = (await once(stream, 'response')) as [{ ':status': number }];
        stream.resume();
        await once(stream, 'close');
        return headers[':status'];
      };
      expect(await ask()).to.equal(200);
      remove();
      await askUntil(401, ask);
    });

    it('of front proxies speak for nobody any more, on a connection that stays open', async () => {
      const authority = await generateAuthority({ commonName: 'old-front-proxy-ca' });
      const remove = trust('requestheader-client-ca-file', authority);
      const proxy = await generateClient(authority, { commonName: 'front-proxy-client' });
      await askUntil(200, () => statusOf(proxy, ...asAdmin));
      const connection = await RawConnection.open(stage().raw(proxy));
      scope.add(() => connection.close());
      const ask = async (): Promise<number> => (await connection.ask(get(...asAdmin))).status;
      expect(await ask()).to.equal(200);
      remove();
      await askUntil(401, ask);
    });

    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      it(`cannot come back by a resumed TLS session: kexer resumes none (${version})`, async () => {
        const authority = await generateAuthority({ commonName: 'old-client-ca' });
        const remove = trust('client-ca-file', authority);
        const { name } = await stage().user({ role: 'view' });
        const certificate = await generateClient(authority, { commonName: name });
        await askUntil(200, () => statusOf(certificate));
        const dial = async (session?: Buffer): Promise<TLSSocket> => {
          const socket = connect({
            host: '127.0.0.1',
            port: stage().kexer.port,
            ca: stage().ca,
            ALPNProtocols: ['http/1.1'],
            minVersion: version,
            maxVersion: version,
            // Who resumes needs to show no certificate: the session would speak for the one it began with.
            ...(session === undefined ? certificate : { session }),
          });
          scope.add(async () => {
            socket.destroy();
            if (!socket.closed) await once(socket, 'close');
          });
          socket.on('error', () => {});
          await once(socket, 'secureConnect');
          return socket;
        };
        const first = await dial();
        // In TLS 1.3 OpenSSL sends tickets all the same, for sessions that kexer then does not keep.
        const tickets: Buffer[] = [];
        first.on('session', (ticket: Buffer) => tickets.push(ticket));
        // An answer, so that whatever kexer sends after the handshake is here too.
        const connection = new RawConnection(first);
        expect((await connection.ask(get())).status).to.equal(200);
        const session = tickets.at(-1) ?? first.getSession();
        expect(session).not.to.equal(undefined);
        const second = await dial(session);
        expect(second.isSessionReused()).to.equal(false);
        expect((await new RawConnection(second).ask(get())).status, 'while the authority counts').to.equal(401);
        remove();
        await askUntil(401, () => statusOf(certificate));
        const third = await dial(session);
        expect(third.isSessionReused()).to.equal(false);
        expect((await new RawConnection(third).ask(get())).status, 'when it is gone').to.equal(401);
      });
    }
  });

  it('that end while their connection is kept alive count no more from that second on', async () => {
    // Whole seconds, and an RSA key takes some time.
    const notAfter = new Date((Math.floor(Date.now() / 1000) + 3) * 1000);
    const { certificate } = await stage().user({ role: 'view', notAfter });
    const connection = await RawConnection.open(stage().raw(certificate));
    scope.add(() => connection.close());
    const seen: { status: number; atMs: number }[] = [];
    await askUntil(401, async () => {
      const atMs = Date.now();
      const { status } = await connection.ask(get());
      seen.push({ status, atMs });
      return status;
    });
    expect(seen[0]?.status).to.equal(200);
    // A certificate counts through the second it names.
    const late = seen.filter(({ status, atMs }) => status === 200 && atMs > notAfter.getTime() + 1000);
    expect(late).to.deep.equal([]);
    expect(seen.at(-1)?.atMs).to.be.at.least(notAfter.getTime() - 50);
  });

  describe('of kubelets', () => {
    const nodeKey = { group: '', resource: 'nodes', namespace: '', name: 'node2' };
    interface NodeStatus {
      addresses: { type: string; address: string }[];
      daemonEndpoints: { kubeletEndpoint: { Port: number } };
    }

    /** Points node2 elsewhere until the test is over. */
    function moveNode(address: string, port: number): void {
      const { store } = stage().sandbox;
      const was = structuredClone(store.mustGet(nodeKey)['status']) as NodeStatus;
      const set = (status: Pick<NodeStatus, 'addresses' | 'daemonEndpoints'>): void => {
        store.mutate(nodeKey, (draft) => Object.assign(draft['status'] as NodeStatus, structuredClone(status)));
      };
      set({ addresses: [{ type: 'InternalIP', address }], daemonEndpoints: { kubeletEndpoint: { Port: port } } });
      scope.add(() => set(was));
    }

    async function listen(server: Server, address: string): Promise<number> {
      const sockets = new Set<Socket>();
      server.on('connection', (socket: Socket) => {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.once('close', () => sockets.delete(socket));
      });
      server.listen(0, address);
      await once(server, 'listening');
      scope.add(async () => {
        for (const socket of sockets) socket.destroy();
        server.close();
        await once(server, 'close');
      });
      return (server.address() as AddressInfo).port;
    }

    /** Every way to a kubelet. */
    async function answersOf(
      token: string,
      ways: readonly string[] = ['exec', 'attach', 'portforward', 'log'],
    ): Promise<string[]> {
      const bearer = `Authorization: Bearer ${token}`;
      const spdy = ['Connection: Upgrade', 'Upgrade: SPDY/3.1'];
      const v4 = 'X-Stream-Protocol-Version: v4.channel.k8s.io';
      const db = `${clusterPath}/api/v1/namespaces/default/pods/db`;
      const requests: Readonly<Record<string, string>> = {
        exec: head(`POST ${db}/exec?command=id&stdout=true HTTP/1.1`, host, bearer, ...spdy, v4),
        attach: head(`POST ${db}/attach?stdout=true HTTP/1.1`, host, bearer, ...spdy, v4),
        portforward: head(
          `POST ${db}/portforward HTTP/1.1`,
          host,
          bearer,
          ...spdy,
          'X-Stream-Protocol-Version: portforward.k8s.io',
        ),
        // kube-apiserver, asked first, verifies nothing here, as it was told; kexer does all the same. (Of a log without this option
        // kube-apiserver's own refusal is the answer.)
        log: head(`GET ${db}/log?insecureSkipTLSVerifyBackend=true HTTP/1.1`, host, bearer, 'Connection: close'),
      };
      const texts: string[] = [];
      for (const way of ways) {
        const [answer] = await sendUntilClosed(stage().raw(), requests[way] ?? '');
        texts.push(`${answer?.status} ${messageOf(answer ?? { status: 0, headers: [], body: '' })}`);
      }
      return texts;
    }

    /** Execs until one fails with this text: kexer hears of the node by its watch. */
    async function whenRefused(token: string, pattern: RegExp): Promise<void> {
      const client = stage().client(stage().direct, { token });
      const headers = [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
      ] as const;
      const path = '/api/v1/namespaces/default/pods/db/exec?command=true&stdout=true';
      while (!pattern.test((await client.upgrade({ method: 'POST', path, headers })).body.toString()));
    }

    it('for another name are refused on every way, by a text that names node, names and setting', async () => {
      const kubelet = stage().sandbox.kubelets.get('node2');
      const { token } = await stage().account();
      // The real kubelet, at an address that its certificate does not name.
      const relay = createTcpServer((client) => {
        const upstream = connectTcp({ host: '127.0.0.1', port: kubelet?.port ?? 0 });
        client.on('close', () => upstream.destroy());
        upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
        client.pipe(upstream).pipe(client);
      });
      const port = await listen(relay, '127.0.0.2');
      moveNode('127.0.0.2', port);
      await whenRefused(token, /127\.0\.0\.2/);
      const before = kubelet?.requests.filter(({ userAgent }) => userAgent.startsWith('kexer/')).length;
      const answers = await answersOf(token);
      for (const answer of answers) {
        expect(answer).to.match(
          /^502 Cannot trust the kubelet of node node2 at 127\.0\.0\.2:\d+: its certificate is not for 127\.0\.0\.2 but for .*127\.0\.0\.1.*--kubelet-preferred-address-types/,
        );
      }
      expect(kubelet?.requests.filter(({ userAgent }) => userAgent.startsWith('kexer/')).length).to.equal(before);
    });

    it('of an impostor who has another authority’s certificate are refused before a byte of a request is sent', async () => {
      const { files } = stage().sandbox;
      const { token } = await stage().account();
      let received = '';
      // As good as it gets without the kubelets' authority: the cluster's own serving CA, and the right address.
      const impostor = createTlsServer(
        { cert: await readFile(files.kexerCertFile, 'utf8'), key: await readFile(files.kexerKeyFile, 'utf8') },
        (socket) => {
          socket.on('error', () => {});
          socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
          socket.write(bytes('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n'));
        },
      );
      impostor.on('tlsClientError', () => {});
      const port = await listen(impostor, '127.0.0.1');
      moveNode('127.0.0.1', port);
      await whenRefused(token, /Cannot trust the kubelet/);
      // Not the log: kube-apiserver itself would ask the impostor, told to verify nothing.
      for (const answer of await answersOf(token, ['exec', 'attach', 'portforward'])) {
        expect(answer).to.match(
          /^502 Cannot trust the kubelet of node node2 .*must be signed by the CA in .*kubelet-ca\.crt/,
        );
      }
      expect(received).to.equal('');
    });
  });
});
