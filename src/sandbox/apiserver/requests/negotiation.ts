// What form of an answer a client wants: the Accept header with its `as`, `g` and `v` parameters, read as apiserver's negotiation
// does. Protobuf is not served; clients that prefer it name JSON second and get that.

import { failure, type Status, StatusError } from '../../../kube/status.ts';

/** How objects are to be shown; `Table` and the partial forms are of meta.k8s.io/v1. */
export type AnswerForm = 'plain' | 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList';

export interface Negotiated {
  readonly form: AnswerForm;
  readonly mediaType: 'application/json' | 'application/yaml';
}

interface AcceptClause {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** The clauses of an Accept header, best first; equal ones in the order sent. */
export function parseAccept(header: string): AcceptClause[] {
  const clauses = header.split(',').flatMap((clause): AcceptClause[] => {
    const [type = '', ...rest] = clause.split(';').map((part) => part.trim());
    if (type === '') return [];
    const parameters = new Map(
      rest.flatMap((parameter): [string, string][] => {
        const [key = '', value = ''] = parameter.split('=').map((part) => part.trim());
        return key === '' ? [] : [[key.toLowerCase(), value.replaceAll('"', '')]];
      }),
    );
    const quality = Number(parameters.get('q') ?? '1');
    return [{ type: type.toLowerCase(), parameters, quality: Number.isFinite(quality) ? quality : 0 }];
  });
  return clauses.sort((a, b) => b.quality - a.quality);
}

function mediaTypeOf(type: string): Negotiated['mediaType'] | undefined {
  if (type === 'application/yaml') return type;
  return type === 'application/json' || type === 'application/*' || type === '*/*' ? 'application/json' : undefined;
}

const availableTypes =
  'application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch';

/** The 406 of negotiation, before any object is looked at. */
function notAcceptableStatus(): Status {
  return failure(406, 'NotAcceptable', `406: Not Acceptable\n\nAvailable representations: ${availableTypes}`, {});
}

/**
 * @param forms what the endpoint can give beside `plain`.
 * @throws StatusError 406.
 */
export function negotiate(accept: string | undefined, forms: readonly AnswerForm[] = []): Negotiated {
  if (accept === undefined || accept.trim() === '') return { form: 'plain', mediaType: 'application/json' };
  for (const { type, parameters } of parseAccept(accept)) {
    const mediaType = mediaTypeOf(type);
    if (mediaType === undefined) continue;
    const as = parameters.get('as') ?? '';
    if (as === '') return { form: 'plain', mediaType };
    const form = forms.find((it) => it === as);
    if (form !== undefined && parameters.get('g') === 'meta.k8s.io' && parameters.get('v') === 'v1') {
      return { form, mediaType };
    }
  }
  throw new StatusError(notAcceptableStatus());
}

/** What `?pretty` and the user agents of people ask for (isPrettyPrint). */
export function wantsPretty(query: URLSearchParams, userAgent: string | undefined): boolean {
  const pretty = query.get('pretty');
  if (pretty !== null && pretty !== '') return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(pretty);
  return /^(curl|Wget|Mozilla\/5\.0)/.test(userAgent ?? '');
}
