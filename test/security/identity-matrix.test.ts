// Identity parity: every user asks everything of the cluster itself, of kexer directly, and of kexer through the aggregation layer. The
// answers must be the same: allowed, refused, status code, reason, message, and for `who am I` the user. kube-apiserver's audit log must
// name the same person for each. What differs stands in `exceptions`, each with its reason, and one that no longer differs fails the test.
//
// With KEXER_TEST_KUBECONFIG the same matrix runs against the cluster of that kubeconfig's current context; see support/real-arena.ts for
// what is left out there.

import { expect } from 'chai';
import { X509Certificate } from 'node:crypto';

import { type Arena, type AuditEvent, type AuditUser, clusterPath } from './support/arena.ts';
import { type Answer, type Credential, HttpClient } from './support/http-client.ts';
import { home, type Operation, operations } from './support/matrix-operations.ts';
import { type MatrixUser, users } from './support/matrix-users.ts';
import { isRealCluster, useArena } from './support/shared-arena.ts';
import { getHeader } from '../../src/protocol/raw-headers.ts';

type Path = 'direct' | 'aggregated';
type Comparable = Readonly<Record<string, unknown>>;

/** A difference that is meant. */
interface Exception {
  readonly users: readonly string[];
  readonly paths: readonly Path[];
  readonly why: string;
  /** What is answered instead; undefined: the answer of the cluster stands for this operation. */
  readonly want: (operation: Operation, cluster: Comparable) => Comparable | undefined;
}

const unauthorized: Comparable = { status: 401, reason: 'Unauthorized', message: 'Unauthorized' };

/** The outer path is authorised first, for the user whom kube-apiserver takes the caller for. */
function outerRefusal(userName: string, operation: Operation): Comparable {
  const verb = { GET: 'get', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[operation.method];
  const who = `User "${userName}" cannot ${verb}`;
  const what = `resource "clusters/exec" in API group "backup.cv.io" in the namespace "${home}"`;
  return {
    status: 403,
    reason: 'Forbidden',
    message: `clusters.backup.cv.io "local" is forbidden: ${who} ${what}`,
    details: { name: 'local', group: 'backup.cv.io', kind: 'clusters' },
  };
}

const exceptions: readonly Exception[] = [
  {
    users: ['no credential'],
    paths: ['direct'],
    why: 'kexer serves nobody it does not know: a call that kube-apiserver would take as system:anonymous is a 401',
    want: () => unauthorized,
  },
  {
    users: ['no credential'],
    paths: ['aggregated'],
    why: 'kube-apiserver takes the caller as system:anonymous and asks for the right to the outer path',
    want: (operation) => outerRefusal('system:anonymous', operation),
  },
  {
    users: ['certificate that may not use kexer'],
    paths: ['direct', 'aggregated'],
    why: 'using kexer is a right of its own, asked for before anything else',
    want: (operation) => outerRefusal('outsider', operation),
  },
  {
    users: ['system:masters --as one who may not use kexer'],
    paths: ['aggregated'],
    why: 'the aggregation layer resolves --as first, so that the right to the outer path is the impersonated user’s',
    want: (operation) => outerRefusal('outsider', operation),
  },
  {
    users: ['system:masters --as system:anonymous'],
    paths: ['aggregated'],
    why: 'the same, and system:anonymous has no right to the outer path',
    want: (operation) => outerRefusal('system:anonymous', operation),
  },
  {
    users: users.filter(({ name }) => name.includes('--as')).map(({ name }) => name),
    paths: ['aggregated'],
    why: 'the aggregation layer judges --as for the outer path, and names that where a refusal names what was to be done',
    want: (operation, cluster) =>
      /cannot impersonate-on:user-info:/.test(String(cluster['message']))
        ? outerImpersonation(operation, cluster)
        : undefined,
  },
];

/** The refusal of a constrained impersonation with the outer path in place of the inner one. */
function outerImpersonation(operation: Operation, cluster: Comparable): Comparable {
  const requestor = /User "([^"]*)"/.exec(String(cluster['message']))?.[1] ?? '';
  const outer = outerRefusal(requestor, operation);
  return { ...outer, message: String(outer['message']).replace(' cannot ', ' cannot impersonate-on:user-info:') };
}

const cellCount = users.reduce((sum, user) => {
  const paths = user.makeDirect === undefined ? 2 : 1;
  return sum + paths * operationsOf(user).length;
}, 0);

