import { DEFAULT_CIPHERS } from 'node:tls';

import { expect } from 'chai';

import { preferredCiphers } from '../../src/net/ciphers.ts';

describe('preferredCiphers', () => {
  it("puts AES-128-GCM before the others and keeps Node's list otherwise", () => {
    const ciphers = preferredCiphers().split(':');
    expect(ciphers[0]).to.equal('TLS_AES_128_GCM_SHA256');
    expect(ciphers.toSorted()).to.deep.equal(DEFAULT_CIPHERS.split(':').toSorted());
  });

  it('leaves a list alone that an operator made without it', () => {
    expect(preferredCiphers('TLS_AES_256_GCM_SHA384:!aNULL')).to.equal('TLS_AES_256_GCM_SHA384:!aNULL');
  });
});
