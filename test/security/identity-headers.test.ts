// Attacks on who somebody is, by headers: each writes what no honest client writes and looks at what kexer took the caller for, and at the
// very bytes it sent to kube-apiserver.

import { expect } from 'chai';

import { getAllHeaders } from '../../src/protocol/raw-headers.ts';
import { clusterPath, useStage } from './support/stage.ts';
import { head, messageOf, type RawAnswer, type RawTarget, sendUntilClosed } from './support/raw-client.ts';

const host = 'Host: 127.0.0.1';
const close = 'Connection: close';
const whoAmIBody = '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}';

/** A request for who kube-apiserver thinks the caller is, with these header lines. */
function whoAmI(...lines: readonly string[]): string {
  const connection = lines.some((line) => /^connection:/i.test(line)) ? [] : [close];
  const length = `Content-Length: ${whoAmIBody.length}`;
  const path = `${clusterPath}/apis/authentication.k8s.io/v1/selfsubjectreviews`;
  const type = 'Content-Type: application/json';
  return head(`POST ${path} HTTP/1.1`, host, ...connection, type, length, ...lines) + whoAmIBody;
}

interface Who {
  readonly username: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

function whoIn({ body }: RawAnswer): Who {
  return (JSON.parse(body) as { status: { userInfo: Who } }).status.userInfo;
}

async function ask(target: RawTarget, text: string): Promise<RawAnswer> {
  const answers = await sendUntilClosed(target, text);
  expect(answers).to.have.length(1);
  return answers[0] ?? { status: 0, headers: [], body: '' };
}

describe('forged identities in headers', () => {
  const stage = useStage();

  describe('X-Remote-* without the front proxy’s certificate', () => {
    const forged = [
      'X-Remote-User: admin',
      'X-Remote-Group: system:masters',
      'X-Remote-Uid: 0',
      'X-Remote-Extra-Scopes: all',
    ];

    it('is nobody: X-Remote-User alone is a 401 and reaches nobody', async () => {
      const mark = stage().tap.mark();
      expect((await ask(stage().raw(), whoAmI(...forged))).status).to.equal(401);
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });

    it('changes nothing of a token’s caller, and does not leave kexer', async () => {
      const { name, token } = await stage().account();
      const mark = stage().tap.mark();
      const who = whoIn(await ask(stage().raw(), whoAmI(`Authorization: Bearer ${token}`, ...forged)));
      expect(who.username).to.equal(name);
      expect(who.groups).not.to.include('system:masters');
      expect(
        stage()
          .tap.forwarded(mark)
          .map(({ raw }) => /x-remote/i.test(raw.toString('latin1'))),
      ).to.deep.equal([false]);
    });

    it('changes nothing of a client certificate’s caller, and does not leave kexer', async () => {
      const { name, certificate } = await stage().user();
      const mark = stage().tap.mark();
      const who = whoIn(await ask(stage().raw(certificate), whoAmI(...forged)));
      expect({ name: who.username, groups: who.groups }).to.deep.equal({ name, groups: ['system:authenticated'] });
      expect(
        stage()
          .tap.forwarded(mark)
          .map(({ raw }) => /x-remote/i.test(raw.toString('latin1'))),
      ).to.deep.equal([false]);
    });

    it('is taken away by the aggregation layer and by kexer alike', async () => {
      const { name, token } = await stage().account();
      const who = whoIn(await ask(stage().front(), whoAmI(`Authorization: Bearer ${token}`, ...forged)));
      expect({ name: who.username, isMaster: who.groups.includes('system:masters') }).to.deep.equal({
        name,
        isMaster: false,
      });
    });
  });

  describe('the front proxy', () => {
    it('who speaks for nobody is nobody, not itself', async () => {
      const statuses = [];
      for (const lines of [
        [],
        ['X-Remote-User:'],
        ['X-Remote-User: ', 'X-Remote-Group: system:masters'],
        ['X-Remote-Group: system:masters'],
      ]) {
        statuses.push((await ask(stage().raw(stage().frontProxy), whoAmI(...lines))).status);
      }
      expect(statuses).to.deep.equal([401, 401, 401, 401]);
    });

    it('cannot lose its X-Remote-* to a Connection header that a client nominated them in', async () => {
      const { name } = await stage().user();
      for (const nominated of ['X-Remote-User', 'x-remote-user, X-Remote-Group', 'close, X-REMOTE-USER']) {
        const lines = [
          `Connection: close, ${nominated}`,
          `X-Remote-User: ${name}`,
          'X-Remote-Group: system:authenticated',
        ];
        expect(whoIn(await ask(stage().raw(stage().frontProxy), whoAmI(...lines))).username, nominated).to.equal(name);
      }
    });

    it('cannot be made to forget its user on an upgrade, whose Connection header the aggregation layer passes on', async () => {
      const { token } = await stage().account({ role: 'view' });
      const lines = [
        `GET ${clusterPath}/api/v1/namespaces/default/pods/demo/exec?command=id&stdout=true HTTP/1.1`,
        host,
        'Connection: Upgrade, X-Remote-User, X-Remote-Group, X-Remote-Extra-A, Impersonate-User, Authorization',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Protocol: v5.channel.k8s.io',
        `Authorization: Bearer ${token}`,
      ];
      const answer = await ask(stage().front(), head(...lines));
      expect({ status: answer.status, message: messageOf(answer) }).to.deep.equal({
        status: 403,
        message: `pods "demo" is forbidden: User "${nameOf(token)}" cannot get resource "pods/exec" in API group "" in the namespace "default"`,
      });
    });

    it('has its first user counted, however many X-Remote-User a client could add', async () => {
      const { name } = await stage().user();
      const lines = [`X-Remote-User: ${name}`, 'X-Remote-User: admin', 'X-Remote-Group: system:authenticated'];
      expect(whoIn(await ask(stage().raw(stage().frontProxy), whoAmI(...lines))).username).to.equal(name);
    });

    it('says one group with a comma and not two', async () => {
      const { name } = await stage().user();
      const lines = [
        `X-Remote-User: ${name}`,
        'X-Remote-Group: a,system:masters',
        'X-Remote-Group: system:authenticated',
      ];
      const who = whoIn(await ask(stage().raw(stage().frontProxy), whoAmI(...lines)));
      expect(who.groups).to.deep.equal(['a,system:masters', 'system:authenticated']);
    });

    it('may not name system:anonymous: kexer is never anonymous, not even by proxy', async () => {
      const lines = ['X-Remote-User: system:anonymous', 'X-Remote-Group: system:unauthenticated'];
      expect((await ask(stage().raw(stage().frontProxy), whoAmI(...lines))).status).to.equal(401);
    });

    it('cannot name a user whom headers cannot carry: bytes that are no UTF-8 are refused', async () => {
      const lines = ['X-Remote-User: bob\xff', 'X-Remote-Group: system:masters'];
      const answer = await ask(stage().raw(stage().frontProxy), whoAmI(...lines));
      expect(answer.status).to.equal(401);
    });
  });

  describe('Impersonate-*', () => {
    it('forged by a certificate’s caller is a 403 and reaches nobody', async () => {
      const { certificate } = await stage().user();
      const mark = stage().tap.mark();
      for (const lines of [
        ['Impersonate-User: admin'],
        ['Impersonate-User: admin', 'Impersonate-Group: system:masters'],
        ['impersonate-user: admin'],
        ['IMPERSONATE-USER: admin'],
        ['Impersonate-User: system:serviceaccount:kube-system:default'],
      ]) {
        expect((await ask(stage().raw(certificate), whoAmI(...lines))).status, lines.join()).to.equal(403);
      }
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });

    it('forged by a token’s caller is refused by kube-apiserver, as that caller', async () => {
      const { name, token } = await stage().account();
      const answer = await ask(stage().raw(), whoAmI(`Authorization: Bearer ${token}`, 'Impersonate-User: admin'));
      expect(answer.status).to.equal(403);
      expect(messageOf(answer)).to.contain(`User "${name}" cannot impersonate`);
    });

    it('stands never beside kexer’s own: a certificate’s caller leaves as one user alone', async () => {
      const { name, certificate } = await stage().user();
      const mark = stage().tap.mark();
      // None of these is a header kube-apiserver reads, and none may travel all the same.
      await ask(
        stage().raw(certificate),
        whoAmI('Impersonate-Users: admin', 'Impersonate-: admin', 'Impersonate-User-: admin'),
      );
      const [sent] = stage().tap.forwarded(mark);
      const own = sent?.headers
        .filter(([header]) => /^impersonate/i.test(header))
        .map(([header, value]) => [header, value]);
      expect(own?.slice(0, 2)).to.deep.equal([
        ['Impersonate-User', name],
        ['Impersonate-Group', 'system:authenticated'],
      ]);
      expect(own).to.have.length(3); // and the credential id
    });

    it('cannot be lost: a client that nominates kexer’s own headers in Connection still leaves as itself', async () => {
      const { name, certificate } = await stage().user();
      for (const nominated of [
        'Impersonate-User',
        'impersonate-user, impersonate-group',
        'Authorization, Impersonate-User',
        'Host, Content-Type, Impersonate-User',
      ]) {
        const mark = stage().tap.mark();
        await ask(stage().raw(certificate), whoAmI(`Connection: close, ${nominated}`));
        const [sent] = stage().tap.forwarded(mark);
        expect(getAllHeaders(sent?.headers ?? [], 'Impersonate-User'), nominated).to.deep.equal([name]);
        expect(getAllHeaders(sent?.headers ?? [], 'Connection').join(), nominated).not.to.match(
          /impersonate|authorization/i,
        );
      }
    });

    it('without Impersonate-User is a 400 and never the impersonator itself', async () => {
      const { certificate } = await stage().user();
      const mark = stage().tap.mark();
      for (const line of ['Impersonate-Group: system:masters', 'Impersonate-Uid: 1', 'Impersonate-Extra-A: b']) {
        expect((await ask(stage().raw(certificate), whoAmI(line))).status, line).to.equal(400);
      }
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });

    it('given twice by somebody who may be the first is the first, for kexer and for kube-apiserver', async () => {
      const role = await stage().role({
        apiGroups: [''],
        resources: ['users'],
        verbs: ['impersonate'],
        resourceNames: ['eve'],
      });
      const name = stage().freshName('deputy');
      const rbac = 'rbac.authorization.k8s.io';
      await stage().create(`/apis/${rbac}/v1/clusterrolebindings`, {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
        subjects: [{ apiGroup: rbac, kind: 'User', name }],
      });
      const { certificate } = await stage().user({ name });
      const mark = stage().tap.mark();
      const who = whoIn(
        await ask(stage().raw(certificate), whoAmI('Impersonate-User: eve', 'Impersonate-User: admin')),
      );
      expect(who.username).to.equal('eve');
      expect(who.extra).to.deep.equal({ 'backup.cv.io/original-user': [name] });
      expect(getAllHeaders(stage().tap.forwarded(mark)[0]?.headers ?? [], 'Impersonate-User')).to.deep.equal(['eve']);
    });

    it('that names backup.cv.io/original-user itself needs the right to, and is overwritten', async () => {
      const name = stage().freshName('deputy');
      const rbac = 'rbac.authorization.k8s.io';
      const role = await stage().role(
        { apiGroups: [''], resources: ['users'], verbs: ['impersonate'] },
        {
          apiGroups: ['authentication.k8s.io'],
          resources: ['userextras/backup.cv.io/original-user'],
          verbs: ['impersonate'],
        },
      );
      await stage().create(`/apis/${rbac}/v1/clusterrolebindings`, {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
        subjects: [{ apiGroup: rbac, kind: 'User', name }],
      });
      const { certificate } = await stage().user({ name });
      const lines = ['Impersonate-User: eve', 'Impersonate-Extra-Backup.Cv.Io%2fOriginal-User: somebody-else'];
      const who = whoIn(await ask(stage().raw(certificate), whoAmI(...lines)));
      expect(who.extra).to.deep.equal({ 'backup.cv.io/original-user': [name] });
    });
  });

  describe('Authorization', () => {
    it('given twice is nobody’s, in whatever order', async () => {
      const { token } = await stage().account();
      const own = `Authorization: Bearer ${token}`;
      const other = `Authorization: Bearer ${stage().sandbox.tokens.viewer}`;
      const statuses = [];
      for (const lines of [
        [own, other],
        [own, own],
        [other, own],
        [own, 'authorization: Basic YTpi'],
      ]) {
        statuses.push((await ask(stage().raw(), whoAmI(...lines))).status);
      }
      expect(statuses).to.deep.equal([401, 401, 401, 401]);
    });

    it('with more than one word behind Bearer is nobody’s', async () => {
      const { token } = await stage().account();
      const { viewer } = stage().sandbox.tokens;
      const statuses = [];
      for (const value of [
        `Bearer ${token} ${viewer}`,
        `Bearer ${token}, Bearer ${viewer}`,
        `Bearer ${token}\t${viewer}`,
      ]) {
        statuses.push((await ask(stage().raw(), whoAmI(`Authorization: ${value}`))).status);
      }
      expect(statuses).to.deep.equal([401, 401, 401]);
    });

    it('of a certificate’s caller is not sent on with the impersonator’s', async () => {
      const { name, certificate } = await stage().user();
      const { viewer } = stage().sandbox.tokens;
      const mark = stage().tap.mark();
      const who = whoIn(
        await ask(
          stage().raw(certificate),
          whoAmI(`Authorization: Bearer ${viewer}`, 'Cookie: session=1', 'Proxy-Authorization: Basic YTpi'),
        ),
      );
      expect(who.username).to.equal(name);
      const [sent] = stage().tap.forwarded(mark);
      expect(getAllHeaders(sent?.headers ?? [], 'Authorization')).to.have.length(1);
      expect(sent?.raw.toString('latin1')).not.to.match(new RegExp(`${viewer}|session=1|YTpi`));
    });
  });

  describe('lines that two readers read differently', () => {
    const attacks: Readonly<Record<string, readonly string[]>> = {
      'a space before the colon': ['Impersonate-User : admin'],
      'a tab before the colon': ['X-Remote-User\t: admin'],
      'a folded line': ['X-Harmless: a', ' Impersonate-User: admin'],
      'a line folded by a tab': ['X-Harmless: a', '\tImpersonate-User: admin'],
      'a bare line feed inside a value': ['X-Harmless: a\nImpersonate-User: admin'],
      'a bare carriage return inside a value': ['X-Harmless: a\rImpersonate-User: admin'],
      'a NUL inside a value': ['X-Harmless: a\0Impersonate-User: admin'],
      'a NUL inside a name': ['Impersonate-User\0: admin'],
      'a name with a line feed': ['X-Harmless\nImpersonate-User: admin'],
      'an empty name': [': admin'],
      'no colon': ['Impersonate-User'],
      'a name in brackets': ['Impersonate(User): admin'],
      'a name that is not ASCII': ['Impersonate-Us\xe9r: admin'],
    };
    for (const [name, lines] of Object.entries(attacks)) {
      it(`${name}: a 400, the end of the connection, and nothing at kube-apiserver`, async () => {
        const { token } = await stage().account();
        const mark = stage().tap.mark();
        const answer = await ask(stage().raw(), whoAmI(`Authorization: Bearer ${token}`, ...lines));
        expect(answer.status).to.equal(400);
        expect(stage().tap.forwarded(mark)).to.deep.equal([]);
      });
    }

    it('an underscore for a dash names nobody, and is passed on as the other header that it is', async () => {
      const { name, token } = await stage().account();
      const answer = await ask(
        stage().raw(),
        whoAmI(`Authorization: Bearer ${token}`, 'Impersonate_User: admin', 'X_Remote_User: admin'),
      );
      expect(whoIn(answer).username).to.equal(name);
    });

    it('a head of a hundred kilobytes is refused with 431 or a reset, and nothing reaches kube-apiserver', async () => {
      const many = Array.from({ length: 3000 }, (_, index) => `X-Filler-${index}: ${'a'.repeat(20)}`);
      const mark = stage().tap.mark();
      const { token } = await stage().account();
      const answers = await sendUntilClosed(stage().raw(), whoAmI(`Authorization: Bearer ${token}`, ...many));
      // The reset of a connection whose bytes nobody reads any more may overtake the answer.
      for (const { status } of answers) expect(status).to.equal(431);
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });

    it('identities behind more header lines than Node keeps by default still count', async () => {
      const many = Array.from({ length: 2100 }, (_, index) => `X${index}: a`);
      const { name, token } = await stage().account();
      const answer = await ask(stage().raw(), whoAmI(...many, `Authorization: Bearer ${token}`));
      expect(whoIn(answer).username).to.equal(name);
    });
  });

  it('says where a call came from by itself: X-Forwarded-*, Forwarded and X-Real-Ip of a client do not reach the audit log', async () => {
    const { token } = await stage().account();
    const mark = stage().tap.mark();
    const forged = [
      'X-Forwarded-For: 8.8.8.8',
      'X-Forwarded-Uri: /evil',
      'Forwarded: for=8.8.8.8',
      'X-Real-Ip: 8.8.8.8',
      'X-Forwarded-Host: evil',
    ];
    await ask(stage().raw(), whoAmI(`Authorization: Bearer ${token}`, ...forged));
    const [sent] = stage().tap.forwarded(mark);
    expect(sent?.raw.toString('latin1')).not.to.match(/8\.8\.8\.8|evil/);
    expect(getAllHeaders(sent?.headers ?? [], 'X-Forwarded-For')).to.deep.equal(['127.0.0.1']);
  });
});

/** The user of a service account token. */
function nameOf(token: string): string {
  const [, claims = ''] = token.split('.');
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { sub: string }).sub;
}
