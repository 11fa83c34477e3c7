import { randomBytes } from 'node:crypto';

import { expect } from 'chai';

import {
  hostWebAssembly,
  maskMemoryBytes,
  MaskMemory,
  type WebAssemblyLike,
} from '../../../src/protocol/websocket/mask-memory.ts';
import { maskModule, maskNames } from '../../../src/protocol/websocket/mask-module.ts';
import { applyKeyWord } from '../../../src/protocol/websocket/mask.ts';

interface FullWebAssembly extends WebAssemblyLike {
  validate(bytes: Uint8Array): boolean;
  readonly Module: WebAssemblyLike['Module'] & {
    imports(module: object): unknown;
    exports(module: object): unknown;
  };
}

const wasm = Reflect.get(globalThis, 'WebAssembly') as FullWebAssembly;

describe('maskModule', () => {
  it('is a module that imports one memory and exports one function', () => {
    const bytes = maskModule();
    expect(wasm.validate(bytes)).to.equal(true);
    const module = new wasm.Module(bytes);
    expect([wasm.Module.imports(module), wasm.Module.exports(module)]).to.deep.equal([
      [{ module: maskNames.module, name: maskNames.memory, kind: 'memory' }],
      [{ name: maskNames.mask, kind: 'function' }],
    ]);
  });

  it('traps outside the memory and changes nothing there', () => {
    const memory = new wasm.Memory({ initial: 1, maximum: 1 });
    const { exports } = new wasm.Instance(new wasm.Module(maskModule()), { kexer: { memory } });
    const mask = exports['mask'] as (at: number, end: number, key: number) => void;
    expect(() => mask(maskMemoryBytes - 3, maskMemoryBytes + 1, -1)).to.throw(/out of bounds/);
    expect(() => mask(maskMemoryBytes, maskMemoryBytes + 64, -1)).to.throw(/out of bounds/);
    mask(10, 9, -1); // nothing to do
    expect([...new Uint8Array(memory.buffer).subarray(0, 32)].every((byte) => byte === 0)).to.equal(true);
  });
});

describe('MaskMemory', () => {
  it('makes its memory when it is asked for, and the module when something is masked', () => {
    const made: string[] = [];
    const memory = new MaskMemory({ wasm: watched(made) });
    expect([memory.holds(Buffer.alloc(8)), ...made]).to.deep.equal([false]);
    const { bytes } = memory;
    expect([memory.bytes === bytes, bytes.length, memory.holds(bytes.subarray(5, 9)), ...made]).to.deep.equal([
      true,
      maskMemoryBytes,
      true,
      'Memory',
    ]);
    expect([memory.mask(bytes, 1), memory.mask(bytes, 1), ...made]).to.deep.equal([
      true,
      true,
      'Memory',
      'Module',
      'Instance',
    ]);
  });

  const failing: Readonly<Record<string, WebAssemblyLike | undefined>> = {
    'there is no WebAssembly': undefined,
    'there are no addresses for its memory': { ...parts(), Memory: thrower(RangeError) },
    'it has no vectors': { ...parts(), Module: thrower(TypeError) },
    'the module cannot be linked': { ...parts(), Instance: thrower(TypeError) },
    'the module exports something else': {
      ...parts(),
      Instance: class {
        readonly exports = {};
      },
    },
  };
  for (const [what, given] of Object.entries(failing)) {
    it(`is ordinary memory where ${what}`, () => {
      const memory = new MaskMemory({ wasm: given });
      const { bytes } = memory;
      const source = randomBytes(bytes.length);
      bytes.set(source);
      expect([bytes.length, memory.mask(bytes, 0x04030201), bytes.equals(source)]).to.deep.equal([
        maskMemoryBytes,
        false,
        true,
      ]);
      applyKeyWord(bytes, 0x04030201, 0, memory);
      expect(bytes.equals(Buffer.from(source.map((byte, at) => byte ^ ((at & 3) + 1))))).to.equal(true);
    });
  }

  it('finds nothing in a Node without WebAssembly', () => {
    const isThere = hostWebAssembly() === Reflect.get(globalThis, 'WebAssembly');
    Reflect.deleteProperty(globalThis, 'WebAssembly'); // as --jitless does
    try {
      expect([isThere, hostWebAssembly()]).to.deep.equal([true, undefined]);
    } finally {
      Object.defineProperty(globalThis, 'WebAssembly', {
        value: wasm,
        writable: true,
        configurable: true,
        enumerable: false,
      });
    }
  });
});

function parts(): WebAssemblyLike {
  const { Memory, Module, Instance } = wasm;
  return { Memory, Module, Instance };
}

function thrower(Kind: new (message: string) => Error): new () => never {
  return function refuse() {
    throw new Kind('not here');
  } as unknown as new () => never;
}

/** Notes what is made of it. */
function watched(made: string[]): WebAssemblyLike {
  const noting = <Made extends object, Input extends unknown[]>(
    name: string,
    Kind: new (...input: Input) => Made,
  ): new (...input: Input) => Made =>
    new Proxy(Kind, {
      construct: (target, input: Input) => {
        made.push(name);
        return new target(...input);
      },
    });
  return {
    Memory: noting('Memory', wasm.Memory),
    Module: noting('Module', wasm.Module),
    Instance: noting('Instance', wasm.Instance),
  };
}
