// The doctor and the kubelets: each of them dialled, and each thing that can be wrong with one.

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import type { KubeObject } from '../../../src/sandbox/apiserver/store.ts';
import { useClinic } from './support/clinic.ts';

const rbac = 'rbac.authorization.k8s.io';

describe('kexer doctor, of kubelets', function () {
  this.timeout(60_000);
  const { sandbox, asKexer, asAdmin, findings, complaints, change, later } = useClinic();

  const node = { group: '', resource: 'nodes', name: 'node2' };
  interface NodeStatus {
    addresses: { type: string; address: string }[];
    daemonEndpoints: { kubeletEndpoint: { Port: number } };
    conditions: { type: string; status: string }[];
    nodeInfo: { kubeletVersion: string };
  }
  const setNode = (edit: (status: NodeStatus, node: KubeObject) => void): void =>
    change(node, (draft) => edit(draft['status'] as NodeStatus, draft));

  /** An address at which node2's kubelet answers, and which its certificate does not name. */
  async function otherAddress(): Promise<number> {
    const upstreamPort = sandbox().kubelets.get('node2')?.port ?? 0;
    const relay = createServer((client) => {
      const upstream = connect({ host: '127.0.0.1', port: upstreamPort });
      client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
      upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
      client.pipe(upstream).pipe(client);
    });
    relay.listen(0, '127.0.0.2');
    await once(relay, 'listening');
    later(
      () =>
        new Promise((resolve) => {
          relay.close(() => resolve());
        }),
    );
    return (relay.address() as AddressInfo).port;
  }

  it('that cannot be reached', async () => {
    setNode((status) => {
      status.daemonEndpoints.kubeletEndpoint.Port = 1;
    });
    expect(await complaints(asKexer())).to.deep.equal({
      code: 1,
      texts: ['fail kubelet node2: Cannot reach the kubelet of node node2 at 127.0.0.1:1: ECONNREFUSED'],
    });
    setNode((status) => {
      status.addresses = [{ type: 'Imaginary', address: 'x' }];
    });
    expect((await complaints(asKexer())).texts[0]).to.match(
      /^fail kubelet node2: Cannot reach node "node2": it has no address/,
    );
  });

  it('of a node that is not ready: a warning', async () => {
    setNode((status) => {
      status.daemonEndpoints.kubeletEndpoint.Port = 1;
      status.conditions = [{ type: 'Ready', status: 'Unknown' }];
    });
    const { code, texts } = await complaints(asKexer());
    expect([code, texts[0]]).to.deep.equal([
      0,
      'warn kubelet node2: It is not ready, and: Cannot reach the kubelet of node node2 at 127.0.0.1:1: ECONNREFUSED',
    ]);
  });

  it('whose certificate names another host', async () => {
    const port = await otherAddress();
    setNode((status) => {
      status.addresses = [{ type: 'InternalIP', address: '127.0.0.2' }];
      status.daemonEndpoints.kubeletEndpoint.Port = port;
    });
    const { code, findings: found } = await findings(asKexer());
    const [finding] = found.filter(({ status }) => status === 'fail');
    expect(code).to.equal(1);
    expect(finding?.what).to.match(
      /^Cannot trust the kubelet of node node2 at 127\.0\.0\.2:\d+: its certificate is not for 127\.0\.0\.2 but for /,
    );
    expect(finding?.fix).to.match(/--kubelet-preferred-address-types/);
  });

  it('whose certificate another CA has signed', async () => {
    const { code, findings: found } = await findings(
      asKexer('--kubelet-certificate-authority', sandbox().files.clientCaFile),
    );
    const failed = found.filter(({ status }) => status === 'fail');
    expect([code, failed.length]).to.deep.equal([1, 2]);
    expect(failed[0]?.what).to.match(
      /^Cannot trust the kubelet of node node1 .*must be signed by the CA in --kubelet-certificate-authority/,
    );
    expect(failed[0]?.fix).to.match(/^Give --kubelet-certificate-authority/);
  });

  it('that are not verified', async () => {
    const config = parse(await readFile(sandbox().files.kexerConfig, 'utf8')) as { kubelet: Record<string, unknown> };
    const { certificateAuthority, ...kubelet } = config.kubelet;
    expect(certificateAuthority).to.be.a('string');
    const file = join(sandbox().dir, 'insecure.yaml');
    await writeFile(file, stringify({ ...config, kubelet: { ...kubelet, insecureTls: true } }));
    const { code, texts } = await complaints(['--config', file]);
    expect(code).to.equal(0);
    expect(texts).to.deep.equal([
      'warn kubelets: Kubelets are not verified: whoever answers at a node’s address gets the streams',
    ]);
  });

  it('that refuse kexer’s credential', async () => {
    const binding = { group: rbac, resource: 'clusterrolebindings', name: 'kexer-kubelet' };
    change(binding, (draft) => {
      draft['subjects'] = [];
    });
    const { code, texts } = await complaints(asKexer());
    expect(code).to.equal(1);
    expect(texts).to.include(
      'fail kubelet node1: Refuses kexer’s credential (403): it needs the verb "get" on nodes/proxy, for logs',
    );
    expect(texts).to.include(
      'fail kubelet node1: Refuses kexer’s credential (403): it needs the verb "create" on nodes/proxy, for exec, attach and port-forward',
    );
  });

  it('that do not know kexer’s certificate', async () => {
    const { frontProxyCertFile: cert, frontProxyKeyFile: key } = sandbox().files;
    const { code, texts } = await complaints(
      asKexer('--kubelet-client-certificate', cert, '--kubelet-client-key', key),
    );
    expect(code).to.equal(1);
    expect(texts).to.include('fail kubelet node1: Does not accept kexer’s credential (401)');
  });

  it('whose token is not to be had', async () => {
    const argv = await asAdmin('--kubelet-service-account', 'kexec-system/absent');
    const { code, texts } = await complaints(argv);
    expect(code).to.equal(1);
    expect(texts.find((text) => text.startsWith('fail kubelet node1'))).to.match(
      /^fail kubelet node1: Cannot get a token of kexer's account towards kubelets: its service account does not exist/,
    );
  });

  it('that are not dialled, by their label, and that are of another age', async () => {
    setNode((status, object) => {
      status.nodeInfo.kubeletVersion = 'v1.20.3';
      object.metadata.labels = { ...object.metadata.labels, 'backup.cv.io/streams': 'apiserver' };
    });
    expect(await complaints(asKexer())).to.deep.equal({
      code: 0,
      texts: ['skip kubelet node2: Its streams go by kube-apiserver: it has the label backup.cv.io/streams=apiserver'],
    });
    setNode((_status, object) => {
      delete object.metadata.labels?.['backup.cv.io/streams'];
    });
    expect((await complaints(asKexer())).texts).to.deep.equal([
      'warn kubelet node2: Its kubelet is of version v1.20.3; kexer is tested with 1.26 to 1.36',
    ]);
  });
});
