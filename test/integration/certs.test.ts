// Certificates without hands, with real processes against the sandbox: replicas that agree, an aggregation layer that verifies them, a renewal
// that no connection notices, and what happens when the Secret, a right, a file or the ConfigMap is not as it should be.

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';

import { expect } from 'chai';

import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import { issueAuthority, issueLeaf } from '../../src/certs/issue.ts';
import { isRecord } from '../../src/kube/objects.ts';
import { ask, CertificateStage, secretKey, serviceKey, untilTrue } from './support/certificate-stage.ts';

const dayMs = 24 * 60 * 60 * 1000;
const discovery = '/apis/backup.cv.io/v1';

describe('certificates in a Secret', function () {
  this.timeout(60_000);
  let stage: CertificateStage;

  beforeEach(async () => {
    stage = await CertificateStage.start();
  });
  afterEach(() => stage?.stop());

  /** Through the aggregation layer, which verifies kexer by the caBundle. */
  const throughFront = async (): Promise<number> => {
    const ca = await readFile(stage.sandbox.files.servingCaFile, 'utf8');
    const { apiserver, tokens } = stage.sandbox;
    const { status } = await ask(apiserver.port, discovery, { ca, token: tokens.alice, servername: 'localhost' });
    return status;
  };

  it('are made once for two replicas, and the aggregation layer verifies both by the caBundle they write', async () => {
    const replicas = await Promise.all([stage.kexer(), stage.kexer()]);
    await Promise.all(replicas.map((kexer) => kexer.untilLogged('ready')));
    const { 'ca.crt': ca = '', 'tls.crt': cert = '' } = stage.secret();
    const serial = new X509Certificate(cert).serialNumber;
    const asked = await Promise.all(replicas.map(({ port }) => ask(port, '/readyz', { ca })));
    expect(asked).to.deep.equal([1, 2].map(() => ({ status: 200, body: 'ok', serialNumber: serial })));
    await untilTrue(() => stage.caBundle() === ca);
    for (const { port } of replicas) {
      stage.place(port);
      await untilTrue(async () => (await throughFront()) === 200);
    }
    await untilTrue(() => stage.availability() === 'True Passed');
    expect(new X509Certificate(cert).checkIP('10.96.0.2')).to.equal('10.96.0.2');
    const issued = replicas.flatMap(({ log }) =>
      log.filter(({ msg }) => msg?.startsWith('serving certificate issued')),
    );
    expect(issued).to.have.length(1);
    expect(replicas.flatMap(({ log }) => log.filter(({ level }) => level === 'error'))).to.deep.equal([]);
  });

  it('leave a foreign caBundle alone, which the aggregation layer then cannot verify', async () => {
    const foreign = await generateAuthority({ commonName: 'somebody' });
    stage.setCaBundle(foreign.cert);
    const kexer = await stage.kexer();
    await kexer.untilLogged('ready');
    const line = await kexer.untilLogged('the caBundle does not verify the serving certificate and is left as it is');
    expect(line).to.include({ level: 'warn', apiService: 'v1.backup.cv.io' });
    stage.place(kexer.port);
    await untilTrue(async () => (await throughFront()) === 503);
    const { body } = await ask(kexer.port, '/readyz?verbose', {
      ca: stage.secret()['ca.crt'],
      token: stage.sandbox.tokens.alice,
    });
    expect(body).to.match(
      /\[\+\]api-service ok: the caBundle of v1\.backup\.cv\.io is foreign: it was written by somebody else/,
    );
    stage.setCaBundle(undefined);
    await kexer.untilLogged('caBundle written');
    await untilTrue(async () => (await throughFront()) === 200);
  });

  it('are renewed without a restart or a broken connection, by one replica for both', async () => {
    const authority = await issueAuthority(Date.now() - 70 * dayMs);
    const names = ['kexer.kexec-system.svc', 'kexer', 'kexer.kexec-system', 'localhost'];
    const fresh = await issueLeaf(authority, names, Date.now());
    const data = { 'ca.crt': authority.cert, 'kexer-ca.key': authority.key };
    stage.putSecret({ ...data, 'tls.crt': fresh.cert, 'tls.key': fresh.key });
    const replicas = await Promise.all([stage.kexer(), stage.kexer()]);
    await Promise.all(replicas.map((kexer) => kexer.untilLogged('ready')));
    // A call that waits for its answer while the certificate changes under it.
    const [first] = replicas;
    const watch = request({
      host: '127.0.0.1',
      port: first?.port,
      path: '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/configmaps?watch=true',
      servername: 'localhost',
      ca: authority.cert,
      headers: { Authorization: `Bearer ${stage.sandbox.tokens.alice}` },
      agent: false,
    });
    watch.end();
    const [response] = (await once(watch, 'response')) as [NodeJS.ReadableStream];
    const old = await issueLeaf(authority, names, Date.now() - 65 * dayMs);
    stage.putSecret({ ...data, 'tls.crt': old.cert, 'tls.key': old.key });
    await Promise.all(
      replicas.map((kexer) =>
        untilTrue(() => kexer.log.filter(({ msg }) => msg === 'serving certificate reloaded').length >= 2),
      ),
    );
    const serial = new X509Certificate(stage.secret()['tls.crt'] ?? '').serialNumber;
    expect([fresh, old].map(({ cert }) => new X509Certificate(cert).serialNumber)).not.to.include(serial);
    expect(stage.secret()['ca.crt']).to.equal(authority.cert);
    const asked = await Promise.all(replicas.map(({ port }) => ask(port, '/readyz', { ca: authority.cert })));
    expect(asked.map(({ serialNumber }) => serialNumber)).to.deep.equal([serial, serial]);
    // The old connection still carries what happens now.
    const event = once(response, 'data') as Promise<[Buffer]>;
    stage.sandbox.store.create(
      { group: '', resource: 'configmaps' },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default', name: 'after-renewal' } },
    );
    let seen = (await event)[0].toString();
    if (!seen.includes('after-renewal')) response.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await untilTrue(() => seen.includes('after-renewal'));
    watch.destroy();
  });

  it('get a new leaf when the Service gets a load balancer', async () => {
    const kexer = await stage.kexer();
    await kexer.untilLogged('ready');
    const ca = stage.secret()['ca.crt'];
    stage.sandbox.store.mutate(serviceKey, (draft) => {
      draft['status'] = { loadBalancer: { ingress: [{ hostname: 'lb.example.com' }] } };
    });
    await kexer.untilLogged('serving certificate reloaded');
    expect(await ask(kexer.port, '/readyz', { ca, servername: 'lb.example.com' })).to.include({ status: 200 });
  });

  it('of an operator are served, followed and never written', async () => {
    const authority = await generateAuthority({ commonName: 'corp' });
    const names = { dnsNames: ['kexer.kexec-system.svc'] };
    const [one, two] = await Promise.all([
      generateServing(authority, { commonName: 'one', ...names }),
      generateServing(authority, { commonName: 'two', ...names }),
    ]);
    const data = (pair: { cert: string; key: string }): Record<string, string> => ({
      'tls.crt': pair.cert,
      'tls.key': pair.key,
      'ca.crt': authority.cert,
    });
    stage.putSecret(data(one), 'kubernetes.io/tls');
    const kexer = await stage.kexer();
    await kexer.untilLogged('ready');
    await untilTrue(() => stage.caBundle() === authority.cert);
    stage.putSecret({ ...data(two), 'tls.key': one.key });
    await kexer.untilLogged('cannot use the serving certificate in the Secret; the old one stays in use');
    const serial = async (): Promise<string> => (await ask(kexer.port, '/readyz', { ca: authority.cert })).serialNumber;
    expect(await serial()).to.equal(new X509Certificate(one.cert).serialNumber);
    stage.putSecret(data(two));
    await kexer.untilLogged('serving certificate reloaded');
    expect(await serial()).to.equal(new X509Certificate(two.cert).serialNumber);
    expect(stage.secret()).to.deep.equal(data(two));
  });

  it('outlive their Secret, which is made again where that is allowed', async () => {
    const kexer = await stage.kexer();
    await kexer.untilLogged('ready');
    const before = stage.secret();
    stage.sandbox.store.delete(secretKey);
    await kexer.untilLogged('the Secret with the serving certificate is not there');
    expect(await ask(kexer.port, '/readyz', { ca: before['ca.crt'] })).to.include({ status: 200 });
    const second = await stage.kexer();
    expect(await ask(second.port, '/readyz')).to.include({ status: 500 });
    stage.sandbox.store.mutate(
      { group: 'rbac.authorization.k8s.io', resource: 'roles', namespace: 'kexec-system', name: 'kexer-certificates' },
      (draft) => {
        const rules = draft['rules'] as readonly object[];
        const rule = { apiGroups: [''], resources: ['secrets'], resourceNames: [secretKey.name], verbs: ['create'] };
        draft['rules'] = [...rules, rule];
      },
    );
    await kexer.untilLogged('the Secret with the serving certificate was gone and has been made again');
    expect(stage.secret()).to.deep.equal(before);
    await second.untilLogged('ready');
  });

  it('wait for a right that is missing, and name it to whoever proves an identity', async () => {
    const role = {
      group: 'rbac.authorization.k8s.io',
      resource: 'roles',
      namespace: 'kexec-system',
      name: 'kexer-certificates',
    };
    const { rules } = stage.sandbox.store.mustGet(role);
    stage.sandbox.store.mutate(role, (draft) => {
      draft['rules'] = [];
    });
    const kexer = await stage.kexer();
    const missing =
      'system:serviceaccount:kexec-system:kexer lacks a right: list secrets named "kexer-serving-cert" in the namespace "kexec-system"';
    const line = kexer.log.find(({ msg, part }) => msg === 'a right is missing' && part === 'serving certificate');
    expect(line).to.include({ level: 'error', missing });
    const [stranger, known] = await Promise.all([
      ask(kexer.port, '/readyz?verbose'),
      ask(kexer.port, '/readyz?verbose', { token: stage.sandbox.tokens.viewer }),
    ]);
    expect([stranger.status, known.status]).to.deep.equal([500, 500]);
    expect(stranger.body)
      .to.contain('[-]serving-certificate failed: reason withheld\n')
      .and.not.contain('lacks a right');
    expect(known.body).to.contain(`[-]serving-certificate failed: ${missing}\n`);
    stage.sandbox.store.mutate(role, (draft) => {
      draft['rules'] = rules;
    });
    await kexer.untilLogged('ready');
    expect(await ask(kexer.port, '/readyz', { ca: stage.secret()['ca.crt'] })).to.include({ status: 200 });
  });
});

