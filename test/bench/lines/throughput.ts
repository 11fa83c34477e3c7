// CPU seconds for a GiB of payload in each direction and each protocol that kexer relays or translates. nginx and the pipeline pass the
// bytes of an SPDY exec; against them stand all of kexer's ways in that direction.

import type { TransferKind } from '../processes/client.ts';
import { inTurn, type Line, Samples } from '../support/line.ts';
import { cpuSeconds } from '../support/process-stat.ts';
import type { Contestant, Stage } from '../support/stage.ts';

const ways: readonly { kind: TransferKind; name: string; limit: number }[] = [
  { kind: 'spdyOut', name: 'stdout, SPDY', limit: 0.95 },
  { kind: 'webSocketOut', name: 'stdout, WebSocket v5', limit: 1 },
  { kind: 'tunnelOut', name: 'port-forward, tunnel', limit: 1.1 },
  { kind: 'spdyIn', name: 'stdin, SPDY', limit: 0.95 },
  { kind: 'webSocketIn', name: 'stdin, WebSocket v5', limit: 1.05 },
];

/** What peers are given; all of kexer's ways are held against the one of their direction. */
const peerKinds: ReadonlySet<TransferKind> = new Set(['spdyOut', 'spdyIn']);

export async function throughput(stage: Stage, options: { rounds: number; mebibytes: number }): Promise<Line[]> {
  const { rounds, mebibytes } = options;
  const contestants = [...(await stage.kexers()), await stage.nginx(), await stage.relay()];
  const samples = new Map(ways.map(({ kind }) => [kind, new Samples()]));
  const runs = ways.flatMap(({ kind }) =>
    contestants.filter(({ route }) => route.isKexer || peerKinds.has(kind)).map((contestant) => ({ kind, contestant })),
  );
  // The first round is for the compilers of V8.
  for (let round = -1; round < rounds; round += 1) {
    for (const { kind, contestant } of inTurn(runs, round)) {
      const seconds = await cpuOf(contestant, () =>
        stage.client.call('transfer', { route: contestant.route, kind, mebibytes }),
      );
      if (round >= 0) samples.get(kind)?.add(contestant.name, (seconds * 1024) / mebibytes);
    }
  }
  for (const contestant of contestants) await contestant.stop();
  return ways.map(({ kind, name, limit }) => {
    const own = samples.get(kind) ?? new Samples();
    const peers = samples.get(kind.endsWith('Out') ? 'spdyOut' : 'spdyIn') ?? new Samples();
    const kexer = own.median('kexer');
    return {
      name: `CPU: ${name}`,
      unit: 's/GiB',
      goal: `≤ ${limit} × nginx`,
      kexer,
      peers: { ...peers.peers(), ...own.peers() },
      ratio: kexer / peers.median('nginx'),
      limit,
    };
  });
}

export async function cpuOf(contestant: Contestant, run: () => Promise<unknown>): Promise<number> {
  const before = cpuSeconds(contestant.pid);
  await run();
  return cpuSeconds(contestant.pid) - before;
}
