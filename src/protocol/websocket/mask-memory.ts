// Memory whose bytes WebAssembly can mask where they are, 16 at a time: reads of sessions go into it (net/read-tap.ts), so that nothing is copied in or
// out. Both parts are made when they are first needed: the memory (one page of 64 KiB) with the first session, the module with the first
// payload that is masked. Where WebAssembly or its vectors are missing (--jitless, an old machine, no address space left) the memory is an ordinary
// one and `mask` declines; nothing depends on it but CPU.

import { Buffer } from 'node:buffer';

import { maskModule, maskNames } from './mask-module.ts';

/** A page of WebAssembly's. */
export const maskMemoryBytes = 64 * 1024;

/** XORs what lies from `at` up to `end` with the key's four bytes, the low one first. */
type Mask = (at: number, end: number, key: number) => void;

/** What is used of the global `WebAssembly`, which Node's types do not declare. */
export interface WebAssemblyLike {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Readonly<Record<string, object>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
}

export class MaskMemory {
  readonly #wasm: WebAssemblyLike | undefined;
  #memory: { readonly buffer: ArrayBuffer } | undefined;
  #bytes: Buffer<ArrayBuffer> | undefined;
  #buffer: ArrayBuffer | undefined;
  #mask: Mask | undefined;
  #hasTried: boolean;

  /** @param deps.wasm undefined: there is none. */
  constructor(deps: { wasm: WebAssemblyLike | undefined }) {
    this.#wasm = deps.wasm;
    this.#memory = undefined;
    this.#bytes = undefined;
    this.#buffer = undefined;
    this.#mask = undefined;
    this.#hasTried = false;
  }

  /** All of it, the same at each call; never moves, since its size is fixed. */
  get bytes(): Buffer<ArrayBuffer> {
    return (this.#bytes ??= this.#make());
  }

  /** Whether `bytes` lie in it. */
  holds(bytes: Uint8Array): boolean {
    return bytes.buffer === this.#buffer;
  }

  /**
   * XORs bytes that it holds, in place, with a key whose low byte is the first.
   * @returns false: it cannot, and nothing was changed.
   */
  mask(bytes: Uint8Array, key: number): boolean {
    if (!this.#hasTried) this.#prepare();
    if (this.#mask === undefined) return false;
    this.#mask(bytes.byteOffset, bytes.byteOffset + bytes.length, key);
    return true;
  }

  #make(): Buffer<ArrayBuffer> {
    try {
      this.#memory = this.#wasm === undefined ? undefined : new this.#wasm.Memory({ initial: 1, maximum: 1 });
    } catch {
      // Each memory takes gigabytes of addresses, of which a limit on them may leave none.
      this.#memory = undefined;
    }
    if (this.#memory === undefined) return Buffer.allocUnsafeSlow(maskMemoryBytes);
    this.#buffer = this.#memory.buffer;
    return Buffer.from(this.#buffer);
  }

  #prepare(): void {
    this.#hasTried = true;
    if (this.#wasm === undefined || this.#memory === undefined) return;
    try {
      const module = new this.#wasm.Module(maskModule());
      const { exports } = new this.#wasm.Instance(module, { [maskNames.module]: { [maskNames.memory]: this.#memory } });
      const mask = exports[maskNames.mask];
      if (typeof mask === 'function') this.#mask = mask as Mask;
    } catch {
      // A CompileError: this machine has no vectors.
      this.#mask = undefined;
    }
  }
}

/** What this Node has; undefined: nothing (--jitless). */
export function hostWebAssembly(): WebAssemblyLike | undefined {
  const wasm: unknown = Reflect.get(globalThis, 'WebAssembly');
  return isWebAssembly(wasm) ? wasm : undefined;
}

function isWebAssembly(value: unknown): value is WebAssemblyLike {
  return typeof value === 'object' && value !== null && 'Memory' in value && 'Module' in value && 'Instance' in value;
}

/** Of the process: what all sessions read into. */
export const sharedMaskMemory = new MaskMemory({ wasm: hostWebAssembly() });
