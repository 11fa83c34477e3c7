// What a client asks of exec, attach or port-forward, read from its query exactly as kube-apiserver's conversion functions read it.
// The query of the preflight and the URL of the kubelet are both generated from this value, so that what admission judges is what the
// kubelet runs.

import { KexerError } from '../base/errors.ts';
import { isTrue } from '../kube/request-info.ts';
import { encodeQuery, firstQueryValue, type QueryPair, type QueryPairs, queryValues } from '../protocol/query.ts';

export type UpgradeKind = 'exec' | 'attach' | 'portforward';

export interface StreamOptions {
  readonly kind: UpgradeKind;
  readonly hasStdin: boolean;
  readonly hasStdout: boolean;
  readonly hasStderr: boolean;
  readonly hasTty: boolean;
  /** '' if none is named. */
  readonly container: string;
  readonly command: readonly string[];
  /** As written, repeated values apart; kube-apiserver judges them. */
  readonly rawPorts: readonly string[];
  /** `dryRun` as written: kube-apiserver refuses it, so it must get to see it. */
  readonly dryRun: readonly string[];
}

/** Unknown keys are ignored and single-valued keys take their first value, as Kubernetes does. */
export function parseStreamOptions(kind: UpgradeKind, pairs: QueryPairs): StreamOptions {
  const isCommandKind = kind !== 'portforward';
  const flag = (key: string): boolean => isCommandKind && isTrue(firstQueryValue(pairs, key) ?? null);
  return {
    kind,
    hasStdin: flag('stdin'),
    hasStdout: flag('stdout'),
    hasStderr: flag('stderr'),
    hasTty: flag('tty'),
    container: isCommandKind ? (firstQueryValue(pairs, 'container') ?? '') : '',
    command: kind === 'exec' ? queryValues(pairs, 'command') : [],
    rawPorts: kind === 'portforward' ? queryValues(pairs, 'ports') : [],
    dryRun: queryValues(pairs, 'dryRun'),
  };
}

/** The query with which kube-apiserver is asked; it reads back exactly these options. */
export function preflightQuery(options: StreamOptions): string {
  const pairs: QueryPair[] = [];
  if (options.container !== '') pairs.push(['container', options.container]);
  if (options.hasStdin) pairs.push(['stdin', 'true']);
  if (options.hasStdout) pairs.push(['stdout', 'true']);
  if (options.hasStderr) pairs.push(['stderr', 'true']);
  if (options.hasTty) pairs.push(['tty', 'true']);
  for (const word of options.command) pairs.push(['command', word]);
  for (const ports of options.rawPorts) pairs.push(['ports', ports]);
  for (const value of options.dryRun) pairs.push(['dryRun', value]);
  return encodeQuery(pairs);
}

/** The query for the kubelet: flags are literally `1`, ports joined by commas, as kube-apiserver writes them. */
export function kubeletQuery(options: StreamOptions): string {
  const pairs: QueryPair[] = [];
  if (options.hasStdin) pairs.push(['input', '1']);
  if (options.hasStdout) pairs.push(['output', '1']);
  if (options.hasStderr) pairs.push(['error', '1']);
  if (options.hasTty) pairs.push(['tty', '1']);
  for (const word of options.command) pairs.push(['command', word]);
  const ports = portsOf(options);
  if (ports.length > 0) pairs.push(['port', ports.join(',')]);
  return encodeQuery(pairs);
}

/**
 * The ports of a port-forward: repeated and comma-separated, 16 bits each (Convert_Slice_string_To_Slice_int32).
 * @throws KexerError badRequest; kube-apiserver has refused such a query before.
 */
export function portsOf(options: StreamOptions): number[] {
  return options.rawPorts
    .flatMap((value) => value.split(','))
    .map((text) => {
      const port = /^[0-9]{1,20}$/.test(text) ? Number(text) : Number.NaN;
      if (!(port <= 65_535)) {
        throw new KexerError('badRequest', `Cannot read ports: ${JSON.stringify(text)}, want numbers up to 65535`);
      }
      return port;
    });
}
