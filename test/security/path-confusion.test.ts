// Attacks on the path: one that a check reads in one way and whoever comes after in another. kexer judges the outer path, kube-apiserver the
// inner one, a kubelet gets a third; a path with two readings must be refused before any of them, and what passes must be sent on
// byte for byte.

import { expect } from 'chai';
import fc from 'fast-check';

import { clusterPath, useStage } from './support/stage.ts';
import { head, messageOf, type RawAnswer, RawConnection, sendUntilClosed } from './support/raw-client.ts';

const host = 'Host: 127.0.0.1';
const pods = '/api/v1/namespaces/default/pods';

/** Inner paths with more than one reading; each would lead somewhere else for one of the readers. */
const twoReadings: Readonly<Record<string, string>> = {
  'an encoded slash': '/api/v1/namespaces/default/pods%2fdemo/exec',
  'an encoded slash, upper case': '/api/v1/namespaces/default%2Fpods%2Fdemo/log',
  'an encoded slash in a name': `${pods}/demo%2fexec`,
  'dot segments': '/api/v1/namespaces/default/../kube-system/secrets',
  'a dot segment': '/api/v1/./namespaces/default/pods',
  'dot segments at the end': '/api/v1/namespaces/default/pods/..',
  'encoded dot segments': '/api/v1/namespaces/default/%2e%2e/kube-system/secrets',
  'half encoded dot segments': '/api/v1/namespaces/default/.%2E/kube-system/secrets',
  'dot segments behind an encoded slash': '/api/v1/namespaces/default/x%2f../../kube-system/secrets',
  'dot segments that leave the inner path': '/../../../../../../../../api/v1/secrets',
  'dot segments with an encoded backslash': '/api/v1/namespaces/default/..%5c..%5ckube-system',
  'an empty segment': '/api/v1//secrets',
  'empty segments in front': '//api/v1/secrets',
  'two slashes at the end': `${pods}//`,
  'a backslash': '/api/v1/namespaces/default\\pods',
  'an encoded backslash': '/api/v1/namespaces/default%5cpods',
  'a NUL': `${pods}/demo%00/exec`,
  'a NUL behind a harmless path': `${pods}%00/../secrets`,
  'an encoded line end': `${pods}/demo%0d%0aImpersonate-User:%20admin`,
  'a control character': `${pods}/demo%7f`,
  'a bad escape': `${pods}/demo%zz`,
  'an escape cut short': `${pods}/demo%2`,
  'a percent sign alone': `${pods}/%`,
  'an overlong slash (%c0%af)': '/api/v1/namespaces/default%c0%afpods',
  'overlong dots (%c0%ae)': '/api/v1/namespaces/default/%c0%ae%c0%ae/kube-system/secrets',
  'an overlong slash of three bytes': '/api/v1/namespaces/default%e0%80%afpods',
  'bytes that are no UTF-8': `${pods}/%ff%fe`,
  'a lone surrogate': `${pods}/%ed%a0%80`,
  'the way back into kexer': '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/secrets',
  'the way back into kexer, escaped': '/apis/backup.cv.io/v1/namespaces/default/clusters/local/%65xec/api/v1/secrets',
  'the way back into kexer, its group escaped': '/apis/backup%2ecv.io/v1/namespaces/default/clusters/local/exec/api',
  'the way back into kexer, by its proxy': '/apis/backup.cv.io/v1/namespaces/default/clusters/local/proxy/x',
  'dot segments behind a proxy': '/api/v1/namespaces/default/services/web/proxy/../../../secrets',
  'encoded dot segments behind a proxy': '/api/v1/namespaces/default/services/web/proxy/%2e%2e/%2e%2e/secrets',
  'dot segments behind an encoded slash behind a proxy':
    '/api/v1/namespaces/default/services/web/proxy/x%2f..%2f..%2f..',
  'dot segments behind an encoded backslash behind a proxy':
    '/api/v1/namespaces/default/services/web/proxy/x%5c..%5c..',
  'a NUL behind a proxy': '/api/v1/namespaces/default/services/web/proxy/a%00b',
};

