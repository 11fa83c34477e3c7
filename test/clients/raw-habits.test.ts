// Habits of libraries that are no row of the matrix: how some upload, ask again, split frames and send text.

import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';

import { expect } from 'chai';

import { channels } from '../../src/protocol/channel.ts';
import { Stage } from '../integration/support/stage.ts';
import { UpgradeRefused, type WebSocketClient } from '../support/websocket-client.ts';
import { kubelets } from './support/client.ts';
import { execQuery, podUrl, withRawSocket } from './support/raw-client.ts';

const mebibyte = 1024 * 1024;
const v4 = ['v4.channel.k8s.io'];

describe('habits of raw clients', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.start();
  });

  after(async () => {
    expect(await stage.connections()).to.deep.equal([]);
    await stage.stop();
  });

  /** Runs a script over v4 and gives its stdout. */
  function run(
    pod: string,
    script: string,
    send: (socket: WebSocketClient) => void = () => {},
    protocols: readonly string[] = v4,
  ): Promise<string> {
    const url = podUrl(stage, pod, execQuery('exec', ['sh', '-c', script], ['stdin', 'stdout']));
    return withRawSocket(stage, { url, protocols }, async (socket) => {
      send(socket);
      expect(await socket.ended).to.include({ how: 'close', code: 1000 });
      return socket.stdout;
    });
  }

  for (const { name, pod } of kubelets) {
    describe(name, () => {
      it('an upload of fabric8, ended by its Close without a wait, arrives whole', async () => {
        const bytes = randomBytes(10 * mebibyte);
        const file = (await run(pod, 'mktemp')).trim();
        const url = podUrl(
          stage,
          pod,
          execQuery('exec', ['sh', '-c', `cat - > ${file}`], ['stdin', 'stdout', 'stderr']),
        );
        await withRawSocket(stage, { url, protocols: v4 }, async (socket) => {
          for (let at = 0; at < bytes.length; at += mebibyte)
            socket.send(channels.stdin, bytes.subarray(at, at + mebibyte));
          socket.close(1000);
          await socket.ended;
        });
        // As fabric8: it asks how much has come, and again until all has.
        const check = `until [ $(wc -c < ${file}) -ge ${bytes.length} ]; do sleep 0.05; done; sha256sum < ${file}; rm ${file}`;
        const sum = createHash('sha256').update(bytes).digest('hex');
        expect(await run(pod, `timeout 30 sh -c '${check}'`)).to.equal(`${sum}  -\n`);
      });

      it('a frame of 15 MiB arrives whole', async () => {
        const bytes = randomBytes(15 * mebibyte);
        const sum = createHash('sha256').update(bytes).digest('hex');
        const script = `head -c ${bytes.length} | sha256sum`;
        expect(await run(pod, script, (socket) => socket.send(channels.stdin, bytes))).to.equal(`${sum}  -\n`);
      });

      it('fragments are one message, and text is stdin as well', async () => {
        const output = await run(pod, 'head -c 27', (socket) => {
          socket.sendFragmented(channels.stdin, ['frag', '', 'ments ']);
          socket.sendAsText(channels.stdin, 'and text: ä ');
          socket.sendFragmented(channels.stdin, ['end\n']);
        });
        expect(output).to.equal('fragments and text: ä end\n');
      });

      it('without a subprotocol the command runs as in the first version', async () => {
        expect(await run(pod, 'echo out; exit 3', () => {}, [])).to.equal('out\n');
      });
    });
  }

  it('a plain GET after a refused handshake gets the reason as a Status', async () => {
    const url = podUrl(stage, 'nope', execQuery('exec', ['true'], ['stdout']));
    const refused = await withRawSocket(stage, { url, protocols: v4 }, () => Promise.resolve()).catch(
      (error: unknown) => error,
    );
    expect(refused).to.be.instanceOf(UpgradeRefused);
    expect((refused as UpgradeRefused).status).to.equal(404);
    expect(await get(url)).to.deep.include({ status: 404, reason: 'NotFound' });
    // A pod that is there: the GET cannot be an upgrade, and says so.
    expect(await get(podUrl(stage, 'demo', execQuery('exec', ['true'], ['stdout'])))).to.deep.include({
      status: 400,
      reason: 'BadRequest',
    });
  });

  async function get(url: string): Promise<{ status: number | undefined; kind?: string; reason?: string }> {
    const ca = await readFile(stage.sandbox.files.servingCaFile, 'utf8');
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${stage.sandbox.tokens.alice}` };
      const outgoing = request(url, { ca, headers, agent: false }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => {
          const { kind, reason } = JSON.parse(text) as { kind: string; reason: string };
          resolve({ status: answer.statusCode, kind, reason });
        });
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  }
});
