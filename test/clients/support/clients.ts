// Every client of the matrix: the rows of the table in docs/compatibility.md.

import type { Client } from './client.ts';
import { kubectlClients } from './kubectl-client.ts';
import { rawClients } from './raw-client.ts';
import { scriptClients } from './script-client.ts';

export const clients: readonly Client[] = [...kubectlClients, ...scriptClients, ...rawClients];
