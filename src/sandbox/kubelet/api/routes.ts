// The kubelet's paths as values. `/UID` between pod and container is told by the number of parts, as the kubelet's router does.

export type StreamEndpoint = 'exec' | 'attach' | 'portForward';

export type Route =
  | {
      readonly kind: StreamEndpoint;
      readonly namespace: string;
      readonly pod: string;
      /** '' if the path has none. */
      readonly uid: string;
      /** '' for portForward. */
      readonly container: string;
    }
  | { readonly kind: 'logs'; readonly namespace: string; readonly pod: string; readonly container: string }
  | { readonly kind: 'pods' | 'healthz' }
  /** Below a known prefix, but no route of it. */
  | { readonly kind: 'unrouted' }
  | { readonly kind: 'unknown' };

export const streamMethods: ReadonlySet<string> = new Set(['GET', 'POST']);

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function parseRoute(path: string): Route {
  const parts = path.split('/').slice(1).map(decode);
  const [first, namespace = '', pod = '', third = '', fourth] = parts;
  switch (first) {
    case 'exec':
    case 'attach':
      if (parts.length === 4) return { kind: first, namespace, pod, uid: '', container: third };
      if (parts.length === 5) return { kind: first, namespace, pod, uid: third, container: fourth ?? '' };
      return { kind: 'unrouted' };
    case 'portForward':
      if (parts.length === 3 || parts.length === 4) return { kind: first, namespace, pod, uid: third, container: '' };
      return { kind: 'unrouted' };
    case 'containerLogs':
      if (parts.length === 4) return { kind: 'logs', namespace, pod, container: third };
      return { kind: 'unrouted' };
    case 'pods':
      return parts.length === 1 ? { kind: 'pods' } : { kind: 'unrouted' };
    case 'healthz':
      return parts.length === 1 ? { kind: 'healthz' } : { kind: 'unknown' };
    default:
      return { kind: 'unknown' };
  }
}
