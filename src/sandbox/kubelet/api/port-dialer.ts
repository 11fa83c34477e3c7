// Connects to a pod's port. Pods use the host's network, so that is the loopback of this machine: IPv4 first, then IPv6, as
// containerd does; the error is containerd's text.

import { connect, type Socket } from 'node:net';

class PortError extends Error {}

function dial(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

function codeText(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ECONNREFUSED') return 'connect: connection refused';
  return code === '' ? String(error) : `connect: ${code}`;
}

/** True where the machine has no IPv6 loopback: Go then finds no address for the name. */
function hasNoAddress(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'ENETUNREACH';
}

/** The socket has no error listener; the caller adds one in the same turn. @throws PortError */
export async function dialPort(port: number, sandboxId: string): Promise<Socket> {
  let first: unknown;
  try {
    return await dial('127.0.0.1', port);
  } catch (error) {
    first = error;
  }
  try {
    return await dial('::1', port);
  } catch (error) {
    const where = `failed to connect to localhost:${port} inside namespace "${sandboxId}"`;
    const four = `dial tcp4 127.0.0.1:${port}: ${codeText(first)}`;
    const six = hasNoAddress(error)
      ? 'dial tcp6: address localhost: no suitable address found'
      : `dial tcp6 [::1]:${port}: ${codeText(error)}`;
    const text = `failed to execute portforward in network namespace "host": ${where}, IPv4: ${four} IPv6 ${six} `;
    throw new PortError(text, { cause: error });
  }
}

/** The text on an error stream. The uid is empty, as containerd's is. */
export function forwardErrorText(port: number, sandboxId: string, error: unknown): string {
  const why = error instanceof Error ? error.message : String(error);
  return `error forwarding port ${port} to pod ${sandboxId}, uid : ${why}`;
}
