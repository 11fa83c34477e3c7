// Every metric that kexer has. What stands here is documented, and what is recorded stands here: tests compare the two.

import type { MetricDefinition } from './definition.ts';
import * as processDefinitions from './process-definitions.ts';
import * as requestDefinitions from './request-definitions.ts';
import * as sessionDefinitions from './session-definitions.ts';

export interface MetricGroup {
  readonly title: string;
  readonly metrics: readonly MetricDefinition[];
}

export const catalogue: readonly MetricGroup[] = [
  { title: 'Sessions', metrics: Object.values(sessionDefinitions) },
  { title: 'Requests', metrics: Object.values(requestDefinitions) },
  { title: 'Process', metrics: Object.values(processDefinitions) },
];
