import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { ExecTranslate, type ExecTranslateOptions } from '../../src/streams/exec-translate.ts';
import { makeRig, quiet, type Rig, until } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

const runtimeSuccess = '{"status":"Success"}';
const runtimeExit =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [x], exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
const translatedExit =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
const runtimeFailure =
  '{"metadata":{},"status":"Failure","message":"Internal error occurred: error executing command in container: no such","reason":"InternalError","details":{"causes":[{"message":"error executing command in container: no such"}]},"code":500}';
const translatedFailure =
  '{"metadata":{},"status":"Failure","message":"Internal error occurred: Internal error occurred: error executing command in container: no such","reason":"InternalError","details":{"causes":[{"message":"Internal error occurred: error executing command in container: no such"}]},"code":500}';

describe('ExecTranslate', () => {
  let rig: Rig<ExecTranslate>;
  let client: WsPeer;

  function start(options: Partial<ExecTranslateOptions> = {}, rigOptions: { highWaterMark?: number } = {}): void {
    rig = makeRig(
      (deps, legs) =>
        new ExecTranslate(deps, legs, {
          version: 5,
          isBase64: false,
          hasStdin: true,
          hasStdout: true,
          hasStderr: true,
          hasTty: false,
          backend: 'the kubelet of node node1',
          ...options,
        }),
      rigOptions,
    );
    client = new WsPeer(rig.clientSocket, rig.clock);
  }

  async function ready(): Promise<void> {
    await until(() => rig.kubelet.streams.length > 0 && client.messages.length > 0);
    await quiet();
  }

  function endOfCommand(status: string): void {
    rig.kubelet.of('error').stream.write(Buffer.from(status));
    rig.kubelet.connection.goaway();
  }

  async function ended(): Promise<void> {
    await until(() => client.end !== undefined, 'the end of the client');
    await until(() => rig.ended !== undefined, 'the end of the session');
  }

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  for (const { what, options, streams, first } of [
    {
      what: 'all three',
      options: {},
      streams: ['error', 'stdin', 'stdout', 'stderr'],
      first: 1,
    },
    {
      what: 'a terminal, which has no stderr and a resize stream',
      options: { hasTty: true },
      streams: ['error', 'stdin', 'stdout', 'resize'],
      first: 1,
    },
    {
      what: 'stderr alone',
      options: { hasStdin: false, hasStdout: false },
      streams: ['error', 'stderr'],
      first: 2,
    },
    {
      what: 'stdin alone',
      options: { hasStdout: false, hasStderr: false },
      streams: ['error', 'stdin'],
      first: 3,
    },
  ]) {
    it(`opens the streams for ${what} and begins with an empty message on channel ${first}`, async () => {
      start(options);
      await ready();
      expect(rig.kubelet.streams.map(({ type }) => type)).to.deep.equal(streams);
      expect(client.messages).to.deep.equal([`${first}:`]);
    });
  }

  it('passes output by channel, then the status, then Close 1000', async () => {
    start();
    await ready();
    const { kubelet } = rig;
    kubelet.of('stdout').stream.write(Buffer.from('out\n'));
    kubelet.of('stderr').stream.write(Buffer.from('err\n'));
    endOfCommand(runtimeExit);
    await ended();
    expect(client.messages).to.deep.equal(['1:', '1:out\n', '2:err\n', `3:${translatedExit}`]);
    expect(client.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
    expect(rig.ended).to.deep.equal({ cause: 'normal', message: 'the command exited', exitCode: 3 });
    expect(rig.session.bytesOut).to.equal(8);
  });

  it('holds a status that comes before the last output: clients close at once when they have it', async () => {
    start({ version: 4 });
    await ready();
    rig.kubelet.of('error').stream.write(Buffer.from(runtimeSuccess));
    rig.kubelet.of('error').stream.end();
    await quiet();
    rig.kubelet.of('stdout').stream.write(Buffer.from('late'));
    rig.kubelet.connection.goaway();
    await ended();
    expect(client.messages).to.deep.equal(['1:', '1:late', `3:${runtimeSuccess}`]);
  });

  for (const { version, status, text } of [
    { version: 5, status: runtimeSuccess, text: '{"metadata":{},"status":"Success"}' },
    { version: 5, status: runtimeFailure, text: translatedFailure },
    { version: 4, status: runtimeSuccess, text: runtimeSuccess },
    { version: 4, status: runtimeExit, text: runtimeExit },
    { version: 4, status: runtimeFailure, text: runtimeFailure },
    {
      version: 1,
      status: runtimeExit,
      text: 'command terminated with non-zero exit code: error executing command [x], exit code 3',
    },
  ] as const) {
    it(`spells ${status.slice(0, 60)}… as v${version} servers do`, async () => {
      start({ version });
      await ready();
      endOfCommand(status);
      await ended();
      expect(client.text(3)).to.equal(text);
    });
  }

  it('tells the session nothing of a text that quotes the command', async () => {
    start();
    await ready();
    endOfCommand(runtimeFailure);
    await ended();
    expect(rig.ended).to.deep.equal({ cause: 'normal', message: 'the kubelet reported a failure (InternalError)' });
  });

  it('sends no status on success in the first protocol, which has none', async () => {
    start({ version: 1 });
    await ready();
    endOfCommand(runtimeSuccess);
    await ended();
    expect(client.messages).to.deep.equal(['1:']);
    expect(client.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
  });

  describe('never a success that the kubelet did not send', () => {
    const cases = [
      {
        what: 'a reset',
        script: (): void => void rig.kubelet.socket.destroy(),
        text: 'the connection to the kubelet of node node1 broke (ECONNRESET) before the command had ended',
      },
      {
        what: 'a FIN',
        script: (): void => void rig.kubelet.socket.end(),
        text: 'the kubelet of node node1 closed the connection before the command had ended',
      },
      {
        what: 'GOAWAY without a status',
        script: (): void => rig.kubelet.connection.goaway(),
        text: 'the kubelet of node node1 ended the session without a status of the command',
      },
    ];
    for (const { what, script, text } of cases) {
      for (const version of [5, 4, 1] as const) {
        it(`turns ${what} into a Failure and Close 1000 in v${version}`, async () => {
          start({ version });
          await ready();
          rig.kubelet.of('stdout').stream.write(Buffer.from('half'));
          await until(() => client.text(1) === 'half');
          script();
          await ended();
          expect(client.text(3)).to.contain(text);
          expect(client.text(3).includes('"status":"Failure"')).to.equal(version !== 1);
          expect(client.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
          expect(rig.ended?.cause).to.equal('kubeletGone');
        });
      }
    }
  });

  it('carries stdin and its half-close in v5, and output after it', async () => {
    start();
    await ready();
    client.send(0, 'in');
    client.connection.sendBinary(Buffer.of(255, 0));
    client.connection.sendBinary(Buffer.of(255, 0));
    client.send(0, 'after the end');
    await until(() => rig.kubelet.of('stdin').end === 'fin');
    await quiet();
    expect(rig.kubelet.text('stdin')).to.equal('in');
    rig.kubelet.of('stdout').stream.write(Buffer.from('still'));
    await until(() => client.text(1) === 'still');
  });

  it('ignores FF in v4, and messages on channels that clients do not write', async () => {
    start({ version: 4 });
    await ready();
    for (const channel of [255, 1, 2, 3, 4, 9]) client.send(channel, '\0');
    client.connection.sendBinary(Buffer.alloc(0));
    client.send(0, 'x');
    await until(() => rig.kubelet.text('stdin') === 'x');
    expect(rig.kubelet.of('stdin').end).to.equal(undefined);
    expect(client.end).to.equal(undefined);
  });

  it('drops a client whose half-close message is malformed', async () => {
    start();
    await ready();
    client.connection.sendBinary(Buffer.of(255, 9));
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('protocol');
  });

  it('takes text messages as it takes binary ones', async () => {
    start();
    await ready();
    client.connection.sendText('\0héllo');
    await until(() => rig.kubelet.text('stdin') === 'héllo');
  });

  it('translates both ways in the base64 forms', async () => {
    start({ version: 4, isBase64: true });
    await ready();
    client.connection.sendText(`0${Buffer.from([0, 255, 10]).toString('base64')}`);
    await until(() => Buffer.concat(rig.kubelet.of('stdin').data).equals(Buffer.of(0, 255, 10)));
    rig.kubelet.of('stdout').stream.write(Buffer.from('out'));
    endOfCommand(runtimeSuccess);
    await ended();
    expect(client.messages).to.deep.equal(['text 1:', 'text 1:out', `text 3:${runtimeSuccess}`]);
  });

  it('passes the size of the terminal', async () => {
    start({ hasTty: true });
    await ready();
    client.send(4, '{"Width":100,"Height":30}');
    await until(() => rig.kubelet.text('resize') === '{"Width":100,"Height":30}');
  });

  it('closes the leg of the kubelet when the client closes, and does not end its stdin', async () => {
    start();
    await ready();
    void client.connection.close(1000);
    await until(() => rig.kubelet.end !== undefined);
    expect(rig.kubelet.of('stdin').end).to.equal('cut');
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('clientGone');
  });

  for (const [what, code] of [
    ['a Close', 1000],
    ['a Close without a code', 1005],
  ] as const) {
    it(`ends stdin at ${what} in v4, after all of it, and waits for the command`, async () => {
      start({ version: 4 });
      await ready();
      client.send(0, 'upload');
      void client.connection.close(code);
      await until(() => rig.kubelet.of('stdin').end !== undefined);
      expect([rig.kubelet.text('stdin'), rig.kubelet.of('stdin').end]).to.deep.equal(['upload', 'fin']);
      expect(rig.kubelet.end).to.equal(undefined);
      rig.kubelet.of('stdout').stream.write(Buffer.from('nobody reads this'));
      endOfCommand('{"metadata":{},"status":"Success"}');
      await until(() => rig.ended !== undefined);
      expect(rig.ended?.cause).to.equal('clientGone');
    });
  }

  it('records the exit code of a command whose client has said Close in v4', async () => {
    start({ version: 4 });
    await ready();
    void client.connection.close(1000);
    await until(() => rig.kubelet.of('stdin').end === 'fin');
    endOfCommand(runtimeExit);
    await until(() => rig.ended !== undefined);
    expect(rig.ended).to.deep.equal({
      cause: 'clientGone',
      message: 'the client closed the connection',
      exitCode: 3,
    });
  });

  it('waits in v4 for 10 s once the kubelet has read all of stdin, whatever the command prints meanwhile', async () => {
    start({ version: 4 });
    await ready();
    void client.connection.close(1000);
    await until(() => rig.kubelet.of('stdin').end === 'fin');
    await quiet();
    rig.kubelet.of('stdout').stream.write(Buffer.from('and on it goes'));
    await quiet();
    rig.clock.advance(9_999);
    await quiet();
    expect(rig.kubelet.end).to.equal(undefined);
    rig.clock.advance(1);
    await until(() => rig.kubelet.end !== undefined);
    await until(() => rig.ended !== undefined);
    expect([rig.kubelet.end, rig.session.bytesOut]).to.deep.equal([{ how: 'goaway' }, 0]);
  });

  it('waits in v4 as long as the command reads, and 10 min if it does not', async () => {
    start({ version: 4 }, { highWaterMark: 16 * 1024 });
    await ready();
    const bytes = 100 * 1024; // below what shuts the gate, and more than the kubelet's socket takes
    client.send(0, Buffer.alloc(bytes));
    await quiet();
    const stdin = (): number => rig.kubelet.of('stdin').data.reduce((sum, { length }) => sum + length, 0);
    expect(stdin()).to.equal(bytes);
    rig.kubelet.connection.pause(); // the command reads no more
    client.send(0, Buffer.alloc(bytes));
    void client.connection.close(1000);
    await quiet();
    rig.clock.advance(599_999);
    await quiet();
    expect([rig.kubelet.end, rig.ended]).to.deep.equal([undefined, undefined]);
    rig.kubelet.connection.resume();
    await until(() => rig.kubelet.of('stdin').end === 'fin');
    await quiet(); // for the echo behind it
    expect(stdin()).to.equal(2 * bytes);
    rig.clock.advance(9_999);
    await quiet();
    expect(rig.ended).to.equal(undefined);
    rig.clock.advance(1);
    await until(() => rig.ended !== undefined);
  });

  it('gives up in v4 when nothing of stdin has left for 10 min after the Close', async () => {
    start({ version: 4 }, { highWaterMark: 16 * 1024 });
    await ready();
    rig.kubelet.connection.pause();
    client.send(0, Buffer.alloc(100 * 1024));
    void client.connection.close(1000);
    await quiet();
    rig.clock.advance(600_000);
    await quiet();
    rig.clock.advance(600_000); // some of it left at first
    rig.clock.advance(3_000);
    await until(() => rig.innerKubeletSocket.destroyed);
    await until(() => rig.ended !== undefined);
  });

  for (const version of [1, 4] as const) {
    it(`does not wait for a command without stdin in v${version}`, async () => {
      start({ version, hasStdin: false });
      await ready();
      void client.connection.close(1000);
      await until(() => rig.kubelet.end !== undefined);
      await until(() => rig.ended !== undefined);
    });
  }

  it('does not wait in v4 after a Close with any other code', async () => {
    start({ version: 4 });
    await ready();
    void client.connection.close(1001);
    await until(() => rig.kubelet.end !== undefined);
    expect(rig.kubelet.of('stdin').end).to.equal('cut');
    await until(() => rig.ended !== undefined);
  });

  it('is ended from outside while it waits in v4, and by a kubelet that is lost', async () => {
    for (const lose of [() => rig.piece.end('drained'), () => void rig.kubelet.socket.destroy()]) {
      start({ version: 4 });
      await ready();
      void client.connection.close(1000);
      await until(() => rig.kubelet.of('stdin').end === 'fin');
      lose();
      await until(() => rig.ended !== undefined);
      expect([rig.ended?.cause, rig.ended?.exitCode]).to.deep.equal(['clientGone', undefined]);
    }
  });

  it('does not end stdin in v4 when the client is cut', async () => {
    start({ version: 4 });
    await ready();
    rig.clientSocket.destroy();
    await until(() => rig.kubelet.end !== undefined);
    expect(rig.kubelet.of('stdin').end).to.equal('cut');
    await until(() => rig.ended !== undefined);
  });

  it('answers pings while output flows to a client that reads slowly, with a pong every 256 KiB unasked', async () => {
    start();
    await ready();
    rig.kubelet.of('stdout').stream.write(Buffer.alloc(1024 * 1024));
    await until(() => client.text(1).length === 1024 * 1024);
    expect(client.pongs).to.equal(4);
    client.connection.ping();
    await until(() => client.pongs === 5);
  });

  it('sends pongs while stdin is blocked, and takes in a little', async () => {
    start({}, { highWaterMark: 16 * 1024 });
    await ready();
    rig.kubelet.connection.pause();
    const chunk = Buffer.alloc(32 * 1024);
    for (let round = 0; round < 400 && client.connection.isWritable; round += 1) {
      client.send(0, chunk);
      await quiet();
    }
    expect(client.connection.isWritable).to.equal(false);
    const taken = rig.session.bytesIn;
    rig.clock.advance(15_000);
    await quiet();
    expect([client.pongs, rig.session.bytesIn]).to.deep.equal([7, taken]);
    rig.clock.advance(10_000);
    await quiet();
    expect(rig.session.bytesIn).to.be.greaterThan(taken);
    rig.kubelet.connection.resume();
    await until(() => client.connection.isWritable);
    await quiet();
    const pongs = client.pongs;
    rig.clock.advance(20_000);
    await quiet();
    expect(client.pongs).to.equal(pongs);
  });

  it('ends with a Failure that says why when it is told to end', async () => {
    start();
    await ready();
    rig.piece.end('session ended by bob');
    await ended();
    expect(client.text(3)).to.contain('Internal error occurred: session ended by bob');
    expect(rig.ended).to.deep.equal({ cause: 'ended', message: 'session ended by bob' });
  });
});
