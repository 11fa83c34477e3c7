// Which hosts are reached without the proxy: the cases of golang.org/x/net/http/httpproxy's own tests that mean something here, and what differs.

import { expect } from 'chai';

import { isNoProxyEntry, NoProxy } from '../../src/net/no-proxy.ts';

describe('NoProxy', () => {
  const cases: readonly (readonly [entries: string, straight: readonly string[], proxied: readonly string[]])[] = [
    ['', [], ['example.com:443', '127.0.0.1:443', 'localhost:443', '[::1]:443']],
    ['*', ['example.com:443', '192.0.2.1:1', '[2001:db8::1]:1'], []],
    ['foo.com', ['foo.com:443', 'bar.foo.com:1', 'FOO.com.:443'], ['barfoo.com:443', 'foo.com.example:443', 'com:443']],
    ['.foo.com', ['bar.foo.com:443', 'a.b.foo.com:443'], ['foo.com:443', 'barfoo.com:443']],
    ['*.foo.com', ['bar.foo.com:443'], ['foo.com:443', 'barfoo.com:443']],
    ['foo.com:6443', ['foo.com:6443', 'bar.foo.com:6443'], ['foo.com:443']],
    ['.foo.com:6443', ['bar.foo.com:6443'], ['bar.foo.com:443', 'foo.com:6443']],
    ['192.0.2.1', ['192.0.2.1:1', '[::ffff:192.0.2.1]:1'], ['192.0.2.2:1', '1.192.0.2.1:1']],
    ['192.0.2.1:10250', ['192.0.2.1:10250'], ['192.0.2.1:10251']],
    ['10.0.0.0/8', ['10.255.0.1:1', '[::ffff:10.0.0.1]:1'], ['11.0.0.1:1', 'example.10:1', '[a00::]:1']],
    ['2001:db8::1', ['[2001:db8::1]:1', '[2001:DB8:0::1]:1'], ['[2001:db8::2]:1']],
    ['[2001:db8::1]:6443', ['[2001:db8::1]:6443'], ['[2001:db8::1]:443']],
    ['2001:db8::/32', ['[2001:db8:1::]:1'], ['[2001:db9::]:1', '32.1.13.184:1']],
    ['localhost', ['localhost:1', 'a.localhost:1'], ['127.0.0.1:1']],
    ['a.example,10.0.0.0/8', ['a.example:1', '10.1.1.1:1'], ['b.example:1']],
  ];
  for (const [entries, straight, proxied] of cases) {
    it(`reads ${JSON.stringify(entries)}`, () => {
      const list = entries.split(',').filter((entry) => entry !== '');
      const noProxy = new NoProxy(list);
      const has = (address: string): boolean => {
        const [, bracketed, named, port] = /^(?:\[(.*)\]|(.*)):(\d+)$/.exec(address) ?? [];
        return noProxy.has(bracketed ?? named ?? '', Number(port));
      };
      expect({
        usable: list.filter(isNoProxyEntry),
        straight: straight.filter(has),
        proxied: proxied.filter((address) => !has(address)),
      }).to.deep.equal({ usable: list, straight, proxied });
    });
  }

  const unusable = [
    '',
    ' ',
    '.',
    '*.',
    'a b',
    'foo.com:',
    'foo.com:0',
    'foo.com:65536',
    'foo.com:https',
    ':443',
    '*:443',
    '300.1.1.1',
    '10.0.0.0/33',
    '10.0.0.0/8:443',
    '[2001:db8::1]',
    '[foo.com]:443',
    'https://foo.com',
    'foo.*.com',
  ];
  for (const entry of unusable) {
    it(`takes no ${JSON.stringify(entry)}`, () => {
      expect(isNoProxyEntry(entry)).to.equal(false);
    });
  }
});
