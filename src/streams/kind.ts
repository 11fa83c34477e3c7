// Which calls are streams: pods/NAME/{exec,attach,portforward,log} of the core group, by the methods these subresources have. Everything
// else, deeper paths and other methods included, is kube-apiserver's to answer.

import type { Call } from '../clusters/call.ts';
import type { StreamKind } from '../protocol/subprotocols.ts';

const methods: ReadonlyMap<string, { kind: StreamKind; methods: readonly string[] }> = new Map([
  ['exec', { kind: 'exec', methods: ['GET', 'POST'] }],
  ['attach', { kind: 'attach', methods: ['GET', 'POST'] }],
  ['portforward', { kind: 'portforward', methods: ['GET', 'POST'] }],
  ['log', { kind: 'log', methods: ['GET'] }],
]);

export function streamKindOf(call: Pick<Call, 'method' | 'inner'>): StreamKind | undefined {
  const { info } = call.inner;
  // `parts` is pods, NAME, SUBRESOURCE: three, or the path is another one. The verb is watch or proxy in deprecated forms of paths.
  const isPodSubresource =
    info.isResourceRequest &&
    info.apiPrefix === 'api' &&
    info.apiVersion === 'v1' &&
    info.namespace !== '' &&
    info.resource === 'pods' &&
    info.name !== '' &&
    info.parts.length === 3 &&
    (info.verb === 'get' || info.verb === 'create');
  const entry = isPodSubresource ? methods.get(info.subresource) : undefined;
  return entry?.methods.includes(call.method) === true ? entry.kind : undefined;
}
