// One serving pair for all tests of a process, so that each has it at once.

import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';

export interface TestPair extends KeyPairPem {
  readonly ca: string;
}

let made: Promise<TestPair> | undefined;

/** For localhost and 127.0.0.1. */
export function servingPair(): Promise<TestPair> {
  made ??= make();
  return made;
}

async function make(): Promise<TestPair> {
  const authority = await generateAuthority({ commonName: 'test-serving-ca' });
  const pair = await generateServing(authority, {
    commonName: 'localhost',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
  });
  return { ...pair, ca: authority.cert };
}
