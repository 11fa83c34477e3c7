// undici's pool alone: the package's index also loads fetch, caches, mocks and proxies, which cost 13 MB of memory and are not used.

declare module 'undici/lib/dispatcher/pool.js' {
  import type { Pool } from 'undici';

  const pool: typeof Pool;
  export = pool;
}
