// Attacks on the border between HTTP/2 and HTTP/1.1: kexer takes requests by HTTP/2 and sends them on by HTTP/1.1, so whatever a field may
// hold in binary framing and would mean something in text (a line end, a length, a second request line) must never be written. The
// frames are made by hand; Node's client would refuse to send them.

import { expect } from 'chai';
import { connect } from 'node:http2';

import { getAllHeaders, hasHeader } from '../../src/protocol/raw-headers.ts';
import { askH2, type H2End, type H2Fields } from './support/h2-frames.ts';
import { clusterPath, useStage } from './support/stage.ts';

const nodes = `${clusterPath}/api/v1/namespaces/default/configmaps`;
const smuggled = 'GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n';

describe('HTTP/2 to HTTP/1.1', () => {
  const stage = useStage();
  let token = '';
  let name = '';

  before(async () => {
    ({ token, name } = await stage().account());
  });

  function fields(changes: Readonly<Record<string, string>> = {}, more: H2Fields = []): H2Fields {
    const pseudo = { ':method': 'GET', ':scheme': 'https', ':authority': '127.0.0.1', ':path': nodes, ...changes };
    return [...Object.entries(pseudo), ['authorization', `Bearer ${token}`], ...more];
  }

  /** What arrived at kube-apiserver must be nothing of the attack: no line of it, no second request. */
  function assertClean(mark: number, attack: string): void {
    for (const { raw, body } of stage().tap.forwarded(mark)) {
      const text = raw.toString('latin1') + Buffer.concat(body).toString('latin1');
      expect(text, attack).not.to.match(/\/api\/v1\/secrets|evil|impersonate-user: admin/i);
    }
  }

  it('an honest request is served, so that what follows is refused for what it is', async () => {
    const end = await askH2(stage().raw(), { fields: fields() });
    expect(end.how === 'answered' && end.status).to.equal(200);
  });

  const malformed: Readonly<Record<string, () => H2Fields>> = {
    'H2.TE: transfer-encoding: chunked': () => fields({}, [['transfer-encoding', 'chunked']]),
    'connection: close': () => fields({}, [['connection', 'close']]),
    'connection: impersonate-user': () => fields({}, [['connection', 'impersonate-user']]),
    'proxy-connection: keep-alive': () => fields({}, [['proxy-connection', 'keep-alive']]),
    'keep-alive: timeout=5': () => fields({}, [['keep-alive', 'timeout=5']]),
    'upgrade: websocket': () => fields({}, [['upgrade', 'websocket']]),
    'te: chunked': () => fields({}, [['te', 'chunked']]),
    'an upper-case name': () => fields({}, [['Impersonate-User', 'admin']]),
    ':path with a request line in it': () =>
      fields({ ':path': `${nodes} HTTP/1.1\r\nImpersonate-User: admin\r\nX: y` }),
    ':path with a space': () => fields({ ':path': `${nodes} HTTP/1.1` }),
    ':path empty': () => fields({ ':path': '' }),
    ':path without a slash': () => fields({ ':path': 'evil' }),
    ':path *': () => fields({ ':path': '*' }),
    ':path that is a URL': () => fields({ ':path': `https://evil.example${nodes}` }),
    ':path with a fragment': () => fields({ ':path': `${nodes}#evil` }),
    ':path with dot segments': () => fields({ ':path': `${nodes}/../../../secrets` }),
    ':method with a request line in it': () =>
      fields({ ':method': `GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\nGET` }),
    ':method with a space': () => fields({ ':method': 'GET /evil' }),
    ':method CONNECT without the extension (RFC 8441)': () => [
      [':method', 'CONNECT'],
      [':protocol', 'websocket'],
      [':scheme', 'https'],
      [':authority', '127.0.0.1'],
      [':path', `${clusterPath}/api/v1/namespaces/default/pods/demo/exec?command=id`],
      ['authorization', `Bearer ${token}`],
    ],
    ':method twice': () => [[':method', 'GET'], ...fields({ ':method': 'DELETE' })],
    ':path twice': () => [[':path', `${clusterPath}/api/v1/secrets`], ...fields()],
    ':authority twice': () => [[':authority', 'evil'], ...fields()],
    'a pseudo header behind a header': () => [['x-harmless', 'a'], ...fields()],
    'a pseudo header nobody knows': () => [[':evil', 'a'], ...fields()],
    'an answer’s pseudo header': () => [[':status', '200'], ...fields()],
    'no :method': () => fields().filter(([header]) => header !== ':method'),
    'no :path': () => fields().filter(([header]) => header !== ':path'),
    'content-length twice': () =>
      fields({}, [
        ['content-length', '0'],
        ['content-length', '5'],
      ]),
    'content-length with a sign': () => fields({}, [['content-length', '+0']]),
  };
  for (const [attack, build] of Object.entries(malformed)) {
    it(`${attack}: refused, and nothing of it arrives`, async () => {
      const mark = stage().tap.mark();
      const end = await askH2(stage().raw(), { fields: build() });
      expect(isRefused(end), JSON.stringify(end)).to.equal(true);
      assertClean(mark, attack);
    });
  }

  /**
   * A regular field that is malformed in itself never reaches kexer: nghttp2 leaves it out, as if it had not been sent (RFC 9113 would have the
   * request refused, and Node gives no way to). So nobody's identity can be in it, and nothing of it can be written on.
   */
  const leftOut: Readonly<Record<string, () => H2Fields>> = {
    'a name with a colon and a value': () => fields({}, [['impersonate-user: admin\r\nx', 'y']]),
    'a name with a line end': () => fields({}, [['x\r\nimpersonate-user', 'admin']]),
    'a name with a space': () => fields({}, [['impersonate-user ', 'admin']]),
    'a name with a NUL': () => fields({}, [['x\0', 'admin']]),
    'an empty name': () => fields({}, [['', 'admin']]),
    'a value with a line end and a header': () => fields({}, [['x-harmless', 'a\r\nImpersonate-User: admin']]),
    'a value with a line end and a request': () => fields({}, [['x-harmless', `a\r\n\r\n${smuggled}`]]),
    'a value with a bare line feed': () => fields({}, [['x-harmless', 'a\nImpersonate-User: admin']]),
    'a value with a bare carriage return': () => fields({}, [['x-harmless', 'a\rImpersonate-User: admin']]),
    'a value with a NUL': () => fields({}, [['x-harmless', 'a\0b']]),
    'a host with a line end': () => fields({}, [['host', 'evil\r\nX: y']]),
  };
  for (const [attack, build] of Object.entries(leftOut)) {
    it(`${attack}: is left out whole, and nothing of it arrives`, async () => {
      const mark = stage().tap.mark();
      const end = await askH2(stage().raw(), { fields: build() });
      expect(end.how === 'answered' && end.status).to.equal(200);
      assertClean(mark, attack);
      const [sent] = stage().tap.forwarded(mark);
      expect(
        sent?.headers.map(([header]) => header.toLowerCase()),
        attack,
      ).not.to.include('x-harmless');
    });
  }

  describe('lengths that DATA does not keep (H2.CL)', () => {
    const post = (more: H2Fields): H2Fields =>
      fields({ ':method': 'POST', ':path': `${nodes}?dryRun=All` }, [['content-type', 'application/json'], ...more]);

    const lies: Readonly<Record<string, () => { fields: H2Fields; data: readonly string[] }>> = {
      'a content-length of 0, and a request in DATA': () => ({
        fields: post([['content-length', '0']]),
        data: [smuggled],
      }),
      'a content-length shorter than DATA': () => ({ fields: post([['content-length', '2']]), data: ['{}', smuggled] }),
      'a content-length longer than DATA': () => ({ fields: post([['content-length', '500']]), data: ['{}'] }),
    };
    for (const [attack, build] of Object.entries(lies)) {
      it(`${attack}: refused, and no second request arrives`, async () => {
        const mark = stage().tap.mark();
        const end = await askH2(stage().raw(), build());
        expect(isRefused(end), JSON.stringify(end)).to.equal(true);
        assertClean(mark, attack);
      });
    }

    it('without one DATA goes out in chunks: a request in it stays a body', async () => {
      const mark = stage().tap.mark();
      const end = await askH2(stage().raw(), { fields: post([]), data: ['0\r\n\r\n', smuggled] });
      expect(end.how === 'answered' && end.status).to.equal(400);
      const arrived = stage().tap.forwarded(mark);
      expect(arrived.map(({ method, target }) => `${method} ${target}`)).to.deep.equal([
        'POST /api/v1/namespaces/default/configmaps?dryRun=All',
      ]);
      expect(hasHeader(arrived[0]?.headers ?? [], 'Content-Length')).to.equal(false);
    });
  });

  it('crumbs of a cookie are dropped with the cookie', async () => {
    const mark = stage().tap.mark();
    await askH2(stage().raw(), {
      fields: fields({}, [
        ['cookie', 'a=1'],
        ['cookie', 'evil=2'],
      ]),
    });
    assertClean(mark, 'cookie');
    expect(hasHeader(stage().tap.forwarded(mark)[0]?.headers ?? [], 'Cookie')).to.equal(false);
  });

  it('te: trailers, the one TE that HTTP/2 allows, is not sent on', async () => {
    const mark = stage().tap.mark();
    const end = await askH2(stage().raw(), { fields: fields({}, [['te', 'trailers']]) });
    expect(end.how === 'answered' && end.status).to.equal(200);
    expect(hasHeader(stage().tap.forwarded(mark)[0]?.headers ?? [], 'TE')).to.equal(false);
  });

  it('a host beside :authority does not become a second Host', async () => {
    const mark = stage().tap.mark();
    await askH2(stage().raw(), { fields: fields({}, [['host', 'evil.example']]) });
    assertClean(mark, 'host');
    for (const { headers } of stage().tap.forwarded(mark)) expect(getAllHeaders(headers, 'Host')).to.have.length(1);
  });

  it('each stream of a connection is authenticated: the first one’s token is not the second one’s', async () => {
    const session = connect(`https://127.0.0.1:${stage().kexer.port}`, { ca: stage().ca });
    try {
      const ask = (headers: Record<string, string>): Promise<number> =>
        new Promise((resolve, reject) => {
          const stream = session.request({ ':path': nodes, ...headers });
          stream.on('response', (answer) => resolve(Number(answer[':status'])));
          stream.on('error', reject);
          stream.resume();
        });
      const bearer = { authorization: `Bearer ${token}` };
      expect(await Promise.all([ask(bearer), ask({}), ask(bearer), ask({ 'x-remote-user': name })])).to.deep.equal([
        200, 401, 200, 401,
      ]);
    } finally {
      await new Promise<void>((resolve) => {
        session.close(resolve);
      });
    }
  });
});

/** Any end but a success: an answer of 4xx, or the protocol error that RFC 9113 asks for. */
function isRefused(end: H2End): boolean {
  return end.how !== 'answered' || (end.status >= 400 && end.status < 500);
}
