// Attacks on the query: one in which admission reads another command than the kubelet runs. Go drops pairs with a bad escape or a raw
// semicolon silently, counts the first of repeated single values, and takes an empty flag for true; whoever parses a query a second
// time may do otherwise. Over arbitrary odd queries: what an admission webhook saw is what the kubelet was asked for, and is what
// kube-apiserver itself would have read; or nobody was asked anything.

import { expect } from 'chai';
import fc from 'fast-check';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { useStage } from './support/stage.ts';
import type { HttpClient } from './support/http-client.ts';
import { messageOf } from './support/raw-client.ts';

const kinds = {
  exec: { kubelet: 'exec', headers: 'v4.channel.k8s.io' },
  attach: { kubelet: 'attach', headers: 'v4.channel.k8s.io' },
  portforward: { kubelet: 'portForward', headers: 'portforward.k8s.io' },
} as const;

type Kind = keyof typeof kinds;

/** PodExecOptions and its like, as admission gets them. */
interface Options {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tty?: boolean;
  readonly container?: string;
  readonly command?: readonly string[];
  readonly ports?: readonly number[];
}

/** One reading of a stream's options, whoever read them. */
interface Reading {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  readonly command: readonly string[];
  readonly ports: readonly number[];
  readonly container: string;
}

describe('query confusion', () => {
  const stage = useStage();
  const webhookName = 'exec.security.test';
  const configurationKey = {
    group: 'admissionregistration.k8s.io',
    resource: 'validatingwebhookconfigurations',
    namespace: '',
    name: webhookName,
  };
  let webhook: Server;
  let client: HttpClient;
  /** Objects that admission was asked about. */
  const admitted: Options[] = [];

  before(async () => {
    webhook = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        const review = JSON.parse(text) as { request: { uid: string; object: Options } };
        admitted.push(review.request.object);
        response.setHeader('Content-Type', 'application/json');
        const answer = { uid: review.request.uid, allowed: true };
        response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }));
      });
    });
    webhook.listen(0, '127.0.0.1');
    await once(webhook, 'listening');
    const { port } = webhook.address() as AddressInfo;
    await stage().create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: webhookName },
      webhooks: [
        {
          name: webhookName,
          clientConfig: { url: `http://127.0.0.1:${port}/` },
          rules: [
            {
              operations: ['CONNECT'],
              apiGroups: [''],
              apiVersions: ['v1'],
              resources: ['pods/exec', 'pods/attach', 'pods/portforward'],
            },
          ],
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
        },
      ],
    });
    const { token } = await stage().account();
    client = stage().client(stage().direct, { token });
  });

  after(async () => {
    stage().sandbox.store.delete(configurationKey);
    webhook.close();
    await once(webhook, 'close');
  });

  /** What came of a query: what admission saw and what the kubelet was asked, if they were. */
  async function ask(
    kind: Kind,
    query: string,
    pod = 'demo',
  ): Promise<{ status: number; message: string; admission: Reading | undefined; kubelet: Reading | undefined }> {
    const requests = stage().sandbox.kubelets.get('node1')?.requests ?? [];
    const [seen, asked] = [admitted.length, requests.length];
    const answer = await client.upgrade({
      method: 'POST',
      path: `/api/v1/namespaces/default/pods/${pod}/${kind}${query}`,
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', kinds[kind].headers],
      ],
    });
    const body = answer.body.toString();
    const last = requests.slice(asked).findLast(({ userAgent }) => userAgent.startsWith('kexer/'));
    return {
      status: answer.status,
      message: messageOf({ ...answer, body }),
      admission: admitted.length === seen ? undefined : readingOf(admitted.at(-1) ?? {}),
      kubelet: last === undefined ? undefined : kubeletReading(kind, last.target),
    };
  }

  const refused: Readonly<Record<string, string>> = {
    'a bad escape in a command': '?command=rm%zz&command=true&stdout=true',
    'a bad escape in a key': '?comm%2gand=rm&command=true&stdout=true',
    'an escape cut short': '?command=true%2&stdout=true',
    'a raw semicolon': '?command=true;command=rm&stdout=true',
    'a raw semicolon alone': '?command=true&;&stdout=true',
    'bytes that are no UTF-8': '?command=%ff&stdout=true',
    'an overlong slash': '?command=%c0%af&stdout=true',
    'a NUL': '?command=true%00rm&stdout=true',
    'a NUL in a container': '?container=shell%00x&command=true&stdout=true',
    'a lone surrogate': '?command=%ed%a0%80&stdout=true',
    'bad pairs that nobody reads': '?command=true&stdout=true&unknown=%zz',
  };
  for (const [name, query] of Object.entries(refused)) {
    it(`${name}: 400, and neither admission nor a kubelet is asked (${query})`, async () => {
      const { status, message, admission, kubelet } = await ask('exec', query);
      expect({ status, admission, kubelet }).to.deep.equal({ status: 400, admission: undefined, kubelet: undefined });
      expect(message).to.match(/^invalid query parameter/);
    });
  }

  const read: Readonly<Record<string, readonly [query: string, want: Partial<Reading>]>> = {
    'a repeated container counts by its first': [
      '?container=shell&container=absent&command=true&stdout=true',
      { container: 'shell', command: ['true'] },
    ],
    'an empty flag is true': ['?stdin=&command=true', { stdin: true, stdout: false }],
    'a flag without a sign is true': ['?stdout&command=true', { stdout: true }],
    'only 0 and false are false': [
      '?stdin=0&stdout=FALSE&stderr=no&command=true',
      { stdin: false, stdout: false, stderr: true },
    ],
    'a repeated flag counts by its first': ['?stdin=false&stdin=true&stdout=true&command=true', { stdin: false }],
    'keys in another case are other keys': [
      '?Command=rm&COMMAND=rm&command=true&STDIN=true&stdout=true',
      { command: ['true'], stdin: false },
    ],
    'keys with a blank are other keys': ['?command+=rm&%20command=rm&command=true&stdout=true', { command: ['true'] }],
    'an escaped key is the key': ['?%63ommand=true&stdout=true', { command: ['true'] }],
    'words keep their order, empty ones and blanks': [
      '?command=sh&command=&command=-c&command=a+b%20c%26d%3De%3B%23&stdout=true',
      { command: ['sh', '', '-c', 'a b c&d=e;#'] },
    ],
    'a plus sign has to be escaped': ['?command=1%2B1&stdout=true', { command: ['1+1'] }],
    'an equals sign belongs to the value': ['?command=a=b=c&stdout=true', { command: ['a=b=c'] }],
    'text in any script': ['?command=%E6%97%A5%E6%9C%AC&command=%F0%9F%98%80&stdout=true', { command: ['日本', '😀'] }],
    'line ends and escapes of terminals are text': [
      '?command=%0d%0aX%1b%5B2J&stdout=true',
      { command: ['\r\nX\x1b[2J'] },
    ],
    'a byte order mark stays': ['?command=%EF%BB%BFx&stdout=true', { command: ['\ufeffx'] }],
    'options of kubelets are no options': [
      '?input=1&output=1&error=1&command=true&stdout=true',
      { stdin: false, stdout: true, stderr: false },
    ],
  };
  for (const [name, [query, want]] of Object.entries(read)) {
    it(`${name}: admission and kubelet read the same (${query})`, async () => {
      const { status, admission, kubelet } = await ask('exec', query);
      expect(status).to.equal(101);
      expect(admission).to.deep.include(want);
      assertSame(admission, kubelet);
    });
  }

  it('a container that admission saw is the kubelet’s, or kube-apiserver’s refusal the answer', async () => {
    const unnamed = await ask('exec', '?command=true&stdout=true', 'multi');
    expect(unnamed.message).to.match(/^a container name must be specified for pod multi, choose one of: \[/);
    expect(unnamed.kubelet).to.equal(undefined);
    const named = await ask('exec', '?container=two&container=one&command=true&stdout=true', 'multi');
    expect(named.kubelet?.container).to.equal('two');
    assertSame(named.admission, named.kubelet);
  });

  it('whatever the query: one reading for admission, kubelet and kube-apiserver, or nobody is asked (property)', async () => {
    const keys =
      'command command command container stdin stdout stdout stderr tty Command STDOUT command%20 %63ommand ports input junk';
    const honest = '0 false False true 1 no shell absent a+b a%20b %2B %26 %3D = %3B';
    const odd = "; %zz % %2 %ff %c0%af %00 %0A %C3%A9 %EF%BB%BF %F0%9F%98%80 8080 80,81 70000 -1 ~ '";
    const values = ['', ...honest.split(' '), ...odd.split(' ')];
    const pair = fc
      .tuple(fc.constantFrom(...keys.split(' ')), fc.option(fc.constantFrom(...values)))
      .map(([key, value]) => (value === null ? key : `${key}=${value}`));
    const query = fc
      .array(fc.oneof({ weight: 20, arbitrary: pair }, { weight: 1, arbitrary: fc.constantFrom('', ';', '=', '&') }), {
        maxLength: 7,
      })
      .map((pairs) => `?${pairs.join('&')}`);
    const counts = { refused: 0, asked: 0 };
    await fc.assert(
      fc.asyncProperty(fc.constantFrom<Kind>('exec', 'exec', 'attach', 'portforward'), query, async (kind, text) => {
        const { status, admission, kubelet } = await ask(kind, text);
        if (kubelet === undefined) {
          expect(status, text).to.be.within(400, 499);
          counts.refused += 1;
          return;
        }
        assertSame(admission, kubelet);
        // And neither of them is kexer's alone: Go would have read the client's own query so.
        expect(admission, text).to.deep.equal(goReading(kind, text.slice(1)));
        counts.asked += 1;
      }),
      { numRuns: 150 },
    );
    // Or the property would hold by refusing everything, or nothing.
    expect(counts.asked, JSON.stringify(counts)).to.be.greaterThan(20);
    expect(counts.refused, JSON.stringify(counts)).to.be.greaterThan(20);
  }).timeout(60_000);
});

