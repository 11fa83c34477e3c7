// The addresses and node ports that a Service gets when it is made. No traffic goes there: the sandbox has no service proxy; but
// kubectl shows them, and two services never have the same.

import { child, integer, records, setDefault, strings, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Store } from '../store.ts';

const services = { group: '', resource: 'services' };
const firstNodePort = 30000;

/** Fills clusterIP, its lists, and node ports of a draft. */
export function allocateServiceAddresses(store: Store, draft: KubeObject): void {
  const spec = child(draft, 'spec');
  const type = text(spec['type']);
  if (type === 'ExternalName') return;
  const others = store.list(services).map((service) => child(structuredClone(service), 'spec'));
  if (text(spec['clusterIP']) === '') {
    const taken = new Set(others.map((other) => text(other['clusterIP'])));
    let host = 10;
    const address = (): string => `10.96.${host >> 8}.${host & 255}`;
    while (taken.has(address())) host += 1;
    spec['clusterIP'] = address();
  }
  setDefault(spec, 'clusterIPs', [spec['clusterIP']]);
  if (strings(spec['clusterIPs']).length === 0) spec['clusterIPs'] = [spec['clusterIP']];
  setDefault(spec, 'ipFamilies', ['IPv4']);
  setDefault(spec, 'ipFamilyPolicy', 'SingleStack');
  if (type !== 'NodePort' && type !== 'LoadBalancer') return;
  const ports = new Set(others.flatMap((other) => records(other['ports']).map((port) => integer(port['nodePort']))));
  let next = firstNodePort;
  for (const port of records(spec['ports'])) {
    if (integer(port['nodePort']) !== 0) continue;
    while (ports.has(next)) next += 1;
    port['nodePort'] = next;
    ports.add(next);
  }
}
