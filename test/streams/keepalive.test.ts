// Keepalive of every kind of session on both of its legs: idle connections are pinged, and a peer that answers no more is not taken for
// alive forever. What proves a peer dead is silence-watch's; here it is held that every leg has it.

import { PassThrough } from 'node:stream';

import { expect } from 'chai';

import { ExecRelay } from '../../src/streams/exec-relay.ts';
import { ExecTranslate } from '../../src/streams/exec-translate.ts';
import type { Leg, RunningStream } from '../../src/streams/leg.ts';
import { LogSocket } from '../../src/streams/log-socket.ts';
import { PortChannels } from '../../src/streams/port-channels.ts';
import { PortRelay } from '../../src/streams/port-relay.ts';
import type { Session } from '../../src/streams/session.ts';
import { TunnelDuplex } from '../../src/streams/tunnel.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { makeRig, quiet, type Rig, SpdyPeer } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

type Make = (deps: { clock: FakeClock; session: Session }, legs: { client: Leg; kubelet: Leg }) => RunningStream;

interface Kind {
  readonly name: string;
  readonly client: 'spdy' | 'webSocket';
  readonly hasKubeletLeg: boolean;
  readonly make: Make;
}

const backend = 'the kubelet of node node1';
const channels = {
  version: 5,
  isBase64: false,
  hasStdin: true,
  hasStdout: true,
  hasStderr: false,
  hasTty: false,
} as const;

const kinds: readonly Kind[] = [
  {
    name: 'exec over SPDY',
    client: 'spdy',
    hasKubeletLeg: true,
    make: (deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend }),
  },
  {
    name: 'exec over WebSocket',
    client: 'webSocket',
    hasKubeletLeg: true,
    make: (deps, legs) => new ExecTranslate(deps, legs, { ...channels, backend }),
  },
  {
    name: 'port-forward over SPDY',
    client: 'spdy',
    hasKubeletLeg: true,
    make: (deps, legs) => new PortRelay(deps, legs, { backend }),
  },
  {
    name: 'port-forward in a tunnel',
    client: 'webSocket',
    hasKubeletLeg: true,
    make: (deps, { client, kubelet }) => {
      const socket = new TunnelDuplex(deps, client);
      return new PortRelay(deps, { client: { socket, head: Buffer.alloc(0) }, kubelet }, { backend });
    },
  },
  {
    name: 'port-forward over channels',
    client: 'webSocket',
    hasKubeletLeg: true,
    make: (deps, legs) => new PortChannels(deps, legs, { ports: [80], isBase64: false, backend }),
  },
  {
    name: 'logs over WebSocket',
    client: 'webSocket',
    hasKubeletLeg: false,
    make: (deps, { client, kubelet }) => {
      kubelet.socket.destroy();
      const log = { body: Object.assign(new PassThrough(), { complete: false }), source: backend };
      return new LogSocket(deps, { client, log }, { isBase64: false });
    },
  },
];

const minuteMs = 60_000;

describe('keepalive', () => {
  for (const kind of kinds) {
    describe(`of ${kind.name}`, () => {
      let rig: Rig<RunningStream>;
      let client: SpdyPeer | WsPeer;

      beforeEach(async () => {
        rig = makeRig(kind.make);
        client =
          kind.client === 'spdy'
            ? new SpdyPeer(rig.clientSocket, rig.clock, 'client')
            : new WsPeer(rig.clientSocket, rig.clock);
        // Before its first frame an SPDY client is sent nothing.
        if (client instanceof SpdyPeer)
          client.open('error', [
            ['port', '80'],
            ['requestid', '0'],
          ]);
        await quiet();
      });

      afterEach(async () => {
        await rig.close();
        expect(rig.clock.pendingCount).to.equal(0);
      });

      async function pass(minutes: number): Promise<void> {
        for (let half = 0; half < 2 * minutes; half += 1) {
          rig.clock.advance(minuteMs / 2);
          await quiet();
        }
      }

      it('pings both legs while nothing else happens, and goes on for hours with peers that answer', async () => {
        const before = [client.connection.bytesIn, rig.kubelet.connection.bytesIn];
        await pass(60);
        const after = [client.connection.bytesIn, rig.kubelet.connection.bytesIn];
        const counts = after.map((bytes, index) => bytes - (before[index] ?? 0));
        // A WebSocket ping has 6 bytes, an SPDY ping 12; the latter are sent in idle intervals only.
        expect(counts[0]).to.be.at.least(59 * 6);
        if (kind.hasKubeletLeg) expect(counts[1]).to.be.at.least(59 * 12);
        expect(rig.ended).to.equal(undefined);
      });

      it('ends with a client that answers no more', async () => {
        await pass(2);
        client.connection.pause();
        await pass(14);
        expect(rig.ended).to.equal(undefined);
        await pass(3);
        client.connection.destroy();
        await quiet();
        expect(rig.ended).to.have.property('cause', 'clientGone');
        expect(rig.ended?.message).to.contain('no ping');
      });

      if (kind.hasKubeletLeg) {
        it('ends with a kubelet that answers no more, and tells the client', async () => {
          rig.kubelet.connection.pause();
          await pass(2);
          expect(rig.ended).to.equal(undefined);
          await pass(2);
          client.connection.destroy();
          await quiet();
          expect(rig.ended).to.have.property('cause', 'kubeletGone');
          expect(rig.ended?.message).to.contain(`${backend} broke (it has answered no ping for too long)`);
        });
      }
    });
  }
});
