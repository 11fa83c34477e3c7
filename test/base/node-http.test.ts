import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect } from 'chai';

const src = join(import.meta.dirname, '../../src');

/** Which of Node's own modules a process has after importing `file`, by a regular expression. */
async function loadedBy(file: string, wanted: string): Promise<string[]> {
  const script = `
    await import(${JSON.stringify(file)});
    console.log(JSON.stringify(process.moduleLoadList.filter((name) => /${wanted}/.test(name))));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
  return JSON.parse(stdout) as string[];
}

describe('node-http', () => {
  it('gives HTTP without undici, which an import of node:http would load', async () => {
    const [own, plain] = await Promise.all([
      loadedBy(join(src, 'base/node-http.ts'), 'undici|NativeModule http$'),
      loadedBy('node:http', 'undici'),
    ]);
    expect(own).to.deep.equal(['NativeModule http']);
    // The reason for the file: should Node mend it, the file can go.
    expect(plain).to.not.deep.equal([]);
  });

  it('is the only way in which kexer serve takes it', async () => {
    expect(await loadedBy(join(src, 'cli/serve.ts'), 'undici')).to.deep.equal([]);
  });
});
