// What a campaign says of a leftover: once, and it is gone or known for the runs after it.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

import { expect } from 'chai';

import { Residue } from './residue.ts';
import { FaultStage } from './support/stage.ts';

describe('Residue', function () {
  this.timeout(60_000);
  let stage: FaultStage;

  before(async () => {
    stage = await FaultStage.start();
  });

  after(() => stage.stop());

  it('reports a connection that stays open once, and closes it', async () => {
    const residue = new Residue(stage, { deadlineMs: 50 });
    expect(await residue.report()).to.deep.equal([]);
    const socket = connect({ host: '127.0.0.1', port: stage.kubeletOf('node1').port });
    socket.on('error', () => {}); // its end is what is looked at
    const closed = new Promise((resolve) => {
      socket.once('close', resolve);
    });
    await once(socket, 'connect');
    expect(await residue.report()).to.deep.equal(['connection 1 of the kubelet of node1 is open']);
    await closed;
    expect(await residue.report()).to.deep.equal([]);
  });

  it('takes no connection for one of the run that has the same port and leads elsewhere', async () => {
    const residue = new Residue(stage, { deadlineMs: 50 });
    const elsewhere = createServer().listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    stage.clientProxy.aimAt((elsewhere.address() as AddressInfo).port);
    const client = connect({ host: '127.0.0.1', port: stage.clientProxy.port });
    const [{ remotePort: localPort }] = (await once(elsewhere, 'connection')) as [{ remotePort: number }];
    // Only the kernel shares a port between connections to different targets; who asks for one gets it for another address.
    const kept = connect({ host: '127.0.0.1', port: stage.kexer.port, localAddress: '127.0.0.2', localPort });
    try {
      await once(kept, 'connect');
      client.destroy();
      expect(await residue.report()).to.deep.equal([]);
    } finally {
      client.destroy();
      kept.destroy();
      elsewhere.close();
      stage.clientProxy.aimAt(stage.kexer.port);
    }
  });

  it('knows what it cannot undo, and still sees what comes after it', async () => {
    const residue = new Residue(stage, { deadlineMs: 50 });
    stage.kexer.noise = 'oh';
    expect(await residue.report()).to.deep.equal(['kexer complains: oh']);
    expect(await residue.report()).to.deep.equal([]);
    stage.kexer.noise = 'oh no';
    expect(await residue.report()).to.deep.equal(['kexer complains: oh no']);
    expect(await residue.report()).to.deep.equal([]);
    stage.kexer.noise = '';
  });
});
