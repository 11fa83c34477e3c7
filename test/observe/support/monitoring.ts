// The files of config/monitoring as tests read them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parse } from 'yaml';

const folder = join(import.meta.dirname, '../../../config/monitoring');

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly refId: string; readonly legendFormat: string }[];
}

export interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
}

export function alerts(): AlertRule[] {
  const rule = parse(readFileSync(join(folder, 'prometheus-rule.yaml'), 'utf8')) as {
    readonly spec: { readonly groups: readonly { readonly rules: readonly AlertRule[] }[] };
  };
  return rule.spec.groups.flatMap(({ rules }) => rules);
}

export function dashboard(): Dashboard {
  return JSON.parse(readFileSync(join(folder, 'dashboard.json'), 'utf8')) as Dashboard;
}

/** With Grafana's variables filled in. */
export function dashboardExpressions(): { readonly title: string; readonly expr: string }[] {
  return dashboard().panels.flatMap(({ title, targets }) =>
    (targets ?? []).map(({ expr }) => ({
      title,
      expr: expr.replaceAll('$__rate_interval', '2m').replaceAll('$job', 'kexer').replaceAll('$pod', '.*'),
    })),
  );
}

/** Everything that is asked of Prometheus. */
export function allExpressions(): string[] {
  return [...alerts().map(({ expr }) => expr), ...dashboardExpressions().map(({ expr }) => expr)];
}

/** The family a sample is of, as the definitions call it. */
export function familyOf(metric: string): string {
  return metric.replace(/(?<=_seconds)_(?:bucket|sum|count)$/, '');
}
