// Whether a name says that its value is a secret: of a flag, an environment variable, a header, a query parameter, a key in JSON. Errs on
// the side of secrecy: a path shown as redacted costs a reader little, a password shown costs a rotation.

/** A name with one of these as a whole part: `db-pass`, `REDISCLI_AUTH`, `x-auth-token`. */
const secretParts: ReadonlySet<string> = new Set([
  'auth',
  'authorization',
  'bearer',
  'cookie',
  'cookies',
  'cred',
  'creds',
  'dsn',
  'jwt',
  'otp',
  'pass',
  'passcode',
  'passwort',
  'psk',
  'pw',
  'pwd',
  'sig',
  'signature',
]);

/** A name with one of these anywhere, separators left out: `PGPASSWORD`, `keyStorePassword`, `api_key`. */
const secretWords: readonly string[] = [
  'password',
  'passwd',
  'passphrase',
  'secret',
  'token',
  'credential',
  'apikey',
  'accesskey',
  'privatekey',
  'authorization',
];

/** At the end of a name that is one word: `SSHPASS`, `MYSQLPWD`. */
const secretEndings: readonly string[] = ['pass', 'pwd'];

/** What makes a key in a name no secret: `--sort-key`, `--public-key`. */
const openKeys: ReadonlySet<string> = new Set(['foreign', 'partition', 'primary', 'public', 'row', 'sort']);

/** The value is where the secret is, or none at all: `--password-file`, `--password-stdin`, `--no-password`. */
const openFirst: ReadonlySet<string> = new Set(['ask', 'no']);
const openLast: ReadonlySet<string> = new Set(['file', 'path', 'prompt', 'stdin']);

/** Longer names are no names. */
export const maxNameLength = 128;

export function isSecretName(name: string): boolean {
  if (name.length > maxNameLength) return false;
  const parts = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((part) => part !== '');
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (parts.length > 1 && (openFirst.has(first) || openLast.has(last))) return false;
  if (parts.some((part) => secretParts.has(part))) return true;
  const joined = parts.join('');
  if (secretWords.some((word) => joined.includes(word))) return true;
  if (secretEndings.some((ending) => joined.endsWith(ending))) return true;
  return last === 'key' && parts.length > 1 && !parts.some((part) => openKeys.has(part));
}
