// A real node: containerd with runc and a kubelet, on this machine and in its network namespace. Pods get addresses of a point-to-point CNI
// network; their image is busybox alone. cgroups v1 or v2, whichever is mounted. The kubelet asks kube-apiserver who its callers are.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { Scope } from '../../src/base/scope.ts';
import { Component } from './component.ts';
import { type ControlPlane, freePort, machineAddress, nodeName, statusOf } from './control-plane.ts';
import { makeImageArchive, pauseImage, serveImage } from './image.ts';

const run = promisify(execFile);

export interface NodePrograms {
  readonly kubelet: string;
  /** Folder with containerd, ctr and containerd-shim-runc-v2. */
  readonly containerdDir: string;
  readonly runc: string;
  /** Folder with the CNI plugins ptp, host-local and loopback. */
  readonly cniDir: string;
  /** A static one. */
  readonly busybox: string;
}

export interface RealNode {
  readonly kubelet: Component;
  readonly containerd: Component;
  readonly kubeletPort: number;
  /** Ends every process that containerd runs for pods. */
  stopPods(): Promise<void>;
}

export async function startNode(
  scope: Scope,
  dir: string,
  { controlPlane, programs }: { controlPlane: ControlPlane; programs: NodePrograms },
): Promise<RealNode> {
  const logDir = join(dir, 'logs');
  const socket = join(dir, 'containerd.sock');
  const ctr = (...args: readonly string[]): Promise<{ stdout: string }> =>
    run(join(programs.containerdDir, 'ctr'), ['--address', socket, '--namespace', 'k8s.io', ...args]);
  const imageDir = join(dir, 'image');
  const archive = await makeImageArchive(imageDir, programs.busybox);
  const registry = await serveImage(scope, imageDir);
  const containerd = new Component({
    program: join(programs.containerdDir, 'containerd'),
    logDir,
    args: ['--config', await writeContainerdConfig(dir, { socket, programs, registry })],
    environment: { PATH: `${programs.containerdDir}:${process.env['PATH'] ?? ''}` },
    isUp: async () => (await ctr('version')).stdout.includes('Server'),
  });
  scope.add(() => containerd.end());
  await containerd.start();
  await ctr('images', 'import', archive);

  const { pki, url } = controlPlane;
  const kubeletPort = await freePort();
  const kubelet = new Component({
    program: programs.kubelet,
    logDir,
    args: [
      `--config=${await writeKubeletConfig(dir, controlPlane, kubeletPort)}`,
      `--kubeconfig=${await pki.kubeconfig('kubelet.kubeconfig', { name: `system:node:${nodeName}`, groups: ['system:nodes'] }, url)}`,
      `--root-dir=${join(dir, 'kubelet')}`,
      `--hostname-override=${nodeName}`,
      `--node-ip=${machineAddress}`,
      ...(await runtimeFlags(programs.kubelet, socket)),
    ],
    isUp: async () =>
      (await statusOf(`https://${machineAddress}:${kubeletPort}/healthz`, readFileSync(pki.servingCa.cert, 'utf8'))) >
      0,
  });
  const stopPods = async (): Promise<void> => {
    const { stdout } = await ctr('tasks', 'list', '-q');
    for (const id of stdout.split('\n').filter((line) => line !== '')) {
      await ctr('tasks', 'kill', '--all', '--signal', 'SIGKILL', id).catch(() => {}); // it has ended by itself
      await ctr('tasks', 'delete', '--force', id).catch(() => {});
    }
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '');
    for (const point of mounts.filter((point) => point.startsWith(`${dir}/`)).toReversed()) {
      await run('umount', ['--lazy', point]).catch(() => {}); // it went with another
    }
  };
  scope.add(async () => {
    await kubelet.end();
    await stopPods();
  });
  await kubelet.start();
  return { kubelet, containerd, kubeletPort, stopPods };
}

/** A kubelet before 1.27 has to be told that its runtime is not dockershim. */
async function runtimeFlags(kubelet: string, socket: string): Promise<string[]> {
  const { stdout } = await run(kubelet, ['--version']);
  const minor = Number(/v1\.(\d+)/.exec(stdout)?.[1]);
  return [
    `--container-runtime-endpoint=unix://${socket}`,
    ...(minor < 27 ? ['--container-runtime=remote', `--pod-infra-container-image=${pauseImage}`] : []),
  ];
}

async function writeContainerdConfig(
  dir: string,
  { socket, programs, registry }: { socket: string; programs: NodePrograms; registry: string },
): Promise<string> {
  const cni = join(dir, 'cni');
  await mkdir(cni, { recursive: true });
  const network = {
    cniVersion: '0.4.0',
    name: 'pods',
    plugins: [{ type: 'ptp', ipam: { type: 'host-local', subnet: '198.51.100.0/24', dataDir: join(dir, 'ipam') } }],
  };
  await writeFile(join(cni, '10-pods.conflist'), JSON.stringify(network));
  const file = join(dir, 'containerd.toml');
  const cri = '[plugins."io.containerd.grpc.v1.cri"';
  await writeFile(
    file,
    `version = 2
root = "${join(dir, 'containerd')}"
state = "${join(dir, 'containerd-state')}"
[grpc]
  address = "${socket}"
${cri}]
  sandbox_image = "${pauseImage}"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  ${cri}.cni]
    bin_dir = "${programs.cniDir}"
    conf_dir = "${cni}"
  ${cri}.registry.mirrors."docker.io"]
    endpoint = ["${registry}"]
  ${cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    ${cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      ${cri}.containerd.runtimes.runc.options]
        BinaryName = "${programs.runc}"
`,
  );
  return file;
}

async function writeKubeletConfig(dir: string, { pki }: ControlPlane, port: number): Promise<string> {
  const file = join(dir, 'kubelet.json');
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: machineAddress,
    port,
    healthzPort: 0,
    readOnlyPort: 0,
    tlsCertFile: pki.kubelet.cert,
    tlsPrivateKeyFile: pki.kubelet.key,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true, cacheTTL: '1s' },
      x509: { clientCAFile: pki.clientCa.cert },
    },
    authorization: { mode: 'Webhook', webhook: { cacheAuthorizedTTL: '1s', cacheUnauthorizedTTL: '1s' } },
    // This machine is no node: nothing of it is reserved, and nothing is evicted when its disk is full.
    cgroupDriver: 'cgroupfs',
    cgroupsPerQOS: false,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    makeIPTablesUtilChains: false,
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}
