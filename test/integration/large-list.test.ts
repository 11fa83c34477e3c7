// A list of 100 MB passes kexer in constant memory, over either HTTP version, and so does a reader that is slow.

import { readFile } from 'node:fs/promises';
import { connect, type ClientHttp2Session } from 'node:http2';
import { request } from 'node:https';

import { expect } from 'chai';

import { startSandbox, type Sandbox } from '../../src/sandbox/sandbox.ts';
import { KexerProcess } from './support/kexer-process.ts';

const target =
  '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/configmaps?limit=0';
const objects = 112;
const bytesEach = 900 * 1024;
/** What passing 100 MB may add to the most memory kexer ever had: buffers of sockets and garbage not collected yet. */
const maxGrowthKiB = 40 * 1024;

describe('a list of 100 MB', function () {
  this.timeout(60_000);
  let sandbox: Sandbox;
  let kexer: KexerProcess;
  let ca: string;

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    const value = 'x'.repeat(bytesEach);
    for (let index = 0; index < objects; index += 1) {
      sandbox.store.create(
        { group: '', resource: 'configmaps' },
        {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `large-${index}`, namespace: 'default' },
          data: { value },
        },
      );
    }
    kexer = await KexerProcess.start(sandbox);
    ca = await readFile(sandbox.files.servingCaFile, 'utf8');
  });

  after(async () => {
    expect(await kexer.stop()).to.equal(0);
    await sandbox.stop();
  });

  async function peakKiB(): Promise<number> {
    const status = await readFile(`/proc/${kexer.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
  }

  function countHttp1(): Promise<number> {
    return new Promise((resolve, reject) => {
      const headers = { Authorization: `Bearer ${sandbox.tokens.alice}` };
      const asked = request(
        { host: '127.0.0.1', port: kexer.port, ca, path: target, headers, agent: false },
        (response) => {
          let count = 0;
          response.on('data', (chunk: Buffer) => (count += chunk.length));
          response.on('end', () => resolve(count));
          response.on('error', reject);
        },
      );
      asked.on('error', reject);
      asked.end();
    });
  }

  function countHttp2(session: ClientHttp2Session): Promise<number> {
    return new Promise((resolve, reject) => {
      const stream = session.request({ ':path': target, authorization: `Bearer ${sandbox.tokens.alice}` });
      let count = 0;
      stream.on('data', (chunk: Buffer) => {
        count += chunk.length;
        // A reader that stops after each piece for a turn of the event loop.
        stream.pause();
        setImmediate(() => stream.resume());
      });
      stream.on('end', () => resolve(count));
      stream.on('error', reject);
    });
  }

  it('passes in constant memory', async () => {
    const warm = await countHttp1();
    expect(warm).to.be.greaterThan(objects * bytesEach);
    const before = await peakKiB();
    expect(await countHttp1()).to.equal(warm);
    const session = connect(`https://127.0.0.1:${kexer.port}`, { ca });
    expect(await countHttp2(session)).to.equal(warm);
    session.close();
    const growth = (await peakKiB()) - before;
    expect(growth, 'KiB').to.be.lessThan(maxGrowthKiB);
    console.log(
      `      ${Math.round(warm / 1e6)} MB: peak ${Math.round(before / 1024)} MiB after the first, ${Math.round(growth / 1024)} MiB more after the third`,
    );
  });
});
