// The sandbox as a cluster of somebody else's: a process of its own without kexer, of which tests know only what they would of a real one, a
// kubeconfig and a few files. `node test/security/support/sandbox-cluster.ts` prints the variables of real-arena.ts, a line each, and lives
// until its standard input ends.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startSandbox } from '../../../src/sandbox/sandbox.ts';

const sandbox = await startSandbox({ hasSamplePods: false });
const write = async (name: string, text: string): Promise<string> => {
  const file = join(sandbox.dir, name);
  await writeFile(file, text, { mode: 0o600 });
  return file;
};
const { cert, key } = sandbox.clientAuthority;
const variables: Readonly<Record<string, string>> = {
  KEXER_TEST_KUBECONFIG: sandbox.files.kubeconfig,
  KEXER_TEST_CLIENT_CA: `${await write('test-client-ca.crt', cert)},${await write('test-client-ca.key', key)}`,
  KEXER_TEST_KUBELET_CA: sandbox.files.kubeletCaFile,
  KEXER_TEST_ADDRESS: '127.0.0.1',
  KEXER_TEST_AUDIT_LOG: sandbox.files.auditLog,
};
for (const [name, value] of Object.entries(variables)) console.log(`${name}=${value}`);
console.log('ready');
for await (const chunk of process.stdin) void chunk;
await sandbox.stop();
