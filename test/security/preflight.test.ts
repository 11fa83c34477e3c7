// Attacks on the moment between a check and what follows it: answers that look almost like kube-apiserver's consent, a pod that is replaced
// between the check and the dial, a right to look that is taken for a right to enter. No kubelet may be asked for anything that
// kube-apiserver has not allowed, on that very request.

import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { SpdyConnection } from '../../src/net/spdy-connection.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { getHeader } from '../../src/protocol/raw-headers.ts';
import type { Answer, Ask, HttpClient } from './support/http-client.ts';
import { useStage } from './support/stage.ts';
import { messageOf } from './support/raw-client.ts';
import { cannedAnswer, type TappedRequest } from './support/wiretap.ts';

const pods = '/api/v1/namespaces/default/pods';

const spdy = (protocol = 'v4.channel.k8s.io'): readonly (readonly [string, string])[] => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', protocol],
];

const webSocket = (protocol = 'v5.channel.k8s.io'): readonly (readonly [string, string])[] => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Protocol', protocol],
];

/** Every kind of stream by every transport, for a pod. */
const streamsOf = (pod: string, command = 'true'): Readonly<Record<string, Ask>> => ({
  'exec by SPDY': { method: 'POST', path: `${pods}/${pod}/exec?command=${command}&stdout=true`, headers: spdy() },
  'exec by WebSocket': {
    method: 'GET',
    path: `${pods}/${pod}/exec?command=${command}&stdout=true`,
    headers: webSocket(),
  },
  'exec by SPDY v3': {
    method: 'POST',
    path: `${pods}/${pod}/exec?command=${command}&stdout=true`,
    headers: spdy('v3.channel.k8s.io'),
  },
  'exec by WebSocket v4': {
    method: 'GET',
    path: `${pods}/${pod}/exec?command=${command}&stdout=true`,
    headers: webSocket('v4.channel.k8s.io'),
  },
  'exec by WebSocket v1': {
    method: 'GET',
    path: `${pods}/${pod}/exec?command=${command}&stdout=true`,
    headers: webSocket('channel.k8s.io'),
  },
  'attach by SPDY': { method: 'POST', path: `${pods}/${pod}/attach?stdout=true`, headers: spdy() },
  'attach by WebSocket': { method: 'GET', path: `${pods}/${pod}/attach?stdout=true`, headers: webSocket() },
  'port-forward by SPDY': { method: 'POST', path: `${pods}/${pod}/portforward`, headers: spdy('portforward.k8s.io') },
  'port-forward by WebSocket': {
    method: 'GET',
    path: `${pods}/${pod}/portforward`,
    headers: webSocket('SPDY/3.1+portforward.k8s.io'),
  },
});

/** kube-apiserver's consent. */
const consent = {
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: 'Upgrade request required',
  reason: 'BadRequest',
  code: 400,
};

/** What a client is told on its error stream or channel, when it has opened all it wants and the connection is over. */
async function toldBy(transport: 'SPDY' | 'WebSocket', socket: TLSSocket, head: Buffer): Promise<string> {
  const parts: Buffer[] = [];
  const over = once(socket, 'close');
  if (transport === 'SPDY') {
    const connection: SpdyConnection = new SpdyConnection(
      { socket, clock: systemClock },
      { role: 'client', head },
      { onEnd: () => connection.destroy() },
    );
    connection.createStream([['streamtype', 'error']], { onData: (bytes) => parts.push(Buffer.from(bytes)) });
    connection.createStream([['streamtype', 'stdout']], {});
  } else {
    const connection = new WebSocketConnection(
      { socket, clock: systemClock },
      { role: 'client', head },
      {
        onData: ({ bytes }) => {
          if (bytes[0] === 3) parts.push(Buffer.from(bytes.subarray(1)));
        },
        onEnd: () => connection.destroy(),
      },
    );
  }
  await over;
  const { status, message } = JSON.parse(Buffer.concat(parts).toString()) as { status: string; message: string };
  return `${status} ${message}`;
}

