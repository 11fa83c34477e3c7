// The doctor in front of a sandbox with a kexer: all in order, and then each thing broken alone.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { systemClock } from '../../../src/base/clock.ts';
import { generateAuthority } from '../../../src/certs/generate.ts';
import { useClinic } from './support/clinic.ts';

const rbac = 'rbac.authorization.k8s.io';
const admission = 'admissionregistration.k8s.io';
const apiService = { group: 'apiregistration.k8s.io', resource: 'apiservices', name: 'v1.backup.cv.io' };

describe('kexer doctor', function () {
  this.timeout(60_000);
  const { sandbox, call, asKexer, asAdmin, findings, complaints, change, create, later, whenAvailable } = useClinic();

  it('finds all in order as kexer itself, in a table, and exits with 0', async () => {
    const { code, out, err } = await call(asKexer());
    expect([code, err]).to.deep.equal([0, '']);
    const lines = out.split('\n');
    expect(lines[0]).to.equal('CHECK           STATUS   WHAT');
    expect(lines.slice(1, -2).map((line) => line.split(/ {3,}/).slice(0, 2).join(' '))).to.deep.equal([
      'apiserver ok',
      'clock ok',
      'versions ok',
      'apiservice ok',
      'front-proxy ok',
      'client-ca ok',
      'rights ok',
      'rights ok',
      'admission ok',
      'kubelet node1 ok',
      'kubelet node2 ok',
    ]);
    expect(lines.at(-1)).to.equal('11 in order.');
  });

  it('runs nothing and changes nothing: kubelets are asked for a pod that is nowhere', async () => {
    const before = sandbox().kubelets.get('node1')?.requests.length ?? 0;
    await call(asKexer());
    const asked = (sandbox().kubelets.get('node1')?.requests ?? []).slice(before);
    expect(asked.map(({ method, target, status }) => `${method} ${target} ${status}`)).to.deep.equal([
      'GET /containerLogs/kexer-doctor/none/none 404',
      'POST /exec/kexer-doctor/none/none?command=true&output=1 404',
    ]);
  });

  it('finds all in order from a workstation, about accounts it is not', async () => {
    const { kexerKubeletCertFile: cert, kexerKubeletKeyFile: key } = sandbox().files;
    const argv = await asAdmin('--kubelet-client-certificate', cert, '--kubelet-client-key', key);
    expect(await complaints(argv)).to.deep.equal({ code: 0, texts: [] });
    const withToken = await asAdmin('--kubelet-service-account', 'kexec-system/kexer-kubelet');
    expect(await complaints(withToken)).to.deep.equal({ code: 0, texts: [] });
  });

  it('says that without a credential it tried none', async () => {
    const { code, texts } = await complaints(await asAdmin());
    expect(code).to.equal(0);
    expect(texts).to.have.length(2);
    for (const text of texts) expect(text).to.match(/^warn kubelet node[12]: Answers at .*; no credential was given/);
  });

  it('says that a kubeconfig leads through kexer', async () => {
    const { code, texts } = await complaints([
      '--kubeconfig',
      sandbox().files.kubeconfig,
      '--streams-local',
      'apiserver',
    ]);
    expect(code).to.equal(0);
    expect(texts[0]).to.match(
      /^warn apiserver: https:.*\/clusters\/local\/exec is kexer itself, and knows us as admin$/,
    );
  });

  it('takes the kubeconfig that kubectl would, and the account it is told', async () => {
    const [, file = ''] = await asAdmin();
    const argv = ['--streams-local', 'apiserver', '--account', 'elsewhere/other'];
    const { code, findings: found } = await findings(argv, { environment: { KUBECONFIG: `/nowhere:${file}` } });
    expect(code).to.equal(1);
    const rights = found.filter(({ check, status }) => check === 'rights' && status === 'fail');
    expect(rights[0]?.what).to.equal(
      'elsewhere/other may not create tokenreviews.authentication.k8s.io, which is for: callers with a bearer token',
    );
  });

  it('in a pod takes the settings of the kexer that serves there, unless it is given some', async () => {
    const processFile = join(sandbox().dir, 'cmdline');
    const words = [
      '/sbin/tini',
      '--',
      'node',
      '/kexer/dist/main.js',
      'serve',
      ...asKexer('--streams-local', 'apiserver'),
    ];
    await writeFile(processFile, words.map((word) => `${word}\0`).join(''));
    const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' };
    const skipped = async (argv: readonly string[]): Promise<string[]> => {
      const { findings: found } = await findings(argv, { environment, processFile });
      return found.filter(({ status }) => status === 'skip').map(({ check }) => check);
    };
    expect(await skipped([])).to.deep.equal(['admission', 'kubelets']);
    expect(await skipped(asKexer())).to.deep.equal([]);
    // Of any other process nothing is taken: here there is no mounted account then.
    await writeFile(processFile, ['/bin/other', 'serve', '--streams-local', 'apiserver', ''].join('\0'));
    expect((await call([], { environment, processFile })).code).to.equal(2);
  });

  describe('clocks', () => {
    for (const [seconds, status, side] of [
      [15, 'warn', 'ahead of'],
      [-15, 'warn', 'behind'],
      [300, 'fail', 'ahead of'],
    ] as const) {
      it(`${status} at ${seconds} s`, async () => {
        const clock = { ...systemClock, now: () => Date.now() + seconds * 1000 };
        const { code, findings: found } = await findings(asKexer(), { clock });
        const [finding] = found.filter(({ check }) => check === 'clock');
        const [, told = '', where] = /^Our clock is (\d+) s (.*) kube-apiserver’s$/.exec(finding?.what ?? '') ?? [];
        expect([finding?.status, where]).to.deep.equal([status, side]);
        // A Date has whole seconds, and an answer takes its time on a busy machine.
        expect(Number(told)).to.be.closeTo(Math.abs(seconds), 10);
        expect(code).to.equal(status === 'fail' ? 1 : 0);
      });
    }
  });

  describe('the APIService', () => {
    const look = async (): Promise<{ code: number; texts: string[] }> => complaints(asKexer());

    it('without caBundle, or with one that is none', async () => {
      change(apiService, (draft) => {
        delete (draft['spec'] as Record<string, unknown>)['caBundle'];
      });
      const { code, texts } = await look();
      expect(code).to.equal(1);
      expect(texts[0]).to.equal(
        'fail apiservice: The APIService v1.backup.cv.io has no caBundle, so kube-apiserver trusts nobody for it',
      );
      change(apiService, (draft) => {
        (draft['spec'] as Record<string, unknown>)['caBundle'] = Buffer.from('nonsense').toString('base64');
      });
      expect((await look()).texts[0]).to.match(/^fail apiservice: The caBundle of .* cannot be used/);
    });

    it('with a caBundle that has expired, or is about to', async () => {
      for (const [days, text] of [
        [-3, /^fail apiservice: The CA in caBundle of v1\.backup\.cv\.io has expired [34] days ago$/],
        [3, /^warn apiservice: The CA in caBundle of v1\.backup\.cv\.io expires in [23] days$/],
      ] as const) {
        const authority = await generateAuthority({
          commonName: 'late',
          notBefore: new Date(Date.now() - 30 * 86_400_000),
          notAfter: new Date(Date.now() + days * 86_400_000),
        });
        change(apiService, (draft) => {
          (draft['spec'] as Record<string, unknown>)['caBundle'] = Buffer.from(authority.cert).toString('base64');
        });
        expect((await look()).texts[0]).to.match(text);
      }
    });

    it('that verifies nothing', async () => {
      change(apiService, (draft) => {
        const spec = draft['spec'] as Record<string, unknown>;
        delete spec['caBundle'];
        spec['insecureSkipTLSVerify'] = true;
      });
      expect((await look()).texts).to.include(
        'warn apiservice: The APIService v1.backup.cv.io has kube-apiserver verify nothing of who answers for kexer',
      );
    });

    it('that is not there: a warning, or nothing at all where it is not wanted', async () => {
      const kept = structuredClone(sandbox().store.mustGet({ ...apiService, namespace: '' }));
      sandbox().store.delete({ ...apiService, namespace: '' });
      later(async () => {
        const { uid, resourceVersion, ...metadata } = kept.metadata;
        void [uid, resourceVersion];
        sandbox().store.create(apiService, { ...kept, metadata });
        await whenAvailable('True');
      });
      expect(await look()).to.deep.equal({
        code: 0,
        texts: [
          'warn apiservice: There is no APIService v1.backup.cv.io: callers reach kexer at its own address alone',
        ],
      });
      const { texts } = await complaints(asKexer('--api-service', 'none'));
      expect(texts).to.deep.equal([
        'skip apiservice: Not wanted: --api-service is none, callers reach kexer at its own address',
      ]);
    });

    it('that its controller finds nobody behind', async () => {
      // Undone in the other order.
      later(() => whenAvailable('True'));
      change(apiService, (draft) => {
        (draft['spec'] as { service: { name: string } }).service.name = 'absent';
      });
      await whenAvailable('False');
      const { code, texts } = await look();
      expect(code).to.equal(1);
      expect(texts[0]).to.match(
        /^fail apiservice: v1\.backup\.cv\.io is not available \(Service kexec-system\/absent\): ServiceNotFound /,
      );
    });
  });

  describe('whom to trust', () => {
    const configMap = {
      group: '',
      resource: 'configmaps',
      namespace: 'kube-system',
      name: 'extension-apiserver-authentication',
    };
    const setData = (data: Record<string, string | undefined>): void =>
      change(configMap, (draft) => {
        const all = draft['data'] as Record<string, string | undefined>;
        for (const [key, value] of Object.entries(data)) {
          if (value === undefined) delete all[key];
          else all[key] = value;
        }
      });

    /** Not through kube-apiserver: the kexer that runs here hears of the change too, sooner or later. */
    async function look(): Promise<{ code: number; texts: string[] }> {
      const { code, texts } = await complaints(asKexer('--api-service', 'none'));
      return { code, texts: texts.filter((text) => !text.startsWith('skip apiservice')) };
    }

    it('no front proxy, names that are none, no client CA', async () => {
      setData({ 'requestheader-client-ca-file': undefined, 'client-ca-file': undefined });
      expect(await look()).to.deep.equal({
        code: 1,
        texts: [
          'fail front-proxy: The ConfigMap kube-system/extension-apiserver-authentication names no front proxy: nobody is known who comes through kube-apiserver',
          'warn client-ca: The ConfigMap kube-system/extension-apiserver-authentication has no client CA: callers with a client certificate are nobody to kexer',
        ],
      });
    });

    it('values that cannot be read', async () => {
      setData({ 'requestheader-allowed-names': 'front-proxy-client', 'client-ca-file': 'nonsense' });
      const { code, texts } = await look();
      expect(code).to.equal(1);
      expect(texts[0]).to.match(/^fail front-proxy: Of the ConfigMap .*requestheader-allowed-names: want a JSON array/);
      expect(texts[1]).to.match(/^fail client-ca: Of the ConfigMap .*client-ca-file: .*holds no certificate/);
    });

    it('one CA for users and the front proxy, whose name nobody asks for', async () => {
      const { data } = sandbox().store.mustGet(configMap) as unknown as { data: Record<string, string> };
      setData({ 'requestheader-client-ca-file': data['client-ca-file'], 'requestheader-allowed-names': '[]' });
      expect((await look()).texts).to.deep.equal([
        'fail front-proxy: Users’ certificates and the front proxy’s have one CA and no name is asked for: each user may be anybody',
      ]);
    });

    it('authorities that end', async () => {
      const late = async (days: number): Promise<string> =>
        (
          await generateAuthority({
            commonName: 'late',
            notBefore: new Date(Date.now() - 30 * 86_400_000),
            notAfter: new Date(Date.now() + days * 86_400_000),
          })
        ).cert;
      setData({ 'requestheader-client-ca-file': await late(-2), 'client-ca-file': await late(5) });
      const { texts } = await look();
      expect(texts[0]).to.match(/^fail front-proxy: The CA of the front proxy has expired [23] days ago$/);
      expect(texts[1]).to.match(/^warn client-ca: The CA of client certificates expires in [45] days$/);
    });

    it('no ConfigMap', async () => {
      const kept = structuredClone(sandbox().store.mustGet(configMap));
      sandbox().store.delete(configMap);
      later(() => {
        const { uid, resourceVersion, ...metadata } = kept.metadata;
        void [uid, resourceVersion];
        sandbox().store.create(configMap, { ...kept, metadata });
      });
      expect(await look()).to.deep.equal({
        code: 1,
        texts: [
          'fail front-proxy: There is no ConfigMap kube-system/extension-apiserver-authentication: kexer never becomes ready',
        ],
      });
    });
  });

  describe('rights', () => {
    interface Rule {
      resources?: string[];
      verbs?: string[];
    }
    const without = (role: string, resource: string, verb: string): void =>
      change({ group: rbac, resource: 'clusterroles', name: role }, (draft) => {
        for (const rule of draft['rules'] as Rule[]) {
          if (rule.resources?.includes(resource) === true) rule.verbs = rule.verbs?.filter((one) => one !== verb) ?? [];
        }
      });

    it('of kexer that are missing, by name, as kexer and as somebody else', async () => {
      without('kexer', 'pods', 'watch');
      const text =
        'fail rights: kexec-system/kexer may not watch pods, which is for: the end of sessions whose pod is gone';
      expect(await complaints(asKexer())).to.deep.equal({ code: 1, texts: [text] });
      const { kexerKubeletCertFile: cert, kexerKubeletKeyFile: key } = sandbox().files;
      const argv = await asAdmin('--kubelet-client-certificate', cert, '--kubelet-client-key', key);
      expect(await complaints(argv)).to.deep.equal({ code: 1, texts: [text] });
    });

    it('of the impersonator, as a warning: its role may name some users on purpose', async () => {
      without('kexer-impersonator', 'groups', 'impersonate');
      const { code, texts } = await complaints(asKexer());
      expect(code).to.equal(0);
      expect(texts).to.include(
        'warn rights: kexec-system/kexer-impersonator may not impersonate groups, which is for: callers without a token of their own (for all names)',
      );
    });

    it('that we may not ask about, and things that we may not read', async () => {
      const file = join(sandbox().dir, 'viewer.kubeconfig');
      const whole = parse(await readFile(sandbox().files.kubeconfig, 'utf8')) as Record<string, unknown>;
      await writeFile(file, stringify({ ...whole, 'current-context': 'cluster-viewer' }));
      const { code, texts } = await complaints([
        '--kubeconfig',
        file,
        '--kubelet-certificate-authority',
        sandbox().files.kubeletCaFile,
      ]);
      expect(code).to.equal(1);
      expect(texts.map((text) => text.split(': ', 1)[0])).to.deep.equal([
        'skip apiservice',
        'skip front-proxy',
        'skip rights',
        'skip rights',
        'fail admission',
        'fail kubelets',
      ]);
      expect(texts[2]).to.match(/viewer may not create subjectaccessreviews/);
    });
  });

  describe('admission', () => {
    const rules = [
      { operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['pods/exec', 'pods/attach'] },
    ];

    it('a webhook that may change streams', async () => {
      create('mutatingwebhookconfigurations', {
        apiVersion: `${admission}/v1`,
        kind: 'MutatingWebhookConfiguration',
        metadata: { name: 'sidecars' },
        webhooks: [{ name: 'inject.example.com', clientConfig: { url: 'https://127.0.0.1:1/' }, rules }],
      });
      expect(await complaints(asKexer())).to.deep.equal({
        code: 0,
        texts: [
          'warn admission: The webhook inject.example.com of sidecars may change exec, attach: these streams go by kube-apiserver',
        ],
      });
      expect((await complaints(asKexer('--streams-local', 'apiserver'))).texts).to.deep.equal([
        'skip admission: All streams go by kube-apiserver: --streams-local apiserver',
        'skip kubelets: No kubelet is dialled: --streams-local apiserver',
      ]);
    });

    it('a policy that is bound', async () => {
      create('mutatingadmissionpolicies', {
        apiVersion: `${admission}/v1`,
        kind: 'MutatingAdmissionPolicy',
        metadata: { name: 'labels' },
        spec: { matchConstraints: { resourceRules: rules } },
      });
      expect((await complaints(asKexer())).texts).to.deep.equal([]);
      create('mutatingadmissionpolicybindings', {
        apiVersion: `${admission}/v1`,
        kind: 'MutatingAdmissionPolicyBinding',
        metadata: { name: 'everywhere' },
        spec: { policyName: 'labels' },
      });
      const { texts } = await complaints(asKexer());
      expect(texts[0]).to.equal(
        'warn admission: The policy labels may change exec, attach: these streams go by kube-apiserver',
      );
    });
  });

  describe('called wrongly', () => {
    const wrong: readonly (readonly [argv: string[], err: RegExp])[] = [
      [['--nope'], /^kexer: Cannot use the flag "--nope": there is none of that name/],
      [['-o', 'xml'], /^kexer: Cannot use -o: it is "xml", want table or json$/],
      [['-oyaml'], /^kexer: Cannot use -o: it is "yaml", want table or json$/],
      [['--output=xml'], /^kexer: Cannot use --output: it is "xml", want table or json$/],
      [['-o'], /^kexer: Cannot use the flag -o: it has no value, want -o VALUE$/],
      [['--account', 'kexer'], /^kexer: Cannot use --account: it is "kexer", want NAMESPACE\/NAME$/],
      [['--kubeconfig', '/nowhere'], /^kexer: Cannot read .*"\/nowhere"/],
      [['--secure-port', 'x', '--log-level', 'y'], /^kexer: Cannot use --secure-port.*\nkexer: Cannot use --log-level/],
    ];
    for (const [argv, err] of wrong) {
      it(`${argv.join(' ')}: 2, and a sentence`, async () => {
        const outcome = await call(argv);
        expect([outcome.code, outcome.out]).to.deep.equal([2, '']);
        expect(outcome.err).to.match(err);
      });
    }

    it('without a cluster: 2, and where it looked', async () => {
      const { code, err } = await call([], { environment: { HOME: '/nowhere' } });
      expect([code, err]).to.deep.equal([
        2,
        'kexer: Cannot find a cluster: this is no pod, and there is no /nowhere/.kube/config; want --kubeconfig FILE',
      ]);
    });

    it('in a pod without an account: 2', async () => {
      const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' };
      const { code, err } = await call([], { environment });
      expect(code).to.equal(2);
      expect(err).to.match(/^kexer: Cannot use the in-cluster configuration/);
    });

    it('helps', async () => {
      const { code, out } = await call(['--help']);
      expect(code).to.equal(0);
      expect(out).to.contain('kexer doctor');
    });
  });
});
