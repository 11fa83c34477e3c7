// Attacks on where a request ends: a second request hidden in the body of a first, in the forms under which front ends and back ends have
// disagreed (CL.TE, TE.CL, TE.TE, lengths and chunk sizes with two readings). Each hides a call that its sender may not make
// or that would come in another's name; kube-apiserver must never see it, and kexer must give at most one answer.

import { expect } from 'chai';

import { hasHeader } from '../../src/protocol/raw-headers.ts';
import { clusterPath, useStage } from './support/stage.ts';
import { head, RawConnection, sendUntilClosed } from './support/raw-client.ts';

const host = 'Host: 127.0.0.1';
const configMaps = `${clusterPath}/api/v1/namespaces/default/configmaps`;
const type = 'Content-Type: application/json';
const body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"whole"}}';

describe('smuggled requests', () => {
  const stage = useStage();
  let token = '';

  before(async () => {
    ({ token } = await stage().account());
  });

  /** What is hidden: a delete, as whoever's connection it ends up on. */
  const hidden = (name: string): string =>
    head(`DELETE ${configMaps}/${name} HTTP/1.1`, host, `Authorization: Bearer ${token}`, 'Content-Length: 0');

  const post = (...lines: readonly string[]): string =>
    head(`POST ${configMaps}?dryRun=All HTTP/1.1`, host, `Authorization: Bearer ${token}`, type, ...lines);

  const chunked = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;

  /** name → bytes; each with a hidden request that names itself. */
  const refused: Readonly<Record<string, () => string>> = {
    'CL.TE: a length that covers all, and chunks that end before': () => {
      const smuggled = `0\r\n\r\n${hidden('cl-te')}`;
      return post(`Content-Length: ${smuggled.length}`, 'Transfer-Encoding: chunked') + smuggled;
    },
    'TE.CL: chunks that cover all, and a length that ends before': () =>
      post('Transfer-Encoding: chunked', 'Content-Length: 4') + chunked(hidden('te-cl')),
    'TE.TE: chunked beside a coding nobody knows': () =>
      post('Transfer-Encoding: chunked', 'Transfer-Encoding: cow') + chunked(body) + hidden('te-te'),
    'TE.TE: chunked twice': () => post('Transfer-Encoding: chunked, chunked') + chunked(body) + hidden('te-te-2'),
    'TE.TE: chunked in front of identity': () =>
      post('Transfer-Encoding: chunked, identity') + chunked(body) + hidden('te-identity'),
    'TE: xchunked': () => post('Transfer-Encoding: xchunked') + chunked(body) + hidden('te-x'),
    'TE: chunked with a vertical tab': () => post('Transfer-Encoding: \x0bchunked') + chunked(body) + hidden('te-vt'),
    'TE: a space before the colon': () => post('Transfer-Encoding : chunked') + chunked(body) + hidden('te-space'),
    'TE: on a folded line': () => post('Transfer-Encoding:', ' chunked') + chunked(body) + hidden('te-fold'),
    'TE: behind a bare line feed': () => post('X: a\nTransfer-Encoding: chunked') + chunked(body) + hidden('te-lf'),
    'TE: in HTTP/1.0': () =>
      post('Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0') + chunked(body) + hidden('te-1-0'),
    'CL.CL: two lengths that differ': () =>
      post(`Content-Length: ${body.length}`, 'Content-Length: 0') + body + hidden('cl-cl'),
    'CL.CL: the same length twice': () =>
      post(`Content-Length: ${body.length}`, `Content-Length: ${body.length}`) + body + hidden('cl-twice'),
    'CL: a list': () => post(`Content-Length: ${body.length}, 0`) + body + hidden('cl-list'),
    'CL: with a sign': () => post(`Content-Length: +${body.length}`) + body + hidden('cl-plus'),
    'CL: negative': () => post('Content-Length: -1') + hidden('cl-minus'),
    'CL: hexadecimal': () => post(`Content-Length: 0x${body.length.toString(16)}`) + body + hidden('cl-hex'),
    'CL: with a blank inside': () => post('Content-Length: 6 6') + body + hidden('cl-blank'),
    'CL: beyond 64 bits': () => post('Content-Length: 18446744073709551616') + hidden('cl-overflow'),
    'CL: empty': () => post('Content-Length:') + hidden('cl-empty'),
    'CL: a space before the colon': () => post(`Content-Length : ${body.length}`) + body + hidden('cl-space'),
    'chunk: a size with 0x': () =>
      post('Transfer-Encoding: chunked') + `0x5\r\nhello\r\n0\r\n\r\n${hidden('chunk-0x')}`,
    'chunk: a negative size': () =>
      post('Transfer-Encoding: chunked') + `-5\r\nhello\r\n0\r\n\r\n${hidden('chunk-minus')}`,
    'chunk: a size beyond 64 bits': () =>
      post('Transfer-Encoding: chunked') + `10000000000000005\r\nhello\r\n0\r\n\r\n${hidden('chunk-overflow')}`,
    'chunk: bytes behind its data': () =>
      post('Transfer-Encoding: chunked') + `5\r\nhelloXX\r\n0\r\n\r\n${hidden('chunk-longer')}`,
    'chunk: a size line ended by a bare line feed': () =>
      post('Transfer-Encoding: chunked') + `5\nhello\r\n0\r\n\r\n${hidden('chunk-lf')}`,
    'chunk: data ended by a bare line feed': () =>
      post('Transfer-Encoding: chunked') + `5\r\nhello\n0\r\n\r\n${hidden('chunk-data-lf')}`,
    'chunk: an extension with a bare line feed (CVE-2025-22871 and its like)': () =>
      post('Transfer-Encoding: chunked') + `5;a\nx\r\nhello\r\n0\r\n\r\n${hidden('chunk-extension')}`,
  };

  for (const [name, attack] of Object.entries(refused)) {
    it(`${name}: refused, at most one answer, nothing hidden arrives`, async () => {
      const mark = stage().tap.mark();
      const answers = await sendUntilClosed(stage().raw(), attack());
      expect(answers.length, 'answers').to.be.at.most(1);
      for (const { status } of answers) expect(status).to.equal(400);
      const arrived = stage().tap.forwarded(mark);
      expect(arrived.filter(({ method }) => method === 'DELETE')).to.deep.equal([]);
      // A request that was on its way when its body turned out to be none has never been whole.
      for (const { raw, body: bytes } of arrived) {
        expect(raw.toString('latin1'), name).not.to.contain('DELETE ');
        expect(Buffer.concat(bytes).toString('latin1'), name).not.to.contain('DELETE ');
      }
    });
  }

  it('a request hidden in the body of a chunked DELETE stays a body (CVE-2026-29057)', async () => {
    const mark = stage().tap.mark();
    const inner = hidden('chunked-delete');
    const outer = head(
      `DELETE ${configMaps}/absent HTTP/1.1`,
      host,
      'Connection: close',
      `Authorization: Bearer ${token}`,
      'Transfer-Encoding: chunked',
    );
    const answers = await sendUntilClosed(stage().raw(), outer + chunked(inner));
    expect(answers).to.have.length(1);
    const arrived = stage().tap.forwarded(mark);
    expect(arrived.map(({ method, target }) => `${method} ${target}`)).to.deep.equal([
      'DELETE /api/v1/namespaces/default/configmaps/absent',
    ]);
    // Delimited by exactly one of the two headers, and as long as it was.
    const [sent] = arrived;
    const isChunked = hasHeader(sent?.headers ?? [], 'Transfer-Encoding');
    expect(isChunked).not.to.equal(hasHeader(sent?.headers ?? [], 'Content-Length'));
    expect(Buffer.concat(sent?.body ?? []).toString('latin1')).to.contain(inner);
  });

  it('a body on a GET stays a body', async () => {
    const mark = stage().tap.mark();
    const inner = hidden('get-body');
    const outer = head(
      `GET ${configMaps}/absent HTTP/1.1`,
      host,
      'Connection: close',
      `Authorization: Bearer ${token}`,
      `Content-Length: ${inner.length}`,
    );
    expect(await sendUntilClosed(stage().raw(), outer + inner)).to.have.length(1);
    const targets = stage()
      .tap.forwarded(mark)
      .map(({ target }) => target);
    expect(targets).to.deep.equal(['/api/v1/namespaces/default/configmaps/absent']);
  });

  for (const [way, target] of [
    ['directly', 'raw'],
    ['through the aggregation layer', 'front'],
  ] as const) {
    it(`a body that was refused unread is neither the next request nor in its way, ${way}`, async () => {
      const { token: viewer } = await stage().account({ role: 'view' });
      const connection = await RawConnection.open(stage()[target]());
      try {
        const bearer = `Authorization: Bearer ${viewer}`;
        const statuses = [];
        for (const size of [10, 1_000_000]) {
          const large = hidden('unread') + 'x'.repeat(size);
          const create = head(`POST ${configMaps} HTTP/1.1`, host, bearer, type, `Content-Length: ${large.length}`);
          statuses.push((await connection.ask(create + large)).status);
          statuses.push((await connection.ask(head(`GET ${configMaps} HTTP/1.1`, host, bearer))).status);
        }
        expect(statuses).to.deep.equal([403, 200, 403, 200]);
      } finally {
        await connection.close();
      }
    });
  }

  it('pipelined requests are each authenticated: the first one’s token is not the second one’s', async () => {
    const first = head(`GET ${configMaps} HTTP/1.1`, host, `Authorization: Bearer ${token}`);
    const second = head(`GET ${configMaps} HTTP/1.1`, host, 'Connection: close');
    const answers = await sendUntilClosed(stage().raw(), first + second);
    expect(answers.map(({ status }) => status)).to.deep.equal([200, 401]);
  });

  it('trailers do not become headers: an identity behind the body counts nothing', async () => {
    const mark = stage().tap.mark();
    const trailers = 'Impersonate-User: admin\r\nAuthorization: Bearer x\r\nX-Remote-User: admin\r\n';
    const request = post('Transfer-Encoding: chunked', 'Connection: close', 'Trailer: Impersonate-User');
    const bytes = `${body.length.toString(16)}\r\n${body}\r\n0\r\n${trailers}\r\n`;
    const [answer] = await sendUntilClosed(stage().raw(), request + bytes);
    expect(answer?.status).to.equal(201);
    const [sent] = stage().tap.forwarded(mark);
    const everything = `${sent?.raw.toString('latin1')}${Buffer.concat(sent?.body ?? []).toString('latin1')}`;
    expect(everything).not.to.match(/impersonate|x-remote|bearer x/i);
  });

  it('Expect: 100-continue is answered by kexer and not sent on', async () => {
    const mark = stage().tap.mark();
    const request = post(`Content-Length: ${body.length}`, 'Connection: close', 'Expect: 100-continue') + body;
    const answers = await sendUntilClosed(stage().raw(), request);
    expect(answers.map(({ status }) => status)).to.deep.equal([100, 201]);
    expect(stage().tap.forwarded(mark)[0]?.raw.toString('latin1')).not.to.match(/expect/i);
  });

  it('CONNECT makes no tunnel', async () => {
    for (const target of ['127.0.0.1:10250', `${clusterPath}/api/v1/nodes`]) {
      const mark = stage().tap.mark();
      const request = head(`CONNECT ${target} HTTP/1.1`, host, `Authorization: Bearer ${token}`) + hidden('connect');
      const answers = await sendUntilClosed(stage().raw(), request);
      expect(answers.map(({ status }) => status)).to.deep.equal([405]);
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    }
  });

  describe('upgrades', () => {
    const upgrade = (path: string, ...lines: readonly string[]): string =>
      head(
        `GET ${clusterPath}${path} HTTP/1.1`,
        host,
        'Connection: Upgrade',
        `Authorization: Bearer ${token}`,
        ...lines,
      );

    it('with a body are refused: a request behind the head is no request of anybody', async () => {
      for (const path of [
        '/api/v1/namespaces/default/pods?watch=true',
        '/api/v1/namespaces/default/pods/demo/exec?command=id',
      ]) {
        const mark = stage().tap.mark();
        const inner = hidden('upgrade-body');
        for (const framing of [`Content-Length: ${inner.length}`, 'Transfer-Encoding: chunked']) {
          const bytes = framing.startsWith('C') ? inner : chunked(inner);
          const answers = await sendUntilClosed(stage().raw(), upgrade(path, 'Upgrade: websocket', framing) + bytes);
          expect(
            answers.map(({ status }) => status),
            `${path} ${framing}`,
          ).to.deep.equal([400]);
        }
        const methods = stage()
          .tap.forwarded(mark)
          .map(({ method }) => method);
        expect(methods).not.to.include('DELETE');
      }
    });

    it('to h2c are not passed on: no second protocol grows behind the authorisation (h2c smuggling)', async () => {
      for (const path of [
        '/api/v1/namespaces/default/configmaps',
        '/api/v1/namespaces/default/pods/demo/exec?command=id',
      ]) {
        const settings = 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA';
        const mark = stage().tap.mark();
        const request = head(
          `GET ${clusterPath}${path} HTTP/1.1`,
          host,
          'Connection: Upgrade, HTTP2-Settings',
          `Authorization: Bearer ${token}`,
          'Upgrade: h2c',
          settings,
        );
        const [answer] = await sendUntilClosed(stage().raw(), request);
        expect(answer?.status, path).not.to.equal(101);
        for (const { raw } of stage().tap.forwarded(mark)) {
          expect(raw.toString('latin1'), path).not.to.match(/h2c|http2-settings/i);
        }
      }
    });

    it('that are refused end their connection: what was pipelined behind them is no request', async () => {
      const mark = stage().tap.mark();
      const request = upgrade('/api/v1/namespaces/default/pods/absent/exec?command=id', 'Upgrade: SPDY/3.1');
      const answers = await sendUntilClosed(stage().raw(), request + hidden('behind-upgrade'));
      expect(answers).to.have.length(1);
      const methods = stage()
        .tap.forwarded(mark)
        .map(({ method }) => method);
      expect(methods).not.to.include('DELETE');
    });

    it('that say Upgrade without Connection, or Connection without Upgrade, are ordinary requests', async () => {
      const connection = await RawConnection.open(stage().raw());
      try {
        const path = `${clusterPath}/api/v1/namespaces/default/pods/demo/exec?command=id&stdout=true`;
        const bearer = `Authorization: Bearer ${token}`;
        const statuses = [];
        for (const lines of [['Upgrade: websocket'], ['Connection: Upgrade']]) {
          statuses.push((await connection.ask(head(`GET ${path} HTTP/1.1`, host, bearer, ...lines))).status);
        }
        expect(statuses).to.deep.equal([400, 400]);
      } finally {
        await connection.close();
      }
    });
  });

  it('leaves kexer well: an honest request is served', async () => {
    const [answer] = await sendUntilClosed(
      stage().raw(),
      post(`Content-Length: ${body.length}`, 'Connection: close') + body,
    );
    expect(answer?.status).to.equal(201);
  });
});
