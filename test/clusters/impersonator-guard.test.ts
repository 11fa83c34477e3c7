// Whose refusal it is: kexer's own never reaches the caller as theirs.

import { expect } from 'chai';

import { AnswerGuard } from '../../src/clusters/answer-judge.ts';
import { impersonatorJudge } from '../../src/clusters/impersonator-guard.ts';
import type { AnswerController } from '../../src/kube/client.ts';
import { makeUser } from '../../src/kube/user.ts';
import { encodeStatus, forbidden, StatusError, unauthorized, type Status } from '../../src/kube/status.ts';

const account = 'system:serviceaccount:kexec-system:kexer-impersonator';

function refusalOf(user: string, verb: string): Status {
  return forbidden(
    { group: '', resource: 'users' },
    'eve',
    `User "${user}" cannot ${verb} resource "users" in API group "" at the cluster scope`,
  );
}

/** What a sink behind the guard sees of an answer in one or more pieces. */
function pass(status: number, pieces: readonly Buffer[], effectiveUser = makeUser({ name: 'eve' })): unknown[] {
  const seen: unknown[] = [];
  const guard = new AnswerGuard(
    {
      onHead: (head) => seen.push(head.status),
      onData: (chunk) => seen.push(chunk.toString()),
      onEnd: () => seen.push('end'),
      onError: (error) => seen.push(error instanceof StatusError ? error.status.code : error.message),
    },
    impersonatorJudge(effectiveUser),
  );
  let isAborted = false;
  const controller: AnswerController = {
    pause: () => {},
    resume: () => {},
    abort: (reason) => {
      isAborted = true;
      guard.onError(reason);
    },
  };
  guard.onHead({ status, reason: '', headers: [] }, controller);
  for (const piece of pieces) if (!isAborted) guard.onData(piece);
  if (!isAborted) guard.onEnd();
  return seen;
}

describe('AnswerGuard with impersonatorJudge', () => {
  const body = encodeStatus(refusalOf(account, 'impersonate'));
  const own = encodeStatus(refusalOf('eve', 'impersonate'));
  const plain = encodeStatus(refusalOf('eve', 'get'));
  const long = Buffer.alloc(20_000, 'x');

  const cases: readonly (readonly [name: string, status: number, pieces: Buffer[], seen: unknown[]])[] = [
    ['passes what is no refusal', 200, [Buffer.from('a'), Buffer.from('b')], [200, 'a', 'b', 'end']],
    ['makes a 502 of 401', 401, [encodeStatus(unauthorized())], [502]],
    ['makes a 502 of a refusal to impersonate', 403, [body], [502]],
    ['also in pieces', 403, [body.subarray(0, 9), body.subarray(9)], [502]],
    ['also a constrained one', 403, [encodeStatus(refusalOf(account, 'impersonate-on:user-info:list'))], [502]],
    ["passes the caller's own refusal", 403, [plain], [403, plain.toString(), 'end']],
    ['passes a refusal to impersonate that names the caller', 403, [own], [403, own.toString(), 'end']],
    ['passes the 401 of an application', 401, [Buffer.from('log in')], [401, 'log in', 'end']],
    ['passes a 403 that is no Status', 403, [Buffer.from('no')], [403, 'no', 'end']],
    ['does not hold a long 403 back', 403, [long], [403, long.toString(), 'end']],
  ];
  for (const [name, status, pieces, seen] of cases) {
    it(name, () => {
      expect(pass(status, pieces)).to.deep.equal(seen);
    });
  }

  it('tells of a 401 of kube-apiserver, and of nothing else', () => {
    let told = 0;
    const judge = impersonatorJudge(makeUser({ name: 'eve' }), () => (told += 1));
    const tell = (status: number, answer: Buffer): number => {
      told = 0;
      judge.refusal({ status, headers: [] }, answer);
      return told;
    };
    expect([
      tell(401, encodeStatus(unauthorized())),
      tell(401, Buffer.from('log in')),
      tell(403, body),
      tell(403, plain),
      tell(200, body),
    ]).to.deep.equal([1, 0, 0, 0, 0]);
  });

  it('says which rights the impersonator may lack, and keeps the words of kube-apiserver for the log', () => {
    const user = makeUser({
      name: 'system:serviceaccount:a:b',
      uid: 'u',
      groups: ['g', 'h'],
      extra: new Map([['example.org/key', ['v', 'w']]]),
    });
    const refusal = impersonatorJudge(user).refusal({ status: 403, headers: [] }, body);
    expect(refusal?.status.message).to.equal(
      'kube-apiserver does not let kexer\'s impersonator act as this user: it needs the verb "impersonate" on serviceaccounts, uids, groups, userextras/example.org/key',
    );
    expect(String(refusal?.cause)).to.contain(account);
    expect(JSON.stringify(refusal?.status)).to.not.contain(account);
  });

  it('passes what it held when the answer is cut', () => {
    const seen: unknown[] = [];
    const guard = new AnswerGuard(
      {
        onHead: (head) => seen.push(head.status),
        onData: (chunk) => seen.push(chunk.toString()),
        onEnd: () => seen.push('end'),
        onError: () => seen.push('error'),
      },
      impersonatorJudge(makeUser({ name: 'eve' })),
    );
    guard.onHead({ status: 403, reason: '', headers: [] }, { pause: () => {}, resume: () => {}, abort: () => {} });
    guard.onData(Buffer.from('half'));
    guard.onError(new Error('cut'));
    expect(seen).to.deep.equal([403, 'half', 'error']);
  });
});