describe('certificates in files', function () {
  this.timeout(60_000);
  let stage: CertificateStage;

  before(async () => {
    stage = await CertificateStage.start();
  });
  after(() => stage?.stop());

  it('stay the last good ones while they are half-written, and are taken when they are whole', async () => {
    const authority = await generateAuthority({ commonName: 'corp' });
    const [one, two] = await Promise.all(
      ['one', 'two'].map((commonName) =>
        generateServing(authority, { commonName, dnsNames: ['kexer.kexec-system.svc'] }),
      ),
    );
    const [certFile, keyFile] = [join(stage.sandbox.dir, 'tls.crt'), join(stage.sandbox.dir, 'tls.key')];
    await writeFile(certFile, one?.cert ?? '');
    await writeFile(keyFile, one?.key ?? '');
    const files = ['--tls-cert-file', certFile, '--tls-private-key-file', keyFile];
    const kexer = await stage.kexer(files, stage.sandbox.files.kexerConfig);
    await kexer.untilLogged('ready');
    const serial = async (): Promise<string> => (await ask(kexer.port, '/readyz', { ca: authority.cert })).serialNumber;
    await writeFile(certFile, two?.cert.slice(0, 500) ?? '');
    const line = await kexer.untilLogged('cannot reload the serving certificate; the old one stays in use');
    expect(String(line['err'])).to.match(/tls\.crt.*it holds no PEM certificate/);
    expect(await serial()).to.equal(new X509Certificate(one?.cert ?? '').serialNumber);
    await writeFile(keyFile, two?.key ?? '');
    await writeFile(certFile, two?.cert ?? '');
    await kexer.untilLogged('serving certificate reloaded');
    expect(await serial()).to.equal(new X509Certificate(two?.cert ?? '').serialNumber);
  });
});

