// The query of /containerLogs: v1.PodLogOptions decoded and validated as the kubelet does, with its three outcomes.

/** Absent numbers are undefined. */
export interface LogOptions {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | undefined;
  readonly limitBytes: number | undefined;
  readonly sinceSeconds: number | undefined;
  /** Milliseconds since the epoch. */
  readonly sinceTimeMs: number | undefined;
}

export type LogOptionsResult = { readonly options: LogOptions } | { readonly status: 400 | 422; readonly text: string };

const undecodable = { status: 400, text: '{"message": "Unable to decode query."}' } as const;
const invalid = { status: 422, text: '{"message": "Invalid request."}' } as const;

/** Only `0` and `false` are false, also the empty string is true (apimachinery's conversion). */
function flag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  return value !== null && value !== '0' && value.toLowerCase() !== 'false';
}

function integer(value: string | null): number | undefined {
  if (value === null) return undefined;
  return /^[+-]?[0-9]{1,18}$/.test(value) ? Number(value) : Number.NaN;
}

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

function time(value: string | null): number | undefined {
  if (value === null || value === '') return undefined;
  return rfc3339.test(value) ? Date.parse(value) : Number.NaN;
}

export function parseLogOptions(query: URLSearchParams): LogOptionsResult {
  // The legacy alias: a number, or `all`.
  const tail = query.get('tail');
  const tailLines =
    tail === null || tail === '' ? integer(query.get('tailLines')) : tail === 'all' ? undefined : integer(tail);
  const limitBytes = integer(query.get('limitBytes'));
  const sinceSeconds = integer(query.get('sinceSeconds'));
  const sinceTimeMs = time(query.get('sinceTime'));
  if ([tailLines, limitBytes, sinceSeconds, sinceTimeMs].some((value) => Number.isNaN(value))) return undecodable;
  if (tailLines !== undefined && tailLines < 0) return invalid;
  if (limitBytes !== undefined && limitBytes < 1) return invalid;
  if (sinceSeconds !== undefined && (sinceSeconds < 1 || sinceTimeMs !== undefined)) return invalid;
  // The feature gate PodLogsQuerySplitStreams is off by default.
  if (query.has('stream')) return invalid;
  return {
    options: {
      follow: flag(query, 'follow'),
      previous: flag(query, 'previous'),
      timestamps: flag(query, 'timestamps'),
      tailLines,
      limitBytes,
      sinceSeconds,
      sinceTimeMs,
    },
  };
}
