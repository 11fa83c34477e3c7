// DeleteOptions as clients send them with a DELETE of a session: what counts, what is let be, and what is refused as kube-apiserver refuses it.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { encodeStatus, statusOf } from '../../src/kube/status.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import {
  checkPreconditions,
  deletedAnswer,
  type DeleteOptions,
  readDeleteOptions,
} from '../../src/server/sessions-delete.ts';
import { toldSession } from './support/session-stand.ts';

const plain: DeleteOptions = { isDryRun: false, uid: undefined, resourceVersion: undefined };

function read(
  body: string | object,
  { query = '', headers = [] }: { query?: string; headers?: RawHeaders } = {},
): unknown {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  try {
    return readDeleteOptions(Buffer.from(text), headers, new URLSearchParams(query));
  } catch (error) {
    const { code, message } = statusOf(error);
    return `${code} ${message}`;
  }
}

describe('readDeleteOptions', () => {
  const taken: readonly (readonly [what: string, given: unknown, wanted: DeleteOptions])[] = [
    ['nothing at all', read(''), plain],
    ['what kubectl sends', read({ kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' }), plain],
    ['options without a kind', read({ gracePeriodSeconds: 0 }), plain],
    ['a dry run', read({ dryRun: ['All'] }), { ...plain, isDryRun: true }],
    ['a dry run twice', read({ dryRun: ['All', 'All'] }), { ...plain, isDryRun: true }],
    ['an empty dry run', read({ dryRun: [] }), plain],
    ['null where Go writes it', read({ dryRun: null, preconditions: null, propagationPolicy: null }), plain],
    ['a dry run in the query', read('', { query: 'dryRun=All' }), { ...plain, isDryRun: true }],
    ['grace in the query', read('', { query: 'gracePeriodSeconds=30&propagationPolicy=Foreground' }), plain],
    ['a UID', read({ preconditions: { uid: 'u1' } }), { ...plain, uid: 'u1' }],
    ['a version', read({ preconditions: { resourceVersion: '7' } }), { ...plain, resourceVersion: '7' }],
    ['null conditions', read({ preconditions: { uid: null, resourceVersion: null } }), plain],
    // A body counts alone, as on kube-apiserver.
    ['a body and not the query', read({}, { query: 'dryRun=All' }), plain],
    ['JSON with a charset', read({}, { headers: [['Content-Type', 'application/json; charset=utf-8']] }), plain],
  ];
  for (const [what, given, wanted] of taken) {
    it(`takes ${what}`, () => expect(given).to.deep.equal(wanted));
  }

  const unrecognised = '400 the object provided is unrecognized (must be of type DeleteOptions)';
  const refused: readonly (readonly [what: string, given: unknown, wanted: string])[] = [
    ['no JSON', read('{'), unrecognised],
    ['a list', read('[]'), unrecognised],
    ['null', read('null'), unrecognised],
    ['another kind', read({ kind: 'Pod' }), unrecognised],
    ['dryRun that is no list', read({ dryRun: [true] }), '400 dryRun of DeleteOptions is no list of strings'],
    // A condition that cannot be read must not be taken for none: another session would end.
    [
      'a UID that is no text',
      read({ preconditions: { uid: 5 } }),
      '400 preconditions.uid of DeleteOptions is no string',
    ],
    [
      'a version that is no text',
      read({ preconditions: { resourceVersion: ['1'] } }),
      '400 preconditions.resourceVersion of DeleteOptions is no string',
    ],
    ['conditions that are none', read({ preconditions: 'uid' }), '400 preconditions of DeleteOptions is no object'],
    ['a list of conditions', read({ preconditions: ['uid'] }), '400 preconditions of DeleteOptions is no object'],
    [
      'an unknown dry run',
      read({ dryRun: ['Some'] }),
      '422 DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"',
    ],
    [
      'an unknown policy',
      read({ propagationPolicy: 'Later' }),
      '422 DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Later": supported values: "Background", "Foreground", "Orphan"',
    ],
    [
      'grace that is no number',
      read('', { query: 'gracePeriodSeconds=soon' }),
      '400 strconv.ParseInt: parsing "soon": invalid syntax',
    ],
  ];
  for (const [what, given, wanted] of refused) {
    it(`refuses ${what}`, () => expect(given).to.equal(wanted));
  }

  it('refuses another type of body', () => {
    const headers: RawHeaders = [['Content-Type', 'application/vnd.kubernetes.protobuf']];
    expect(read('k8s', { headers })).to.match(/^415 .*application\/json/);
  });
});

describe('checkPreconditions', () => {
  const session = toldSession('s1');
  const object = { ...session, metadata: { ...session.metadata, resourceVersion: '7' } };

  function check(options: Partial<DeleteOptions>): string {
    try {
      checkPreconditions(object, { ...plain, ...options });
      return 'ok';
    } catch (error) {
      return encodeStatus(statusOf(error)).toString();
    }
  }

  it('holds for the object that is meant', () => {
    expect([check({}), check({ uid: 'uid-s1', resourceVersion: '7' })]).to.deep.equal(['ok', 'ok']);
  });

  it('is a conflict for another, also for an empty UID', () => {
    for (const options of [{ uid: 'other' }, { uid: '' }, { resourceVersion: '6' }, { resourceVersion: '' }]) {
      expect(check(options)).to.match(
        /"message":"Operation cannot be fulfilled on sessions\.backup\.cv\.io \\"s1\\": the (UID|ResourceVersion) in the precondition .*"reason":"Conflict".*"code":409/,
      );
    }
  });
});

describe('deletedAnswer', () => {
  it('is a Status that names what went, without a code', () => {
    expect(deletedAnswer(toldSession('s1'))).to.deep.equal({
      status: 200,
      contentType: 'application/json',
      body: '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"s1","group":"backup.cv.io","kind":"sessions","uid":"uid-s1"}}\n',
    });
  });
});