describe('a cluster without extension-apiserver-authentication', function () {
  this.timeout(60_000);
  let stage: CertificateStage;
  const configMap = {
    group: '',
    resource: 'configmaps',
    namespace: 'kube-system',
    name: 'extension-apiserver-authentication',
  };

  before(async () => {
    stage = await CertificateStage.start();
  });
  after(() => stage?.stop());

  it('has a kexer that starts, is not ready and says why, until it is there', async () => {
    const before = stage.sandbox.store.mustGet(configMap);
    stage.sandbox.store.delete(configMap);
    const kexer = await stage.kexer([], stage.sandbox.files.kexerConfig);
    await kexer.untilLogged(
      'the ConfigMap kube-system/extension-apiserver-authentication is missing; not ready until it is there',
    );
    const { status, body } = await ask(kexer.port, '/readyz?verbose', { token: stage.sandbox.tokens.alice });
    expect(status).to.equal(500);
    expect(body).to.contain(
      '[-]authentication-config failed: the ConfigMap kube-system/extension-apiserver-authentication is missing\n',
    );
    expect(await ask(kexer.port, '/livez')).to.include({ status: 200, body: 'ok' });
    const { name, namespace } = configMap;
    const data = isRecord(before['data']) ? before['data'] : {};
    stage.sandbox.store.create(configMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });
    await kexer.untilLogged('ready');
    expect(await ask(kexer.port, '/readyz')).to.include({ status: 200 });
  });
});
