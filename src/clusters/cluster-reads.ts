// What kexer itself reads of a cluster, with the credential it has there: a pod, a node, the version. Never an answer to a caller.

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { KubeClient } from '../kube/client.ts';
import { isKubeObject, isRecord } from '../kube/objects.ts';
import { StatusError } from '../kube/status.ts';
import { runWatch } from '../kube/watch.ts';

import type { NodeObject, PodObject, PodWatchHandlers, ServerVersion } from './cluster.ts';
import { projectNode } from './node-object.ts';

/** A pod lookup stands between a user and the stream. */
const readTimeoutMs = 10_000;
/** kube-apiserver is upgraded rarely; a stale answer only asks one SubjectAccessReview too many or too few for a while. */
const versionLifetimeMs = 60_000;
/** Who wants to know of a pod only whether it is there has no use for its spec and status, which are most of it. */
const metadataOnly = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json';

export class ClusterReads {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  #version: ServerVersion | undefined;
  #versionReadAtMs: number;

  constructor(deps: { client: KubeClient; clock: Clock }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#version = undefined;
    this.#versionReadAtMs = 0;
  }

  /** See {@link Cluster.pod}. */
  async pod(namespace: string, name: string, signal: AbortSignal): Promise<PodObject> {
    const target = podTarget(namespace, name);
    const object = await this.#client.json({ target, signal, timeoutMs: readTimeoutMs });
    if (!isPod(object)) {
      throw new KexerError('badGateway', `Cannot use the pod ${quote(`${namespace}/${name}`)}: the answer is no Pod`);
    }
    return object;
  }

  /** See {@link Cluster.podUid}. */
  async podUid(namespace: string, name: string, signal: AbortSignal): Promise<string> {
    const target = podTarget(namespace, name);
    const object = await this.#client.json({ target, signal, timeoutMs: readTimeoutMs, accept: metadataOnly });
    const uid = isRecord(object) && isRecord(object['metadata']) ? object['metadata']['uid'] : undefined;
    if (typeof uid === 'string') return uid;
    throw new KexerError('badGateway', `Cannot use the pod ${quote(`${namespace}/${name}`)}: the answer has no UID`);
  }

  /** See {@link Cluster.watchPod}. */
  watchPod(
    namespace: string,
    name: string,
    handlers: PodWatchHandlers,
    options: { timeoutSeconds: number; signal: AbortSignal },
  ): Promise<void> {
    const { timeoutSeconds, signal } = options;
    const target =
      `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?watch=true` +
      `&fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}&timeoutSeconds=${timeoutSeconds}`;
    const request = { target, timeoutSeconds, signal, accept: metadataOnly, onOpen: () => handlers.onOpen() };
    return runWatch({ client: this.#client, clock: this.#clock }, request, (event) => {
      if (event.type === 'bookmark') return;
      const { uid } = event.object.metadata;
      if (typeof uid === 'string') handlers.onEvent({ type: event.type, uid });
    });
  }

  /** As the apiserver has it now; undefined: there is no such node. */
  async node(name: string, signal: AbortSignal): Promise<NodeObject | undefined> {
    const target = `/api/v1/nodes/${encodeURIComponent(name)}`;
    try {
      const object = await this.#client.json({ target, signal, timeoutMs: readTimeoutMs });
      if (isKubeObject(object)) return projectNode(object);
    } catch (error) {
      if (error instanceof StatusError && error.status.code === 404) return undefined;
      throw error;
    }
    throw new KexerError('badGateway', `Cannot use the node ${quote(name)}: the answer is no Node`);
  }

  /** Kept for a while. */
  async serverVersion(signal: AbortSignal): Promise<ServerVersion> {
    const nowMs = this.#clock.monotonic();
    if (this.#version !== undefined && nowMs - this.#versionReadAtMs < versionLifetimeMs) return this.#version;
    return this.readVersion(signal, readTimeoutMs);
  }

  /** From the apiserver: a call that everybody may make whose credential is accepted. */
  async readVersion(signal: AbortSignal, timeoutMs: number): Promise<ServerVersion> {
    const version = parseVersion(await this.#client.json({ target: '/version', signal, timeoutMs }));
    this.#version = version;
    this.#versionReadAtMs = this.#clock.monotonic();
    return version;
  }
}

function parseVersion(answer: unknown): ServerVersion {
  if (isRecord(answer)) {
    // Some distributions write `36+`.
    const major = Number.parseInt(String(answer['major']), 10);
    const minor = Number.parseInt(String(answer['minor']), 10);
    const { gitVersion } = answer;
    if (!Number.isNaN(major) && !Number.isNaN(minor)) {
      return { major, minor, gitVersion: typeof gitVersion === 'string' ? gitVersion : '' };
    }
  }
  throw new KexerError('badGateway', 'Cannot read the version of the apiserver: want "major" and "minor"');
}

function podTarget(namespace: string, name: string): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}

function isPod(value: unknown): value is PodObject {
  if (!isRecord(value)) return false;
  const { metadata, spec } = value;
  return (
    isRecord(metadata) && typeof metadata['uid'] === 'string' && isRecord(spec) && Array.isArray(spec['containers'])
  );
}
