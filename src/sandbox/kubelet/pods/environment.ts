// The environment of a container: what every pod gets, envFrom, then env in order with $(NAME) expanded, as the kubelet makes it.

import type { ContainerSpec, EnvVar } from './pod.ts';
import { fieldOf, keyOf, keysOf, MissingReference, type PodContext } from './references.ts';

/** `$(NAME)` becomes the value if NAME is known, `$$(NAME)` becomes `$(NAME)`, anything else stays. */
export function expandVariables(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^()]*)\)/g, (whole, name: string | undefined) => {
    if (whole === '$$') return '$';
    return name !== undefined && Object.hasOwn(values, name) ? (values[name] ?? '') : whole;
  });
}

function valueOf(context: PodContext, variable: EnvVar, known: Readonly<Record<string, string>>): string | undefined {
  const { valueFrom } = variable;
  if (valueFrom === undefined) return expandVariables(variable.value ?? '', known);
  if (valueFrom.fieldRef !== undefined) {
    const value = fieldOf(context, valueFrom.fieldRef.fieldPath);
    if (value === undefined) throw new MissingReference(`unsupported fieldPath: ${valueFrom.fieldRef.fieldPath}`);
    return value;
  }
  if (valueFrom.configMapKeyRef !== undefined) {
    return keyOf(context, 'configmap', valueFrom.configMapKeyRef)?.toString('utf8');
  }
  if (valueFrom.secretKeyRef !== undefined) return keyOf(context, 'secret', valueFrom.secretKeyRef)?.toString('utf8');
  // resourceFieldRef: nothing is limited here, and 0 is what "no limit" reads as.
  return '0';
}

/** @throws MissingReference if a ConfigMap, Secret or key is not there. */
export function environmentOf(
  context: PodContext,
  container: ContainerSpec,
  shared: Readonly<Record<string, string>>,
): Record<string, string> {
  const env: Record<string, string> = { ...shared };
  for (const source of container.envFrom ?? []) {
    const [kind, reference] =
      source.configMapRef === undefined
        ? (['secret', source.secretRef] as const)
        : (['configmap', source.configMapRef] as const);
    const keys = keysOf(context, kind, reference?.name ?? '', reference?.optional ?? false);
    for (const [key, value] of keys ?? []) env[`${source.prefix ?? ''}${key}`] = value.toString('utf8');
  }
  for (const variable of container.env ?? []) {
    const value = valueOf(context, variable, env);
    if (value !== undefined) env[variable.name] = value;
  }
  return env;
}

/** KUBERNETES_* of the default/kubernetes Service, as every pod gets them. */
export function serviceEnvironment(apiserver: { host: string; port: number } | undefined): Record<string, string> {
  if (apiserver === undefined) return {};
  const { host, port } = apiserver;
  return {
    KUBERNETES_SERVICE_HOST: host,
    KUBERNETES_SERVICE_PORT: String(port),
    KUBERNETES_SERVICE_PORT_HTTPS: String(port),
    KUBERNETES_PORT: `tcp://${host}:${port}`,
    [`KUBERNETES_PORT_${port}_TCP`]: `tcp://${host}:${port}`,
    [`KUBERNETES_PORT_${port}_TCP_PROTO`]: 'tcp',
    [`KUBERNETES_PORT_${port}_TCP_PORT`]: String(port),
    [`KUBERNETES_PORT_${port}_TCP_ADDR`]: host,
  };
}
