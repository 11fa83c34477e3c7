// Admission of a real kube-apiserver on CONNECT: a validating webhook that denies some commands denies them through kexer in the same words, and a mutating
// one that changes a command has it changed, because the stream then goes by kube-apiserver.

import { once } from 'node:events';
import { createServer } from 'node:https';

import { generateAuthority, generateServing } from '../../../src/certs/generate.ts';
import { machineAddress } from '../control-plane.ts';
import { until } from '../kexer.ts';
import type { KubectlRun } from '../kubectl.ts';
import { contextOf, type Stage, ways } from '../stage.ts';
import { type Check, matches, same } from './check.ts';

interface Review {
  readonly request: { readonly uid: string; readonly object: { readonly command?: readonly string[] } };
}

type Verdict = (command: readonly string[]) => object;

/** A webhook server while `use` runs; each review is answered by `verdict`. */
async function withWebhook(verdict: Verdict, use: (clientConfig: object) => Promise<void>): Promise<void> {
  const authority = await generateAuthority({ commonName: 'webhook' });
  const pair = await generateServing(authority, { commonName: 'webhook', ipAddresses: [machineAddress] });
  const server = createServer(pair, (request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    request.once('end', () => {
      const { uid, object } = (JSON.parse(text) as Review).request;
      response.setHeader('Content-Type', 'application/json');
      const answer = { uid, ...verdict(object.command ?? []) };
      response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }));
    });
  });
  server.listen(0, machineAddress);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  try {
    const caBundle = Buffer.from(authority.cert).toString('base64');
    await use({ url: `https://${machineAddress}:${address.port}/review`, caBundle });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function configuration(kind: 'Validating' | 'Mutating', clientConfig: object): string {
  return JSON.stringify({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: `${kind}WebhookConfiguration`,
    metadata: { name: 'real' },
    webhooks: [
      {
        name: 'commands.real.example',
        clientConfig,
        rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] }],
        failurePolicy: 'Fail',
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
      },
    ],
  });
}

/** With every kubectl, over SPDY: the words around a refusal depend on the transport, and an older kube-apiserver has no other. */
async function byAllWays(stage: Stage, ...command: readonly string[]): Promise<KubectlRun[]> {
  const env = { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' };
  const runs: KubectlRun[] = [];
  for (const way of ways) {
    for (const kubectl of stage.kubectls) {
      runs.push(await kubectl.run(['exec', 'demo', '--', ...command], { context: contextOf(way, 'alice'), env }));
    }
  }
  return runs;
}

async function denied(stage: Stage): Promise<string> {
  const { kubectl } = stage;
  let refusal = '';
  await withWebhook(
    (command) =>
      command.includes('forbidden')
        ? { allowed: false, status: { code: 418, message: 'this command is not for you', reason: 'Teapot' } }
        : { allowed: true },
    async (clientConfig) => {
      await kubectl.output(['create', '-f', '-'], { stdin: configuration('Validating', clientConfig) });
      try {
        await until('it denies', async () => {
          const [first] = await byAllWays(stage, 'echo', 'forbidden');
          refusal = first?.stderr.trim() ?? '';
          return refusal.includes('not for you');
        });
        const overWebSocket = await kubectl.run(['exec', 'demo', '--', 'echo', 'forbidden'], {
          context: contextOf('kexer', 'alice'),
        });
        matches('a denial over WebSocket', overWebSocket.stderr, /this command is not for you/);
        // Each kubectl has words of its own around it, whichever way it takes.
        const said = (await byAllWays(stage, 'echo', 'forbidden')).map(({ code, stdout, stderr }) => [
          code,
          stdout,
          stderr,
        ]);
        const count = stage.kubectls.length;
        for (const [index, answer] of said.entries()) same('a denial', answer, said[index % count]);
        for (const [code] of said) same('its exit code', code, 1);
        for (const run of await byAllWays(stage, 'echo', 'fine')) same('what it allows', run.stdout, 'fine\n');
      } finally {
        await kubectl.output(['delete', 'validatingwebhookconfiguration', 'real']);
      }
    },
  );
  return refusal;
}

async function mutated(stage: Stage): Promise<string> {
  const { kubectl, kexer } = stage;
  const detours = (): number =>
    kexer.process.lines.filter(({ msg }) => msg.startsWith('stream takes the detour')).length;
  const before = detours();
  const patch = [{ op: 'replace', path: '/command/1', value: 'changed' }];
  await withWebhook(
    () => ({ allowed: true, patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
    async (clientConfig) => {
      await kubectl.output(['create', '-f', '-'], { stdin: configuration('Mutating', clientConfig) });
      try {
        for (const way of ways) {
          const context = contextOf(way, 'alice');
          await until(`it changes commands by ${way}`, async () => {
            return (await kubectl.output(['exec', 'demo', '--', 'echo', 'original'], { context })) === 'changed\n';
          });
        }
        for (const run of await byAllWays(stage, 'echo', 'original')) same('what was run', run.stdout, 'changed\n');
        const exits = await byAllWays(stage, 'sh', '-c', 'exit 4');
        // The patch has replaced `-c`: a shell that is given a file of that name, which is not there.
        same('exit codes', new Set(exits.map(({ code }) => code)).size, 1);
      } finally {
        await kubectl.output(['delete', 'mutatingwebhookconfiguration', 'real']);
      }
    },
  );
  const taken = detours() - before;
  await until('streams are direct again', async () => {
    const now = detours();
    await kubectl.output(['exec', 'demo', '--', 'true'], { context: contextOf('kexer', 'alice') });
    return detours() === now;
  });
  if (taken === 0) throw new Error('no stream took the detour');
  return `${taken} detours while it was there, none after`;
}

export const admissionChecks: readonly Check[] = [
  { name: 'admission: what a webhook denies is denied in its words', needsNode: true, run: denied },
  { name: 'admission: what a webhook changes is changed', needsNode: true, run: mutated },
];
