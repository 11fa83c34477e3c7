// By which User-Agent kube-apiserver's audit log tells requests that kexer makes for a stream: the client's own, and kexer's mark with the way
// the stream takes and the call's id, which is in kexer's log lines too.

import type { Call } from '../clusters/call.ts';
import { getHeader } from '../protocol/raw-headers.ts';

/** @param way direct: a preflight, the stream goes to the kubelet; detour: the stream itself. */
export function markedUserAgent(call: Call, version: string, way: 'direct' | 'detour'): string {
  const agent = getHeader(call.headers, 'User-Agent') ?? '';
  const mark = `kexer/${version} (${way} ${call.id})`;
  return agent === '' ? mark : `${agent} ${mark}`;
}