describe('identity matrix', function () {
  this.timeout(120_000);
  const useIt = useArena();
  let arena: Arena;
  const used = new Set<Exception>();
  const replaced = new Set<string>();
  let nextId = 0;
  let ran = 0;

  before(() => {
    arena = useIt();
  });

  for (const planned of users) {
    it(`is the same for: ${planned.name}`, async function () {
      const user = withOriginal(arena, planned);
      const credential = await user.make(arena);
      const direct = credential === undefined ? undefined : (user.makeDirect ?? same)(arena, credential);
      if (credential === undefined || direct === undefined) {
        this.skip();
      }
      const onCluster = await askAll(arena.cluster, credential, user);
      const results: { path: Path; cells: Cells }[] = [
        { path: 'direct', cells: await askAll(arena.direct, direct, user) },
      ];
      if (user.makeDirect === undefined && arena.aggregated !== undefined) {
        results.push({ path: 'aggregated', cells: await askAll(arena.aggregated, credential, user) });
      }
      for (const { path, cells } of results) {
        expect(answersOf(cells), path).to.deep.equal(wanted(user, path, answersOf(onCluster)));
        ran += cells.size;
      }
      const byId = await arena.audit?.read();
      if (byId === undefined) return;
      for (const { path, cells } of results) {
        for (const [name, cell] of cells) {
          const reference = onCluster.get(name);
          if (reference === undefined) throw new Error(`no cell ${name}`);
          // What differs was refused by somebody else, so that there is no such call.
          if (isException(user, path, name)) continue;
          const own = byId.get(reference.auditId) ?? [];
          const where = { path, name, status: cell.answer['status'], impersonator: arena.impersonatorName };
          expect(auditOf(where, byId.get(cell.auditId) ?? []), `${path}, ${name}`).to.deep.equal(
            wantedAudit(where, user, credential, own),
          );
        }
      }
    });
  }

  it(`covers ${cellCount} cells, with ${exceptions.length} kinds of exceptions, each still true`, () => {
    expect(cellCount).to.be.at.least(400);
    if (isRealCluster) {
      console.log(`      ${ran} of ${cellCount} cells could be asked on this cluster`);
      return;
    }
    expect(ran).to.equal(cellCount);
    expect(exceptions.filter((exception) => !used.has(exception)).map(({ why }) => why)).to.deep.equal([]);
  });

  it('names no token in the log of kexer', () => {
    expect(arena.kexer.output).not.to.match(/eyJ|not-a-token-of-anybody/);
    arena.kexer.assertAlive();
  });

  /** What is wanted on a path: the cluster's own answers, but for the exceptions. */
  function wanted(
    user: MatrixUser,
    path: Path,
    cluster: Readonly<Record<string, Comparable>>,
  ): Record<string, Comparable> {
    const meant = exceptions.filter(({ users, paths }) => users.includes(user.name) && paths.includes(path));
    return Object.fromEntries(
      operationsOf(user).map((operation) => {
        const own = withOriginalUser(user, path, cluster[operation.name] ?? {});
        for (const exception of meant) {
          const instead = exception.want(operation, own);
          if (instead === undefined) continue;
          if (JSON.stringify(instead) !== JSON.stringify(own)) used.add(exception);
          replaced.add(`${user.name} ${path} ${operation.name}`);
          return [operation.name, instead];
        }
        return [operation.name, own];
      }),
    );
  }

  function isException(user: MatrixUser, path: Path, operation: string): boolean {
    return replaced.has(`${user.name} ${path} ${operation}`);
  }

  async function askAll(server: Arena['cluster'], credential: Credential, user: MatrixUser): Promise<Cells> {
    const client = new HttpClient(server, credential);
    try {
      const cells = await Promise.all(
        operationsOf(user).map(async (operation) => {
          nextId += 1;
          const auditId = `matrix-${nextId}`;
          const ask = { ...operation, headers: [...(operation.headers ?? []), ['Audit-ID', auditId] as const] };
          const answer = await (operation.isUpgrade === true ? client.upgrade(ask) : client.ask(ask));
          return [operation.name, { auditId, answer: comparable(operation, answer) }] as const;
        }),
      );
      return new Map(cells);
    } finally {
      client.close();
    }
  }
});

/** The admin is somebody else on each cluster, and by a token nobody who has to be named besides. */
function withOriginal({ admin }: Arena, { original, ...user }: MatrixUser): MatrixUser {
  if (original !== 'admin') return original === undefined ? user : { ...user, original };
  const subject = admin.certificate === undefined ? '' : new X509Certificate(admin.certificate.cert).subject;
  const name = /^CN=(.*)$/m.exec(subject)?.[1];
  return name === undefined ? user : { ...user, original: name };
}

interface Cell {
  readonly auditId: string;
  readonly answer: Comparable;
}

type Cells = ReadonlyMap<string, Cell>;

function same(_arena: Arena, credential: Credential): Credential {
  return credential;
}

function operationsOf(user: MatrixUser): readonly Operation[] {
  return user.isCoreOnly === true ? operations.filter(({ isCore }) => isCore === true) : operations;
}

