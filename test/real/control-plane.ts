// etcd, kube-apiserver, kube-controller-manager and kube-scheduler as real processes on loopback: RBAC, the aggregation layer with a front proxy of its own,
// service-account tokens, client certificates towards kubelets. Everything they keep is below one folder.

import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';

import type { Scope } from '../../src/base/scope.ts';
import { Component } from './component.ts';
import { makePki, type Pki } from './pki.ts';

export interface ControlPlanePrograms {
  readonly etcd: string;
  readonly apiserver: string;
  readonly controllerManager: string;
  readonly scheduler: string;
}

export interface ControlPlane {
  readonly pki: Pki;
  readonly url: string;
  readonly etcdUrl: string;
  readonly etcd: Component;
  readonly apiserver: Component;
  readonly controllerManager: Component;
  /** A member of system:masters, by certificate. */
  readonly adminKubeconfig: string;
  readonly auditLog: string;
}

/** The address by which the cluster's parts find each other: kube-apiserver refuses endpoints on loopback. TEST-NET-1, added to `lo`. */
export const machineAddress = '192.0.2.10';
export const nodeName = 'node1';
export const serviceRange = '10.96.0.0/16';

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** The status of a GET without a credential, by the CA given; 0: whatever the certificate. */
export function statusOf(url: string, ca?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      { ...(ca === undefined ? { rejectUnauthorized: false } : { ca }), agent: false },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    call.once('error', reject);
    call.setTimeout(5000, () => call.destroy(new Error('late')));
    call.end();
  });
}

/** Starts all of them; `scope` ends them. */
export async function startControlPlane(
  scope: Scope,
  dir: string,
  programs: ControlPlanePrograms,
): Promise<ControlPlane> {
  await mkdir(join(dir, 'logs'), { recursive: true });
  const logDir = join(dir, 'logs');
  const pki = await makePki(join(dir, 'pki'), { node: nodeName, address: machineAddress });
  const [etcdPort, peerPort, port, managerPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const etcd = new Component({
    program: programs.etcd,
    logDir,
    args: [
      '--data-dir',
      join(dir, 'etcd'),
      '--unsafe-no-fsync',
      '--name',
      'etcd',
      '--listen-client-urls',
      etcdUrl,
      '--advertise-client-urls',
      etcdUrl,

      '--listen-peer-urls',
      peerUrl,
      '--initial-advertise-peer-urls',
      peerUrl,
      '--initial-cluster',
      `etcd=${peerUrl}`,
    ],
    isUp: async () => (await fetch(`${etcdUrl}/health`)).ok,
  });
  scope.add(() => etcd.end());
  await etcd.start();

  const url = `https://${machineAddress}:${port}`;
  const ca = readFileSync(pki.servingCa.cert, 'utf8');
  const auditLog = join(dir, 'audit.log');
  const apiserver = new Component({
    program: programs.apiserver,
    logDir,
    args: await apiserverFlags(dir, { pki, etcdUrl, port, auditLog }),
    isUp: async () => (await statusOf(`${url}/readyz`, ca)) === 200,
  });
  scope.add(() => apiserver.end());
  await apiserver.start();

  const adminKubeconfig = await pki.kubeconfig('admin.kubeconfig', { name: 'admin', groups: ['system:masters'] }, url);
  const manager = await pki.kubeconfig('manager.kubeconfig', { name: 'system:kube-controller-manager' }, url);
  const controllerManager = new Component({
    program: programs.controllerManager,
    logDir,
    args: [
      `--kubeconfig=${manager}`,
      `--authentication-kubeconfig=${manager}`,
      `--authorization-kubeconfig=${manager}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${managerPort}`,
      '--leader-elect=false',
      `--root-ca-file=${pki.servingCa.cert}`,
      `--service-account-private-key-file=${pki.serviceAccounts.key}`,
      '--use-service-account-credentials=true',
      '--controllers=*',
      `--service-cluster-ip-range=${serviceRange}`,
    ],
    isUp: async () => (await statusOf(`https://127.0.0.1:${managerPort}/healthz`)) === 200,
  });
  scope.add(() => controllerManager.end());
  await controllerManager.start();
  const schedulerUser = await pki.kubeconfig('scheduler.kubeconfig', { name: 'system:kube-scheduler' }, url);
  const schedulerPort = await freePort();
  const scheduler = new Component({
    program: programs.scheduler,
    logDir,
    args: [
      `--kubeconfig=${schedulerUser}`,
      `--authentication-kubeconfig=${schedulerUser}`,
      `--authorization-kubeconfig=${schedulerUser}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${schedulerPort}`,
      '--leader-elect=false',
    ],
    isUp: async () => (await statusOf(`https://127.0.0.1:${schedulerPort}/healthz`)) === 200,
  });
  scope.add(() => scheduler.end());
  await scheduler.start();
  return { pki, url, etcdUrl, etcd, apiserver, controllerManager, adminKubeconfig, auditLog };
}

async function apiserverFlags(
  dir: string,
  options: { pki: Pki; etcdUrl: string; port: number; auditLog: string },
): Promise<string[]> {
  const { pki, etcdUrl, port, auditLog } = options;
  const policy = join(dir, 'audit-policy.json');
  const rules = [{ level: 'None', nonResourceURLs: ['/livez*', '/readyz*'] }, { level: 'Metadata' }];
  await writeFile(policy, JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules }));
  return [
    `--etcd-servers=${etcdUrl}`,
    `--bind-address=${machineAddress}`,
    `--secure-port=${port}`,
    // Of the Service `kubernetes`: endpoints on loopback are refused, and nobody here uses it.
    '--endpoint-reconciler-type=none',
    `--tls-cert-file=${pki.apiserver.cert}`,
    `--tls-private-key-file=${pki.apiserver.key}`,
    `--client-ca-file=${pki.clientCa.cert}`,
    `--requestheader-client-ca-file=${pki.frontProxyCa.cert}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    `--proxy-client-cert-file=${pki.frontProxy.cert}`,
    `--proxy-client-key-file=${pki.frontProxy.key}`,
    // There is no kube-proxy: the aggregation layer goes to the endpoints of kexer's Service itself.
    '--enable-aggregator-routing=true',
    `--kubelet-certificate-authority=${pki.servingCa.cert}`,
    `--kubelet-client-certificate=${pki.kubeletClient.cert}`,
    `--kubelet-client-key=${pki.kubeletClient.key}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${pki.serviceAccounts.cert}`,
    `--service-account-signing-key-file=${pki.serviceAccounts.key}`,
    `--service-cluster-ip-range=${serviceRange}`,
    '--authorization-mode=Node,RBAC',
    '--allow-privileged=true',
    `--audit-policy-file=${policy}`,
    `--audit-log-path=${auditLog}`,
  ];
}
