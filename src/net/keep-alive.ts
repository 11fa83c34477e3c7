// TCP keepalive of every socket, accepted or dialled: as Go's, which is what both ends of these connections have when kexer is not between
// them. A machine that is gone is noticed after two and a half minutes on any connection that is waiting to receive, and a network may be
// away for almost as long. (Node's default of ten probes a second apart would end a silent session for an outage of ten seconds.)

/** What is needed of a socket. */
export interface KeptAlive {
  setKeepAlive(enable: boolean, initialDelayMs: number, intervalMs: number, count: number): unknown;
}

const delayMs = 15_000;
const intervalMs = 15_000;
const probes = 9;

export function keepAlive(socket: KeptAlive): void {
  socket.setKeepAlive(true, delayMs, intervalMs, probes);
}
