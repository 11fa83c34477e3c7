// RequestInfo: what a Kubernetes path means, as k8s.io/apiserver/pkg/endpoints/request/requestinfo.go reads it. Takes decoded path
// segments, so that whoever checked the raw path decides what they are; never looks at raw bytes itself.

export interface RequestInfo {
  readonly isResourceRequest: boolean;
  /** The decoded path with one leading slash. */
  readonly path: string;
  /** get, list, watch, create, update, patch, delete, deletecollection; for paths that are no resource the method in lower case. */
  readonly verb: string;
  /** `api`, `apis` or ''. */
  readonly apiPrefix: string;
  readonly apiGroup: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  /** Segments from the resource on. */
  readonly parts: readonly string[];
}

const resourceVerbs: Readonly<Record<string, string>> = {
  POST: 'create',
  GET: 'get',
  HEAD: 'get',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** Subresources of namespaces that are not themselves namespaced resources (namespaceSubresources). */
const namespaceSubresources = new Set(['status', 'finalize']);

/** Prefixes of the deprecated form `/api/v1/watch/pods`, `/api/v1/proxy/…` (specialVerbs). */
const specialVerbs = new Set(['proxy', 'watch']);

/**
 * @param method HTTP method as sent.
 * @param segments decoded path segments, without empty ones at either end.
 * @param query only `watch`, `fieldSelector` and their like are read; first value counts.
 */
export function parseRequestInfo(method: string, segments: readonly string[], query: URLSearchParams): RequestInfo {
  const path = `/${segments.join('/')}`;
  const nonResource: RequestInfo = {
    isResourceRequest: false,
    path,
    verb: method.toLowerCase(),
    apiPrefix: '',
    apiGroup: '',
    apiVersion: '',
    namespace: '',
    resource: '',
    subresource: '',
    name: '',
    parts: [],
  };
  // /api/VERSION/RESOURCE has three segments, /apis/GROUP/VERSION/RESOURCE four; anything shorter is discovery.
  if (segments.length < 3) return nonResource;
  const [prefix, second = '', third = ''] = segments;
  if (prefix !== 'api' && prefix !== 'apis') return nonResource;
  const isGrouped = prefix === 'apis';
  if (isGrouped && segments.length < 4) return { ...nonResource, apiPrefix: prefix };
  const apiGroup = isGrouped ? second : '';
  const apiVersion = isGrouped ? third : second;
  let rest = segments.slice(isGrouped ? 3 : 2);

  let verb = resourceVerbs[method] ?? '';
  const first = rest[0] ?? '';
  const special = specialVerbs.has(first) ? first : '';
  if (special !== '') {
    if (rest.length < 2) return { ...nonResource, apiPrefix: prefix, apiGroup, apiVersion };
    verb = special;
    rest = rest.slice(1);
  }

  let namespace = '';
  if (rest[0] === 'namespaces') {
    if (rest.length > 1) {
      namespace = rest[1] ?? '';
      // /namespaces/NS/RESOURCE… is in the namespace; /namespaces/NS and /namespaces/NS/status are the namespace itself.
      if (rest.length > 2 && !namespaceSubresources.has(rest[2] ?? '')) rest = rest.slice(2);
    }
  }

  const [resource = '', nameSegment = '', subresourceSegment = ''] = rest;
  const subresource = rest.length >= 3 && special !== 'proxy' ? subresourceSegment : '';
  let name = rest.length >= 2 ? nameSegment : '';

  // A get or delete without a name is about the collection; a field selector for one name makes it about that object.
  if (name === '' && verb === 'get') {
    verb = isTrue(query.get('watch')) ? 'watch' : 'list';
    name = nameInFieldSelector(query.get('fieldSelector'));
  } else if (name === '' && special === 'watch') {
    name = nameInFieldSelector(query.get('fieldSelector'));
  } else if (name === '' && verb === 'delete') {
    verb = 'deletecollection';
  }
  return {
    isResourceRequest: true,
    path,
    verb,
    apiPrefix: prefix,
    apiGroup,
    apiVersion,
    namespace,
    resource,
    subresource,
    name,
    parts: rest,
  };
}

/** Kubernetes' reading of a boolean query value (runtime.Convert_Slice_string_To_bool): absent, `0` and `false` are false, all else true. */
export function isTrue(value: string | null): boolean {
  return value !== null && value !== '0' && value.toLowerCase() !== 'false';
}

/** The name in `metadata.name=NAME` of a field selector, if it is a plain one; else ''. */
function nameInFieldSelector(selector: string | null): string {
  for (const term of selector?.split(',') ?? []) {
    const match = /^metadata\.name={1,2}([^=!]+)$/.exec(term);
    const name = match?.[1];
    // Go checks it as a path segment name, so that no slash or percent sign reaches the authorizer.
    if (name !== undefined && name !== '.' && name !== '..' && !/[/%]/.test(name)) return name;
  }
  return '';
}
