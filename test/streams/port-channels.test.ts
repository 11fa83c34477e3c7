import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { PortChannels } from '../../src/streams/port-channels.ts';
import { makeRig, quiet, type Rig, until } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

describe('PortChannels', () => {
  let rig: Rig<PortChannels>;
  let client: WsPeer;

  async function start(isBase64 = false): Promise<void> {
    rig = makeRig(
      (deps, legs) =>
        new PortChannels(deps, legs, { ports: [80, 5432], isBase64, backend: 'the kubelet of node node1' }),
    );
    client = new WsPeer(rig.clientSocket, rig.clock);
    await until(() => rig.kubelet.streams.length === 4 && client.messages.length === 4);
  }

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  function stream(type: string, index: number): (typeof rig.kubelet.streams)[number] {
    const found = rig.kubelet.streams.filter((seen) => seen.type === type)[index];
    if (found === undefined) throw new Error(`no stream ${type} ${index}`);
    return found;
  }

  it('opens a pair a port, and tells each channel its port, little end first', async () => {
    await start();
    expect(rig.kubelet.streams.map((seen) => seen.stream.headers)).to.deep.equal(
      [
        ['error', '80', '0'],
        ['data', '80', '0'],
        ['error', '5432', '1'],
        ['data', '5432', '1'],
      ].map(([type, port, id]) => [
        ['streamtype', type],
        ['port', port],
        ['requestid', id],
      ]),
    );
    expect([0, 1, 2, 3].map((channel) => Buffer.concat(client.bytes.get(channel) ?? []).readUInt16LE())).to.deep.equal([
      80, 80, 5432, 5432,
    ]);
  });

  it('carries bytes by channel, and error text', async () => {
    await start();
    client.send(2, 'select 1');
    client.send(1, 'ignored');
    client.send(9, 'ignored');
    await until(() => Buffer.concat(stream('data', 1).data).toString() === 'select 1');
    stream('data', 0).stream.write(Buffer.from('hello'));
    stream('error', 1).stream.write(Buffer.from('refused'));
    await until(() => client.text(0).endsWith('hello') && client.text(3).endsWith('refused'));
    expect(stream('data', 0).data).to.deep.equal([]);
  });

  it('closes with 1000 when all ports have ended', async () => {
    await start();
    for (const index of [0, 1]) {
      stream('data', index).stream.end();
      stream('error', index).stream.end();
    }
    await until(() => rig.ended !== undefined);
    expect(client.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
    expect(rig.ended?.cause).to.equal('normal');
  });

  it('puts text on every error channel and closes with 1011 when the kubelet dies', async () => {
    await start(true);
    rig.kubelet.socket.destroy();
    await until(() => rig.ended !== undefined);
    const text = 'the connection to the kubelet of node node1 broke (ECONNRESET)';
    expect([client.text(1).slice(2), client.text(3).slice(2)]).to.deep.equal([text, text]);
    expect(client.end).to.include({ how: 'close', code: 1011 });
  });

  it('closes the leg of the kubelet when the client leaves', async () => {
    await start();
    await quiet();
    client.send(0, 'the last words');
    void client.connection.close(1000);
    await until(() => rig.kubelet.end !== undefined);
    expect([Buffer.concat(stream('data', 0).data).toString(), stream('data', 0).end, rig.kubelet.end]).to.deep.equal([
      'the last words',
      'fin',
      { how: 'goaway' },
    ]);
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('clientGone');
  });
});
