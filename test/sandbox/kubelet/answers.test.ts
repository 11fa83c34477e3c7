// Replays every question that was put to a real kubelet and compares status, headers and body, byte for byte but for what is of the
// moment: dates, timestamps of log lines, the count of a client's own headers.

import { expect } from 'chai';
import { readAnswers, type RecordedAnswer } from '../../support/recordings.ts';
import { type ClientName, Harness, type RawAnswer } from './harness.ts';

/** Questions that the sandbox does not serve, and why. */
const notServed: Readonly<Record<string, string>> = {};

/** Prints as the recorded pod did, and has been restarted once, so that there is a previous instance. */
const toolsCommand = `
if [ ! -e /flag/once ]; then touch /flag/once; i=0; while [ $i -lt 20 ]; do echo line; i=$((i+1)); done; exit 1; fi
while :; do echo line; sleep 0.05; done`;

async function startPods(harness: Harness): Promise<void> {
  harness.createPod('tools', {
    volumes: [{ name: 'flag', emptyDir: {} }],
    containers: [
      {
        name: 'tools',
        image: 'localhost/tools:1',
        command: ['sh', '-c', toolsCommand],
        volumeMounts: [{ name: 'flag', mountPath: '/flag' }],
      },
    ],
  });
  harness.createSimplePod('done', { command: ['true'] }, { restartPolicy: 'Never' });
  await harness.waitForPod('tools', (pod) => {
    const status = pod?.status?.containerStatuses?.[0];
    return status?.restartCount === 1 && status.state.running !== undefined;
  });
  await harness.waitForPod('done', (pod) => pod?.status?.phase === 'Succeeded');
}

/** What may differ is made equal. */
function normalize(
  name: string,
  answer: { status: number; headers: readonly (readonly [string, string])[]; body: string },
): object {
  const body = answer.body
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z/g, 'TIME')
    .replaceAll(/request with \d+ headers/g, 'request with N headers');
  const isLog = name.startsWith('logs ') && answer.status === 200;
  return {
    status: answer.status,
    headers: answer.headers.filter(([header]) => header !== 'Date'),
    // How many lines there are is a matter of time, unless the question limits them.
    body: isLog && !/tailLines|limitBytes/.test(name) ? body.slice(0, 'line\n'.length) : body,
  };
}

async function ask(harness: Harness, { name, request }: RecordedAnswer): Promise<RawAnswer> {
  const question = { ...request, as: request.as as ClientName };
  return harness.ask(question, name === 'logs followed for a moment' ? 20 : Infinity);
}

for (const [file, generation] of [
  ['kubelet-answers', '1.36'],
  ['kubelet-answers-before-1.36', '1.35'],
] as const) {
  describe(`kubelet ${generation}: ${file}.jsonl`, () => {
    let harness: Harness;
    before(async () => {
      harness = await Harness.start({ generation });
      await startPods(harness);
    });
    after(() => harness.close());

    for (const recorded of readAnswers(file)) {
      const reason = notServed[recorded.name];
      if (reason !== undefined) continue;
      it(`answers ${recorded.name}`, async () => {
        const answer = await ask(harness, recorded);
        const { name, response } = recorded;
        if (name === 'logs followed for a moment') {
          expect({ ...answer, body: answer.body.slice(0, 20) }).to.deep.include({
            status: 200,
            body: response.body.slice(0, 20),
          });
          return;
        }
        expect(normalize(name, answer)).to.deep.equal(normalize(name, response));
      });
    }
  });
}
