import { EventEmitter, once } from 'node:events';
import { connect, createServer, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { watchSession } from '../../src/server/session-keepalive.ts';

const options = { intervalMs: 5, limitMs: 40 };

describe('watchSession', () => {
  let scope: Scope;
  let port: number;
  let sessions: ServerHttp2Session[];
  let arrived: () => void;

  beforeEach(async () => {
    scope = new Scope();
    sessions = [];
    const server = createServer();
    let socket: Socket | undefined;
    server.prependListener('connection', (accepted: Socket) => (socket = accepted));
    server.on('session', (session) => {
      if (socket !== undefined) watchSession(session, socket, options);
      session.on('error', () => {});
      sessions.push(session);
      arrived();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
    scope.add(async () => {
      server.close();
      for (const session of sessions) session.destroy();
      await once(server, 'close');
    });
  });

  afterEach(() => scope.close());

  function nextSession(): Promise<void> {
    return new Promise((resolve) => {
      arrived = resolve;
    });
  }

  it('leaves a peer alone that answers', async () => {
    const arriving = nextSession();
    const client = connect(`http://127.0.0.1:${port}`);
    scope.add(() => client.destroy());
    let pings = 0;
    const enough = new Promise<void>((resolve) => {
      client.on('ping', () => {
        pings += 1;
        if (pings === 20) resolve();
      });
    });
    await arriving;
    await enough; // at 5 ms each: longer than the limit
    expect(sessions.map(({ destroyed }) => destroyed)).to.deep.equal([false]);
  });

  it('ends one that does not, with its streams', async () => {
    const arriving = nextSession();
    const socket = connectTcp(port, '127.0.0.1');
    scope.add(() => void socket.destroy());
    socket.on('error', () => {});
    // The preface and empty SETTINGS, and nothing ever after.
    socket.write(
      Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]),
    );
    await arriving;
    const [session] = sessions;
    if (session !== undefined && !session.closed) await once(session, 'close');
    expect(session?.destroyed).to.equal(true);
  });

  it('closes the socket of a session that was destroyed and could not close it', () => {
    const events = new EventEmitter();
    const stuck = Object.assign(events, { destroyed: true }) as unknown as ServerHttp2Session;
    const socket = new PassThrough();
    watchSession(stuck, socket, options);
    return once(socket, 'close').then(() => events.emit('close'));
  });
});