/** The two must agree; a kubelet gets the container that an empty name stands for. */
function assertSame(admission: Reading | undefined, kubelet: Reading | undefined): void {
  expect(admission, 'admission was asked').not.to.equal(undefined);
  expect(kubelet, 'the kubelet was asked').not.to.equal(undefined);
  const container = admission?.container === '' ? kubelet?.container : admission?.container;
  // Port-forward has no container, and its kubelet gets ports by stream.
  expect({ ...admission, container }).to.deep.equal({ ...kubelet, container: kubelet?.container });
}

function readingOf(options: Options): Reading {
  const {
    stdin = false,
    stdout = false,
    stderr = false,
    tty = false,
    container = '',
    command = [],
    ports = [],
  } = options;
  return { stdin, stdout, stderr, tty, container, command, ports };
}

/** `/exec/NS/POD/UID/CONTAINER?command=…&input=1…`, as a kubelet reads it: flags are exactly `1`. */
function kubeletReading(kind: Kind, target: string): Reading {
  const [path = '', rawQuery = ''] = target.split('?');
  const pairs = goPairs(rawQuery);
  const parts = path.split('/').slice(1).map(decodeURIComponent);
  expect(parts[0]).to.equal(kinds[kind].kubelet);
  const flag = (name: string): boolean => pairs.find(([key]) => key === name)?.[1] === '1';
  const all = (name: string): string[] => pairs.filter(([key]) => key === name).map(([, value]) => value);
  return {
    stdin: flag('input'),
    stdout: flag('output'),
    stderr: flag('error'),
    tty: flag('tty'),
    command: all('command'),
    ports: all('port').flatMap((value) => value.split(',').map(Number)),
    container: kind === 'portforward' ? '' : (parts[4] ?? ''),
  };
}

