// The WebAssembly module that XORs bytes 16 at a time (RFC 6455, section 5.3), assembled from its instructions: no binary is committed, and
// no tool makes one. Encodings are those of the WebAssembly 2.0 binary format, section 5. As text it is
//
//     (module
//       (import "kexer" "memory" (memory 1 1))
//       (func (export "mask") (param $at i32) (param $end i32) (param $key i32) (local $wide v128)
//         $wide = i32x4.splat($key)
//         while ($at + 64 <= $end) { four times: v128 at $at + 0, 16, 32, 48 ^= $wide;  $at += 64 }
//         while ($at + 16 <= $end) { v128 at $at ^= $wide;  $at += 16 }
//         while ($at < $end)       { byte at $at ^= low byte of $key;  $key = rotr($key, 8);  $at += 1 }))
//
// Bytes outside [at, end) are neither read nor written: behind a payload stands the next frame. WebAssembly is little-endian everywhere, so
// the key's first byte is the low one of its word.

/** What the module imports, and what it exports. */
export const maskNames = Object.freeze({ module: 'kexer', memory: 'memory', mask: 'mask' });

/** Section 5.4.1 to 5.4.9; of the vector instructions what follows their prefix. */
const op = Object.freeze({
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  i32Load8U: 0x2d,
  i32Store8: 0x3a,
  i32Const: 0x41,
  i32GtU: 0x4b,
  i32Add: 0x6a,
  i32Xor: 0x73,
  i32Rotr: 0x78,
  vector: 0xfd,
});
const vector = Object.freeze({ load: 0x00, store: 0x0b, i32x4Splat: 0x11, xor: 0x51 });
const type = Object.freeze({ i32: 0x7f, v128: 0x7b, none: 0x40, function: 0x60 });
const section = Object.freeze({ type: 1, import: 2, function: 3, export: 7, code: 10 });
const kind = Object.freeze({ function: 0, memory: 2 });

const at = 0;
const end = 1;
const key = 2;
const wide = 3;
const vectorBytes = 16;

/** `\0asm`, 1 */
const magicAndVersion = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/** The bytes of the module. */
export function maskModule(): Uint8Array<ArrayBuffer> {
  const signature = [type.function, ...list([[type.i32], [type.i32], [type.i32]]), ...list([])];
  const oneToOnePage = [0x01, 1, 1];
  const memory = [...text(maskNames.module), ...text(maskNames.memory), kind.memory, ...oneToOnePage];
  const locals = list([[1, type.v128]]);
  const body = [...locals, ...code(), op.end];
  return Uint8Array.from([
    ...magicAndVersion,
    ...inSection(section.type, list([signature])),
    ...inSection(section.import, list([memory])),
    ...inSection(section.function, list([[0]])),
    ...inSection(section.export, list([[...text(maskNames.mask), kind.function, 0]])),
    ...inSection(section.code, list([[...number(body.length), ...body]])),
  ]);
}

function code(): number[] {
  const blockOfFour = [0, 1, 2, 3].flatMap((index) => maskVector(index * vectorBytes));
  return [
    [op.localGet, key, op.vector, vector.i32x4Splat, op.localSet, wide],
    whileThereAre(4 * vectorBytes, blockOfFour),
    whileThereAre(vectorBytes, maskVector(0)),
    whileThereAre(1, maskByte),
  ].flat();
}

/** `while (at + count <= end) { body; at += count }` */
function whileThereAre(count: number, body: readonly number[]): number[] {
  return [
    [op.block, type.none, op.loop, type.none],
    [op.localGet, at, op.i32Const, ...signed(count), op.i32Add, op.localGet, end, op.i32GtU, op.brIf, 1],
    body,
    [op.localGet, at, op.i32Const, ...signed(count), op.i32Add, op.localSet, at],
    [op.br, 0, op.end, op.end],
  ].flat();
}

/** Alignment 2^0: payloads begin anywhere. */
function maskVector(offset: number): number[] {
  return [
    [op.localGet, at, op.localGet, at],
    [op.vector, vector.load, 0, ...number(offset)],
    [op.localGet, wide, op.vector, vector.xor],
    [op.vector, vector.store, 0, ...number(offset)],
  ].flat();
}

const maskByte: readonly number[] = [
  [op.localGet, at, op.localGet, at, op.i32Load8U, 0, 0],
  [op.localGet, key, op.i32Xor, op.i32Store8, 0, 0],
  [op.localGet, key, op.i32Const, 8, op.i32Rotr, op.localSet, key],
].flat();

function inSection(id: number, content: readonly number[]): number[] {
  return [id, ...number(content.length), ...content];
}

function list(items: readonly (readonly number[])[]): number[] {
  return [...number(items.length), ...items.flat()];
}

function text(name: string): number[] {
  return [...number(name.length), ...new TextEncoder().encode(name)];
}

/** Unsigned LEB128. */
function number(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...number(value >>> 7)];
}

/** Signed LEB128 of a value that is not negative: its last byte must not have the sign bit 0x40. */
function signed(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
