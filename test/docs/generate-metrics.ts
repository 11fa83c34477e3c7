// Writes docs/metrics.md; run it after a change of metrics.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { metricsPage } from './support/metrics-page.ts';

writeFileSync(join(import.meta.dirname, '../../docs/metrics.md'), metricsPage());
