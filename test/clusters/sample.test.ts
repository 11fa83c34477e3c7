// The samples of Secrets, filled in as their comments say, are in order.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { expect } from 'chai';
import { parse } from 'yaml';

import { generateAuthority, generateClient } from '../../src/certs/generate.ts';
import { readClusterSecret } from '../../src/clusters/cluster-secret.ts';

interface Sample {
  readonly type: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly stringData: Readonly<Record<string, string>>;
}

describe('sample/clusters', () => {
  for (const [file, identity, streams] of [
    ['shared', 'shared', 'apiserver'],
    ['impersonate', 'impersonate', 'kubelet'],
  ] as const) {
    it(`${file}.yaml names a cluster`, async () => {
      const authority = await generateAuthority({ commonName: 'far' });
      const client = await generateClient(authority, { commonName: 'kexer', organizations: [] });
      const values: Record<string, string> = {
        caData: Buffer.from(authority.cert).toString('base64'),
        clientCertificateData: Buffer.from(client.cert).toString('base64'),
        clientKeyData: Buffer.from(client.key).toString('base64'),
        token: 'abc.def.ghi',
      };
      const path = fileURLToPath(new URL(`../../sample/clusters/${file}.yaml`, import.meta.url));
      const { type, metadata, stringData } = parse(await readFile(path, 'utf8')) as Sample;
      const data = Object.entries(stringData).map(([key, text]) => {
        const filled = text === 'REPLACE' ? values[key] : text;
        return [key, Buffer.from(filled ?? '').toString('base64')] as const;
      });
      const secret = readClusterSecret({ type, metadata, data: Object.fromEntries(data) });
      expect(secret?.spec).to.deep.include({ identity, streams, ca: authority.cert.trim() });
    });
  }
});
