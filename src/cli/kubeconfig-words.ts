// The words of `kexer kubeconfig`, checked: what stands in them goes into a URL and a file that others read.

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { nearestName } from '../config/nearest.ts';

export interface KubeconfigWords {
  /** The cluster and its namespace, as they stand in kexer's path. */
  readonly cluster: string;
  readonly namespace: string;
  /** Scheme, host, port and perhaps a prefix, without a slash at the end. */
  readonly server: string | undefined;
  readonly certificateAuthority: string | undefined;
  readonly context: string | undefined;
  readonly kubeconfig: string | undefined;
}

const flags = ['--cluster', '--namespace', '--server', '--certificate-authority', '--context', '--kubeconfig'] as const;
type Flag = (typeof flags)[number];
const shortFlags: Readonly<Record<string, Flag>> = { '-n': '--namespace', '-s': '--server' };

/** @throws KexerError config: one sentence, for exit code 2. */
export function parseKubeconfigWords(argv: readonly string[]): KubeconfigWords {
  const values = new Map<Flag, string>();
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    const [name = '', ...inline] = word.split('=');
    const flag = shortFlags[name] ?? flags.find((known) => known === name);
    if (flag === undefined) {
      const nearest = nearestName(name, flags);
      const hint = nearest === undefined ? `want ${flags.join(', ')}` : `did you mean ${nearest}?`;
      throw new KexerError('config', `Cannot use ${quote(word)}: ${hint}`);
    }
    if (inline.length === 0) index += 1;
    const value = inline.length === 0 ? argv[index] : inline.join('=');
    if (value === undefined || value === '') {
      throw new KexerError('config', `Cannot use the flag ${flag}: it has no value, want ${flag} VALUE`);
    }
    values.set(flag, value);
  }
  const server = values.get('--server');
  return {
    cluster: nameOf('--cluster', values.get('--cluster') ?? 'local', 253),
    namespace: nameOf('--namespace', values.get('--namespace') ?? 'default', 63),
    server: server === undefined ? undefined : serverOf(server),
    certificateAuthority: values.get('--certificate-authority'),
    context: values.get('--context'),
    kubeconfig: values.get('--kubeconfig'),
  };
}

/** Names of Secrets are DNS subdomains, those of namespaces DNS labels. */
function nameOf(flag: Flag, text: string, maxLength: number): string {
  const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
  const form = new RegExp(maxLength === 63 ? `^${label}$` : String.raw`^${label}(\.${label})*$`);
  if (text.length <= maxLength && form.test(text)) return text;
  const want = `want lower-case letters, digits and ${maxLength === 63 ? '-' : '- or .'}, at most ${maxLength}`;
  throw new KexerError('config', `Cannot use ${flag}: it is ${quote(text)}, ${want}`);
}

function serverOf(text: string): string {
  const wrong = (why: string): KexerError =>
    new KexerError('config', `Cannot use --server: ${why}, want https://HOST:PORT`);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'https:') throw wrong(`${quote(withoutSecrets(text))} is no https URL`);
  // Not quoted: it may be a password.
  if (url.username !== '' || url.password !== '') throw wrong('it has a user or a password');
  if (text.includes('?') || text.includes('#')) throw wrong('it has a query or a fragment');
  if (url.pathname.includes('/apis/')) throw wrong('it has a path of the API, which is put behind it');
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

const withoutSecrets = (text: string): string => text.replace(/\/\/[^/@]*@/, '//…@').replace(/[?#].*$/s, '');
