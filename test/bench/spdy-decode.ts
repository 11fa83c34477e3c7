// What decoding and re-framing of DATA cost beside the bytes themselves: MB/s for 32 KiB frames that come in chunks of the sizes TLS and
// TCP give. Payload passes by reference, so this is overhead a chunk; at 10 GB/s it is 1.6 µs for 16 KiB. Run: node test/bench/spdy-decode.ts

import { SpdyDecoder } from '../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';

const payloadBytes = 32 * 1024;
const totalBytes = 8 * 1024 * 1024 * 1024;

const encoder = new SpdyEncoder();
const head = encoder.dataHeader(3, payloadBytes, false);
const payload = Buffer.alloc(payloadBytes, 0x61);
const stream = Buffer.concat(Array.from({ length: 64 }, () => [head, payload]).flat());

function chunksOf(size: number): Buffer[] {
  const count = Math.ceil(stream.length / size);
  return Array.from({ length: count }, (_, index) => stream.subarray(index * size, (index + 1) * size));
}

/** As spdystream writes: two words and the payload, each a TLS record of its own, records of at most 16 KiB. */
function chunksOfGo(): Buffer[] {
  const frame = [head.subarray(0, 4), head.subarray(4), payload.subarray(0, 16_384), payload.subarray(16_384)];
  return Array.from({ length: 64 }, () => frame).flat();
}

function run(name: string, chunks: readonly Buffer[], onData: (streamId: number, bytes: Buffer) => void): void {
  const decoder = new SpdyDecoder();
  const started = performance.now();
  let bytes = 0;
  while (bytes < totalBytes) {
    for (const chunk of chunks) {
      for (const frame of decoder.acceptChunk(chunk)) {
        if (frame.type === 'data') onData(frame.streamId, frame.bytes);
      }
      bytes += chunk.length;
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const chunkCount = (bytes / stream.length) * chunks.length;
  console.log(
    `${name.padEnd(34)} ${(bytes / 1e9 / seconds).toFixed(1).padStart(6)} GB/s, ${((seconds * 1e6) / chunkCount).toFixed(2)} µs a chunk`,
  );
}

let written = 0;
for (const [name, chunks] of [
  ['16 KiB chunks', chunksOf(16 * 1024)],
  ['64 KiB chunks', chunksOf(64 * 1024)],
  ['as Go writes over TLS', chunksOfGo()],
] as const) {
  run(`decode, ${name}`, chunks, (_streamId, bytes) => {
    written += bytes.length;
  });
  run(`re-frame, ${name}`, chunks, (streamId, bytes) => {
    written += encoder.dataHeader(streamId, bytes.length, false).length;
  });
}
if (written === 0) throw new Error('nothing was decoded');
