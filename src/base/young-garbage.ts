// Memory outside V8's heap that dies young. Of each TLS record that Node reads as a stream V8 learns of an ArrayBuffer; it counts their bytes towards the
// limit at which it collects its whole heap, but frees them with its young generation, and that is collected when it is full of objects, which
// such buffers hardly are. Once a process has collected its heap for the first time the limit is low, and every ten megabytes cost another collection: a
// list of 100 MiB took 0.4 to 0.5 s of CPU then, and takes 0.2 s with the young generation collected in time.

/** So many bytes may wait to be freed; twice as many are allocated, since Node's HTTP parser copies what it is given. */
const bytesPerCollection = 4 * 1024 * 1024;

/** Copies of it are together a little more than the young generation of 1 MiB that cli/engine.ts keeps; each is small enough to be allocated there. */
const filler: readonly number[] = Array.from({ length: 8000 }, () => 0);
const fillers = 18;

export class YoungGarbage {
  #bytes: number;

  constructor() {
    this.#bytes = 0;
  }

  /** So many bytes were read into memory of their own, and are done with soon. Costs 0.1 ms every four MiB. */
  add(byteCount: number): void {
    this.#bytes += byteCount;
    if (this.#bytes < bytesPerCollection) return;
    this.#bytes = 0;
    fillYoungGeneration();
  }
}

/** V8 has no call for a collection without flags; but a young generation that is full is collected. @returns words allocated, all garbage. */
function fillYoungGeneration(): number {
  let words = 0;
  for (let count = 0; count < fillers; count += 1) words += filler.slice().length;
  return words;
}

/** Of the process, as V8's heap is. */
export const sharedYoungGarbage = new YoungGarbage();
