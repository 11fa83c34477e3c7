// The kinds of cert-manager and of the Prometheus operator that manifests here use, field by field as their CustomResourceDefinitions
// have them (cert-manager.io/v1, monitoring.coreos.com/v1), and no more of them than is used: an unknown field is a complaint.

import { z } from 'zod';

import type { Manifest } from './manifests.ts';

const metadata = z.strictObject({
  name: z.string().min(1),
  namespace: z.string().min(1),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

const object = (apiVersion: string, kind: string, spec: z.ZodType) =>
  z.strictObject({ apiVersion: z.literal(apiVersion), kind: z.literal(kind), metadata, spec });

const duration = z.string().regex(/^(\d+(ms|h|m|s))+$/);
const promDuration = z.string().regex(/^(\d+(y|w|d|h|m|s|ms))+$/);
const issuerReference = z.strictObject({
  name: z.string(),
  kind: z.enum(['Issuer', 'ClusterIssuer']),
  group: z.literal('cert-manager.io').optional(),
});

const certificate = z.strictObject({
  secretName: z.string(),
  commonName: z.string().max(64).optional(),
  dnsNames: z.array(z.string()).optional(),
  ipAddresses: z.array(z.string()).optional(),
  isCA: z.boolean().optional(),
  duration: duration.optional(),
  renewBefore: duration.optional(),
  usages: z
    .array(z.enum(['server auth', 'client auth', 'digital signature', 'key encipherment', 'cert sign']))
    .optional(),
  privateKey: z
    .strictObject({
      algorithm: z.enum(['RSA', 'ECDSA', 'Ed25519']).optional(),
      size: z.int().optional(),
      rotationPolicy: z.enum(['Never', 'Always']).optional(),
    })
    .optional(),
  issuerRef: issuerReference,
});

const issuer = z.union([
  z.strictObject({ selfSigned: z.strictObject({}) }),
  z.strictObject({ ca: z.strictObject({ secretName: z.string() }) }),
]);

const secretKey = z.strictObject({ name: z.string(), key: z.string(), optional: z.boolean().optional() });
const secretOrConfigMap = z.union([z.strictObject({ secret: secretKey }), z.strictObject({ configMap: secretKey })]);

const endpoint = z.strictObject({
  port: z.string(),
  path: z.string().optional(),
  scheme: z.enum(['http', 'https']).optional(),
  interval: promDuration.optional(),
  scrapeTimeout: promDuration.optional(),
  bearerTokenFile: z.string().optional(),
  tlsConfig: z
    .strictObject({
      ca: secretOrConfigMap.optional(),
      caFile: z.string().optional(),
      serverName: z.string().optional(),
      insecureSkipVerify: z.boolean().optional(),
    })
    .optional(),
});

const selector = z.strictObject({ matchLabels: z.record(z.string(), z.string()) });

const serviceMonitor = z.strictObject({
  selector,
  namespaceSelector: z.strictObject({ matchNames: z.array(z.string()) }).optional(),
  jobLabel: z.string().optional(),
  endpoints: z.array(endpoint).min(1),
});

const rule = z.union([
  z.strictObject({ record: z.string(), expr: z.string(), labels: z.record(z.string(), z.string()).optional() }),
  z.strictObject({
    alert: z.string(),
    expr: z.string(),
    for: promDuration.optional(),
    keep_firing_for: promDuration.optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
]);

const prometheusRule = z.strictObject({
  groups: z.array(z.strictObject({ name: z.string(), interval: promDuration.optional(), rules: z.array(rule) })),
});

const schemas: readonly (readonly [apiVersion: string, kind: string, spec: z.ZodType])[] = [
  ['cert-manager.io/v1', 'Certificate', certificate],
  ['cert-manager.io/v1', 'Issuer', issuer],
  ['monitoring.coreos.com/v1', 'ServiceMonitor', serviceMonitor],
  ['monitoring.coreos.com/v1', 'PrometheusRule', prometheusRule],
];

/** `apiVersion kind` → what is wrong with an object of it, one sentence each. */
export const customKinds: ReadonlyMap<string, (manifest: Manifest) => string[]> = new Map(
  schemas.map(([apiVersion, kind, spec]) => {
    const schema = object(apiVersion, kind, spec);
    const check = (manifest: Manifest): string[] =>
      (schema.safeParse(manifest).error?.issues ?? []).map(
        ({ path, message }) => `${kind}.${path.map(String).join('.')}: ${message}`,
      );
    return [`${apiVersion} ${kind}`, check] as const;
  }),
);