function answersOf(cells: Cells): Record<string, Comparable> {
  return Object.fromEntries([...cells].map(([name, { answer }]) => [name, answer]));
}

/** What of an answer must be the same. */
function comparable(operation: Operation, { status, headers, contentType, body }: Answer): Comparable {
  if (status === 101) {
    const protocol =
      getHeader(headers, 'X-Stream-Protocol-Version') ?? getHeader(headers, 'Sec-WebSocket-Protocol') ?? '';
    return { status, protocol };
  }
  const text = body.toString();
  if (!contentType.startsWith('application/json')) return { status, contentType, text };
  // A watch is a line for each event; the first says what they are.
  const object = JSON.parse(operation.isEndless === true ? (text.split('\n', 1)[0] ?? '') : text) as Record<
    string,
    unknown
  >;
  if (object['kind'] === 'Status' && object['status'] === 'Failure') {
    const { reason, message, details } = object;
    const isBare = details === undefined || Object.keys(details as object).length === 0;
    return { status, reason, message, ...(isBare ? {} : { details }) };
  }
  if (operation.success === 'user') return { status, ...(object['status'] as object) };
  if (operation.success === 'text') return { status, answer: object['status'] };
  const event = object['object'] as { kind?: string } | undefined;
  return { status, kind: object['kind'] ?? event?.kind, type: object['type'] };
}

const originalUserKey = 'backup.cv.io/original-user';

/**
 * Directly at kexer, a certificate's bearer who impersonates stays named: the impersonated user has one extra more, and `who am I` shows
 * it. (The aggregation layer has named both in its own audit event.)
 */
function withOriginalUser(user: MatrixUser, path: Path, answer: Comparable): Comparable {
  const { original } = user;
  const userInfo = answer['userInfo'] as AuditUser | undefined;
  if (path !== 'direct' || original === undefined || userInfo === undefined) return answer;
  return { ...answer, userInfo: withExtra(userInfo, original) };
}

function withExtra(user: AuditUser, original: string): AuditUser {
  return { ...user, extra: { ...user.extra, [originalUserKey]: [original] } };
}

interface Place {
  readonly path: Path;
  readonly name: string;
  readonly status: unknown;
  readonly impersonator: string;
}

/** Who a call was, by kube-apiserver's audit log; `none`: no such call was made there. */
type Audit = 'none' | { readonly outer?: Who; readonly inner: Who | 'none' };

interface Who {
  readonly user: AuditUser;
  readonly impersonatedUser: AuditUser | undefined;
}

function whoIn(event: AuditEvent | undefined): Who | 'none' {
  return event === undefined ? 'none' : { user: event.user, impersonatedUser: event.impersonatedUser };
}

function auditOf({ path, impersonator }: Place, events: readonly AuditEvent[]): Audit {
  const inner = whoIn(events.findLast(({ requestURI }) => !requestURI.startsWith(clusterPath)));
  const carried = inner !== 'none' && inner.user.username === impersonator;
  // Of the account that carries a call only its name is of interest.
  const shown = carried ? { ...inner, user: { username: impersonator } } : inner;
  if (path === 'direct') return shown === 'none' ? 'none' : { inner: shown };
  const outer = whoIn(events.findLast(({ requestURI }) => requestURI.startsWith(clusterPath)));
  return outer === 'none' ? 'none' : { outer, inner: shown };
}

/**
 * The cluster's own event of the call names the same person. A token's call goes out with the token; everybody else's as an
 * impersonation. Whoever is nobody, or may not be whom they ask to be, is refused before there is a call.
 */
function wantedAudit(place: Place, user: MatrixUser, credential: Credential, events: readonly AuditEvent[]): Audit {
  const own = whoIn(events.at(-1));
  if (own === 'none') throw new Error(`the cluster has no event of its own call: ${place.name}`);
  const { path, status, impersonator } = place;
  const isRefused = isImpersonating(credential) && own.impersonatedUser === undefined;
  const effective = own.impersonatedUser ?? own.user;
  const isNamed = path === 'direct' && user.original !== undefined;
  const carried: Who = {
    user: { username: impersonator },
    impersonatedUser: isNamed ? withExtra(effective, user.original ?? '') : effective,
  };
  if (path === 'aggregated') return { outer: own, inner: status === 401 || isRefused ? 'none' : carried };
  if (status === 401) return 'none';
  if (isByToken(credential, own)) return { inner: own };
  return isRefused ? 'none' : { inner: carried };
}

function isImpersonating({ headers = [] }: Credential): boolean {
  return headers.some(([name]) => name.startsWith('Impersonate-'));
}

/** A certificate that counts goes before a token; one that does not is no hindrance to it. */
function isByToken({ token }: Credential, own: Who): boolean {
  return token !== undefined && own.user.username?.startsWith('system:serviceaccount:') === true;
}
