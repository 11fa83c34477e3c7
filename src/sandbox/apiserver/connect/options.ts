// The options of pods/exec, attach and portforward: read from a query as Go's converters do, shown to admission as versioned
// objects, and written again as the kubelet's query. Whatever admission changed is what the kubelet gets.

import { isTrue } from '../../../kube/request-info.ts';
import { badRequest, StatusError } from '../../../kube/status.ts';
import { encodeGoQuery } from '../chain/go-url.ts';

export type ConnectKind = 'exec' | 'attach' | 'portforward';

export interface ConnectOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  readonly container: string;
  readonly command: readonly string[];
  readonly ports: readonly number[];
}

const optionKinds: Readonly<Record<ConnectKind, string>> = {
  exec: 'PodExecOptions',
  attach: 'PodAttachOptions',
  portforward: 'PodPortForwardOptions',
};

/** @throws StatusError 400 for ports that are no numbers. Nothing else is refused: kube-apiserver has no further checks. */
export function decodeOptions(kind: ConnectKind, query: URLSearchParams): ConnectOptions {
  const isStreaming = kind !== 'portforward';
  const flag = (name: string): boolean => isStreaming && isTrue(query.get(name));
  return {
    stdin: flag('stdin'),
    stdout: flag('stdout'),
    stderr: flag('stderr'),
    tty: flag('tty'),
    container: isStreaming ? (query.get('container') ?? '') : '',
    command: kind === 'exec' ? query.getAll('command') : [],
    ports: kind === 'portforward' ? query.getAll('ports').flatMap(decodePorts) : [],
  };
}

function decodePorts(text: string): number[] {
  return text.split(',').map((port) => {
    if (/^[+-]?\d+$/.test(port) && Math.abs(Number(port)) < 2 ** 31) return Number(port);
    const problem = /^[+-]?\d+$/.test(port) ? 'value out of range' : 'invalid syntax';
    throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(port)}: ${problem}`));
  });
}

/** The v1 object that admission sees, fields in Go's order, empty ones left out. */
export function optionsObject(kind: ConnectKind, options: ConnectOptions): Record<string, unknown> {
  return {
    kind: optionKinds[kind],
    apiVersion: 'v1',
    ...(options.stdin ? { stdin: true } : {}),
    ...(options.stdout ? { stdout: true } : {}),
    ...(options.stderr ? { stderr: true } : {}),
    ...(options.tty ? { tty: true } : {}),
    ...(options.container === '' ? {} : { container: options.container }),
    ...(options.command.length === 0 ? {} : { command: options.command }),
    ...(options.ports.length === 0 ? {} : { ports: options.ports }),
  };
}

/** The inverse of {@link optionsObject}, for what a mutating webhook made of it. */
export function optionsFromObject(object: Record<string, unknown>): ConnectOptions {
  const flag = (name: string): boolean => object[name] === true;
  const list = <T>(value: unknown, isItem: (item: unknown) => item is T): T[] =>
    Array.isArray(value) ? value.filter(isItem) : [];
  return {
    stdin: flag('stdin'),
    stdout: flag('stdout'),
    stderr: flag('stderr'),
    tty: flag('tty'),
    container: typeof object['container'] === 'string' ? object['container'] : '',
    command: list(object['command'], (item): item is string => typeof item === 'string'),
    ports: list(object['ports'], (item): item is number => typeof item === 'number'),
  };
}

/** Path and query of the kubelet's endpoint (K/registry/core/pod/strategy.go streamLocation). */
export function kubeletTarget(
  kind: ConnectKind,
  place: { namespace: string; pod: string; container: string },
  options: ConnectOptions,
): string {
  const query = new URLSearchParams();
  if (options.stdin) query.append('input', '1');
  if (options.stdout) query.append('output', '1');
  if (options.stderr) query.append('error', '1');
  if (options.tty) query.append('tty', '1');
  for (const word of options.command) query.append('command', word);
  if (options.ports.length > 0) query.append('port', options.ports.join(','));
  const path =
    kind === 'portforward'
      ? `/portForward/${place.namespace}/${place.pod}`
      : `/${kind}/${place.namespace}/${place.pod}/${place.container}`;
  const text = encodeGoQuery(query);
  return text === '' ? path : `${path}?${text}`;
}
