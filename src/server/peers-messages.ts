// What kexers say to each other, as JSON over their serving port: the sessions each one carries, and that one of them shall end. Read strictly
// where it decides something; fields that a newer kexer adds pass through, so that a rollout may mix versions.

import { KexerError } from '../base/errors.ts';
import { isRecord } from '../kube/objects.ts';

import { type SessionObject, sessionsResource } from './sessions-object.ts';

/** Outside of /apis: no aggregation layer leads here. */
export const peerPaths = { list: '/peer/v1/sessions', end: '/peer/v1/sessions/end' } as const;

/** Audience of the tokens by which kexers know each other; no token for kube-apiserver has it, and none with it is one. */
export const peerAudience = 'kexer-peer';

/** The sessions that one kexer carries. */
export interface PeerSessions {
  /** Of the process, random: a kexer that asked itself finds out by this. */
  readonly instance: string;
  readonly sessions: readonly SessionObject[];
}

/** Somebody who may do so ends a session of another kexer. */
export interface EndOrder {
  readonly namespace: string;
  readonly name: string;
  /** Another session of the same name is not meant. */
  readonly uid: string;
  /** Who ends it; told to its client. */
  readonly user: string;
  /** Who acts as them by impersonation, for the log; left out: nobody, or it comes from an older kexer. */
  readonly originalUser?: string;
}

/** `ended`: it is over. `ending`: it was told, and its client is still reading. */
export type EndOutcome = 'ended' | 'ending' | 'notFound';

/** @throws KexerError badGateway */
export function readPeerSessions(body: Buffer): PeerSessions {
  const message = parse(body);
  const { instance, sessions } = message;
  if (typeof instance !== 'string' || !Array.isArray(sessions)) throw unreadable('it has no list of sessions');
  return {
    instance,
    sessions: sessions.map((value: unknown) => {
      if (isSessionObject(value)) return value;
      throw unreadable('one of its sessions is none');
    }),
  };
}

/** @throws KexerError badGateway */
export function readEndOutcome(body: Buffer): EndOutcome {
  const { outcome } = parse(body);
  if (outcome === 'ended' || outcome === 'ending' || outcome === 'notFound') return outcome;
  throw unreadable('it has no outcome');
}

/** @throws KexerError badRequest */
export function readEndOrder(body: Buffer): EndOrder {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    value = undefined;
  }
  if (isRecord(value)) {
    const { namespace, name, uid, user, originalUser } = value;
    const isName = (text: unknown): text is string => isText(text) && text !== '';
    if (isName(namespace) && isName(name) && isName(uid) && isName(user) && isOptional(originalUser, isName)) {
      return { namespace, name, uid, user, ...(isName(originalUser) ? { originalUser } : {}) };
    }
  }
  throw new KexerError('badRequest', 'Cannot read the order to end a session: want namespace, name, uid and user');
}

function parse(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new KexerError('badGateway', 'Cannot read the answer of another kexer: it is no JSON', { cause });
  }
  if (!isRecord(value)) throw unreadable('it is no object');
  return value;
}

function unreadable(why: string): KexerError {
  return new KexerError('badGateway', `Cannot read the answer of another kexer: ${why}`);
}

/** Everything that is read of a session is there; the rest is for those who asked. */
function isSessionObject(value: unknown): value is SessionObject {
  if (!isRecord(value) || value['kind'] !== 'Session') return false;
  if (value['apiVersion'] !== `${sessionsResource.group}/${sessionsResource.version}`) return false;
  const { metadata, spec, status } = value;
  return (
    isRecord(metadata) &&
    hasTexts(metadata, ['name', 'namespace', 'uid']) &&
    isTime(metadata['creationTimestamp']) &&
    isRecord(spec) &&
    hasTexts(spec, ['kind', 'clientProtocol']) &&
    isRecord(spec['user']) &&
    hasTexts(spec['user'], ['username']) &&
    isRecord(spec['cluster']) &&
    hasTexts(spec['cluster'], ['name', 'namespace']) &&
    isOptional(spec['pod'], (pod) => isRecord(pod) && hasTexts(pod, ['name']) && isOptional(pod['node'], isText)) &&
    isOptional(spec['originalUser'], (user) => isRecord(user) && hasTexts(user, ['username'])) &&
    ['container', 'clientAddress', 'backendProtocol'].every((key) => isOptional(spec[key], isText)) &&
    isOptional(spec['command'], (words) => Array.isArray(words) && words.every(isText)) &&
    isRecord(status) &&
    hasTexts(status, ['replica']) &&
    isTime(status['lastActivityTime']) &&
    Number.isSafeInteger(status['bytesIn']) &&
    Number.isSafeInteger(status['bytesOut']) &&
    Array.isArray(status['conditions']) &&
    status['conditions'].every((condition) => isRecord(condition) && hasTexts(condition, ['type', 'status', 'reason']))
  );
}

function hasTexts(record: Readonly<Record<string, unknown>>, keys: readonly string[]): boolean {
  return keys.every((key) => isText(record[key]));
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isTime(value: unknown): boolean {
  return isText(value) && !Number.isNaN(Date.parse(value));
}

function isOptional(value: unknown, check: (value: unknown) => boolean): boolean {
  return value === undefined || check(value);
}
