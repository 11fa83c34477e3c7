// The right that a 403 of kube-apiserver says is missing, in the words of a Role, so that an operator can write it down without reading
// authorizer's prose. Read from the message, whose form is that of k8s.io/apiserver (responsewriters/errors.go: ForbiddenMessage).

import { StatusError } from './status.ts';

const form =
  /User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)" (?:in the namespace "([^"]+)"|at the cluster scope)/;

/**
 * `system:serviceaccount:kexec-system:kexer lacks a right: list nodes`; undefined if `error` is no 403 in that form, its causes included.
 * @param name the object that was meant, if the rule may name it.
 */
export function missingRule(error: unknown, name?: string): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (!(error instanceof StatusError) || error.status.code !== 403) return missingRule(error.cause, name);
  const parts = form.exec(error.status.message ?? '');
  if (parts === null) return undefined;
  const [, user = '', verb = '', resource = '', group = '', namespace] = parts;
  const what = group === '' ? resource : `${resource}.${group}`;
  const named = name === undefined ? '' : ` named "${name}"`;
  const where = namespace === undefined ? '' : ` in the namespace "${namespace}"`;
  return `${user} lacks a right: ${verb} ${what}${named}${where}`;
}
