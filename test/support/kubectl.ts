// Tests with real kubectl find it on the PATH, or are skipped with one line that says how to get it. CI never skips: there a missing
// kubectl is a failure.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Whether `name` is an executable file on the PATH. */
export function isOnPath(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false; // not there; the next folder may have it
    }
  });
}

let hasSaidSo = false;

/** A `before` hook for suites that run kubectl: `before(needsKubectl)`. */
export function needsKubectl(this: Mocha.Context): void {
  if (isOnPath('kubectl')) return;
  if (process.env['CI'] === 'true')
    throw new Error('Cannot run the tests with kubectl: it is not on the PATH, and CI skips none');
  if (!hasSaidSo) {
    hasSaidSo = true;
    console.log('Skipped: tests with kubectl; put it on the PATH (Debian: apt-get install kubernetes-client)');
  }
  this.skip();
}
