// An exec over SPDY whose kubelet goes before its command: whatever it had sent until then, the client reads a Failure that says what broke.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { ExecRelay, type ExecRelayOptions } from '../../src/streams/exec-relay.ts';
import { makeRig, quiet, type Rig, SpdyPeer, until } from './support/rig.ts';

const success = '{"metadata":{},"status":"Success"}';

function failureText(text: string): string {
  return ` {"status":"Failure","message":"Internal error occurred: ${text}","reason":"InternalError","code":500}`;
}

describe('ExecRelay whose kubelet is lost', () => {
  let rig: Rig<ExecRelay>;
  let client: SpdyPeer;

  function start(options: Partial<ExecRelayOptions> = {}): void {
    const all = { version: 4, hasTty: false, backend: 'the kubelet of node node1', ...options } as const;
    rig = makeRig((deps, legs) => new ExecRelay(deps, legs, all));
    client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
  }

  async function open(...types: string[]): Promise<void> {
    for (const type of types) client.open(type);
    await until(() => rig.kubelet.streams.length >= types.length, 'the streams at the kubelet');
  }

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  describe('never a success that the kubelet did not send', () => {
    const reset = 'the connection to the kubelet of node node1 broke (ECONNRESET)';
    const closed = 'the kubelet of node node1 closed the connection';
    const over = 'the kubelet of node node1 ended the session';
    const cases: { what: string; script: () => void; text: string }[] = [
      {
        what: 'a reset in the middle of output',
        script: () => {
          rig.kubelet.of('stdout').stream.write(Buffer.from('half'));
          setImmediate(() => setImmediate(() => rig.kubelet.socket.destroy()));
        },
        text: `${reset} before the command had ended`,
      },
      {
        what: 'a FIN without a status',
        script: () => rig.kubelet.socket.end(),
        text: `${closed} before the command had ended`,
      },
      {
        what: 'GOAWAY without a status',
        script: () => rig.kubelet.connection.goaway(),
        text: `${over} without a status of the command`,
      },
      {
        what: 'streams that end without a status',
        script: () => {
          rig.kubelet.of('stdout').stream.end();
          rig.kubelet.of('error').stream.end();
        },
        text: `${over} without a status of the command`,
      },
      {
        what: 'a status without the end of the output before a FIN',
        script: () => {
          rig.kubelet.of('error').stream.write(Buffer.from(success));
          rig.kubelet.of('error').stream.end();
          setImmediate(() => rig.kubelet.socket.end()); // behind the frames, which leave at the end of this turn
        },
        text: `${closed} before all output had arrived`,
      },
      {
        what: 'half a status',
        script: () => {
          rig.kubelet.of('error').stream.write(Buffer.from(success.slice(0, -2)));
          rig.kubelet.connection.goaway();
        },
        text: `${over} with a status that cannot be read`,
      },
      {
        what: 'a status that is none',
        script: () => {
          rig.kubelet.of('error').stream.write(Buffer.from('{"status":"Fine"}'));
          rig.kubelet.connection.goaway();
        },
        text: `${over} with a status that cannot be read`,
      },
    ];
    for (const { what, script, text } of cases) {
      it(`turns ${what} into a Failure, then GOAWAY`, async () => {
        start();
        await open('error', 'stdout');
        script();
        await until(() => client.end !== undefined);
        expect(client.text('error')).to.equal(failureText(text));
        expect(client.end).to.deep.equal({ how: 'goaway' });
        client.socket.destroy();
        await until(() => rig.ended !== undefined);
        expect(rig.ended).to.deep.equal({ cause: 'kubeletGone', message: text });
      });
    }
  });

  describe('before the client has opened its streams', () => {
    const text = 'the connection to the kubelet of node node1 broke (ECONNRESET) before the command had ended';
    const count = 4;

    async function lose(...opened: string[]): Promise<void> {
      start({ streamCount: count });
      if (opened.length > 0) await open(...opened);
      await quiet();
      rig.kubelet.socket.destroy();
      await until(() => rig.innerKubeletSocket.destroyed);
      await quiet();
    }

    for (const opened of [[], ['error'], ['error', 'stdin', 'stdout']]) {
      it(`tells it when it has, one after the other as client-go does: ${opened.length} before`, async () => {
        await lose(...opened);
        expect(client.end).to.equal(undefined);
        for (const type of ['error', 'stdin', 'stdout', 'stderr'].slice(opened.length)) {
          client.open(type);
          await until(() => client.log.includes(`reply ${type}`) || client.end !== undefined, `a reply to ${type}`);
        }
        await until(() => client.end !== undefined);
        expect(client.end).to.deep.equal({ how: 'goaway' });
        expect(['error', 'stdout', 'stderr'].map((type) => client.of(type).end)).to.deep.equal(['fin', 'fin', 'fin']);
        const { message, status } = JSON.parse(client.text('error')) as { message: string; status: string };
        expect(status).to.equal('Failure');
        expect(message).to.contain('the connection to the kubelet of node node1 broke (ECONNRESET)');
        client.socket.destroy();
        await until(() => rig.ended !== undefined);
        expect([rig.ended?.cause, text.startsWith(String(rig.ended?.message).slice(0, 40))]).to.deep.equal([
          'kubeletGone',
          true,
        ]);
      });
    }

    it('does not wait longer than 10 s', async () => {
      await lose('error');
      rig.clock.advance(9_999);
      await quiet();
      expect(client.end).to.equal(undefined);
      rig.clock.advance(1);
      await until(() => client.end !== undefined);
    });

    it('takes no second error stream, and none after the last', async () => {
      await lose('error', 'stdin');
      client.open('error');
      await until(() => client.log.includes('end error reset'));
      client.open('stdout');
      await until(() => client.end !== undefined);
      expect(client.end).to.deep.equal({ how: 'goaway' });
    });

    it('waits for nobody who has left', async () => {
      await lose('error');
      client.socket.destroy();
      await until(() => rig.ended !== undefined);
    });
  });
});
