import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';

import { expect } from 'chai';

import { generateAuthority } from '../../src/certs/generate.ts';
import { OwnMark } from '../../src/clusters/own-mark.ts';
import { StatusError } from '../../src/kube/status.ts';
import { servingPair } from '../support/serving-pair.ts';

describe('OwnMark', () => {
  it('refuses what kexer sent itself, and nothing else', () => {
    const mark = (installation: string): OwnMark => new OwnMark({ installation, servingCertificate: () => '' });
    const [name, value] = mark('a').header;
    expect([name, /^1\.1 kexer-[0-9a-f]{16}$/.test(value)]).to.deep.equal(['Via', true]);
    for (const line of [value, `1.0 fred, ${value}`, `HTTP/${value} (comment)`]) {
      expect(() => mark('a').refuseOwn([['via', line]]))
        .to.throw(StatusError)
        .with.nested.property('status.code', 508);
    }
    for (const line of ['1.1 proxy', mark('b').header[1], `1.1 x-${value.slice(4)}`]) {
      expect(() => mark('a').refuseOwn([['Via', line]])).to.not.throw();
    }
    expect(() => mark('a').refuseOwn([])).to.not.throw();
  });

  it('does not take its own certificate for an endpoint, the current one that is', async () => {
    const { cert } = await servingPair();
    let current = cert;
    const mark = new OwnMark({ installation: '', servingCertificate: () => current });
    const { fingerprint256 } = new X509Certificate(cert);
    expect(mark.checkPeer({ fingerprint256 } as PeerCertificate)?.message).to.equal(
      'Cannot use the endpoint: it is this kexer itself, want a kube-apiserver',
    );
    expect(mark.checkPeer({ fingerprint256: 'AA' } as PeerCertificate)).to.equal(undefined);
    current = (await generateAuthority({ commonName: 'renewed' })).cert;
    expect(mark.checkPeer({ fingerprint256 } as PeerCertificate)).to.equal(undefined);
  });
});