/** What kube-apiserver makes of a query: bools by Convert_Slice_string_To_bool, first values, lists in order. */
function goReading(kind: Kind, rawQuery: string): Reading {
  const pairs = goPairs(rawQuery);
  const first = (name: string): string | undefined => pairs.find(([key]) => key === name)?.[1];
  const all = (name: string): string[] => pairs.filter(([key]) => key === name).map(([, value]) => value);
  const isSession = kind !== 'portforward';
  const flag = (name: string): boolean => {
    const value = isSession ? first(name) : undefined;
    return value !== undefined && value !== '0' && value.toLowerCase() !== 'false';
  };
  return {
    stdin: flag('stdin'),
    stdout: flag('stdout'),
    stderr: flag('stderr'),
    tty: flag('tty'),
    command: kind === 'exec' ? all('command') : [],
    ports: isSession ? [] : all('ports').flatMap((value) => value.split(',').map(Number)),
    container: isSession ? (first('container') ?? '') : '',
  };
}

/** url.ParseQuery: what it cannot read it leaves out. Written here again, so that no code of kexer's judges kexer. */
function goPairs(rawQuery: string): [string, string][] {
  return rawQuery
    .split('&')
    .filter((piece) => piece !== '' && !piece.includes(';'))
    .flatMap((piece) => {
      const [key = '', ...rest] = piece.split('=');
      const [goKey, goValue] = [goUnescape(key), goUnescape(rest.join('='))];
      return goKey === undefined || goValue === undefined ? [] : [[goKey, goValue] as [string, string]];
    });
}

function goUnescape(text: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined;
  const bytes = text
    .replaceAll('+', ' ')
    .replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
