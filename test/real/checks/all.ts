// All checks in the order in which they run: what disturbs the cluster comes last.

import { admissionChecks } from './admission.ts';
import type { Check } from './check.ts';
import { clusterLifeChecks } from './cluster-life.ts';
import { disturbanceChecks } from './disturbances.ts';
import { figureChecks } from './figures.ts';
import { loadChecks } from './load.ts';
import { otherClusterChecks } from './other-clusters.ts';
import { parityChecks } from './parity.ts';
import { resourceChecks } from './resources.ts';
import { streamChecks } from './streams.ts';

/** @param extensionApiserver the program of a newer API server, if there is one */
export function allChecks(versions: readonly string[], extensionApiserver: string | undefined): readonly Check[] {
  return [
    ...parityChecks(versions),
    ...streamChecks(versions),
    ...resourceChecks,
    ...admissionChecks,
    ...clusterLifeChecks,
    ...otherClusterChecks(extensionApiserver),
    ...loadChecks,
    ...figureChecks,
    ...disturbanceChecks,
  ];
}
