// Field selectors: `metadata.name=x,status.phase!=Running`. Which fields a kind can be selected by is fixed, and so is what a server says of
// any other.

import { badRequest, StatusError } from './status.ts';

export type FieldPredicate<T> = (object: T) => boolean;

/** What of a kind can be selected by. */
export interface SelectableFields<T> {
  /** Beside metadata.name and metadata.namespace; undefined: the kind has none, which words the refusal of another. */
  readonly extra: readonly string[] | undefined;
  /** The value a field has for selection: always a string. */
  value(object: T, field: string): string;
}

const metadataFields = ['metadata.name', 'metadata.namespace'];

/** Splits at commas that are not escaped (fields.splitTerms). */
function splitTerms(selector: string): string[] {
  const terms: string[] = [];
  let term = '';
  for (let index = 0; index < selector.length; index += 1) {
    const char = selector.charAt(index);
    if (char === '\\') {
      term += selector.slice(index, index + 2);
      index += 1;
    } else if (char === ',') {
      terms.push(term);
      term = '';
    } else {
      term += char;
    }
  }
  terms.push(term);
  return terms.filter((it) => it !== '');
}

/** @throws StatusError 400 for a selector that cannot be read or names a field that cannot be selected by. */
export function parseFieldSelector<T>(
  selector: string | null,
  fields: SelectableFields<T>,
): FieldPredicate<T> | undefined {
  if (selector === null || selector === '') return undefined;
  const { extra } = fields;
  const predicates: FieldPredicate<T>[] = [];
  for (const term of splitTerms(selector)) {
    const match = /^((?:\\.|[^=!\\])*)(!=|==|=)(.*)$/s.exec(term);
    if (match === null) throw refusal(`invalid selector: '${selector}'; can't understand '${term}'`);
    const [, field = '', operator = '', raw = ''] = match;
    if (!metadataFields.includes(field) && extra?.includes(field) !== true) {
      throw refusal(
        extra === undefined
          ? `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`
          : `field label not supported: ${field}`,
      );
    }
    const wanted = raw.replaceAll(/\\([\\,=])/g, '$1');
    const isEqual = operator !== '!=';
    predicates.push((object) => (fields.value(object, field) === wanted) === isEqual);
  }
  return (object) => predicates.every((matches) => matches(object));
}

function refusal(message: string): StatusError {
  return new StatusError(badRequest(message));
}
