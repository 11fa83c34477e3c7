// Answering with one object or a Status, in the form the client asked for: whole, as a table of one row, or its metadata only.

import type { Clock } from '../../../base/clock.ts';
import { failure, goJson, type Status, StatusError } from '../../../kube/status.ts';
import type { Exchange, HeaderPairs } from '../exchange.ts';
import type { KubeObject } from '../objects/object.ts';
import type { ResourceDefinition } from '../resources/catalog.ts';
import { parseIncludeObject, partialMetadata, TableMaker } from '../tables/table.ts';
import { type AnswerForm, type Negotiated, negotiate, wantsPretty } from './negotiation.ts';

export const objectForms: readonly AnswerForm[] = ['Table', 'PartialObjectMetadata', 'PartialObjectMetadataList'];

/** `299 - "TEXT"`, one header for each text, as kube-apiserver warns. */
export function warningHeaders(texts: readonly string[]): HeaderPairs {
  return texts.map((text) => ['Warning', `299 - ${JSON.stringify(text)}`] as const);
}

/** The bytes of a JSON or YAML answer. YAML is loaded when somebody first asks for it. */
export async function encodeDocument(
  exchange: Exchange,
  mediaType: Negotiated['mediaType'],
  value: unknown,
): Promise<string> {
  if (mediaType === 'application/yaml') {
    const { stringify } = await import('yaml');
    return stringify(value, { sortMapEntries: true, lineWidth: 0 });
  }
  if (!wantsPretty(exchange.query, exchange.header('user-agent'))) return `${goJson(value)}\n`;
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** What an object looks like in a form; Status objects are shown whole. */
function shapeObject(
  object: KubeObject,
  form: AnswerForm,
  make: { clock: Clock; definition: ResourceDefinition; query: URLSearchParams },
): object {
  switch (form) {
    case 'Table': {
      const include = parseIncludeObject(make.query.get('includeObject'));
      return new TableMaker({ clock: make.clock }, { resource: make.definition, include }).single(object);
    }
    case 'PartialObjectMetadata':
      return partialMetadata(object);
    case 'PartialObjectMetadataList':
      throw new StatusError(
        failure(
          406,
          'NotAcceptable',
          'you requested PartialObjectMetadataList, but the requested object is not a list',
        ),
      );
    default:
      return object;
  }
}

export async function answerObject(
  exchange: Exchange,
  code: number,
  object: KubeObject,
  make: { clock: Clock; definition: ResourceDefinition; warnings?: readonly string[] },
): Promise<void> {
  const { form, mediaType } = negotiate(exchange.header('accept'), objectForms);
  const shown = shapeObject(object, form, { ...make, query: exchange.query });
  const body = await encodeDocument(exchange, mediaType, shown);
  exchange.send(code, mediaType, body, warningHeaders(make.warnings ?? []));
}

/** The Status of a delete or of a subresource that has nothing else to say. */
export async function answerStatus(
  exchange: Exchange,
  code: number,
  status: Omit<Status, 'code'> & { code?: number },
  warnings: readonly string[] = [],
): Promise<void> {
  const { mediaType } = negotiate(exchange.header('accept'), objectForms);
  exchange.send(code, mediaType, await encodeDocument(exchange, mediaType, status), warningHeaders(warnings));
}
