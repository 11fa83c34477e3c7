// Generated names: a prefix and five random characters without vowels and lookalikes, as apiserver's names package makes them.

import { randomInt } from 'node:crypto';

const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
const suffixLength = 5;
const maxPrefixLength = 63 - suffixLength;

export function randomSuffix(): string {
  return Array.from({ length: suffixLength }, () => alphabet.charAt(randomInt(alphabet.length))).join('');
}

export function generateName(prefix: string): string {
  return prefix.slice(0, maxPrefixLength) + randomSuffix();
}
