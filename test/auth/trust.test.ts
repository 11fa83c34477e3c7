import { expect } from 'chai';

import { noTrust, readTrust, type Trust, TrustWatch } from '../../src/auth/trust.ts';
import type { AnswerSink } from '../../src/kube/client.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { configMapData, type Pki, pki } from './pki.ts';

describe('readTrust', () => {
  let made: Pki;
  before(async () => {
    made = await pki();
  });

  const shown = ({ clientCa, requestHeader, problems }: Trust): unknown => ({
    clientCa: clientCa?.certificates.map(({ subject }) => subject),
    requestHeader: requestHeader && {
      ...requestHeader,
      ca: requestHeader.ca.certificates.map(({ subject }) => subject),
    },
    problems,
  });

  it('reads the ConfigMap as kubeadm writes it', () => {
    expect(shown(readTrust(configMapData(made)))).to.deep.equal({
      clientCa: ['CN=client-ca'],
      requestHeader: {
        ca: ['CN=front-proxy-ca'],
        allowedNames: ['front-proxy-client'],
        usernameHeaders: ['X-Remote-User'],
        uidHeaders: ['X-Remote-Uid'],
        groupHeaders: ['X-Remote-Group'],
        extraPrefixes: ['X-Remote-Extra-'],
      },
      problems: [],
    });
  });

  it('trusts nobody where something is missing or broken, and says what', () => {
    const data = configMapData(made);
    const cases: [
      name: string,
      change: Record<string, string>,
      client: boolean,
      proxy: boolean,
      problem: RegExp | undefined,
    ][] = [
      ['empty', { 'client-ca-file': '', 'requestheader-client-ca-file': '' }, false, false, undefined],
      ['broken client CA', { 'client-ca-file': 'x' }, false, true, /client-ca-file: .*no certificate/],
      [
        'broken front-proxy CA',
        { 'requestheader-client-ca-file': 'x' },
        true,
        false,
        /requestheader: .*no certificate/,
      ],
      ['no username header', { 'requestheader-username-headers': '[]' }, true, false, /names no header/],
      ['no JSON', { 'requestheader-allowed-names': 'front-proxy-client' }, true, false, /want a JSON array of strings/],
      ['no strings', { 'requestheader-group-headers': '[1]' }, true, false, /want a JSON array of strings/],
      ['an object', { 'requestheader-extra-headers-prefix': '{}' }, true, false, /want a JSON array of strings/],
    ];
    for (const [name, change, client, proxy, problem] of cases) {
      const trust = readTrust({ ...data, ...change });
      expect([trust.clientCa !== undefined, trust.requestHeader !== undefined], name).to.deep.equal([client, proxy]);
      expect(trust.problems.join(), name).to.match(problem ?? /^$/);
    }
    expect(readTrust({})).to.deep.equal(noTrust);
  });

  it('ignores an empty prefix, which would make every header an extra', () => {
    const trust = readTrust({ ...configMapData(made), 'requestheader-extra-headers-prefix': '["", "X-E-"]' });
    expect(trust.requestHeader?.extraPrefixes).to.deep.equal(['X-E-']);
  });

  it('keeps a bundle while its text is the same, and only then', () => {
    const data = configMapData(made);
    const first = readTrust(data);
    const same = readTrust({ ...data, 'requestheader-allowed-names': '[]' }, first);
    const changed = readTrust({ ...data, 'client-ca-file': made.strangerCa.cert }, first);
    expect(same.clientCa === first.clientCa && same.requestHeader?.ca === first.requestHeader?.ca).to.equal(true);
    expect(changed.clientCa === first.clientCa).to.equal(false);
    expect(changed.requestHeader?.ca === first.requestHeader?.ca).to.equal(true);
  });
});

describe('TrustWatch', () => {
  it('follows the ConfigMap, and trusts nobody before it is read and after it is gone', async () => {
    const made = await pki();
    const sinks: AnswerSink[] = [];
    let onWatch: () => void = () => {};
    const watching = new Promise<void>((resolve) => {
      onWatch = resolve;
    });
    const configMap = (data: object, resourceVersion: string): object => ({
      metadata: { name: 'extension-apiserver-authentication', namespace: 'kube-system', resourceVersion },
      data,
    });
    const client = {
      userAgent: 'kexer/test',
      json: () => Promise.resolve({ metadata: { resourceVersion: '1' }, items: [configMap(configMapData(made), '1')] }),
      stream: (_request: unknown, sink: AnswerSink) => {
        sinks.push(sink);
        onWatch();
        return { pause() {}, resume() {}, abort: (reason: Error) => sink.onError(reason) };
      },
    };
    const problems: string[] = [];
    const trust = new TrustWatch({
      client,
      clock: new FakeClock(),
      onProblem: (problem) => problems.push(problem),
    });
    expect([trust.hasSynced, trust.current]).to.deep.equal([false, noTrust]);
    trust.start();
    await trust.whenSynced();
    await watching;
    const states = [trust.current.clientCa?.pem];
    const event = (type: string, object: object): void => {
      sinks[0]?.onData(Buffer.from(`${JSON.stringify({ type, object })}\n`));
    };
    sinks[0]?.onHead({ status: 200, reason: '', headers: [] }, { pause() {}, resume() {}, abort() {} });
    event('MODIFIED', configMap({ 'client-ca-file': made.strangerCa.cert, 'requestheader-client-ca-file': 'x' }, '2'));
    states.push(trust.current.clientCa?.pem);
    event('DELETED', configMap({}, '3'));
    states.push(trust.current.clientCa?.pem);
    await trust.stop();
    expect(states).to.deep.equal([made.clientCa.cert, made.strangerCa.cert, undefined]);
    expect(problems).to.have.length(1);
  });

  it('says that the ConfigMap is missing, and has loaded when it is there, even if it goes again', async () => {
    const sinks: AnswerSink[] = [];
    const watching = Promise.withResolvers<void>();
    const client = {
      userAgent: 'kexer/test',
      json: () => Promise.resolve({ metadata: { resourceVersion: '1' }, items: [] }),
      stream: (_request: unknown, sink: AnswerSink) => {
        sinks.push(sink);
        watching.resolve();
        return { pause() {}, resume() {}, abort: (reason: Error) => sink.onError(reason) };
      },
    };
    let missing = 0;
    const trust = new TrustWatch({ client, clock: new FakeClock(), onMissing: () => (missing += 1) });
    const refused = new AbortController();
    const given = trust.whenLoaded(refused.signal).catch((error: unknown) => String(error));
    trust.start();
    await watching.promise;
    const states = [[trust.hasSynced, trust.hasLoaded, missing]];
    refused.abort();
    expect(await given).to.match(
      /Cannot wait longer for the ConfigMap kube-system\/extension-apiserver-authentication/,
    );
    const loaded = trust.whenLoaded();
    const event = (type: string, resourceVersion: string): void => {
      const metadata = { name: 'extension-apiserver-authentication', namespace: 'kube-system', resourceVersion };
      sinks[0]?.onData(Buffer.from(`${JSON.stringify({ type, object: { metadata, data: {} } })}\n`));
    };
    sinks[0]?.onHead({ status: 200, reason: '', headers: [] }, { pause() {}, resume() {}, abort() {} });
    event('ADDED', '2');
    await loaded;
    states.push([trust.hasSynced, trust.hasLoaded, missing]);
    event('DELETED', '3');
    states.push([trust.hasSynced, trust.hasLoaded, missing]);
    await trust.stop();
    expect(states).to.deep.equal([
      [true, false, 1],
      [true, true, 1],
      [true, true, 2],
    ]);
  });
});
