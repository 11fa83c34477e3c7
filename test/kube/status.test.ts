import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { parseStatus } from '../../src/kube/status-parse.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  encodeStatus,
  forbiddenAction,
  goJson,
  internalError,
  invalid,
  methodNotAllowed,
  notFound,
  type Status,
  StatusError,
  statusOf,
  unauthorized,
  unknownResource,
  unsupportedMediaType,
} from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { readAnswers } from '../support/recordings.ts';

const answers = new Map(readAnswers('apiserver-answers').map((answer) => [answer.name, answer.response]));

function recorded(name: string): string {
  const answer = answers.get(name);
  if (answer === undefined) throw new Error(`no recording is called ${name}`);
  return answer.body;
}

const pods = { group: '', resource: 'pods' };
const action = {
  isResourceRequest: true,
  path: '',
  verb: 'list',
  apiGroup: '',
  resource: 'pods',
  subresource: '',
  namespace: 'default',
  name: '',
};
const bob = makeUser({ name: 'bob' });

describe('Status', () => {
  const made: [name: string, status: Status][] = [
    ['unknown pod', notFound(pods, 'nope')],
    ['unknown resource', unknownResource()],
    ['method not allowed', methodNotAllowed()],
    ['create again', alreadyExists({ group: '', resource: 'configmaps' }, 'rec')],
    [
      'unsupported media type',
      unsupportedMediaType(['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf']),
    ],
    [
      'update with a stale version',
      conflict(
        { group: '', resource: 'configmaps' },
        'rec',
        'the object has been modified; please apply your changes to the latest version and try again',
      ),
    ],
    ['bad token', unauthorized()],
    ['nobody', forbiddenAction(makeUser({ name: 'system:anonymous' }), action)],
    ['as bob', forbiddenAction(bob, action)],
    ['preflight: forbidden', forbiddenAction(bob, { ...action, verb: 'create', subresource: 'exec', name: 'tools' })],
    ['log forbidden', forbiddenAction(bob, { ...action, verb: 'get', subresource: 'log', name: 'tools' })],
    ['preflight: allowed', badRequest('Upgrade request required')],
    [
      'log ?tailLines=-1',
      invalid({ group: '', kind: 'PodLogOptions' }, 'tools', [
        {
          reason: 'FieldValueInvalid',
          message: 'Invalid value: -1: must be greater than or equal to 0',
          field: 'tailLines',
        },
      ]),
    ],
    [
      'SubjectAccessReview without user',
      invalid({ group: 'authorization.k8s.io', kind: '' }, '', [
        {
          reason: 'FieldValueInvalid',
          message: 'Invalid value: "": at least one of user or group must be specified',
          field: 'spec.user',
        },
      ]),
    ],
  ];
  for (const [name, status] of made) {
    it(`is byte for byte what kube-apiserver wrote: ${name}`, () => {
      expect(encodeStatus(status).toString()).to.equal(recorded(name));
    });
  }

  it('has the words of the authorizer behind the refusal, also for paths', () => {
    expect(forbiddenAction(bob, action, 'no').message).to.equal(
      'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default": no',
    );
    const path = { ...action, isResourceRequest: false, path: '/metrics', verb: 'get' };
    expect(forbiddenAction(bob, path).message).to.equal('forbidden: User "bob" cannot get path "/metrics"');
    const clusterWide = { ...action, apiGroup: 'apps', resource: 'deployments', namespace: '' };
    expect(forbiddenAction(bob, clusterWide).message).to.equal(
      'deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope',
    );
  });

  it('escapes as Go does', () => {
    expect(goJson({ a: '<&>\u2028' })).to.equal(String.raw`{"a":"\u003c\u0026\u003e\u2028"}`);
  });
});

describe('parseStatus', () => {
  it('reads every recorded refusal and writes it back byte for byte', () => {
    let count = 0;
    for (const [name, { status, body }] of answers) {
      // Two are no Status but text, one is indented.
      if (status < 400 || !body.startsWith('{"')) continue;
      const parsed = parseStatus(body);
      expect(parsed && encodeStatus(parsed).toString(), name).to.equal(body);
      count += 1;
    }
    expect(count).to.be.greaterThan(35);
  });

  it('takes nothing else for a Status', () => {
    const texts = [
      '',
      'null',
      '[]',
      '{',
      '{"kind":"Pod","status":"Failure","code":400}',
      '{"kind":"Status","status":"Success","code":200}',
      '{"kind":"Status","status":"Failure","code":"400"}',
      '{"kind":"Status","status":"Failure","code":200}',
      '{"kind":"Status","status":"Failure"}',
    ];
    expect(texts.map(parseStatus)).to.deep.equal(texts.map(() => undefined));
  });

  it('leaves out details of a wrong type', () => {
    const text =
      '{"kind":"Status","status":"Failure","code":400,"message":1,"details":{"name":{},"causes":[1,{"field":"f"}]}}';
    expect(parseStatus(text)).to.deep.include({ code: 400, details: { causes: [{ field: 'f' }] } });
  });
});

describe('statusOf', () => {
  it('maps codes, keeps a thrown Status, and hides what is not for clients', () => {
    const codes = ['badRequest', 'unauthenticated', 'forbidden', 'unreachable', 'timeout', 'overLimit', 'tls'] as const;
    expect(codes.map((code) => statusOf(new KexerError(code, 'x')).code)).to.deep.equal([
      400, 401, 403, 503, 504, 429, 502,
    ]);
    expect(statusOf(new StatusError(unknownResource()))).to.deep.equal(unknownResource());
    expect(statusOf(new KexerError('unreachable', 'away')).details).to.deep.equal({ retryAfterSeconds: 1 });
    for (const hidden of [new Error('/etc/secret'), new KexerError('config', '/etc/secret'), 'text']) {
      expect(statusOf(hidden)).to.deep.equal(internalError('see the log of kexer for the cause'));
    }
  });
});
