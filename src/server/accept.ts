// Content negotiation as k8s.io/apiserver does it for kexer's own answers: media types in the client's order, with the parameters `as`, `g` and
// `v` that ask for another form of an object. Kexer writes JSON only.

import { notAcceptable, StatusError } from '../kube/status.ts';
import { getAllHeaders, type RawHeaders } from '../protocol/raw-headers.ts';

/** A form an answer has; `contentType` is sent exactly so, because kube-apiserver compares its parameters. */
export interface Form {
  readonly contentType: string;
  /** undefined: the plain object. */
  readonly as: string | undefined;
  readonly group: string | undefined;
  readonly version: string | undefined;
}

export const plainForm: Form = {
  contentType: 'application/json',
  as: undefined,
  group: undefined,
  version: undefined,
};

/** The first of the client's wishes that is among `forms`. @throws StatusError 406 */
export function negotiate<F extends Form>(headers: RawHeaders, forms: readonly F[]): F {
  const wishes = parseAccept(getAllHeaders(headers, 'Accept').join(','));
  for (const wish of wishes) {
    if (!jsonTypes.has(wish.type)) continue;
    const form = forms.find(
      (candidate) =>
        candidate.as === wish.parameters.get('as') &&
        (candidate.as === undefined ||
          (candidate.group === wish.parameters.get('g') && candidate.version === wish.parameters.get('v'))),
    );
    if (form !== undefined) return form;
  }
  throw new StatusError(notAcceptable(['application/json']));
}

const jsonTypes = new Set(['application/json', 'application/*', '*/*']);

interface Wish {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** By falling `q`, otherwise in the order given; no Accept at all means anything. */
function parseAccept(accept: string): Wish[] {
  if (accept.trim() === '') return [{ type: '*/*', parameters: new Map() }];
  const wishes = accept.split(',').map((item) => {
    const [type = '', ...rest] = item.split(';').map((part) => part.trim());
    const parameters = new Map(
      rest.map((part) => {
        const [key = '', ...value] = part.split('=');
        return [key.trim().toLowerCase(), value.join('=').trim().replaceAll('"', '')] as const;
      }),
    );
    const q = Number(parameters.get('q') ?? '1');
    return { type: type.toLowerCase(), parameters, q: Number.isNaN(q) ? 0 : q };
  });
  // Array.prototype.toSorted is stable, so equal weights keep the client's order.
  return wishes.filter((wish) => wish.q > 0).toSorted((a, b) => b.q - a.q);
}
