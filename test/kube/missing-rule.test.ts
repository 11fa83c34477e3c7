import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { missingRule } from '../../src/kube/missing-rule.ts';
import { failure, StatusError } from '../../src/kube/status.ts';

describe('missingRule', () => {
  const forbidden = (message: string): StatusError => new StatusError(failure(403, 'Forbidden', message));
  const cases: readonly [error: unknown, name: string | undefined, rule: string | undefined][] = [
    [
      forbidden('nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope'),
      undefined,
      'u lacks a right: list nodes',
    ],
    [
      forbidden(
        'apiservices.apiregistration.k8s.io "x" is forbidden: User "u" cannot patch resource "apiservices" in API group "apiregistration.k8s.io" at the cluster scope: RBAC: not found',
      ),
      'x',
      'u lacks a right: patch apiservices.apiregistration.k8s.io named "x"',
    ],
    [
      new KexerError('unreachable', 'Cannot watch', {
        cause: forbidden(
          'secrets is forbidden: User "u" cannot watch resource "secrets" in API group "" in the namespace "ns"',
        ),
      }),
      undefined,
      'u lacks a right: watch secrets in the namespace "ns"',
    ],
    [forbidden('no'), undefined, undefined],
    [
      new StatusError(
        failure(404, 'NotFound', 'User "u" cannot list resource "x" in API group "" at the cluster scope'),
      ),
      undefined,
      undefined,
    ],
    ['text', undefined, undefined],
  ];
  for (const [error, name, rule] of cases) {
    it(`reads ${String(rule)} from ${String(error).slice(0, 80)}`, () => {
      expect(missingRule(error, name)).to.equal(rule);
    });
  }
});
