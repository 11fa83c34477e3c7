import type { Arena } from './arena.ts';
export function realArena(_kubeconfig: string): Promise<Arena> {
  return Promise.reject(new Error('not yet'));
}
