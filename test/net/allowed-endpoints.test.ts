import { expect } from 'chai';

import { AllowedEndpoints, isEndpointEntry } from '../../src/net/allowed-endpoints.ts';

const never = 'is an address that is never allowed';
const loopback = 'is a loopback address, which clusters.allowedEndpoints has to name itself';
const unlisted = 'it is not in clusters.allowedEndpoints';

describe('AllowedEndpoints', () => {
  const everything = ['0.0.0.0/0', '::/0', 'localhost.example', '*.example', 'metadata.example'];
  const cases: readonly (readonly [
    what: string,
    list: readonly string[],
    host: string,
    address: string,
    problem: string | undefined,
  ])[] = [
    ['an address of a network', ['10.0.0.0/8'], 'api.example', '10.1.2.3', undefined],
    ['an address of no network', ['10.0.0.0/8'], 'api.example', '11.1.2.3', unlisted],
    ['a single address', ['192.0.2.1'], '192.0.2.1', '192.0.2.1', undefined],
    ['its neighbour', ['192.0.2.1'], '192.0.2.2', '192.0.2.2', unlisted],
    ['an IPv6 network', ['2001:db8::/32'], 'x', '2001:DB8:0:0::1', undefined],
    ['a host', ['api.example'], 'API.example.', '203.0.113.1', undefined],
    ['another host at the same address', ['api.example'], 'other.example', '203.0.113.1', unlisted],
    ['a host below a domain', ['*.example'], 'a.b.example', '203.0.113.1', undefined],
    ['the domain itself', ['*.example'], 'example', '203.0.113.1', unlisted],
    ['what only ends alike', ['*.example'], 'badexample', '203.0.113.1', unlisted],
    ['nothing, with an empty list', [], 'api.example', '203.0.113.1', unlisted],
    ['loopback by a wide network', everything, 'x', '127.0.0.1', `127.0.0.1 ${loopback}`],
    ['IPv6 loopback by a wide network', everything, 'x', '::1', `::1 ${loopback}`],
    ['a name that now means loopback', everything, 'localhost.example', '127.0.0.1', `127.0.0.1 ${loopback}`],
    ['loopback that is named', ['127.0.0.1'], '127.0.0.1', '127.0.0.1', undefined],
    ['another one than is named', ['127.0.0.1'], '127.0.0.2', '127.0.0.2', `127.0.0.2 ${loopback}`],
    ['all of loopback, named', ['127.0.0.0/8'], 'x', '127.9.9.9', undefined],
    ['localhost, named', ['localhost'], 'localhost', '::1', undefined],
    ['another name at loopback', ['localhost'], 'x.example', '127.0.0.1', `127.0.0.1 ${loopback}`],
    ['loopback as mapped IPv6', everything, 'x', '::ffff:127.0.0.1', `127.0.0.1 ${loopback}`],
    ['loopback as mapped IPv6 in hex', everything, 'x', '::ffff:7f00:1', `127.0.0.1 ${loopback}`],
    ['loopback as compatible IPv6', everything, 'x', '::127.0.0.1', `127.0.0.1 ${loopback}`],
    ['the metadata service', everything, 'metadata.example', '169.254.169.254', `169.254.169.254 ${never}`],
    [
      'the metadata service, named',
      ['169.254.169.254'],
      '169.254.169.254',
      '169.254.169.254',
      `169.254.169.254 ${never}`,
    ],
    ['the metadata service as mapped IPv6', everything, 'x', '::ffff:a9fe:a9fe', `169.254.169.254 ${never}`],
    ['the metadata service by NAT64', everything, 'x', '64:ff9b::169.254.169.254', `169.254.169.254 ${never}`],
    ['the metadata service by IPv6', everything, 'x', 'fd00:ec2::254', `fd00:ec2::254 ${never}`],
    ['link-local', everything, 'x', 'fe80::1%eth0', `fe80::1 ${never}`],
    ['this host', everything, 'x', '0.0.0.0', `0.0.0.0 ${never}`],
    ['this host by IPv6', everything, 'x', '::', `:: ${never}`],
    ['multicast', everything, 'x', '224.0.0.1', `224.0.0.1 ${never}`],
    ['no address', everything, 'x', '', 'it has no address'],
  ];
  for (const [what, list, host, address, problem] of cases) {
    it(`${problem === undefined ? 'allows' : 'refuses'} ${what}`, () => {
      expect(new AllowedEndpoints(list).problem(host, address)).to.equal(problem);
    });
  }

  it('knows what an entry may be', () => {
    const good = ['api.example', 'API.example.', '*.example', '10.0.0.0/8', '192.0.2.1', '::1', '2001:db8::/32', 'a_b'];
    const bad = [
      '',
      '*',
      'a b',
      'http://x',
      'a/b',
      '300.1.1.1',
      '10.0.0.0/33',
      '::/129',
      '1.2.3',
      '::ffff:10.0.0.0/104',
      'a..b',
    ];
    expect([good.filter((entry) => !isEndpointEntry(entry)), bad.filter(isEndpointEntry)]).to.deep.equal([[], []]);
  });
});
