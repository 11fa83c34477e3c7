// `kexer help`: every command and every flag, from the one table of settings.

import { environmentName, settings } from '../config/settings.ts';

import type { CommandIo } from './command.ts';

export const usage = `kexer takes long-running streams (exec, attach, port-forward, cp, logs) off the Kubernetes control plane.

Usage:
  kexer serve [flags]                                       serve a cluster
  kexer doctor [-o table|json] [--account NS/NAME] [flags]  look at a cluster as kexer would find it
  kexer certs [--dir DIR] [--renew] [--days N] [--cert-extra-sans A,B] [--names A,B]
                                                            certificates for a workstation
  kexer kubeconfig [--cluster NAME] [--namespace NS] [--server URL] [--certificate-authority FILE] [--context C] [--kubeconfig F]
                                                            your kubeconfig, with kexer for a server
  kexer sandbox [--dir DIR] [--secure-port N] [-- COMMAND]  a small cluster with kexer in front of it
  kexer version                                             print the version
  kexer help                                                print this`;

export async function runHelp(_argv: readonly string[], io: CommandIo): Promise<number> {
  const width = Math.max(...settings.map((setting) => setting.flag.length));
  const flags = settings.map((setting) => `  --${setting.flag.padEnd(width)}  ${setting.help}`);
  const [first] = settings;
  io.print(
    [
      usage,
      '',
      'Flags of serve:',
      `  --${'config'.padEnd(width)}  YAML file with the same settings`,
      ...flags,
      '',
      'Each flag is also an environment variable' +
        (first === undefined ? '.' : ` (--${first.flag}: ${environmentName(first)}).`) +
        ' Flags count over variables, variables over the file.',
    ].join('\n'),
  );
  return 0;
}
