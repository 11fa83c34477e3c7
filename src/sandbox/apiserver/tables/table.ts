// metav1.Table: objects as rows, with the columns of their kind. What stands in a row's `object` is the client's choice
// (?includeObject): its metadata by default.

import type { Clock } from '../../../base/clock.ts';
import { badRequest, type GroupResource, StatusError } from '../../../kube/status.ts';
import type { KubeObject } from '../objects/object.ts';
import { accessPrinters, defaultPrinter } from './access-printers.ts';
import { corePrinters } from './core-printers.ts';
import { podPrinter } from './pod-printer.ts';
import type { Printer } from './printer.ts';
import { workloadPrinters } from './workload-printers.ts';

const printers: Readonly<Record<string, Printer>> = {
  '/pods': podPrinter,
  ...corePrinters,
  ...workloadPrinters,
  ...accessPrinters,
};

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** @throws StatusError 400 for an unknown value. */
export function parseIncludeObject(value: string | null): IncludeObject {
  if (value === null || value === '' || value === 'Metadata') return 'Metadata';
  if (value === 'None' || value === 'Object') return value;
  throw new StatusError(badRequest(`unrecognized includeObject value: ${JSON.stringify(value)}`));
}

export function partialMetadata(object: KubeObject): KubeObject {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

/** The columns and rows of one resource's tables. */
export class TableMaker {
  readonly #clock: Clock;
  readonly #printer: Printer;
  readonly #include: IncludeObject;

  constructor(deps: { clock: Clock }, options: { resource: GroupResource; include: IncludeObject }) {
    this.#clock = deps.clock;
    this.#printer = printers[`${options.resource.group}/${options.resource.resource}`] ?? defaultPrinter;
    this.#include = options.include;
  }

  get columnDefinitions(): readonly object[] {
    return this.#printer.columns;
  }

  row(object: KubeObject): object {
    const conditions = this.#printer.conditions?.(object);
    return {
      cells: this.#printer.cells(object, this.#clock.now()),
      ...(conditions === undefined ? {} : { conditions }),
      object: this.#include === 'None' ? null : this.#include === 'Object' ? object : partialMetadata(object),
    };
  }

  /** A table of one object, as GET of it and watch events give; later events of a watch leave the columns out. */
  single(object: KubeObject, hasColumns = true): object {
    return {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { resourceVersion: object.metadata.resourceVersion },
      columnDefinitions: hasColumns ? this.#printer.columns : null,
      rows: [this.row(object)],
    };
  }
}
