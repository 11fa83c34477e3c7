// Watch events as tables of one row. Only the first names the columns: kubectl keeps them.

import { goJson } from '../../../kube/status.ts';
import type { KubeObject } from '../objects/object.ts';
import type { TableMaker } from '../tables/table.ts';
import type { EventEncoder } from './watch-stream.ts';

export class TableEncoder implements EventEncoder {
  readonly #table: TableMaker;
  #hasColumns = true;

  constructor(table: TableMaker) {
    this.#table = table;
  }

  event(type: string, object: KubeObject): string {
    const shown = this.#table.single(object, this.#hasColumns);
    this.#hasColumns = false;
    return `${goJson({ type, object: shown })}\n`;
  }

  /** A bookmark has no row that anybody should show, only its version. */
  bookmark(object: KubeObject): string {
    const { resourceVersion, annotations } = object.metadata;
    const shown = {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { resourceVersion },
      columnDefinitions: this.#hasColumns ? this.#table.columnDefinitions : null,
      rows: [
        {
          cells: [],
          object: {
            kind: 'PartialObjectMetadata',
            apiVersion: 'meta.k8s.io/v1',
            metadata: { resourceVersion, ...(annotations === undefined ? {} : { annotations }) },
          },
        },
      ],
    };
    this.#hasColumns = false;
    return `${goJson({ type: 'BOOKMARK', object: shown })}\n`;
  }
}
