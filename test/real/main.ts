// kexer against a real Kubernetes: `node test/real/main.ts --kube-apiserver FILE …` starts etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, containerd and a kubelet, installs kexer with its own manifests, and goes through what users and operators do. Run by hand, as
// root, in a network namespace of its own (`unshare --net`); no part of `npm test`: nothing can build Kubernetes there, and nothing may be
// skipped. docs/real-cluster.md has the commands that build the programs, and what was seen.

import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { parseArgs, promisify } from 'node:util';

import { Scope } from '../../src/base/scope.ts';
import { allChecks } from './checks/all.ts';
import { machineAddress } from './control-plane.ts';
import { startStage } from './stage.ts';

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: '/tmp/kexer-real' },
    etcd: { type: 'string', default: 'etcd' },
    'kube-apiserver': { type: 'string', default: 'kube-apiserver' },
    'kube-controller-manager': { type: 'string', default: 'kube-controller-manager' },
    'kube-scheduler': { type: 'string', default: 'kube-scheduler' },
    kubelet: { type: 'string' },
    'containerd-dir': { type: 'string', default: '/usr/bin' },
    runc: { type: 'string', default: '/usr/sbin/runc' },
    'cni-dir': { type: 'string', default: '/usr/lib/cni' },
    busybox: { type: 'string', default: '/bin/busybox' },
    /** apiextensions-apiserver of a newer Kubernetes. */
    'extension-apiserver': { type: 'string' },
    /** VERSION=FILE, oldest first. */
    kubectl: { type: 'string', multiple: true, default: ['path=kubectl'] },
    /** Checks whose name has one of these words. */
    only: { type: 'string', multiple: true, default: [] },
    /** Starts everything and waits for SIGTERM or SIGINT. */
    hold: { type: 'boolean', default: false },
  },
});

const run = promisify(execFile);
const print = (line: string): void => console.log(line);
const kubectls = new Map(
  values.kubectl.map((text) => {
    const [version = '', program = ''] = text.split('=');
    return [version, program] as const;
  }),
);
const checkTimeoutMs = 240_000;

/** @throws Error if it is not done in time; it goes on then, and the next check may suffer from that. */
async function inTime(run: Promise<string>): Promise<string> {
  const timer = Promise.withResolvers<string>();
  const handle = setTimeout(() => timer.reject(new Error('not done in time')), checkTimeoutMs);
  try {
    return await Promise.race([run, timer.promise]);
  } finally {
    clearTimeout(handle);
  }
}

const scope = new Scope();
const told = new Promise<void>((resolve) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      resolve();
      // A check that runs meanwhile fails, and nothing of the cluster must outlive it.
      if (!values.hold) void scope.close().finally(() => process.exit(130));
    });
  }
});
try {
  await run('ip', ['link', 'set', 'lo', 'up']);
  await run('ip', ['address', 'replace', `${machineAddress}/32`, 'dev', 'lo']);
  await mkdir(values.dir, { recursive: true });
  const stage = await startStage(scope, values.dir, {
    programs: {
      etcd: values.etcd,
      apiserver: values['kube-apiserver'],
      controllerManager: values['kube-controller-manager'],
      scheduler: values['kube-scheduler'],
      node:
        values.kubelet === undefined
          ? undefined
          : {
              kubelet: values.kubelet,
              containerdDir: values['containerd-dir'],
              runc: values.runc,
              cniDir: values['cni-dir'],
              busybox: values.busybox,
            },
      kubectls,
    },
    kexerFlags: [
      '--session-recheck-interval=2s',
      '--cluster-namespaces=clusters',
      `--cluster-allowed-endpoints=${machineAddress}`,
    ],
    log: print,
  });
  if (values.hold) {
    print(`kubeconfig: ${stage.kubeconfig}; join by: nsenter --net --target ${process.pid}`);
    await told;
  } else {
    let failed = 0;
    let passed = 0;
    for (const check of allChecks([...kubectls.keys()], values['extension-apiserver'])) {
      if (values.only.length > 0 && !values.only.some((word) => check.name.includes(word))) continue;
      if (check.needsNode === true && stage.node === undefined) {
        print(`not run  ${check.name}: there is no kubelet`);
        continue;
      }
      const from = Date.now();
      try {
        const seen = await inTime(check.run(stage));
        passed += 1;
        print(`ok       ${check.name}${seen === '' ? '' : `: ${seen}`} (${Date.now() - from} ms)`);
      } catch (error) {
        failed += 1;
        print(`FAILED   ${check.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    print(`${passed} passed, ${failed} failed`);
    process.exitCode = failed === 0 ? 0 : 1;
  }
} finally {
  await scope.close();
}