/** Paths with one reading that look as if they had two; kube-apiserver must see them exactly so. */
const oneReading: Readonly<Record<string, string>> = {
  'an escaped letter': '/api/v1/namespaces/default/%70ods',
  'double encoding stays what it is': `${pods}/demo%252fexec`,
  'double encoded dots are a name': `${pods}/%252e%252e`,
  'path parameters are part of a name': `${pods}/demo;container=x`,
  'dots that are no segment': `${pods}/..demo`,
  'three dots': `${pods}/...`,
  'a plus sign is no space': `${pods}/a+b`,
  'one slash at the end': `${pods}/`,
  'a path of another group': '/apis/apps/v1/namespaces/default/deployments/x',
  'another case of a resource': '/api/v1/namespaces/default/Pods',
  'a deeper path': `${pods}/demo/exec/more`,
  'the deprecated form of a watch': '/api/v1/watch/namespaces/kube-system/pods/demo',
  'the deprecated form of a proxy': '/api/v1/proxy/namespaces/default/pods/demo',
  'odd bytes behind a proxy': '/api/v1/namespaces/default/services/web/proxy/a//b%2fc%zz/%ff/',
  'a query with an odd path in it': `${pods}?labelSelector=a%2F..%2Fb`,
};

describe('path confusion', () => {
  const stage = useStage();
  let token = '';

  before(async () => {
    ({ token } = await stage().account());
  });

  const get = (path: string, method = 'GET'): string =>
    head(`${method} ${path} HTTP/1.1`, host, 'Connection: close', `Authorization: Bearer ${token}`);

  async function ask(path: string, method?: string): Promise<RawAnswer> {
    const [answer] = await sendUntilClosed(stage().raw(), get(path, method));
    return answer ?? { status: 0, headers: [], body: '' };
  }

  for (const [name, path] of Object.entries(twoReadings)) {
    it(`${name}: 400, and nobody is asked (${path})`, async () => {
      const mark = stage().tap.mark();
      expect((await ask(clusterPath + path)).status).to.equal(400);
      expect((await ask(clusterPath + path, 'DELETE')).status).to.equal(400);
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });
  }

  for (const [name, path] of Object.entries(oneReading)) {
    it(`${name}: sent on as it is (${path})`, async () => {
      const mark = stage().tap.mark();
      await ask(clusterPath + path);
      expect(
        stage()
          .tap.forwarded(mark)
          .map(({ target }) => target),
      ).to.deep.equal([path]);
    });
  }

  describe('in the outer path', () => {
    const outer: Readonly<Record<string, readonly [path: string, status: number]>> = {
      'dot segments in front': [`/livez/..${clusterPath}${pods}`, 400],
      'an encoded slash between namespace and cluster': [
        `/apis/backup.cv.io/v1/namespaces/default%2fclusters/local/exec${pods}`,
        400,
      ],
      'an encoded slash in the cluster’s name': [
        `/apis/backup.cv.io/v1/namespaces/default/clusters/local%2fexec${pods}`,
        400,
      ],
      'dot segments in the cluster’s name': [
        `/apis/backup.cv.io/v1/namespaces/default/clusters/%2e%2e/exec${pods}`,
        400,
      ],
      'an empty cluster': [`/apis/backup.cv.io/v1/namespaces/default/clusters//exec${pods}`, 400],
      'an empty namespace': [`/apis/backup.cv.io/v1/namespaces//clusters/local/exec${pods}`, 400],
      'an open path in front': [`/livez${clusterPath}${pods}`, 404],
      'an open path behind': [`${clusterPath}/livez/../api/v1/secrets`, 400],
      'no such cluster': [`/apis/backup.cv.io/v1/namespaces/default/clusters/Local/exec${pods}`, 404],
      'another case of the group': [`/apis/Backup.cv.io/v1/namespaces/default/clusters/local/exec${pods}`, 404],
      'another version': [`/apis/backup.cv.io/v2/namespaces/default/clusters/local/exec${pods}`, 404],
      'the subresource escaped': [`/apis/backup.cv.io/v1/namespaces/default/clusters/local/%65xec${pods}`, 404],
      'no exec at all': [`/apis/backup.cv.io/v1/namespaces/default/clusters/local${pods}`, 403],
    };
    for (const [name, [path, status]] of Object.entries(outer)) {
      it(`${name}: ${status}, and nobody is asked`, async () => {
        const mark = stage().tap.mark();
        expect((await ask(path)).status).to.equal(status);
        expect(stage().tap.forwarded(mark)).to.deep.equal([]);
      });
    }

    it('a namespace the caller has no right in is a 403, whatever the inner path names', async () => {
      const mark = stage().tap.mark();
      const answer = await ask(`/apis/backup.cv.io/v1/namespaces/kube-system/clusters/local/exec${pods}`);
      expect(messageOf(answer)).to.match(/cannot get resource "clusters\/exec" .* in the namespace "kube-system"/);
      expect(stage().tap.forwarded(mark)).to.deep.equal([]);
    });
  });

  describe('in the request target itself', () => {
    const targets: Readonly<Record<string, string>> = {
      'a fragment': `${clusterPath}${pods}#/../secrets`,
      'no slash in front': 'apis/backup.cv.io',
      'an asterisk': '*',
      'a byte that is not ASCII': `${clusterPath}${pods}/\xe9`,
      'another scheme': `ftp://127.0.0.1${clusterPath}${pods}`,
    };
    for (const [name, target] of Object.entries(targets)) {
      it(`${name}: 400, and nobody is asked`, async () => {
        const mark = stage().tap.mark();
        expect((await ask(target)).status).to.equal(400);
        expect(stage().tap.forwarded(mark)).to.deep.equal([]);
      });
    }

    it('an absolute URL counts by its path alone; its host is nobody’s', async () => {
      const mark = stage().tap.mark();
      expect((await ask(`https://evil.example:1${clusterPath}${pods}`)).status).to.equal(200);
      const [sent] = stage().tap.forwarded(mark);
      expect(sent?.target).to.equal(pods);
      expect(sent?.raw.toString('latin1')).not.to.contain('evil');
    });
  });

  describe('through the aggregation layer, which decodes a path once and writes it anew', () => {
    const layered: Readonly<Record<string, readonly [path: string, status: number]>> = {
      'an encoded slash has become one: an ordinary path with its own check': [
        '/api/v1/namespaces/kube-system%2fsecrets',
        403,
      ],
      'dot segments behind encoded slashes': ['/api/v1/namespaces/default%2f..%2f..%2fsecrets', 400],
      'a slash encoded twice stays so, a name that nothing has': ['/api/v1/namespaces/default/pods%252fdemo', 403],
      'dots encoded twice stay so': ['/api/v1/namespaces/%252e%252e/secrets', 403],
      'a NUL encoded twice stays so': ['/api/v1/namespaces/default/pods/demo%2500', 404],
      'an empty segment': ['/api/v1//secrets', 400],
    };
    for (const [name, [path, status]] of Object.entries(layered)) {
      it(`${name}: ${status}`, async () => {
        const [answer] = await sendUntilClosed(stage().front(), get(clusterPath + path));
        expect(answer?.status).to.equal(status);
      });
    }
  });

  it('reaches no kubelet by a path that kube-apiserver reads as something else than a stream', async () => {
    const kubelet = stage().sandbox.kubelets.get('node1');
    const before = kubelet?.requests.length;
    const spdy = ['Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v4.channel.k8s.io'];
    for (const path of [
      `${pods}/demo/exec/x`,
      `${pods}/demo/Exec`,
      `${pods}/demo%20/exec`,
      `/api/v1/proxy/namespaces/default/pods/demo/exec`,
      `/api/v1/pods/demo/exec`,
      `/apis/v1/v1/namespaces/default/pods/demo/exec`,
      `/api/v2/namespaces/default/pods/demo/exec`,
    ]) {
      const request = head(
        `POST ${clusterPath}${path}?command=id&stdout=true HTTP/1.1`,
        host,
        'Connection: Upgrade',
        `Authorization: Bearer ${token}`,
        ...spdy,
      );
      const [answer] = await sendUntilClosed(stage().raw(), request);
      expect(answer?.status, path).to.be.within(400, 499);
    }
    expect(kubelet?.requests.length).to.equal(before);
  });

  it('any path is either refused or sent on byte for byte (property)', async () => {
    const words =
      'api apis v1 apps namespaces default kube-system pods demo log status proxy secrets clusters backup.cv.io services';
    const odd = '. .. %2e %2e%2e %2f %5c %00 %25 %252f %zz % ; ;x=1 %c0%af %ff %C3%A9 a%2fb x.. ..x * ~ + !$&() %41';
    const segment = fc.oneof(
      fc.constantFrom('', ...words.split(' '), ...odd.split(' ')),
      fc.stringMatching(/^[!$&'()*+,.0-9:;=@A-Z_a-z~-]{1,6}$/),
    );
    const paths = fc.array(segment, { minLength: 1, maxLength: 9 }).map((segments) => `/${segments.join('/')}`);
    const connection = await RawConnection.open(stage().raw());
    let sent = 0;
    try {
      await fc.assert(
        fc.asyncProperty(paths, async (path) => {
          const mark = stage().tap.mark();
          const request = head(`GET ${clusterPath}${path} HTTP/1.1`, host, `Authorization: Bearer ${token}`);
          const { status } = await connection.ask(request);
          const arrived = stage()
            .tap.forwarded(mark)
            .map(({ target }) => target);
          if (arrived.length === 0) expect(status, path).to.equal(400);
          else expect(arrived, path).to.deep.equal([path]);
          sent += arrived.length;
        }),
        { numRuns: 300 },
      );
    } finally {
      await connection.close();
    }
    // Or the property would hold by refusing everything.
    expect(sent).to.be.greaterThan(30);
  }).timeout(30_000);
});
