// How something is to be deleted: metav1.DeleteOptions from the body, or from the query where there is no body.

import { badRequest, StatusError } from '../../../kube/status.ts';
import { at, isRecord, type Json, strings, text } from '../objects/fields.ts';
import type { Preconditions } from '../store.ts';
import { type FieldError, invalidValue, throwInvalid, unsupported } from './field-errors.ts';

export type PropagationPolicy = 'Orphan' | 'Background' | 'Foreground';

export interface DeleteOptions {
  /** undefined: the kind's own default. */
  readonly graceSeconds: number | undefined;
  readonly policy: PropagationPolicy;
  readonly preconditions: Preconditions;
  readonly isDryRun: boolean;
}

const policies: readonly PropagationPolicy[] = ['Orphan', 'Background', 'Foreground'];

function fromQuery(query: URLSearchParams): Json {
  const options: Json = {};
  const grace = query.get('gracePeriodSeconds');
  if (grace !== null && grace !== '') {
    if (!/^-?\d+$/.test(grace)) {
      throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(grace)}: invalid syntax`));
    }
    options['gracePeriodSeconds'] = Number(grace);
  }
  const policy = query.get('propagationPolicy');
  if (policy !== null && policy !== '') options['propagationPolicy'] = policy;
  const orphan = query.get('orphanDependents');
  if (orphan !== null && orphan !== '') options['orphanDependents'] = orphan === 'true';
  options['dryRun'] = query.getAll('dryRun');
  return options;
}

/**
 * @param body what the client sent, parsed; undefined for none.
 * @throws StatusError 400 or 422.
 */
export function parseDeleteOptions(body: unknown, query: URLSearchParams): DeleteOptions {
  const options = isRecord(body) ? body : fromQuery(query);
  const dryRun = strings(options['dryRun']).filter((value) => value !== '');
  const policy = text(options['propagationPolicy']);
  const known = policies.find((it) => it === policy);
  const errors: FieldError[] = [];
  if (policy !== '' && known === undefined) {
    errors.push(unsupported('propagationPolicy', policy, ['Background', 'Foreground', 'Orphan']));
  }
  if (dryRun.some((value) => value !== 'All')) errors.push(unsupported('dryRun', dryRun, ['All']));
  const grace = options['gracePeriodSeconds'];
  if (typeof grace === 'number' && grace < 0) {
    // -1 is what old clients send for "at once"; the server reads it as 1.
    if (grace < -1) errors.push(invalidValue('gracePeriodSeconds', grace, 'must be greater than or equal to 0'));
  }
  throwInvalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', errors);
  const orphans = options['orphanDependents'];
  const uid = at(options, 'preconditions', 'uid');
  const resourceVersion = at(options, 'preconditions', 'resourceVersion');
  return {
    graceSeconds: typeof grace === 'number' ? (grace < 0 ? 1 : grace) : undefined,
    policy: known ?? (orphans === true ? 'Orphan' : 'Background'),
    preconditions: {
      ...(typeof uid === 'string' ? { uid } : {}),
      ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
    },
    isDryRun: dryRun.length > 0,
  };
}