describe('between check and use', () => {
  const stage = useStage();

  afterEach(() => {
    stage().tap.intercept = undefined;
  });

  function textOf({ status, body, headers }: Answer): string {
    return `${status} ${messageOf({ status, headers, body: body.toString() })}`;
  }

  /** Requests of kexer that node1's kubelet has had. */
  function kubeletRequests(): readonly { target: string; status: number }[] {
    const requests = stage().sandbox.kubelets.get('node1')?.requests ?? [];
    return requests.filter(({ userAgent }) => userAgent.startsWith('kexer/'));
  }

  describe('an answer to the preflight that is not exactly kube-apiserver’s consent', () => {
    const isPreflight = ({ method, target }: TappedRequest): boolean =>
      /\/pods\/demo\/(exec|attach|portforward)/.test(target) && (method === 'POST' || method === 'GET');

    const almost: Readonly<Record<string, Buffer>> = {
      'the right code and other words': cannedAnswer(400, { ...consent, message: 'Upgrade request required.' }),
      'the right words in another case': cannedAnswer(400, { ...consent, message: 'upgrade request required' }),
      'the right words inside others': cannedAnswer(400, {
        ...consent,
        message: 'admission webhook "x" denied the request: Upgrade request required',
      }),
      'another reason': cannedAnswer(400, { ...consent, reason: 'Invalid' }),
      'no reason': cannedAnswer(400, { ...consent, reason: undefined }),
      'another code within': cannedAnswer(400, { ...consent, code: 403 }),
      'another code on the line': cannedAnswer(403, consent),
      'a code on the line that is no refusal': cannedAnswer(200, consent),
      'another kind': cannedAnswer(400, { ...consent, kind: 'Pod' }),
      'a list': cannedAnswer(400, [consent]),
      'text instead of a Status': cannedAnswer(400, 'Upgrade request required'),
      'a Status in text that goes on': cannedAnswer(400, `${JSON.stringify(consent)} `.repeat(2)),
      'nothing at all': cannedAnswer(400, ''),
      'a success': cannedAnswer(200, { kind: 'Status', apiVersion: 'v1', status: 'Success', code: 200 }),
      'a redirect': cannedAnswer(302, '', [['Location', 'https://127.0.0.1:1/elsewhere']]),
    };
    for (const [name, answer] of Object.entries(almost)) {
      it(`${name}: relayed to the client, and no kubelet is asked`, async () => {
        const { token } = await stage().account();
        const client = stage().client(stage().direct, { token });
        stage().tap.intercept = (request) => (isPreflight(request) ? { answer } : undefined);
        const before = kubeletRequests().length;
        for (const [way, ask] of Object.entries(streamsOf('demo'))) {
          const { status, body } = await client.upgrade(ask);
          expect(status, way).to.equal(Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString())?.[1]));
          expect(body.toString(), way).to.equal(answer.toString().split('\r\n\r\n')[1]);
        }
        expect(kubeletRequests().length).to.equal(before);
      });
    }

    it('a switch of protocols that nobody asked for, and an answer that is no HTTP: 502, and no kubelet is asked', async () => {
      const { token } = await stage().account();
      const client = stage().client(stage().direct, { token });
      const before = kubeletRequests().length;
      for (const answer of [
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n',
        'HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
        'nonsense\r\n\r\n',
      ]) {
        stage().tap.intercept = (request) => (isPreflight(request) ? { answer: Buffer.from(answer) } : undefined);
        const { status } = await client.upgrade(streamsOf('demo')['exec by SPDY'] ?? { method: '', path: '' });
        expect(status, answer).to.be.within(500, 504);
      }
      expect(kubeletRequests().length).to.equal(before);
    });

    it('the log’s: only its 200 opens the kubelet', async () => {
      const { token } = await stage().account();
      const client = stage().client(stage().direct, { token });
      const before = kubeletRequests().length;
      for (const status of [204, 201, 206, 302, 400, 403, 404, 500]) {
        stage().tap.intercept = ({ target }) =>
          target.includes('/log') ? { answer: cannedAnswer(status, status === 204 ? '' : 'no') } : undefined;
        const answer = await client.ask({ method: 'GET', path: `${pods}/demo/log` });
        expect(answer.status).to.equal(status);
      }
      expect(kubeletRequests().length).to.equal(before);
    });
  });

  describe('the right to get, taken for the right to enter', () => {
    const getters = ['pods/exec', 'pods/attach', 'pods/portforward'];

    async function refusals(client: HttpClient): Promise<string[]> {
      const before = kubeletRequests().length;
      const texts: string[] = [];
      for (const [way, ask] of Object.entries(streamsOf('demo'))) {
        if (ask.method === 'GET') texts.push(`${way}: ${textOf(await client.upgrade(ask))}`);
      }
      expect(kubeletRequests().length, 'requests to the kubelet').to.equal(before);
      return texts;
    }

    it('on clusters/exec: a GET that upgrades needs create, whatever the inner rights are', async () => {
      const kexerRole = await stage().role({
        apiGroups: ['backup.cv.io'],
        resources: ['clusters/exec'],
        verbs: ['get'],
      });
      const role = await stage().role({ apiGroups: [''], resources: ['*'], verbs: ['*'] });
      const { token } = await stage().account({ role, kexerRole });
      const mark = stage().tap.mark();
      for (const text of await refusals(stage().client(stage().direct, { token }))) {
        expect(text).to.match(
          /: 403 clusters\.backup\.cv\.io "local" is forbidden: .* cannot create resource "clusters\/exec"/,
        );
      }
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
      // The ordinary right to look is as it was.
      const pod = await stage()
        .client(stage().direct, { token })
        .ask({ method: 'GET', path: `${pods}/demo` });
      expect(pod.status).to.equal(200);
    });

    it('on pods/exec, attach, portforward: kube-apiserver refuses the preflight, and that is the answer', async () => {
      const role = await stage().role({ apiGroups: [''], resources: ['pods', ...getters], verbs: ['get'] });
      const { token } = await stage().account({ role });
      for (const text of await refusals(stage().client(stage().direct, { token }))) {
        expect(text).to.match(/: 403 pods "demo" is forbidden: /);
      }
    });

    it('before kube-apiserver 1.35, which asks for no create: kexer asks itself', async () => {
      const role = await stage().role({ apiGroups: [''], resources: ['pods', ...getters], verbs: ['get'] });
      const { token } = await stage().account({ role });
      const { token: editor } = await stage().account();
      const other = await stage().another();
      try {
        // As 1.30 does: get is enough for it.
        other.tap.intercept = ({ method, target }) => {
          if (target === '/version') {
            return { answer: cannedAnswer(200, { major: '1', minor: '30', gitVersion: 'v1.30.0' }) };
          }
          const isPreflight = method === 'GET' && /\/pods\/demo\/(exec|attach|portforward)/.test(target);
          return isPreflight ? { answer: cannedAnswer(400, consent) } : undefined;
        };
        const server = { ...stage().direct, port: other.kexer.port };
        for (const text of await refusals(stage().client(server, { token }))) {
          expect(text).to.match(
            /: 403 pods "demo" is forbidden: User ".*" cannot create resource "pods\/(exec|attach|portforward)"/,
          );
        }
        const exec = streamsOf('demo')['exec by WebSocket'] ?? { method: '', path: '' };
        let status = 503;
        // Until it has heard of its nodes.
        while (status === 503) ({ status } = await stage().client(server, { token: editor }).upgrade(exec));
        expect(status).to.equal(101);
      } finally {
        await other.stop();
      }
    });
  });

  describe('a pod that is replaced between check and dial', () => {
    async function createPod(name: string): Promise<string> {
      await stage().create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          nodeName: 'node1',
          terminationGracePeriodSeconds: 0,
          containers: [
            {
              name: 'shell',
              image: 'busybox',
              command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'],
            },
          ],
        },
      });
      const client = stage().client(stage().cluster, { certificate: stage().admin });
      for (;;) {
        const { body } = await client.ask({ method: 'GET', path: `${pods}/${name}` });
        const pod = JSON.parse(body.toString()) as {
          metadata: { uid: string };
          status?: { conditions?: { type: string; status: string }[] };
        };
        const isReady = pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
        if (isReady === true) return pod.metadata.uid;
      }
    }

    async function deletePod(name: string): Promise<void> {
      const client = stage().client(stage().cluster, { certificate: stage().admin });
      await client.ask({ method: 'DELETE', path: `${pods}/${name}?gracePeriodSeconds=0` });
      while ((await client.ask({ method: 'GET', path: `${pods}/${name}` })).status !== 404);
    }

    const taken = 'Operation cannot be fulfilled on pods "replaced-\\d+": another pod has taken its name';
    const refusals: readonly (readonly [way: string, wanted: RegExp])[] = [
      // A kubelet takes an exec by the pod's name alone, so kexer looks again before any stream is opened; who can be told behind a 101 has it by then.
      ['exec by SPDY', new RegExp(`^101 Failure Internal error occurred: ${taken}`)],
      ['exec by WebSocket', new RegExp(`^101 Failure Internal error occurred: ${taken}`)],
      ['exec by WebSocket v4', new RegExp(`^101 Failure Internal error occurred: ${taken}`)],
      ['exec by SPDY v3', new RegExp(`^409 ${taken}`)],
      ['exec by WebSocket v1', new RegExp(`^409 ${taken}`)],
      // These it compares.
      ['attach by SPDY', /^500 container shell not found in pod replaced-\d+_default$/],
      ['attach by WebSocket', /^500 container shell not found in pod replaced-\d+_default$/],
      ['port-forward by SPDY', /^404 pod not found$/],
      ['port-forward by WebSocket', /^404 pod not found$/],
    ];
    for (const [way, wanted] of refusals) {
      it(`is not entered (${way})`, async () => {
        const mark = join(stage().sandbox.dir, stage().freshName('entered'));
        const name = stage().freshName('replaced');
        const uid = await createPod(name);
        const { token } = await stage().account();
        // kexer's own look at the pod has its answer held back until another pod has taken the name.
        const looked = Promise.withResolvers<void>();
        const checked = Promise.withResolvers<void>();
        const replaced = Promise.withResolvers<void>();
        let looks = 0;
        stage().tap.intercept = ({ target, headers, answered }) => {
          const isOwn = /^kexer\/\S+$/.test(getHeader(headers, 'User-Agent') ?? '');
          if (!isOwn && target.startsWith(`${pods}/${name}/`)) void answered.then(checked.resolve);
          if (!isOwn || target !== `${pods}/${name}`) return undefined;
          looks += 1;
          if (looks > 1) return undefined;
          void answered.then(looked.resolve);
          return { holdUntil: replaced.promise };
        };
        const before = kubeletRequests().length;
        const answering = stage()
          .client(stage().direct, { token })
          .upgrade(streamsOf(name, `touch&command=${mark}`)[way] ?? { method: '', path: '' }, (socket, head) =>
            toldBy(way.includes('SPDY') ? 'SPDY' : 'WebSocket', socket, head),
          );
        await Promise.all([looked.promise, checked.promise]);
        await deletePod(name);
        const newUid = await createPod(name);
        expect(newUid).not.to.equal(uid);
        replaced.resolve();
        const answer = await answering;
        expect(answer.status === 101 ? `101 ${answer.body.toString()}` : textOf(answer)).to.match(wanted);
        const asked = kubeletRequests().slice(before);
        expect(asked).to.have.length(1);
        expect(asked[0]?.target).to.match(
          new RegExp(`^/(exec|attach|portForward)/default/${name}/${uid}(/shell)?(\\?|$)`),
        );
        // No stream was opened on what an exec had been given, so no command has run.
        expect(await readFile(mark, 'utf8').catch(() => 'nothing')).to.equal('nothing');
        await deletePod(name);
      });
    }
  });
});
