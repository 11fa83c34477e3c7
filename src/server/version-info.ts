// /version in the form of apimachinery's version.Info, which every Kubernetes client can read.

import type { Answer } from './answer.ts';

export class VersionInfo {
  readonly #body: string;

  /** @param version kexer's own, as `0.1.0`. */
  constructor(version: string) {
    const [major = '0', minor = '0'] = version.split('.');
    const info = {
      major,
      minor,
      gitVersion: `v${version}`,
      gitCommit: '',
      gitTreeState: '',
      buildDate: '1970-01-01T00:00:00Z',
      goVersion: '',
      compiler: '',
      platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
    };
    this.#body = JSON.stringify(info, undefined, 2);
  }

  /** The answer if the path is /version. */
  answer(path: string): Answer | undefined {
    return path === '/version' ? { status: 200, contentType: 'application/json', body: this.#body } : undefined;
  }
}
