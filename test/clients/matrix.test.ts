// The client matrix: every client does every kind of stream with a pod on each kubelet, through kexer. Titles are cells of the table in
// docs/compatibility.md, which `node test/clients/table.ts` writes from a run.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';

import { expect } from 'chai';

import { Stage } from '../integration/support/stage.ts';
import { execSpdy } from '../support/spdy-client.ts';
import { type Client, type Kind, kubelets } from './support/client.ts';
import { clients } from './support/clients.ts';
import { podUrl } from './support/raw-client.ts';

const mebibyte = 1024 * 1024;
const dumpBytes = 50 * mebibyte;

interface Place {
  readonly pod: string;
  readonly attachPod: string;
  /** A file in `pod`, of {@link dumpBytes}, in ASCII: Python's library decodes what it reads. */
  readonly file: string;
  readonly sum: string;
}

describe('client matrix', function () {
  this.timeout(60_000);
  this.slow(5000);
  let stage: Stage;
  let echo: Server;
  const places = new Map<string, Place>();

  before(async () => {
    stage = await Stage.start();
    // Pods of the sandbox share this machine's network: this server stands for one inside a pod.
    echo = createServer((socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    for (const { name, node, pod, attachPod } of kubelets) {
      createAttachPod(attachPod, node);
      const script = `f=$(mktemp); base64 -w 0 /dev/urandom | head -c ${dumpBytes} > $f; echo $f $(sha256sum < $f)`;
      const [file = '', sum = ''] = (await run(pod, script)).split(' ');
      places.set(name, { pod, attachPod, file, sum });
    }
    await stage.sandbox.ready();
  });

  after(async () => {
    for (const { pod, file } of places.values()) await run(pod, `rm ${file}`);
    // Nothing may have gone through the stream endpoints of the apiserver itself.
    expect(await stage.connections()).to.deep.equal([]);
    echo.close();
    await stage.stop();
  });

  /** What comes back of it is what it reads, line by line; its stdin outlives each client. */
  function createAttachPod(name: string, nodeName: string): void {
    const container = { name: 'cat', image: 'busybox', command: ['cat'], stdin: true };
    stage.sandbox.store.create(
      { group: '', resource: 'pods' },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default' },
        spec: { nodeName, containers: [container], terminationGracePeriodSeconds: 1 },
      },
    );
  }

  /** What a script prints, by a client that is not under test. */
  async function run(pod: string, script: string): Promise<string> {
    const command = ['sh', '-c', script].map((word) => `command=${encodeURIComponent(word)}`).join('&');
    const target = { url: podUrl(stage, pod, `exec?stdout=true&${command}`), token: stage.sandbox.tokens.alice };
    const { exit, stdout } = await execSpdy(target, { hasStderr: false });
    expect(exit).to.deep.equal({ code: 0 });
    return stdout.toString().trim();
  }

  const checks: Readonly<Record<Kind, (client: Client, place: Place) => Promise<void>>> = {
    'exec, exit code 3': async (client, { pod }) => {
      const command = ['sh', '-c', 'echo out; echo err >&2; exit 3'];
      const { code, stdout, stderr } = await client.exec(stage, { pod, command });
      expect([code, stdout.toString()]).to.deep.equal([3, 'out\n']);
      expect(stderr).to.match(/^err\n/);
    },
    'stdin 10 MiB': async (client, { pod }) => {
      const stdin = randomBytes(10 * mebibyte);
      const read = client.stdinEnd === 'half-close' ? 'sha256sum' : `head -c ${stdin.length} | sha256sum`;
      const { code, stdout } = await client.exec(stage, { pod, command: ['sh', '-c', `${read}; echo after`], stdin });
      const sum = createHash('sha256').update(stdin).digest('hex');
      expect([code, stdout.toString()]).to.deep.equal([0, `${sum}  -\nafter\n`]);
    },
    'stdout 50 MiB': async (client, { pod, file, sum }) => {
      const { code, stdout, stderr } = await client.exec(stage, { pod, command: ['cat', file] });
      const arrived = createHash('sha256').update(stdout).digest('hex');
      expect([code, stdout.length, arrived, stderr]).to.deep.equal([0, dumpBytes, sum, '']);
    },
    'TTY and resize': async (client, { pod }) => {
      // Sizes travel on a stream of their own: the script waits until each has come.
      const until = (size: string): string => `until [ "$(stty size)" = "${size}" ]; do sleep 0.02; done`;
      const script = `${until('30 100')}; echo first; ${until('22 77')}; test -t 0 && echo second; exit 5`;
      const { code, stdout } = await client.terminal(stage, { pod, command: ['sh', '-c', script] });
      expect(code).to.equal(5);
      expect(stdout.toString()).to.match(/^first\r\nsecond\r\n/);
    },
    attach: async (client, { attachPod }) => {
      await client.attach(stage, { pod: attachPod, line: randomBytes(16).toString('hex') });
    },
    'port-forward 1 MiB': async (client, { pod }) => {
      const bytes = randomBytes(mebibyte);
      const { port } = echo.address() as AddressInfo;
      const echoed = await client.forward(stage, { pod, port, bytes });
      expect([echoed.length, echoed.equals(bytes)]).to.deep.equal([bytes.length, true]);
    },
  };

  for (const client of clients) {
    describe(client.name, () => {
      before(function () {
        const missing = client.missing();
        if (missing === undefined) return;
        if (process.env['CI'] === 'true') throw new Error(`Cannot run ${client.name}: ${missing}`);
        console.log(`Skipped: ${client.name}: ${missing}`);
        this.skip();
      });

      for (const { name } of kubelets) {
        describe(name, () => {
          for (const [kind, check] of Object.entries(checks)) {
            it(kind, async () => {
              const place = places.get(name);
              if (place === undefined) throw new Error(`There is no pod on ${name}`);
              await check(client, place);
            });
          }
        });
      }
    });
  }
});
